"""Writing a history, one event a line, and reading it back typed, sorted and indexed."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections import defaultdict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeVar, cast

import msgspec

from harness.errors import HistoryError
from harness.history import (
    SCHEMA,
    AnyEvent,
    Complete,
    End,
    Event,
    FaultEvent,
    Header,
    Invoke,
    Phase,
    Probe,
    ProbeEnd,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

E = TypeVar("E", bound=Event)


class HistoryWriter:
    """Appends events to a history; every `write` is one ``os.write`` on an O_APPEND descriptor.

    With a `header` the file is made anew (it must not exist); without one an existing history is joined, so several
    processes may append to one file. Nothing is held back: when `write` returns, the event is with the kernel and
    survives the death of this process. That is what "Invoke is written before dispatch" needs.
    """

    def __init__(self, path: str | Path, header: Header | None = None) -> None:
        """:raises HistoryError: with a header where a file already is, without one where there is none."""
        self.path = Path(path)
        self.written = 0
        flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC
        if header is not None:
            flags |= os.O_CREAT | os.O_EXCL
        try:
            self._fd = os.open(self.path, flags, 0o644)
        except OSError as error:
            raise HistoryError(f"{self.path}: can't write a history: {error.strerror}") from error
        self._encoder = msgspec.json.Encoder()
        self._line = bytearray()
        if header is not None:
            self.write(header)

    def write(self, event: Event) -> None:
        """Append one event.

        :raises HistoryError: when the line was not taken whole (a full disk) or the writer is closed.
        """
        self._encoder.encode_into(event, self._line)
        self._line += b"\n"
        try:
            taken = os.write(self._fd, self._line)
        except OSError as error:
            raise HistoryError(f"{self.path}: can't write: {error.strerror}") from error
        if taken != len(self._line):
            raise HistoryError(
                f"{self.path}: only {taken} of {len(self._line)} bytes of an event were taken"
            )
        self.written += 1

    def close(self) -> None:
        """Close the file; safe to call twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self._fd < 0 else f"{self.written} written"
        return f"<HistoryWriter {str(self.path)!r} {state}>"


class Window(msgspec.Struct, frozen=True, order=True):
    """A span of time, ns since the origin; `end` is not part of it."""

    start: int
    end: int
    name: str = ""

    def __contains__(self, t: int) -> bool:
        return self.start <= t < self.end


class Request(msgspec.Struct, frozen=True):
    """One request of a probe: its Invoke, and its Complete unless that never came."""

    invoke: Invoke
    complete: Complete | None

    @property
    def late(self) -> int:
        """Nanoseconds between when the schedule wanted it and when it was sent."""
        return self.invoke.t - self.invoke.due

    @property
    def latency(self) -> int | None:
        """Nanoseconds from due to answered: queueing in the client counts, as a user would feel it."""
        return None if self.complete is None else self.complete.t - self.invoke.due


class ProbeRun(msgspec.Struct, frozen=True):
    """One probe's life: what it promised, what it counted, and its requests in the order they were sent."""

    name: str
    start: Probe | None
    end: ProbeEnd | None
    requests: tuple[Request, ...]


class FaultRun(msgspec.Struct, frozen=True):
    """One fault's life, from "inject" to "heal-verified", as far as it came."""

    fault: int
    stages: tuple[FaultEvent, ...]

    def stage(self, name: str) -> FaultEvent | None:
        """The last event of that stage."""
        return next((s for s in reversed(self.stages) if s.stage == name), None)

    @property
    def name(self) -> str:
        return self.stages[0].name

    @property
    def targets(self) -> list[str]:
        return self.stages[0].targets

    @property
    def onset(self) -> int | None:
        """`t` of "inject": the harness was about to act. None when the fault was never begun."""
        event = self.stage("inject")
        return None if event is None else event.t

    @property
    def injected(self) -> int | None:
        event = self.stage("injected")
        return None if event is None else event.t

    @property
    def verified(self) -> bool:
        """Whether it was shown from outside to have bitten, and nothing in its life failed."""
        event = self.stage("verified")
        return event is not None and event.bit and self.stage("failed") is None

    @property
    def heal(self) -> int | None:
        """`t` of "heal": the harness was about to heal. None when it never was."""
        event = self.stage("heal")
        return None if event is None else event.t

    @property
    def healed(self) -> int | None:
        event = self.stage("healed")
        return None if event is None else event.t

    @property
    def heal_verified(self) -> bool:
        event = self.stage("heal-verified")
        return event is not None and event.bit and self.stage("failed") is None


class History:
    """A history in memory: `events` sorted by `t`, without the header, and indexes over them.

    `truncated` says that the last line was cut short (the run was killed while it wrote) and what of it is lost.
    """

    def __init__(
        self, header: Header, events: Iterable[AnyEvent], *, truncated: bool = False, path: str = ""
    ) -> None:
        self.header = header
        self.events: tuple[AnyEvent, ...] = tuple(sorted(events, key=lambda e: e.t))
        self.truncated = truncated
        self.path = path

    @classmethod
    def read(cls, path: str | Path) -> History:
        """Read a history; a last line that was cut short is left out and told in `truncated`.

        :raises HistoryError: no such file, no header, a header of another schema version, a second header,
            or a damaged line that is not the last; the message starts with ``file:line``.
        """
        try:
            raw = Path(path).read_bytes()
        except OSError as error:
            raise HistoryError(f"{path}: can't read a history: {error.strerror}") from error
        lines = raw.split(b"\n")
        tail = lines.pop()  # what follows the last newline: nothing, or a line that was cut short
        if not lines:
            raise HistoryError(f"{path}:1: no header")
        header = _header(lines[0], path)
        decoder = msgspec.json.Decoder(AnyEvent)
        events = [_event(decoder, line, path, n) for n, line in enumerate(lines[1:], start=2)]
        return cls(header, events, truncated=tail != b"", path=str(path))

    def __repr__(self) -> str:
        cut = " truncated" if self.truncated else ""
        ended = "no end" if self.end is None else self.end.error or "ended"
        return f"<History {self.header.scenario!r} {len(self.events)} events {ended}{cut}>"

    # -- indexes ---------------------------------------------------------------------------------------------------

    @cached_property
    def _by_type(self) -> dict[type[Event], list[AnyEvent]]:
        index: dict[type[Event], list[AnyEvent]] = defaultdict(list)
        for event in self.events:
            index[type(event)].append(event)
        return index

    def of(self, kind: type[E]) -> Sequence[E]:
        """All events of one type, by time."""
        return cast("Sequence[E]", self._by_type.get(kind, ()))

    @cached_property
    def requests(self) -> tuple[Request, ...]:
        """Every Invoke with its Complete, in the order they were sent."""
        done: dict[tuple[str, int], Complete] = {}
        for complete in self.of(Complete):
            done.setdefault((complete.probe, complete.op), complete)
        return tuple(Request(i, done.get((i.probe, i.op))) for i in self.of(Invoke))

    @cached_property
    def ops(self) -> dict[tuple[str, int], Request]:
        """(probe, op) → its request."""
        return {(r.invoke.probe, r.invoke.op): r for r in self.requests}

    @cached_property
    def probes(self) -> dict[str, ProbeRun]:
        """Every probe that any event names as its source of requests, or that started or ended."""
        requests: dict[str, list[Request]] = defaultdict(list)
        for request in self.requests:
            requests[request.invoke.probe].append(request)
        starts = {p.name: p for p in self.of(Probe)}
        ends = {p.name: p for p in self.of(ProbeEnd)}
        names = dict.fromkeys([*starts, *ends, *requests])
        return {
            name: ProbeRun(name, starts.get(name), ends.get(name), tuple(requests.get(name, ())))
            for name in names
        }

    @cached_property
    def phases(self) -> tuple[Window, ...]:
        """The phases in order; each lasts until the next one or the end. A name may occur more than once."""
        starts = self.of(Phase)
        ends = [p.t for p in starts[1:]] + [self.last]
        return tuple(Window(p.t, end, p.name) for p, end in zip(starts, ends, strict=False))

    @cached_property
    def faults(self) -> dict[int, FaultRun]:
        """Fault number → its life, in the order of their first events."""
        stages: dict[int, list[FaultEvent]] = defaultdict(list)
        for event in self.of(FaultEvent):
            stages[event.fault].append(event)
        return {n: FaultRun(n, tuple(events)) for n, events in stages.items()}

    @cached_property
    def end(self) -> End | None:
        ends = self.of(End)
        return ends[-1] if ends else None

    @cached_property
    def last(self) -> int:
        """When the timeline ended: `t` of End, else of the last event."""
        if self.end is not None:
            return self.end.t
        return self.events[-1].t if self.events else 0

    def interval(self, t: int) -> Window | None:
        """The phase that `t` falls into; None before the first one and from the end on."""
        at = bisect_right([p.start for p in self.phases], t) - 1
        return self.phases[at] if at >= 0 and t in self.phases[at] else None


class _Version(msgspec.Struct):
    e: str = ""
    schema: int = -1


def _header(line: bytes, path: str | Path) -> Header:
    """The schema's version is looked at first: a header of another version need not fit ours."""
    try:
        version = msgspec.json.decode(line, type=_Version)
    except msgspec.MsgspecError as error:
        raise HistoryError(f"{path}:1: no header: {error}") from error
    if version.e != "header":
        raise HistoryError(f"{path}:1: no header: the first event is {version.e!r}")
    if version.schema != SCHEMA:
        raise HistoryError(
            f"{path}:1: schema version {version.schema} is unknown; this squall reads {SCHEMA}"
        )
    try:
        return msgspec.json.decode(line, type=Header)
    except msgspec.MsgspecError as error:
        raise HistoryError(f"{path}:1: damaged header: {error}") from error


def _event(
    decoder: msgspec.json.Decoder[AnyEvent], line: bytes, path: str | Path, n: int
) -> AnyEvent:
    try:
        event = decoder.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise HistoryError(f"{path}:{n}: damaged line: {error}") from error
    if isinstance(event, Header):
        raise HistoryError(f"{path}:{n}: a second header")
    return event


def read_header(path: str | Path) -> Header:
    """Only the header of a history, however long that is. Raises `HistoryError` as `History.read` does."""
    try:
        with Path(path).open("rb") as file:
            first = file.readline()
    except OSError as error:
        raise HistoryError(f"{path}: can't read a history: {error.strerror}") from error
    if not first.endswith(b"\n"):
        raise HistoryError(f"{path}:1: no header")
    return _header(first[:-1], path)
