"""A list that only grows, asked for what is new: alerts, recommendations."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import msgspec

from harness.history import Note
from harness.history import Probe as ProbeStart
from harness.probes.http import INVALID, HttpFailure
from harness.probes.openloop import record_end
from harness.probes.schedule import Counts
from harness.target import fill_headers, fill_path, pointer

if TYPE_CHECKING:
    from harness.probes.http import Client
    from harness.probes.site import Site


class Query(Protocol):
    """How the list is asked for."""

    @property
    def path(self) -> str: ...

    @property
    def headers(self) -> dict[str, str]: ...


class Reader(Protocol):
    """The probe that reads it; see `follow`."""

    @property
    def kind(self) -> str: ...

    @property
    def name(self) -> str: ...

    @property
    def interval(self) -> float: ...

    @property
    def timeout(self) -> float: ...


class Feed:
    """The list as known so far: the number of the last entry seen, and whether the node answers.

    `take` records what is new of an answer's items, given the number of the last known, and returns the new last.
    """

    def __init__(
        self,
        reader: Reader,
        site: Site,
        client: Client,
        query: Query,
        items: str,
        *,
        what: str,
        take: Callable[[object, int], int],
    ) -> None:
        self._reader = reader
        self._site = site
        self._client = client
        self._query = query
        self._items = pointer(items)
        self._what = what
        self._take = take
        self._last = 0
        self._error = ""
        self.asked = 0

    def __repr__(self) -> str:
        return f"<Feed {self._what} last={self._last} error={self._error or 'none'}>"

    async def ask(self) -> None:
        """Once. What the node does wrong is noted, never raised."""
        self.asked += 1
        try:
            response = await self._client.request(
                "GET",
                fill_path(self._query.path, n=str(self._last)),
                headers=fill_headers(self._query.headers),
                timeout=self._reader.timeout,
            )
            if not response.error:
                items = self._items(msgspec.json.decode(response.body))
                self._last = self._take(items, self._last)
            self._seen(response.error)
        except HttpFailure as failure:
            self._seen(failure.error)
        except (msgspec.DecodeError, msgspec.ValidationError):
            self._seen(INVALID)

    def _seen(self, error: str) -> None:
        """No entries and no answers must not look the same in the history."""
        if error != self._error:
            text = f"{self._what}: {error}" if error else f"{self._what} answers again"
            self._site.record(Note(t=self._site.now(), source=self._reader.name, text=text))
            self._error = error


async def follow(reader: Reader, site: Site, stop: asyncio.Event, node: str, feed: Feed) -> None:
    """Ask each `interval` s, one question at a time, until `stop`, and a last time at the end."""
    site.record(ProbeStart(t=site.now(), name=reader.name, kind=reader.kind, target=node))
    while not stop.is_set():
        await feed.ask()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(reader.interval):
                await stop.wait()
    await feed.ask()
    record_end(site, reader.name, Counts(sent=feed.asked))
