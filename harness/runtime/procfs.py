"""Processes as the kernel shows them in /proc: state, parent, start time, descendants."""

from __future__ import annotations

import contextlib
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.runtime.base import NodeProcess

if TYPE_CHECKING:
    from collections.abc import Iterable

STOPPED = frozenset("Tt")
GONE = frozenset("ZXx")
_TREE_ROUNDS = 5


@dataclass(frozen=True, slots=True)
class Process:
    """`start` is in clock ticks since boot: with the pid it names one process for good."""

    pid: int
    parent: int
    state: str
    start: int

    @property
    def gone(self) -> bool:
        return self.state in GONE


def look(pid: int) -> Process | None:
    """The process as it is now; None when there is none (a zombie is one, with state Z)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name, in parentheses, may itself hold spaces and parentheses.
    fields = text[text.rindex(")") + 2 :].split()
    return Process(pid, int(fields[1]), fields[0], int(fields[19]))


def alive(pid: int, start: int) -> Process | None:
    """The process with that pid and start time, unless it has ended."""
    found = look(pid)
    return found if found is not None and found.start == start and not found.gone else None


def everything() -> dict[int, Process]:
    names = os.listdir("/proc")  # noqa: PTH208 - names, not paths
    found = (look(int(name)) for name in names if name.isdigit())
    return {process.pid: process for process in found if process is not None}


def tree(pid: int) -> list[Process]:
    """The process and all its descendants, parents first. Sessions and groups don't matter: PostgreSQL's have their own."""
    processes = everything()
    if pid not in processes:
        return []
    children: dict[int, list[Process]] = {}
    for process in processes.values():
        children.setdefault(process.parent, []).append(process)
    found = [processes[pid]]
    for process in found:  # grows while it runs
        found.extend(children.get(process.pid, []))
    return found


def name(pid: int) -> str:
    """What the process calls itself (its `comm`), "" when there is none."""
    try:
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8", errors="replace").strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def memory(pid: int) -> int | None:
    """Its proportional share of the memory it has (PSS, bytes): pages shared by n processes count 1/n. None: not to be read."""
    try:
        rows = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    pss = [row for row in rows if row.startswith("Pss:")]
    return int(pss[0].split()[1]) * 1024 if pss else None


def cpu(pid: int) -> int:
    """CPU time that the threads it has now have used so far, ns; 0 when there is none. By the scheduler, not in ticks."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return sum(
            int((task / "schedstat").read_text(encoding="ascii").split()[0]) for task in tasks
        )
    except OSError:
        return 0


def members(pids: Iterable[int]) -> tuple[NodeProcess, ...]:
    """Those of the processes that live."""
    found = (look(pid) for pid in pids)
    return tuple(
        NodeProcess(one.pid, one.start, name(one.pid), memory(one.pid), cpu(one.pid))
        for one in found
        if one is not None and not one.gone
    )


def send(pid: int, number: int) -> None:
    """Signal one process; nothing happens when it is gone."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def signal_tree(pid: int, number: int) -> list[Process]:
    """Signal the process and all its descendants; returns those signalled.

    To stop and to kill, the root comes first so that it makes no more children, and the search is repeated until it
    finds nobody new. To resume, children come first.
    """
    if number not in (signal.SIGSTOP, signal.SIGKILL):
        found = tree(pid)
        for process in reversed(found):
            send(process.pid, number)
        return found
    # Killing the root would hide its children (they get a new parent): all are stopped before any is killed.
    found = []
    for _ in range(_TREE_ROUNDS):
        new = [process for process in tree(pid) if process.pid not in {seen.pid for seen in found}]
        if not new:
            break
        for process in new:
            send(process.pid, signal.SIGSTOP)
        found += new
    if number == signal.SIGKILL:
        for process in found:
            send(process.pid, signal.SIGKILL)
    return found


def boot_id() -> str:
    """Tells this boot of the machine from others: pids and start times mean nothing beyond it."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
