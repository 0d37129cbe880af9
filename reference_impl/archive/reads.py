"""Reading a flag's history: what is hot from the database, what is older through from the archive."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from reference_impl.archive.segments import Span, decode, folder_of, span_of
from reference_impl.objectstore.base import ObjectStore
from reference_impl.propagation.types import Change
from reference_impl.resilience.errors import SERVICE_UNAVAILABLE, CallError
from reference_impl.storage.versions import Versions

KEPT: Final = 32  # segments; they never change
LISTED: Final = 1_000  # flags whose segments are known


@dataclass(frozen=True, slots=True)
class Page:
    """Versions, newest first. `following`: where the next page begins, None after the last."""

    versions: list[Change]
    following: int | None


class Histories:
    """`store` None: nothing is archived. Raises `CallError` SERVICE_UNAVAILABLE for what only a lost archive has."""

    def __init__(self, versions: Versions, store: ObjectStore | None) -> None:
        self.versions = versions
        self.store = store
        self._segments: OrderedDict[str, list[Change]] = OrderedDict()
        self._listed: OrderedDict[tuple[str, str], list[Span]] = OrderedDict()

    def __repr__(self) -> str:
        return f"<Histories {self.versions!r} {self.store!r} segments={len(self._segments)}>"

    async def version(self, org: str, key: str, seq: int) -> Change | None:
        """The version at position `seq`. It is archived before it is deleted, so it is in one of the two."""
        found = await self.versions.version(org, key, seq)
        if found is not None:
            return found
        # A segment that is there stays: only what no known one has needs a new look.
        known = self._listed.get((org, key), [])
        return await self._in(known, seq) or await self._in(await self._spans(org, key), seq)

    async def _in(self, spans: list[Span], seq: int) -> Change | None:
        for span in spans:
            if span.first <= seq <= span.last:
                for change in await self._segment(span):
                    if change.seq == seq:
                        return change
        return None

    async def page(self, org: str, key: str, before: int, limit: int) -> Page:
        """At most `limit` versions before position `before`. A page is of one of the two, so that hot ones need no archive."""
        hot = await self.versions.history(org, key, before, limit)
        if hot:
            more = len(hot) == limit or self.store is not None
            return Page(hot, hot[-1].seq if more else None)
        found: dict[int, Change] = {}
        for span in sorted(await self._spans(org, key), key=lambda span: -span.last):
            if span.first < before:
                segment = await self._segment(span)
                found |= {change.seq: change for change in segment if change.seq < before}
            if len(found) > limit:
                break
        ordered = [found[seq] for seq in sorted(found, reverse=True)]
        page = ordered[:limit]
        return Page(page, page[-1].seq if len(ordered) > limit else None)

    async def _spans(self, org: str, key: str) -> list[Span]:
        if self.store is None:
            return []
        try:
            listed = await self.store.list(folder_of(org, key))
        except CallError as error:
            raise _unavailable(error) from error
        spans = self._listed[org, key] = [span_of(each.key) for each in listed]
        self._listed.move_to_end((org, key))
        while len(self._listed) > LISTED:
            self._listed.popitem(last=False)
        return spans

    async def _segment(self, span: Span) -> list[Change]:
        assert self.store is not None
        kept = self._segments.get(span.key)
        if kept is None:
            try:
                kept = decode(await self.store.get(span.key), span.key)
            except CallError as error:
                raise _unavailable(error) from error
            self._segments[span.key] = kept
        self._segments.move_to_end(span.key)
        while len(self._segments) > KEPT:
            self._segments.popitem(last=False)
        return kept


def _unavailable(error: CallError) -> CallError:
    return CallError(SERVICE_UNAVAILABLE, f"archived versions can't be read now: {error}")
