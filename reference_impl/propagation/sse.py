"""Server-sent events: encoding, and an incremental parser."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from reference_impl.propagation.types import Change, Heartbeat, Prewarm, RawSnapshot, Snapshot
from reference_impl.resilience.errors import INVALID, CallError

CONTENT_TYPE = "text/event-stream"
ROLE_HEADER = "X-Node-Role"  # what a subscriber is, for whoever counts them
LARGEST_EVENT = (
    256 * 1024 * 1024
)  # bytes; a server that sends more without an event's end is broken
Message = Change | Snapshot | Heartbeat | Prewarm

_encode = msgspec.json.Encoder().encode
_KINDS: dict[str, msgspec.json.Decoder[Message]] = {
    "change": msgspec.json.Decoder(Change),
    "snapshot": msgspec.json.Decoder(Snapshot),
    "heartbeat": msgspec.json.Decoder(Heartbeat),
    "prewarm": msgspec.json.Decoder(Prewarm),
}
_RAW_SNAPSHOT: msgspec.json.Decoder[Message] = msgspec.json.Decoder(RawSnapshot)


@dataclass(frozen=True, slots=True)
class Event:
    name: str
    id: str | None
    data: bytes


def encode(message: Message) -> bytes:
    """A message as one event. JSON has no bare line ends, so its data is always one line."""
    match message:
        case Change():
            head = b"event: change\nid: %d\n" % message.seq
        case Snapshot():
            head = b"event: snapshot\nid: %d\n" % message.seq
        case Heartbeat():
            head = b"event: heartbeat\n"
        case Prewarm():
            head = b"event: prewarm\n"
    return b"%sdata: %s\n\n" % (head, _encode(message))


def decode(event: Event, *, raw: bool = False) -> Message | None:
    """The message of an event; None for an event we don't know. `raw`: definitions in a snapshot stay bytes.

    Raises `CallError` INVALID for damaged data.
    """
    decoder = _RAW_SNAPSHOT if raw and event.name == "snapshot" else _KINDS.get(event.name)
    if decoder is None:
        return None
    try:
        return decoder.decode(event.data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CallError(INVALID, f"event {event.name}: {error}") from None


class Parser:
    """Bytes in, complete events out. Lines end in LF or CRLF; comments and unknown fields are skipped."""

    def __init__(self) -> None:
        self._rest: list[bytes] = []  # a line that has not ended yet, in pieces
        self._held = 0
        self._name = "message"
        self._id: str | None = None
        self._data: list[bytes] = []

    def __repr__(self) -> str:
        return f"<Parser {self._held} bytes held>"

    def feed(self, chunk: bytes) -> list[Event]:
        """Events that `chunk` completes, in order. Raises `CallError` INVALID when one grows without end."""
        self._held += len(chunk)
        if self._held > LARGEST_EVENT:
            raise CallError(INVALID, f"an event of more than {LARGEST_EVENT} bytes")
        head, newline, tail = chunk.partition(b"\n")
        if not newline:
            self._rest.append(chunk)
            return []
        lines = tail.split(b"\n")
        lines.insert(0, b"".join([*self._rest, head]))
        self._rest = [lines.pop()]
        return [event for line in lines if (event := self._line(line.removesuffix(b"\r")))]

    def _line(self, line: bytes) -> Event | None:
        if not line:
            return self._dispatch()
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            self._data.append(value)
        elif field == b"event":
            self._name = value.decode(errors="replace")
        elif field == b"id":
            self._id = value.decode(errors="replace")
        return None

    def _dispatch(self) -> Event | None:
        event = Event(self._name, self._id, b"\n".join(self._data)) if self._data else None
        self._name, self._id, self._data = "message", None, []
        self._held = sum(map(len, self._rest))
        return event
