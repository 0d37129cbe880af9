"""A history file as a stream of events, without holding it in memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from harness.errors import HistoryError
from harness.history import SCHEMA, AnyEvent, End, Header, Phase

if TYPE_CHECKING:
    import mmap
    from collections.abc import Iterator
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Landmarks:
    """What must be known before the pass: where the phases begin and when the timeline ends."""

    phases: list[Phase]
    duration: int


class Reader:
    """Lines of a mapped history as events; a last line that was cut short is left out and told in `truncated`."""

    def __init__(self, path: Path, data: mmap.mmap) -> None:
        self._path = path
        self._data = data
        self._decode = msgspec.json.Decoder(AnyEvent).decode
        self.truncated = data[-1:] != b"\n"
        data.seek(0)
        self.header = self._header(data.readline())
        self._start = data.tell()

    def _header(self, line: bytes) -> Header:
        try:
            event = self._decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise HistoryError(f"{self._path}:1: no header: {error}") from error
        if not isinstance(event, Header):
            raise HistoryError(f"{self._path}:1: no header")
        if event.schema != SCHEMA:
            raise HistoryError(
                f"{self._path}:1: schema version {event.schema} is unknown; this squall reads {SCHEMA}"
            )
        return event

    def landmarks(self) -> Landmarks:
        phases = [p for p in self._find(b'"e":"phase"') if isinstance(p, Phase)]
        ends = [e for e in self._find(b'"e":"end"') if isinstance(e, End)]
        last = ends[-1].t if ends else max((e.t for e in self._tail()), default=0)
        return Landmarks(sorted(phases, key=lambda p: p.t), max(last, 1))

    def _find(self, needle: bytes) -> Iterator[AnyEvent]:
        """Events whose line holds `needle`, without decoding the others."""
        at = self._data.find(needle, self._start)
        while at >= 0:
            begin = self._data.rfind(b"\n", 0, at) + 1
            end = self._data.find(b"\n", at)
            if end < 0:
                return
            yield from self._try(self._data[begin:end])
            at = self._data.find(needle, end)

    def _tail(self, most: int = 64 * 1024) -> Iterator[AnyEvent]:
        lines = self._data[max(self._start, len(self._data) - most) :].split(b"\n")
        for line in lines:
            yield from self._try(line)

    def _try(self, line: bytes) -> Iterator[AnyEvent]:
        """The event of a line, if it is one; `events` is what complains about damage."""
        try:
            yield self._decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return

    def events(self) -> Iterator[AnyEvent]:
        self._data.seek(self._start)
        decode, number = self._decode, 1
        for line in iter(self._data.readline, b""):
            number += 1
            try:
                yield decode(line)
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                if line.endswith(b"\n"):
                    raise HistoryError(f"{self._path}:{number}: damaged line: {error}") from error
                return
