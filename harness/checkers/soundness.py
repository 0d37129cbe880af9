"""When nothing can be said: the rules that make a verdict unknown, the same for every checker.

Each function gives the reasons, in words for a reader; an empty list means that the measurement is sound.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from harness.checkers.base import clock, fault_text
from harness.history import LoadEnd, Probe, Stall, Stream
from harness.units import to_s

if TYPE_CHECKING:
    from collections.abc import Iterable

    from harness.history_io import FaultRun, History, ProbeRun, Request, Window

# A hole in a probe's schedule: more than this many intervals between two requests that were due one apart.
HOLE = 1.5
# How many requests may be later than the probe's budget, and how many times the budget.
LATE_SHARE = 0.01
LATE_FACTOR = 10
# The least share of a window that a probe must have been running in to speak for it.
COVERED = 0.9


def run_doubts(history: History) -> list[str]:
    """The run itself: cut short, or ended by an error."""
    if history.end is None:
        return ["the history has no end: the run was cut short"]
    if history.end.error:
        return [f"the run ended with an error: {history.end.error}"]
    cut = ["the history's last line was cut short"] if history.truncated else []
    return cut + load_doubts(history)


def load_doubts(history: History) -> list[str]:
    """What was measured beside a load that was lost, or was none, was not measured under it."""
    ends = {end.probe: end for end in history.of(LoadEnd)}
    doubts = []
    for start in history.of(Probe):
        if start.kind != "load":
            continue
        end = ends.get(start.name)
        if end is None:
            doubts.append(f"the load {start.name} never said that it was done")
        elif end.error:
            doubts.append(f"the load {start.name}: {end.error}")
        elif not sum(total.requests for total in end.totals):
            doubts.append(f"the load {start.name} sent nothing")
    return doubts


def fault_doubts(history: History, until: int) -> list[str]:
    """Every fault begun before `until` must be shown to have bitten; every heal before it, to have healed."""
    doubts = []
    for run in history.faults.values():
        began = run.stages[0].t
        if began < until:
            doubts += _one_fault(run, until)
    return doubts


def _one_fault(run: FaultRun, until: int) -> list[str]:
    what = f"the fault {fault_text(run)} at {clock(run.stages[0].t)}"
    if run.onset is None:
        return [f"{what} was never injected"]
    if run.stage("failed") is not None:
        return [f"{what} failed"]
    verified = run.stage("verified")
    if verified is None:
        return [f"{what} was never shown to have bitten"]
    if not verified.bit:
        return [f"{what} did not bite: {verified.seen or 'nothing seen'}"]
    if run.heal is not None and run.heal < until and not run.heal_verified:
        return [f"{what} was never shown to have healed"]
    return []


def probe_doubts(history: History, name: str, window: Window, *, timely: bool = True) -> list[str]:
    """A request-sending probe in a window: there, counted, complete in its schedule, in time, and answered.

    `timely` False leaves out what only matters where times are measured (lateness, holes, coverage).
    """
    probe = history.probes.get(name)
    if probe is None or (probe.start is None and not probe.requests):
        return [f"the probe {name} is not in the history"]
    doubts = _counts(probe)
    inside = [r for r in probe.requests if r.invoke.due in window]
    if not inside:
        return [*doubts, f"the probe {name} sent nothing in {_where(window)}"]
    doubts += answer_doubts(inside, name)
    if timely:
        doubts += _lateness(probe, inside)
        doubts += _coverage(probe, inside, window)
    return doubts


def answer_doubts(requests: Iterable[Request], name: str) -> list[str]:
    """Requests whose end nobody recorded."""
    missing = [r for r in requests if r.complete is None]
    if not missing:
        return []
    return [
        f"{len(missing)} requests of {name} have no end, the first at {clock(missing[0].invoke.t)}"
    ]


def _where(window: Window) -> str:
    return (
        f"the phase {window.name}"
        if window.name
        else f"{clock(window.start)} to {clock(window.end)}"
    )


def _counts(probe: ProbeRun) -> list[str]:
    name = probe.name
    if probe.start is None:
        return [f"the probe {name} never said that it started"]
    if probe.end is None:
        return [f"the probe {name} never said that it ended"]
    doubts = []
    if probe.end.skipped:
        doubts.append(f"the probe {name} skipped {probe.end.skipped} requests that were due")
    if probe.end.sent != len(probe.requests):
        doubts.append(
            f"the probe {name} counted {probe.end.sent} requests, the history has {len(probe.requests)}"
        )
    return doubts


def _lateness(probe: ProbeRun, requests: list[Request]) -> list[str]:
    budget = probe.start.budget if probe.start is not None else 0
    late = [r for r in requests if budget and r.late > budget]
    if not late:
        return []
    worst = max(late, key=lambda r: r.late)
    # A busy machine delays a few of thousands; that is in the error of what is measured. More is another schedule.
    if len(late) <= LATE_SHARE * len(requests) and worst.late <= LATE_FACTOR * budget:
        return []
    return [
        (
            f"{len(late)} of {len(requests)} requests of {probe.name} were sent later than the budget of "
            f"{to_s(budget) * 1000:g} ms, the worst {to_s(worst.late) * 1000:.0f} ms late at {clock(worst.invoke.t)}"
        )
    ]


def _coverage(probe: ProbeRun, requests: list[Request], window: Window) -> list[str]:
    """Due times without holes, over nearly all of the window."""
    if probe.start is None or not probe.start.interval:
        return []
    interval = probe.start.interval
    dues = sorted(r.invoke.due for r in requests)
    holes = [(a, b) for a, b in itertools.pairwise(dues) if b - a > HOLE * interval]
    if holes:
        a, b = max(holes, key=lambda hole: hole[1] - hole[0])
        return [
            (
                f"the probe {probe.name} sent nothing between {clock(a)} and {clock(b)}, though due each "
                f"{to_s(interval) * 1000:g} ms"
            )
        ]
    covered = dues[-1] - dues[0] + 2 * interval
    if covered < COVERED * (window.end - window.start):
        return [
            (
                f"the probe {probe.name} was sending for {to_s(covered):.3f} s of the "
                f"{to_s(window.end - window.start):.3f} s looked at"
            )
        ]
    return []


def stream_doubts(history: History, name: str) -> list[str]:
    """A subscriber: there from its start to its end, and it saw something."""
    probe = history.probes.get(name)
    if probe is None or probe.start is None:
        return [f"the probe {name} is not in the history"]
    doubts = [] if probe.end is not None else [f"the probe {name} never said that it ended"]
    if not any(s.probe == name for s in history.of(Stream)):
        doubts.append(f"the probe {name} saw nothing")
    return doubts


def worst_lateness(requests: Iterable[Request]) -> int:
    """The latest any of these was sent, ns."""
    return max((r.late for r in requests), default=0)


def stalled(history: History, window: Window) -> int:
    """For how long the machine kept an idle process of the platform's priority from running in a window, ns."""
    total = 0
    for stall in history.of(Stall):
        overlap = min(stall.t, window.end) - max(stall.t - stall.lasted, window.start)
        total += max(0, overlap)
    return total


def longest_stall(history: History, window: Window) -> int:
    """The longest that it did so at a stretch, ns; also of a stretch that only ends, or begins, in the window."""
    lasted = (s.lasted for s in history.of(Stall) if window.start < s.t < window.end + s.lasted)
    return max(lasted, default=0)
