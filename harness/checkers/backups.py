"""Backups as the object stores themselves list them, while the platform's calendar is moved on: schedule, retention, place.

Platform time at a list is the history's clock plus what the calendar was moved by. An object appeared, or vanished, somewhere
between the list before and the list that shows it; every judgement allows for that.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from harness.checkers.base import Checker, Result
from harness.checkers.soundness import fault_doubts, run_doubts
from harness.history import Clock, Objects
from harness.units import Seconds, to_s
from harness.verdict import Evidence, Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.history_io import History
    from harness.verdict import Finding

FINE = 1.5  # lists must not be further apart than so many times `every`
HOUR, DAY = 3600.0, 86400.0


@dataclass(frozen=True, kw_only=True)
class Backups(Checker):
    """Below `prefix` each of the stores `nodes` gets a new object each `every`, keeps it for `keep`, and then lets it go.

    An object is gone after `keep` and `grace` at the latest, but for the newest. What is empty, or has the content of an
    earlier one, is no backup. `away_from`: a node in whose region none of the stores may be; `regions`: in how many regions
    the stores must be.
    """

    nodes: tuple[str, ...]
    prefix: str
    every: Seconds
    keep: Seconds
    grace: Seconds = Seconds(HOUR)
    away_from: str = ""
    regions: int = 1

    name: ClassVar[str] = "backups"

    def __call__(self, history: History) -> list[Finding]:
        results = []
        places = self._places(history)
        for node in self.nodes:
            book = _Book.of(history, node, self.prefix)
            if not book.lives:
                places.doubts.append(f"{node} was never seen to hold any")
            judged = [self._schedule(book), self._kept(book), self._let_go(book)]
            for result in judged:
                result.subject = f"{self.prefix} at {node}"
                result.doubts += book.doubts
            results += judged
        results.append(places)
        for result in results:
            result.doubts += [*run_doubts(history), *fault_doubts(history, history.last)]
        return [result.finding(self) for result in results]

    def _places(self, history: History) -> Result:
        nodes: Any = history.header.topology.get("nodes", {})
        found = {node: str(nodes.get(node, {}).get("region", "")) for node in self.nodes}
        result = Result(
            subject=", ".join(self.nodes),
            claim=f"they are kept in {self.regions} region{'s' * (self.regions > 1)}"
            + (f", none of them that of {self.away_from}" if self.away_from else ""),
            value=float(len(set(found.values()))),
            relation=">=",
            bound=float(self.regions),
            error=0.0,
            unit="regions",
            evidence=[Evidence(0, f"{node} is in {region}") for node, region in found.items()],
        )
        if not all(found.values()):
            result.doubts.append("the history does not say where all of the stores are")
        home = nodes.get(self.away_from, {}).get("region") if self.away_from else None
        near = [node for node, region in found.items() if region == home]
        if self.away_from and near:
            result.verdict = Verdict.FAIL
            result.reason = f"{', '.join(near)} is in the region of {self.away_from}, {home}"
        return result

    def _schedule(self, book: _Book) -> Result:
        """The longest time in which surely no new one came."""
        starts = sorted({*book.times[:1], *book.births})
        # Up to the last list without a new one: somewhere behind that list it may have come at once.
        empty = [
            (later - start, later)
            for start, following in itertools.pairwise([*starts, 1 << 62])
            for later in book.times
            if start <= later < following
        ]
        longest, at = max(empty, default=(0, 0))
        result = Result(
            claim=f"a new one comes each {_text(self.every)}",
            value=to_s(longest),
            bound=float(self.every),
            error=0.0,
            unit="s",
            figures={
                "lists": float(len(book.times)),
                "appeared": float(len(book.births)),
                "between_lists_max_s": to_s(book.spacing),
            },
        )
        if to_s(longest) > self.every:
            result.reason = f"none came for {_text(to_s(longest))}"
            result.evidence.append(Evidence(book.real(at), result.reason))
        if to_s(book.spacing) > FINE * self.every:
            result.doubts.append(f"the store was asked only each {_text(to_s(book.spacing))}")
        if book.times and to_s(book.times[-1] - book.times[0]) < 2 * self.every:
            result.doubts.append("the store was not watched for twice that time")
        return result

    def _kept(self, book: _Book) -> Result:
        """None vanishes before it can be `keep` old."""
        early = [each for each in book.lives if each.gone and to_s(each.at_most) < self.keep]
        ages = [to_s(each.at_least) for each in book.lives]
        result = Result(
            claim=f"each is kept for {_text(self.keep)}",
            value=float(len(early)),
            bound=0.0,
            error=0.0,
            unit="backups",
            figures={"oldest_seen_days": max(ages, default=0.0) / DAY},
            evidence=[
                Evidence(
                    book.real(each.gone),
                    f"{each.key} was gone after {_text(to_s(each.at_most))} at most",
                )
                for each in early
            ],
        )
        if not early and max(ages, default=0.0) < self.keep - to_s(book.spacing):
            result.doubts.append(f"none was watched for {_text(self.keep)}")
        return result

    def _let_go(self, book: _Book) -> Result:
        """None but the newest is there when it must be over `keep` and `grace` old."""
        limit = self.keep + self.grace
        newest = max(book.lives, key=lambda each: each.born, default=None)
        late = [each for each in book.lives if each is not newest and to_s(each.at_least) > limit]
        gone = sum(1 for each in book.lives if each.gone)
        result = Result(
            claim=f"each is gone after {_text(limit)}",
            value=float(len(late)),
            bound=0.0,
            error=0.0,
            unit="backups",
            figures={"gone": float(gone)},
            evidence=[
                Evidence(
                    book.real(each.last), f"{each.key} is there after {_text(to_s(each.at_least))}"
                )
                for each in late
            ],
        )
        if not late and not gone:
            result.doubts.append("none became old enough")
        return result


@dataclass(slots=True)
class _Life:
    """One object, in platform time, ns. `before`: the list that did not have it yet (None: it was there from the first);
    `born`: the first that had it; `last`: the last that had it; `gone`: the first without it again, 0 for none.
    """

    key: str
    before: int | None
    born: int
    last: int
    gone: int = 0

    @property
    def at_least(self) -> int:
        """How old it surely became."""
        return self.last - self.born

    @property
    def at_most(self) -> int:
        """How old it can have been when it went; endless where its birth was not seen."""
        return self.gone - self.before if self.before is not None else 1 << 62


class _Book:
    """What one store had below a prefix, list by list."""

    def __init__(self) -> None:
        self.times: list[int] = []
        self.lives: list[_Life] = []
        self.doubts: list[str] = []
        self._real: dict[int, int] = {}

    def __repr__(self) -> str:
        return f"<_Book lists={len(self.times)} lives={len(self.lives)} doubts={self.doubts}>"

    @classmethod
    def of(cls, history: History, node: str, prefix: str) -> _Book:
        book = cls()
        moves = list(history.of(Clock))
        unsettled = [move for move in moves if not move.settled]
        if unsettled:
            seen = unsettled[0].seen
            book.doubts.append(f"{len(unsettled)} moves of the clock did not settle: {seen}")
        if not moves:
            book.doubts.append("the platform's clock was never moved")
        etags: dict[str, str] = {}
        for each in history.of(Objects):
            if each.node != node or each.prefix != prefix:
                continue
            if not each.ok:
                book.doubts.append(f"{node} did not list its objects: {each.error}")
                continue
            moved = max((move.total for move in moves if move.t <= each.t), default=0)
            book._list(each, each.t + moved, etags)
        if not book.times:
            book.doubts.append(f"{node} was never asked for its objects below {prefix}")
        return book

    @property
    def births(self) -> list[int]:
        """When new ones were first seen, each time once."""
        return sorted({life.born for life in self.lives})

    @property
    def spacing(self) -> int:
        """The longest time between two lists."""
        return max((b - a for a, b in itertools.pairwise(self.times)), default=0)

    def real(self, platform: int) -> int:
        """The history's time of a list."""
        return self._real.get(platform, 0)

    def _list(self, seen: Objects, at: int, etags: dict[str, str]) -> None:
        before = self.times[-1] if self.times else None
        self.times.append(at)
        self._real[at] = seen.t
        there = set(_genuine(seen, etags))
        for life in self.lives:
            if life.gone:
                continue
            if life.key in there:
                life.last = at
                there.discard(life.key)
            else:
                life.gone = at
        self.lives += [_Life(key, before, at, at) for key in sorted(there)]


def _genuine(seen: Objects, etags: dict[str, str]) -> Sequence[str]:
    """Not empty, and not the bytes of another one before it."""
    found = []
    for each in seen.objects:
        first = etags.setdefault(each.etag, each.key) if each.etag else each.key
        if each.size and first == each.key:
            found.append(each.key)
    return found


def _text(seconds: float) -> str:
    """As people say it."""
    if seconds >= 2 * DAY:
        return f"{seconds / DAY:.3g} days"
    return f"{seconds / HOUR:.3g} h" if seconds >= HOUR else f"{seconds:.3g} s"
