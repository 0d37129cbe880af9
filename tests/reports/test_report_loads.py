from __future__ import annotations

import xml.etree.ElementTree as ET

import msgspec
import pytest

from harness.history import LoadEnd, LoadSecond, LoadTotal, Probe, ProbeEnd
from harness.units import NS
from reports import chart, condense, loads, markdown, scenario
from reports.model import Results
from tests.reports.report_builder import MS, busy_history, write_facts, write_history
from tests.reports.test_report_chart import texts, tips


def second(t, requests=100, **more):
    fields = {"users": 8, "p50": 2 * MS, "p95": 5 * MS, "p99": 9 * MS}
    return LoadSecond(t=t * NS, probe="load", requests=requests, **{**fields, **more})


def loaded(error="", requests=(100, 90, 0, 110)):
    """A load of four seconds in a history with an open-loop probe and faults."""
    seconds = [second(n + 2, count, failures=n) for n, count in enumerate(requests)]
    total = LoadTotal(
        "evaluate", sum(requests), failures=6, p50=2 * MS, p95=5 * MS, p99=9 * MS, worst=30 * MS
    )
    return [
        *busy_history(seconds=6, rate=40),
        Probe(t=NS, name="load", kind="load", target="anycast"),
        *seconds,
        LoadEnd(t=5 * NS, probe="load", start=NS, totals=[] if error else [total], error=error),
        ProbeEnd(t=5 * NS, name="load", sent=sum(requests)),
    ]


def read(tmp_path, events):
    return condense.read(write_history(tmp_path, events))


def test_each_second_is_kept_and_what_came_apart_is_added(tmp_path):
    story = read(tmp_path, [*loaded(), second(3, 5, p99=50 * MS, users=0)])
    (load,) = story.loads
    assert [(s.t // NS, s.requests, s.failures, s.users) for s in load.spans()] == [
        (2, 100, 0, 8), (3, 95, 1, 8), (4, 0, 2, 8), (5, 110, 3, 8),
    ]  # fmt: skip
    assert load.spans()[1].p99 == 50 * MS
    (row,) = (row for row in story.probes if row.name == "load")
    assert (row.sent, row.told, row.sound) == (300, 300, True)


def test_it_is_drawn_beside_the_open_loop_probe(tmp_path):
    drawing = chart.draw(read(tmp_path, loaded()), "t", loads.panel)
    root = ET.fromstring(drawing)
    assert texts(root, "head")[5:8] == ["Load per s", "Load's latency", "Level by node"]
    assert {"locust p99", "locust p50", "open loop"} <= set(texts(root))
    assert "load: locust p99 per second" in tips(root)
    (desc,) = root.iter("desc")
    assert "Load load: 300 requests of up to 8 users, 6 failures." in desc.text


@pytest.mark.parametrize("requests", [(0, 0), (1,)])
def test_a_load_of_nothing_or_of_one_request_can_be_drawn(tmp_path, requests):
    drawing = chart.draw(read(tmp_path, loaded(requests=requests)), "t", loads.panel)
    assert ("Load per s" in drawing) == (sum(requests) > 0)


def test_a_history_without_load_has_no_panel_of_it(tmp_path):
    drawing = chart.draw(read(tmp_path, busy_history(seconds=6, rate=40)), "t", loads.panel)
    assert "Load" not in drawing


def test_its_table_is_in_the_results_and_in_markdown(tmp_path):
    write_history(tmp_path / "hub", loaded())
    (row,) = scenario.load(tmp_path, "hub", set()).result.load
    assert (row.load, row.endpoint, row.requests, row.failures) == ("load", "evaluate", 300, 6)
    assert (row.p99, row.max, row.error) == (9 * MS, 30 * MS, "")
    write_facts(tmp_path, ["hub"])
    from reports import make

    made = make(tmp_path)
    assert "| hub-crash | load evaluate | 300 | 6 | 2 ms | 5 ms | 9 ms |  |" in markdown.render(
        made
    )
    again = msgspec.json.decode((tmp_path / "results.json").read_bytes(), type=Results)
    assert again.scenarios[0].load == [row]
    assert "Load by locust: closed loop" in (tmp_path / "report.html").read_text()


def test_a_load_that_was_lost_says_so(tmp_path):
    write_history(tmp_path / "hub", loaded("locust was lost: master ended with -9"))
    (row,) = scenario.load(tmp_path, "hub", set()).result.load
    assert (row.requests, row.error) == (0, "locust was lost: master ended with -9")
