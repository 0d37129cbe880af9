import multiprocessing
import os
import time

import pytest

from harness.errors import HistoryError
from harness.history import (
    SCHEMA,
    Attempt,
    Complete,
    End,
    FaultEvent,
    Header,
    Invoke,
    Note,
    Phase,
    Probe,
    ProbeEnd,
    Status,
    Transition,
)
from harness.history_io import History, HistoryWriter, Window

HEADER = Header(t=0, schema=SCHEMA, origin=123, wall=456, scenario="s", run="r")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "history.jsonl"


def write(path, *events):
    with HistoryWriter(path, HEADER) as writer:
        for event in events:
            writer.write(event)
    return path


def test_what_is_written_is_read_back_typed_and_sorted(path):
    status = Status(
        t=3, node="pop", ok=True, transitions=[Transition(n=0, t=1, source="A", to="B", reason="x")]
    )
    late = Complete(
        t=9,
        op=1,
        probe="p",
        kind="evaluate",
        outcome="ok",
        value={"a": [1]},
        attempts=[Attempt(5, 9)],
    )
    invoke = Invoke(t=5, op=1, probe="p", kind="evaluate", due=4, value="ü")
    history = History.read(write(path, late, invoke, status))
    assert history.header == HEADER
    assert history.events == (status, invoke, late)
    assert history.of(Invoke) == [invoke]
    assert history.of(End) == ()
    assert not history.truncated
    request = history.ops["p", 1]
    assert request.invoke == invoke
    assert request.complete == late
    assert request.late == 1
    assert request.latency == 5


def test_an_event_is_in_the_file_when_write_returns(path):
    with HistoryWriter(path, HEADER) as writer:
        writer.write(Invoke(t=5, op=1, probe="p", kind="read", due=4))
        assert path.read_bytes().count(b"\n") == 2
        assert repr(writer) == f"<HistoryWriter {str(path)!r} 2 written>"
    assert "closed" in repr(writer)
    with pytest.raises(HistoryError, match="can't write"):
        writer.write(Note(t=1, text="late"))


def test_a_header_never_replaces_a_history_and_joining_needs_one(path):
    with pytest.raises(HistoryError, match="No such file"):
        HistoryWriter(path)
    write(path)
    with pytest.raises(HistoryError, match="File exists"):
        HistoryWriter(path, HEADER)


def test_a_line_not_taken_whole_is_an_error(path, monkeypatch):
    writer = HistoryWriter(path, HEADER)
    monkeypatch.setattr(os, "write", lambda fd, data: len(data) - 1)
    with pytest.raises(HistoryError, match=r"only \d+ of \d+ bytes"):
        writer.write(Note(t=1, text="x"))


def _append(path, name, count):
    with HistoryWriter(path) as writer:
        for n in range(count):
            writer.write(Note(t=n, text=name * 300, source=name))


def test_several_processes_append_whole_lines(path):
    write(path)
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_append, args=(path, name, 500)) for name in "abc"]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
        assert worker.exitcode == 0
    notes = History.read(path).of(Note)
    for name in "abc":
        assert [n.t for n in notes if n.source == name] == list(range(500))
        assert {n.text for n in notes if n.source == name} == {name * 300}


@pytest.mark.parametrize("keep", [1, 10, 30])
def test_a_truncated_last_line_loses_only_itself(path, keep):
    write(path, Note(t=1, text="first"), Note(t=2, text="second"), Note(t=3, text="third line"))
    raw = path.read_bytes()
    start = raw.rstrip(b"\n").rindex(b"\n") + 1
    path.write_bytes(raw[: start + keep])
    history = History.read(path)
    assert history.truncated
    assert [n.text for n in history.of(Note)] == ["first", "second"]
    assert "truncated" in repr(history)


@pytest.mark.parametrize(
    "damage", [b'{"e":"note","t":1,"te', b"", b'{"e":"nothing","t":1}', b"\xff"]
)
@pytest.mark.parametrize("last", [True, False])
def test_a_damaged_line_is_named(path, damage, last):
    write(path, Note(t=1, text="x"))
    with path.open("ab") as file:
        file.write(damage + b"\n" + (b"" if last else b'{"e":"end","t":2}\n'))
    with pytest.raises(HistoryError) as error:
        History.read(path)
    assert str(error.value).startswith(f"{path}:3: ")


def test_no_header(path):
    for content in (
        b"",
        b'{"e":"hea',
        b'{"e":"end","t":1}\n',
        b"not json\n",
        b'{"e":"header","schema":1,"t":0}\n',
    ):
        path.write_bytes(content)
        with pytest.raises(HistoryError) as error:
            History.read(path)
        assert str(error.value).startswith(f"{path}:1: ")
    path.unlink()
    with pytest.raises(HistoryError, match="No such file"):
        History.read(path)


def test_a_second_header(path):
    write(path, Note(t=1, text="x"), HEADER)
    with pytest.raises(HistoryError, match=":3: a second header"):
        History.read(path)


def test_an_unknown_schema_version(path):
    path.write_bytes(b'{"e":"header","t":0,"schema":7,"born":"later"}\n')
    with pytest.raises(HistoryError, match="schema version 7 is unknown"):
        History.read(path)


def test_phases_and_intervals(path):
    history = History.read(
        write(path, Phase(t=10, name="a"), Phase(t=20, name="b"), Phase(t=30, name="a"), End(t=50))
    )
    assert history.phases == (Window(10, 20, "a"), Window(20, 30, "b"), Window(30, 50, "a"))
    assert history.interval(9) is None
    assert history.interval(20) == Window(20, 30, "b")
    assert history.interval(50) is None


def test_faults_are_grouped(path):
    def fault(t, n, stage, bit=False):
        return FaultEvent(t=t, fault=n, name="crash", stage=stage, bit=bit, targets=["x"])

    history = History.read(
        write(
            path,
            fault(1, 1, "inject"),
            fault(2, 2, "inject"),
            fault(3, 1, "injected"),
            fault(4, 1, "verified", bit=True),
            fault(5, 1, "heal"),
            fault(6, 1, "healed"),
            fault(7, 1, "heal-verified", bit=True),
            fault(8, 2, "verified"),
        )
    )
    one, two = history.faults[1], history.faults[2]
    assert (one.onset, one.injected, one.heal, one.healed) == (1, 3, 5, 6)
    assert one.verified and one.heal_verified
    assert one.targets == ["x"] and one.name == "crash"
    assert two.onset == 2 and two.heal is None
    assert not two.verified and not two.heal_verified


def test_a_fault_that_failed_is_not_verified():
    events = [
        FaultEvent(t=1, fault=1, name="x", stage="verified", bit=True),
        FaultEvent(t=2, fault=1, name="x", stage="failed"),
    ]
    assert not History(HEADER, events).faults[1].verified


def test_probes():
    history = History(
        HEADER,
        [
            Probe(t=1, name="p", kind="evaluate", interval=5),
            Invoke(t=2, op=1, probe="p", kind="evaluate", due=2),
            Invoke(t=3, op=1, probe="q", kind="evaluate", due=2),
            ProbeEnd(t=9, name="p", sent=1),
        ],
    )
    assert list(history.probes) == ["p", "q"]
    assert history.probes["p"].start.interval == 5
    assert history.probes["p"].end.sent == 1
    assert history.probes["p"].requests[0].complete is None
    assert history.probes["q"].start is None
    assert history.last == 9


def test_writing_is_cheap(path):
    """A floor a busy machine still meets; idle ones write several hundred thousand events a second."""
    event = Complete(
        t=1, op=1, probe="p", kind="evaluate", outcome="ok", node="pop", version=3, value=True
    )
    with HistoryWriter(path, HEADER) as writer:
        start = time.process_time()
        for _ in range(20_000):
            writer.write(event)
        spent = time.process_time() - start
    assert 20_000 / spent > 40_000
