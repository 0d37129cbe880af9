from __future__ import annotations

import msgspec
import pytest

from harness.errors import HistoryError
from harness.history import End, Note, Phase
from reports import condense
from tests.reports.report_builder import header, write_history


def damaged(tmp_path, text: bytes):
    path = tmp_path / "history.jsonl"
    path.write_bytes(text)
    return path


HEAD = msgspec.json.encode(header()) + b"\n"


def test_a_last_line_that_was_cut_short_is_left_out_and_told(tmp_path):
    whole = msgspec.json.encode(Note(t=7, text="seen")) + b"\n"
    read = condense.read(damaged(tmp_path, HEAD + whole + b'{"e":"note","t":9,"te'))
    assert (read.truncated, read.events, read.ended) == (True, 1, False)
    assert [m.text for m in read.notes] == ["seen"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", r"history\.jsonl:1: no header"),
        (b'{"e":"note","t":1,"text":"x"}\n', r"history\.jsonl:1: no header"),
        (b"\xff\n", r"history\.jsonl:1: no header"),
        (HEAD.replace(b'"schema":1', b'"schema":9'), r"schema version 9 is unknown"),
        (HEAD + b'{"e":"no', ""),
        (HEAD + b'junk\n{"e":"end","t":1}\n', r"history\.jsonl:2: damaged line"),
    ],
)
def test_damage(tmp_path, text, message):
    path = damaged(tmp_path, text)
    if not message:
        assert condense.read(path).truncated
        return
    with pytest.raises(HistoryError, match=message):
        condense.read(path)


def test_no_file(tmp_path):
    with pytest.raises(HistoryError, match="can't read a history: No such file"):
        condense.read(tmp_path / "history.jsonl")


def test_a_text_that_looks_like_a_landmark_is_none(tmp_path):
    events = [Phase(t=0, name="one"), Note(t=5, text='"e":"phase" "e":"end"'), End(t=10)]
    read = condense.read(write_history(tmp_path, events))
    assert [(p.name, p.start, p.end) for p in read.phases] == [("one", 0, 10)]
    assert read.duration == 10


def test_without_an_end_the_last_event_says_how_long_it_was(tmp_path):
    read = condense.read(write_history(tmp_path, [Note(t=4, text="a"), Note(t=90, text="b")]))
    assert (read.duration, read.ended) == (90, False)
