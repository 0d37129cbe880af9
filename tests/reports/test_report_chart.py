from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from harness.history import Alert, End, FaultEvent, Phase, Status, Wire
from harness.units import NS
from reports import chart, condense
from tests.reports.report_builder import MS, busy_history, request, write_history


@pytest.fixture
def drawn(tmp_path):
    def draw(events) -> ET.Element:
        return ET.fromstring(chart.draw(condense.read(write_history(tmp_path, events)), "t-1"))

    return draw


def texts(root, kind=None):
    return [e.text for e in root.iter("text") if kind is None or kind in e.get("class", "")]


def tips(root):
    return [e.text for e in root.iter("title")]


def test_panels_and_labels(drawn):
    root = drawn(busy_history(seconds=6, rate=40))
    assert texts(root, "head") == [
        "Phases", "Faults", "Requests per s", "Latency", "Latency", "Level by node", "Version lag",
        "Alerts", "Calls on the wire",
    ]  # fmt: skip
    assert {"baseline", "broken", "recovered", "crash hub-us-1", "pop-us"} <= set(texts(root))
    assert texts(root, "on-level").count("L1") == 3


def test_it_is_told_in_words_too(drawn):
    root = drawn(busy_history(seconds=6, rate=40))
    assert root.get("role") == "img"
    assert root.get("aria-labelledby") == "t-1-title t-1-desc"
    (desc,) = root.iter("desc")
    assert desc.get("id") == "t-1-desc"
    for part in ("broken, 2.0 s to 4.0 s", "it bit", "240 sent", "HUB_FAILOVER at 2.9 s"):
        assert part in desc.text


def test_everything_stays_inside_the_drawing(drawn):
    root = drawn(
        [
            *busy_history(seconds=6, rate=40),
            Alert(t=50 * NS, name="LATE"),
            Alert(t=-NS, name="EARLY"),
        ]
    )
    _, _, width, height = map(float, root.get("viewBox").split())
    for element in root.iter():
        if element.get("x") is not None:
            assert 0 <= float(element.get("x")) <= width
            assert float(element.get("x")) + float(element.get("width", 0)) <= width + 1
            assert 0 <= float(element.get("y")) <= height


def test_a_fault_that_did_not_bite_looks_and_reads_unsure(drawn):
    def stage(t, name, **more):
        return FaultEvent(
            t=t * MS, fault=1, name="cut", stage=name, targets=["a->b"], colour="red", **more
        )

    root = drawn(
        [stage(1, "inject"), stage(2, "verified", bit=False, seen="still open"), End(t=NS)]
    )
    (bar,) = [e for e in root.iter("rect") if "bar" in e.get("class")]
    assert bar.get("class") == "bar unsure"
    assert bar.get("fill").startswith("#")
    assert "not shown to have bitten" in " ".join(texts(root))


def test_one_lost_request_of_many_is_seen(drawn):
    events = [e for n in range(2000) for e in request(n, n * MS, 1)]
    root = drawn([*events[:-1], End(t=2 * NS)])  # the last answer never came
    (bars,) = [e for e in root.iter("path") if e.get("class") == "errors"]
    bottom, top = bars.get("d").removeprefix("M").split("H")[0].split("V")
    assert float(bottom.split()[1]) - float(top) >= 2


def test_lanes_are_limited_and_what_is_left_out_is_told(drawn):
    nodes = [Status(t=1, node=f"pop-{n}", ok=True, level="HEALTHY", version=1) for n in range(40)]
    calls = [
        Wire(t=n, link=f"a->{n}", n=1, connection=1, method="GET", path="/", status=200)
        for n in range(30)
    ]
    root = drawn([*request(1, 0, 0, kind="write", version=3), *nodes, *calls, End(t=NS)])
    assert {"and 24 nodes with fewer changes", "and 14 links with fewer failures"} <= set(
        texts(root)
    )
    assert "and 34 nodes with less lag" in texts(root)


def test_a_node_that_flaps_does_not_make_the_page_grow(drawn):
    flapping = [
        Status(t=n * MS, node="pop", ok=True, level=("HEALTHY", "DEGRADED_L1")[n % 2])
        for n in range(20_000)
    ]
    root = drawn([*flapping, End(t=20 * NS)])
    assert len([e for e in root.iter("rect") if "level" in e.get("class")]) < 2 * chart.PLOT + 1


def test_an_empty_timeline_is_still_a_drawing(drawn):
    assert texts(drawn([End(t=0)]), "note") == ["seconds"]
    assert texts(drawn([Phase(t=0, name="a"), End(t=NS)]), "label") == ["a"]


def test_hostile_names_stay_text(drawn):
    hostile = '</svg><script>"onload="x\x00'
    root = drawn(
        [Phase(t=0, name=hostile), Status(t=1, node=hostile, ok=True, level=hostile), End(t=NS)]
    )
    assert {e.tag for e in root.iter()} <= {
        "svg",
        "g",
        "rect",
        "line",
        "path",
        "text",
        "title",
        "desc",
    }
    assert any("</svg><script>" in tip for tip in tips(root))


def test_a_long_level_after_a_moment_of_another_is_drawn(drawn):
    root = drawn([
        Phase(t=0, name="a"),
        Status(t=0, node="pop", ok=True, level="DEGRADED_L1"),
        Status(t=MS, node="pop", ok=True, level="HEALTHY"),
        End(t=20 * NS),
    ])  # fmt: skip
    assert texts(root, "on-level") == ["healthy"]


def test_the_drawing_begins_with_the_first_phase(drawn):
    root = drawn(
        [
            Status(t=1, node="p", ok=True, level="HEALTHY"),
            Phase(t=20 * NS, name="a"),
            End(t=30 * NS),
        ]
    )
    assert texts(root, "tick") == [str(n) for n in range(20, 31)]
    (level,) = [e for e in root.iter("rect") if "level" in e.get("class")]
    assert float(level.get("width")) == chart.PLOT
