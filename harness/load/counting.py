"""Counting requests by the second: in each worker, and put together in the master. Knows nothing of locust."""

from __future__ import annotations

import math
from collections import Counter

import msgspec

from harness.load.job import Second

NS_PER_US = 1000
DIGITS = 3  # of a latency that are kept: an error of half a percent at most


class Bin(msgspec.Struct, kw_only=True):
    """One second of one worker. `latencies`: µs, three digits of them, to how many; `late` in ns."""

    second: int
    requests: int = 0
    failures: int = 0
    late: int = 0
    latencies: dict[int, int] = {}

    def add(self, other: Bin) -> None:
        self.requests += other.requests
        self.failures += other.failures
        self.late = max(self.late, other.late)
        self.latencies = dict(Counter(self.latencies) + Counter(other.latencies))


class Report(msgspec.Struct, kw_only=True):
    """What a worker adds to locust's own report. `final`: its users have stopped, and nothing follows."""

    bins: list[Bin] = []
    unanswered: dict[str, int] = {}
    final: bool = False


def digits(value: float) -> int:
    """A latency in µs, rounded to the digits that are kept."""
    whole = max(0, round(value))
    if whole < 10**DIGITS:
        return whole
    unit = 10 ** (len(str(whole)) - DIGITS)
    return int(round(whole / unit) * unit)


class Tally:
    """Of a worker: what was answered since it was last asked."""

    def __init__(self) -> None:
        self._report = Report()
        self._bins: dict[int, Bin] = {}
        self.final = False

    def __repr__(self) -> str:
        return f"<Tally of {sum(b.requests for b in self._bins.values())} requests>"

    def answered(self, second: int, name: str, us: float, *, failed: bool, silent: bool) -> None:
        """A request ended in this second of the monotonic clock; `silent`: without an answer."""
        bin_ = self._bin(second)
        bin_.requests += 1
        bin_.failures += failed
        kept = digits(us)
        bin_.latencies[kept] = bin_.latencies.get(kept, 0) + 1
        if silent:
            unanswered = self._report.unanswered
            unanswered[name] = unanswered.get(name, 0) + 1

    def late(self, second: int, ns: int) -> None:
        """The worker's own loop was late by so much."""
        bin_ = self._bin(second)
        bin_.late = max(bin_.late, ns)

    def take(self) -> Report:
        report, self._report = self._report, Report()
        report.bins = sorted(self._bins.values(), key=lambda b: b.second)
        report.final = self.final
        self._bins = {}
        return report

    def _bin(self, second: int) -> Bin:
        if second not in self._bins:
            self._bins[second] = Bin(second=second)
        return self._bins[second]


class Merger:
    """Of the master: what all workers reported, to be told a second at a time."""

    def __init__(self) -> None:
        self._bins: dict[int, Bin] = {}
        self._users: dict[int, int] = {}
        self.unanswered: Counter[str] = Counter()
        self.finals: set[str] = set()

    def __repr__(self) -> str:
        return f"<Merger {len(self._bins)} seconds wait, {len(self.finals)} workers are done>"

    def take(self, worker: str, report: Report) -> None:
        for bin_ in report.bins:
            if bin_.second in self._bins:
                self._bins[bin_.second].add(bin_)
            else:
                self._bins[bin_.second] = bin_
        self.unanswered.update(report.unanswered)
        if report.final:
            self.finals.add(worker)

    def users(self, second: int, count: int) -> None:
        self._users[second] = max(count, self._users.get(second, 0))

    def until(self, second: int) -> list[Second]:
        """All before this second, in order; they are forgotten here."""
        due = sorted(s for s in self._bins if s < second)
        told = [_second(self._bins.pop(s), self._users.get(s, 0)) for s in due]
        self._users = {s: n for s, n in self._users.items() if s >= second - 1}
        return told


def _second(bin_: Bin, users: int) -> Second:
    return Second(
        second=bin_.second,
        requests=bin_.requests,
        failures=bin_.failures,
        users=users,
        p50=_percentile(bin_.latencies, 0.5),
        p95=_percentile(bin_.latencies, 0.95),
        p99=_percentile(bin_.latencies, 0.99),
        late=bin_.late,
    )


def _percentile(latencies: dict[int, int], share: float) -> int:
    """Nearest rank, in ns; 0 for none."""
    left = math.ceil(share * sum(latencies.values()))
    for us in sorted(latencies):
        left -= latencies[us]
        if left <= 0:
            return us * NS_PER_US
    return 0
