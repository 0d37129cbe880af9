from __future__ import annotations

import importlib
import sys
import textwrap
import typing

import pytest

from faults._whole import Loss, Severing
from faults.crash import Crash
from faults.cut import Cut
from faults.half_open import HalfOpen
from faults.latency import Latency
from faults.origin_loss import Answer, OriginLoss
from faults.pop_failure import PopFailure
from faults.zone_isolation import ZoneIsolation
from harness.errors import SpecError, SquallError
from harness.faults_registry import load_faults
from harness.network.base import Direction
from harness.yamlspec import build_named, loads

FAULT = '''
from dataclasses import dataclass
from typing import ClassVar

@dataclass(frozen=True)
class {cls}:
    """{doc}

    More.
    """
    name: ClassVar[str] = "{name}"
    colour: ClassVar[str] = "#000000"
    def targets(self, cluster): return ()
    def check(self, cluster): pass
    def undo(self, cluster): return ()
    async def inject(self, cluster): pass
    async def verify(self, cluster): pass
    async def heal(self, cluster): pass
    async def verify_healed(self, cluster): pass
'''


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Write modules of a package of one's own; returns its name."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(name: str, **modules: str) -> str:
        home = tmp_path / name
        home.mkdir()
        (home / "__init__.py").write_text("")
        for module, text in modules.items():
            (home / f"{module}.py").write_text(textwrap.dedent(text))
        importlib.invalidate_caches()
        return name

    yield write
    for name in [each for each in sys.modules if each.startswith("squall_test_")]:
        del sys.modules[name]


def test_the_built_in_faults_are_found_by_entry_point():
    faults = load_faults()
    assert list(faults) == sorted(faults)
    assert set(faults) >= {
        *("crash", "hang", "stop", "restart"),
        *("cut", "blackhole", "half_open", "latency", "bandwidth", "reset"),
        *("zone_isolation", "region_isolation", "zone_failure", "region_failure"),
        *("pop_failure", "hub_failure", "kv_loss", "origin_loss"),
    }
    for name, info in faults.items():
        assert info.name == info.cls.name == name
        assert info.summary
        assert info.cls.colour.startswith("#")
    colours = [info.cls.colour for info in faults.values()]
    assert len(set(colours)) == len(colours)


def test_a_package_of_ones_own(package):
    own = package(
        "squall_test_own",
        dust=FAULT.format(cls="Dust", name="dust", doc="Sand in the works."),
        _base=FAULT.format(cls="Base", name="base", doc="Not for scenarios."),
        plain="class Helper:\n    pass\n",
    )
    found = load_faults(["faults", own])
    assert found["dust"].summary == "Sand in the works."
    assert "base" not in found
    assert "crash" in found


def test_an_imported_fault_is_not_a_second_one(package):
    own = package("squall_test_again", again="from faults.crash import Crash\n")
    assert list(load_faults([own])) == []


def test_two_of_one_name_are_refused(package):
    own = package("squall_test_twice", mine=FAULT.format(cls="Mine", name="crash", doc="x"))
    with pytest.raises(
        SquallError, match="two faults are called 'crash': faults.crash.Crash and squall_test_twice"
    ):
        load_faults(["faults", own])


def test_half_a_fault_is_refused(package):
    text = FAULT.format(cls="Half", name="half", doc="x").replace(
        "async def heal(", "async def cure("
    )
    own = package("squall_test_half", half=text)
    with pytest.raises(SquallError, match="squall_test_half.half.Half.*lacks heal"):
        load_faults([own])


def test_a_package_that_breaks_is_said_in_one_line(package):
    own = package("squall_test_broken", bad="1 / 0\n")
    with pytest.raises(
        SquallError, match="squall_test_broken.bad can't be loaded: ZeroDivisionError"
    ):
        load_faults([own])
    with pytest.raises(SquallError, match="faults in no_such_package can't be loaded"):
        load_faults(["no_such_package"])


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("crash: hub-us", Crash("hub-us")),
        ("crash: {nodes: [hub-us, pop-us]}", Crash(nodes=("hub-us", "pop-us"))),
        ("cut: a->b", Cut("a->b")),
        ("cut: {from: pop, to: [hub, api]}", Cut(from_="pop", to=("hub", "api"))),
        ("latency: {link: a->b, latency: 100ms}", Latency("a->b", latency=0.1)),
        (
            "half_open: {link: a->b, direction: upstream}",
            HalfOpen("a->b", direction=Direction.UPSTREAM),
        ),
        ("zone_isolation: us-a", ZoneIsolation("us-a")),
        ("zone_isolation: {zone: us-a, mode: cut}", ZoneIsolation("us-a", Severing.CUT)),
        ("pop_failure: {node: pop-us, mode: isolation}", PopFailure("pop-us", Loss.ISOLATION)),
        ("origin_loss: hang", OriginLoss(Answer.HANG)),
        ("origin_loss", OriginLoss()),
    ],
)
def test_a_scenario_writes_them_so(written, meant):
    kinds = {name: info.cls for name, info in load_faults().items()}
    assert build_named(kinds, loads(written), what="fault") == meant


def test_every_fault_can_be_read_by_its_type_hints():
    for info in load_faults().values():
        assert typing.get_type_hints(info.cls)


def test_what_no_cluster_could_do_is_said_with_its_line():
    kinds = {name: info.cls for name, info in load_faults().items()}
    with pytest.raises(SpecError, match=r"<text>:1: .*latency 0 s must be 1 ms or more above"):
        build_named(kinds, loads("latency: {link: a->b, latency: 0}"), what="fault")
