"""The load probe, on what a real locust said once, and on one that is lost."""

import asyncio
from dataclasses import replace

import msgspec
import pytest

from harness.errors import SquallError
from harness.history import LoadEnd, LoadSecond, LoadTotal, Probe, ProbeEnd
from harness.load.job import Said
from harness.load.shape import Shape
from harness.probes.load import LoadProbe, RunningLoad, meeting_point
from harness.runtime.addresses import make_plan
from harness.runtime.base import Address
from harness.topology_yaml import load_topology
from tests.conformance.support import ROOT
from tests.probes.probe_support import running, site_for, until

# Of two workers with 8 users at 20/s each; monotonic ns of the machine that it was recorded on.
RECORDED = b"""\
{"type":"second","second":26704,"requests":128,"failures":0,"users":8,"p50":2290000,"p95":24000000,"p99":28500000,"late":34694191}
{"type":"second","second":26705,"requests":160,"failures":3,"users":8,"p50":1600000,"p95":6100000,"p99":15200000,"late":2701723}
{"type":"second","second":26705,"requests":1,"failures":0,"users":0,"p50":1600000,"p95":1600000,"p99":1600000,"late":0}
{"type":"finished","totals":[{"name":"evaluate","requests":289,"failures":3,"unanswered":1,"p50":2000000,"p95":9000000,"p99":22000000,"worst":29343620}],"missing":0,"first":26703900000000,"last":26706100000000}
"""
NAMES = ROOT / "suites" / "topologies" / "names.yaml"
ORIGIN = 26_700_000_000_000


class FakeCrew:
    """Says what was recorded, then waits for `stop` where nothing was the last."""

    def __init__(self, lines, *, ended="", hangs=False):
        decode = msgspec.json.Decoder(Said).decode
        self.said = [decode(line) for line in lines.splitlines()]
        self.ended, self.hangs = ended, hangs
        self.told, self.stopped = [], asyncio.Event()

    def go(self):
        self.told.append("go")

    def stop(self):
        self.told.append("stop")
        self.stopped.set()

    async def messages(self):
        for said in self.said:
            yield said
        if self.hangs:
            await asyncio.Event().wait()

    async def dead(self):
        return self.ended


def load(crew, **fields):
    site, log = site_for(1)
    site = replace(site, origin_ns=ORIGIN)
    probe = LoadProbe(name="load", **fields)
    return RunningLoad(probe, site, probe.job(site), crew), site, log


async def whole(crew, **fields):
    run, site, log = load(crew, **fields)
    async with running(run, site):
        await until(lambda: log.of(LoadEnd) or crew.hangs, lambda: log.events)
    return log


def test_what_locust_said_is_in_the_history_on_its_clock(run):
    log = run(whole(FakeCrew(RECORDED)))
    assert [type(e) for e in log.events] == [
        *(Probe, LoadSecond, LoadSecond, LoadSecond, LoadEnd, ProbeEnd)
    ]
    first = log.of(LoadSecond)[0]
    assert (first.t, first.requests, first.users, first.p99) == (5_000_000_000, 128, 8, 28_500_000)
    assert sum(second.requests for second in log.of(LoadSecond)) == 289
    (end,) = log.of(LoadEnd)
    assert (end.start, end.t, end.error) == (3_900_000_000, 6_100_000_000, "")
    assert end.totals[0] == LoadTotal(
        "evaluate", 289, 3, 1, 2_000_000, 9_000_000, 22_000_000, 29_343_620
    )
    assert log.of(ProbeEnd)[0].sent == 289


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (RECORDED.replace(b'"missing":0', b'"missing":1'), "1 of 2 workers gave no last report"),
        (b"".join(RECORDED.splitlines(True)[:3]), "master ended with -9"),
    ],
)
def test_a_locust_that_was_lost_is_told(run, lines, said):
    log = run(whole(FakeCrew(lines, ended="master ended with -9")))
    (end,) = log.of(LoadEnd)
    assert said in end.error


def test_a_locust_that_does_not_end_is_told(run, monkeypatch):
    monkeypatch.setattr("harness.probes.load.END_WITHIN", 0.05)
    log = run(whole(FakeCrew(RECORDED.splitlines(True)[0], hangs=True)))
    assert "did not end within 0.05 s" in log.of(LoadEnd)[0].error


def test_it_asks_the_endpoint_from_its_groups(run):
    _, site, _ = load(FakeCrew(b""))
    spot = Shape(kind="spot", group="europe")
    job = LoadProbe(name="l", groups=("europe",), shape=spot, rate=2.0, users=3).job(site)
    assert (job.host, job.path) == ("http://127.0.0.1:1", "/ofrep/v1/evaluate/flags/{key}")
    assert job.sources == {"europe": "127.9.8.7"}
    assert (job.users, job.rate, job.workers) == (3, 2.0, 2)
    assert LoadProbe(name="l", what="write").job(site).method == "PUT"
    assert LoadProbe(name="l", what="stream").job(site).path == "/stream"
    assert LoadProbe(name="l", what="bulk").job(site).path == "/ofrep/v1/evaluate/flags"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"users": 0}, "users"),
        ({"processes": 0}, "processes"),
        ({"rate": -1.0}, "rate"),
        ({"timeout": 6.0}, "timeout"),
        ({"group": "a", "groups": ("b",)}, "not both"),
        ({"groups": ("a",), "shape": Shape(kind="spot", group="b")}, "none of its groups"),
    ],
)
def test_what_can_not_be_is_said(fields, said):
    with pytest.raises(ValueError, match=said):
        LoadProbe(name="l", **fields)


def test_locust_meets_at_a_loopback_address_of_the_run_or_at_any(tmp_path):
    plan = make_plan("127.10.9", load_topology(NAMES), tmp_path, ())
    assert meeting_point(plan) == "127.10.9.202"
    contained = replace(plan, toxiproxy=Address("198.18.4.2", 8474))
    assert meeting_point(contained) == "127.0.0.1"


def test_a_name_can_not_be_asked(tmp_path):
    plan = make_plan("127.10.9", load_topology(NAMES), tmp_path, ())
    site = replace(site_for(1)[0], plan=plan)
    with pytest.raises(SquallError, match="is a name; give the node to ask"):
        LoadProbe(name="l", what="write").job(site)


def test_no_such_group_or_node():
    site, _ = site_for(1)
    with pytest.raises(SquallError, match="no client group 'asia'"):
        LoadProbe(name="l", group="asia").job(site)
    with pytest.raises(SquallError, match="no node 'pop-9'"):
        LoadProbe(name="l", node="pop-9").job(site)
