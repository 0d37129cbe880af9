"""Server-sent events, as the HTML standard's parser reads them."""

from __future__ import annotations

import msgspec


class SseEvent(msgspec.Struct, frozen=True):
    """One event. `id` is None where the event carries none."""

    event: str
    data: bytes
    id: str | None = None


class SseParser:
    """Feed it bytes as they come, however they are cut; it gives the events that are whole."""

    def __init__(self) -> None:
        self._partial: list[bytes] = []
        self._event = ""
        self._id: str | None = None
        self._data: list[bytes] = []

    def __repr__(self) -> str:
        waiting = sum(map(len, self._partial)) + sum(map(len, self._data))
        return f"<SseParser {waiting} bytes of an unfinished event>"

    def feed(self, chunk: bytes) -> list[SseEvent]:
        # Pieces are joined only once a line ends: a snapshot of many megabytes is one line.
        if b"\n" not in chunk:
            self._partial.append(chunk)
            return []
        *lines, rest = b"".join([*self._partial, chunk]).split(b"\n")
        self._partial = [rest] if rest else []
        events = []
        for line in lines:
            event = self._line(line.removesuffix(b"\r"))
            if event is not None:
                events.append(event)
        return events

    def _line(self, line: bytes) -> SseEvent | None:
        if not line:
            return self._dispatch()
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
        elif name == b"event":
            self._event = value.decode("utf-8", "replace")
        elif name == b"id" and b"\0" not in value:
            self._id = value.decode("utf-8", "replace")
        return None  # a comment, or a field that nobody knows

    def _dispatch(self) -> SseEvent | None:
        event, data, id_ = self._event, self._data, self._id
        self._event, self._data, self._id = "", [], None
        if not data:
            return None
        return SseEvent(event or "message", b"\n".join(data), id_)
