from __future__ import annotations

import os

from harness.fault import Undo
from harness.runtime.ledger import Ledger

RESUME = Undo(action="resume", subject="a")
RESTORE = Undo(action="restore", subject="a->b", detail="x")


def outstanding(ledger):
    return [(entry.id, entry.undo) for entry in ledger.outstanding()]


def test_what_is_recorded_is_outstanding_last_first(tmp_path):
    ledger = Ledger(tmp_path / "l")
    assert [ledger.record(RESUME), ledger.record(RESTORE)] == [1, 2]
    assert outstanding(ledger) == [(2, RESTORE), (1, RESUME)]
    ledger.done(1)
    ledger.done(1)
    assert outstanding(ledger) == [(2, RESTORE)]
    assert "1 outstanding" in repr(ledger)


def test_it_survives_its_writer(tmp_path):
    first = Ledger(tmp_path / "l")
    first.record(RESUME)
    first.record(RESTORE)
    first.done(2)
    again = Ledger(tmp_path / "l")
    assert outstanding(again) == [(1, RESUME)]
    assert again.record(RESTORE) == 3


def test_a_torn_last_line_is_no_entry(tmp_path):
    ledger = Ledger(tmp_path / "l")
    ledger.record(RESUME)
    with (tmp_path / "l").open("a") as file:
        file.write('{"id":2,"undo":{"action":"res')
    again = Ledger(tmp_path / "l")
    assert outstanding(again) == [(1, RESUME)]
    again.record(RESTORE)
    assert outstanding(Ledger(tmp_path / "l")) == [(2, RESTORE), (1, RESUME)]


def test_it_is_on_disk_before_record_returns(tmp_path, monkeypatch):
    acts = []
    write, fsync = os.write, os.fsync
    monkeypatch.setattr(os, "write", lambda fd, raw: (acts.append("write"), write(fd, raw))[1])
    monkeypatch.setattr(os, "fsync", lambda fd: (acts.append("fsync"), fsync(fd))[1])
    ledger = Ledger(tmp_path / "l")
    ledger.record(RESUME)
    assert acts == ["write", "fsync"]
    ledger.close()
    ledger.close()
