"""Placement: every organisation is on exactly one shard, and goes to another only where it must."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from harness.checkers.base import Checker, Result, whole
from harness.checkers.durability import rewound
from harness.checkers.listing import NOWHERE, Listing, listing, org_of
from harness.checkers.soundness import fault_doubts, probe_doubts, run_doubts
from harness.checkers.writes import Written, writes_of
from harness.verdict import Evidence, Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.history_io import History
    from harness.verdict import Finding


@dataclass(frozen=True, kw_only=True)
class Placement(Checker):
    """`listings` are the labels of calls whose answers say where each organisation is, in their order; there are `shards` in the last one.

    In each listing every organisation that has anything, and every one that had acknowledged writes before, is in one place. A
    number of shards that has grown n times leaves each organisation on a shard of the same remainder by the number before; whose
    shard has kept its number has not moved at all, and at most `most_moved` of all have. `writes` acknowledge the organisation's own
    version (the scenario's target says so): two servers that took writes of one organisation have given a version out twice.
    """

    listings: tuple[str, ...]
    shards: int
    writes: tuple[str, ...]
    most_moved: float = 0.75

    name: ClassVar[str] = "placement"

    def __call__(self, history: History) -> list[Finding]:
        written = [w for w in writes_of(history, self.writes) if w.acknowledged]
        told = [listing(history, label) for label in self.listings]
        results = [_one_place(each, written) for each in told]
        results.append(self._versions(written))
        if len(told) > 1:
            results.append(self._moves(told[0], told[-1]))
        doubts = [*run_doubts(history), *fault_doubts(history, whole(history).end)]
        for name in self.writes:
            doubts += probe_doubts(history, name, whole(history), timely=False)
        for result in results:
            result.doubts += doubts
        return [result.finding(self) for result in results]

    def _versions(self, written: Sequence[Written]) -> Result:
        by_org: dict[str, list[Written]] = defaultdict(list)
        for write in written:
            by_org[org_of(write.key)].append(write)
        twice = [w for some in by_org.values() for w in rewound(some)]
        result = Result(
            claim="no version of an organisation is given out twice, nor a smaller one later",
            subject=", ".join(self.writes),
            value=float(len(twice)),
            bound=0.0,
            error=0.0,
            unit="writes",
            figures={"acknowledged": float(len(written)), "organisations": float(len(by_org))},
            evidence=[Evidence(w.done, f"{w}, and again") for w in twice],
        )
        if not any(w.position >= 0 for w in written):
            result.doubts.append("no write was acknowledged with a version")
        return result

    def _moves(self, before: Listing, after: Listing) -> Result:
        orgs = sorted((before.places or {}).keys() & (after.places or {}).keys())
        wrong = [text for org in orgs if (text := _needless(org, before, after))]
        moved = [org for org in orgs if before.of(org) != after.of(org)]
        grown = before.shards != after.shards
        result = Result(
            claim=f"from {before.shards} to {self.shards} shards only what must move does",
            subject=f"{before.label} and {after.label}",
            value=float(len(wrong)),
            bound=0.0,
            error=0.0,
            unit="organisations",
            figures={"organisations": float(len(orgs)), "moved": float(len(moved))},
            evidence=[Evidence(after.t, text) for text in wrong],
            doubts=[each.doubt for each in (before, after) if each.doubt],
        )
        if not orgs:
            result.doubts.append("no organisation is in both listings")
        elif grown and not moved:
            result.doubts.append("no organisation has moved: there was nothing to see")
        if after.shards != self.shards:
            result.verdict = Verdict.FAIL
            result.reason = f"there are {after.shards} shards, not {self.shards}"
        elif len(moved) > self.most_moved * len(orgs):
            result.verdict = Verdict.FAIL
            result.reason = f"{len(moved)} of {len(orgs)} organisations have moved"
        return result


def _one_place(told: Listing, written: Sequence[Written]) -> Result:
    """The value is how many organisations are not in exactly one place."""
    must = {org_of(w.key) for w in written if w.done < told.sent}
    orgs = sorted(must | (told.places or {}).keys())
    wrong = [org for org in orgs if len(told.of(org)) != 1 or told.of(org)[0].shard == NOWHERE]
    return Result(
        claim="every organisation is on exactly one shard",
        subject=told.label,
        value=float(len(wrong)),
        bound=0.0,
        error=0.0,
        unit="organisations",
        figures={"organisations": float(len(orgs))},
        evidence=[
            Evidence(told.t, f"{org} is at: {'; '.join(map(str, told.of(org))) or 'no place'}")
            for org in wrong
        ],
        doubts=[told.doubt]
        if told.doubt
        else []
        if must
        else ["no organisation was written before"],
    )


def _needless(org: str, before: Listing, after: Listing) -> str:
    """Why it should not be where it is; "" where it may, or is not in one place, which is judged elsewhere."""
    if len(before.of(org)) != 1 or len(after.of(org)) != 1 or not before.shards:
        return ""
    was, now = before.of(org)[0], after.of(org)[0]
    if now.shard % before.shards != was.shard:
        return f"{org} was on shard {was.shard} and is on {now.shard}"
    if now.shard == was.shard and now.server != was.server:
        return f"{org} went from {was} to {now}"
    return ""
