"""What a killed warden, or a power cut, left behind: find it, clear it away. Touches only what records name."""

from __future__ import annotations

import shutil
import signal
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from harness.errors import RuntimeFailure
from harness.runtime import procfs
from harness.runtime.home import PidRecord, Room, home_lock, locked, rooms_dir
from harness.runtime.sysv import remove_segment

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

GONE_WITHIN = 5.0  # s, after SIGKILL


@dataclass(frozen=True, slots=True)
class Leftover:
    """A room that no warden holds, with its processes that still live. `str` is one line for a person."""

    room: Room
    processes: tuple[procfs.Process, ...]
    nodes: tuple[str, ...]

    def __str__(self) -> str:
        if not self.processes:
            return f"{self.room.path}: state of a warden that has ended"
        named = ", ".join(
            f"{node} (pid {process.pid})"
            for node, process in zip(self.nodes, self.processes, strict=True)
        )
        return f"{self.room.path}: a warden that has ended left {named} running"


def find_leftovers(only: Room | None = None) -> list[Leftover]:
    """All of this user's, or what is left of one room."""
    rooms = [only] if only is not None else [Room(path) for path in sorted(rooms_dir().iterdir())]
    with locked(home_lock()):
        return [_leftover(room) for room in rooms if room.path.is_dir() and room.abandoned()]


def clean(leftovers: Iterable[Leftover]) -> None:
    """Kill and remove them. Idempotent. Raises `RuntimeFailure` for what does not go."""
    todo = list(leftovers)
    if not todo:
        return
    with locked(home_lock()):
        for leftover in todo:
            # It may have been cleaned, or even taken again, since it was found.
            if leftover.room.path.is_dir() and leftover.room.abandoned():
                _clean(_leftover(leftover.room))


def _leftover(room: Room) -> Leftover:
    boot = procfs.boot_id()
    found: dict[int, tuple[str, procfs.Process]] = {}
    for record in _records(room.pids):
        process = procfs.alive(record.pid, record.start) if record.boot == boot else None
        if process is not None:
            found[record.pid] = (record.node, process)
    return Leftover(
        room,
        tuple(process for _, process in found.values()),
        tuple(node for node, _ in found.values()),
    )


def _records(path: Path) -> list[PidRecord]:
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    # The last is empty, or was cut off when its writer was killed.
    return [msgspec.json.decode(line, type=PidRecord) for line in lines[:-1]]


def _clean(leftover: Leftover) -> None:
    killed = [
        victim
        for process in leftover.processes
        for victim in procfs.signal_tree(process.pid, signal.SIGKILL)
    ]
    _wait_gone(killed)
    for state in sorted(leftover.room.path.glob("*/*/data")):
        remove_segment(state)
    shutil.rmtree(leftover.room.path, ignore_errors=True)
    if leftover.room.path.exists():
        raise RuntimeFailure(f"{leftover.room.path} can't be removed")


def _wait_gone(processes: Sequence[procfs.Process]) -> None:
    deadline = time.monotonic() + GONE_WITHIN
    while left := [each for each in processes if procfs.alive(each.pid, each.start) is not None]:
        if time.monotonic() > deadline:
            pids = ", ".join(str(each.pid) for each in left)
            raise RuntimeFailure(
                f"processes {pids} did not end within {GONE_WITHIN:g} s of SIGKILL"
            )
        time.sleep(0.01)
