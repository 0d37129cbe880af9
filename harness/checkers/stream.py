"""The stream as a subscriber saw it: no gap, no duplicate, in order, resumed where it broke off, and in time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from harness.checkers.base import Checker, Result, clock, spread_figures, whole, windows
from harness.checkers.soundness import fault_doubts, run_doubts, stream_doubts
from harness.checkers.writes import Written, same_value, writes_of
from harness.history import Stream
from harness.units import Seconds, to_ns, to_s
from harness.verdict import Evidence, Finding

if TYPE_CHECKING:
    from harness.history_io import History


@dataclass(frozen=True, kw_only=True)
class StreamOrder(Checker):
    """Judges each subscriber of `probes`.

    * order: after a snapshot, changes follow one by one, also over reconnections; the Last-Event-ID sent is the last
      id seen. `reconnections`: how many must have been seen for the resume to count as shown.
    * complete: each acknowledged write of `writes` came as a change of the same value, or a snapshot covers it.
      Writes acknowledged less than `settle` before the subscriber's end are left out.
    * delay: `p99` bounds the time from commit (the change's `at`; without it, the acknowledgement) to arrival, `slowest` that of
      every change; of those that arrived in `phase` ("": all).
    """

    probes: tuple[str, ...]
    writes: tuple[str, ...] = ()
    reconnections: int = 0
    p99: Seconds | None = None
    slowest: Seconds | None = None
    phase: str = ""
    settle: Seconds = Seconds(1.0)

    name: ClassVar[str] = "stream"

    def __call__(self, history: History) -> list[Finding]:
        results = [r for probe in self.probes for r in self._probe(history, probe)]
        if not self.probes:
            results = [Result(doubts=["no subscriber is named"])]
        doubts = [*run_doubts(history), *fault_doubts(history, whole(history).end)]
        for result in results:
            result.doubts += doubts
        return [result.finding(self) for result in results]

    def _probe(self, history: History, probe: str) -> list[Result]:
        reader = Reader()
        for event in history.of(Stream):
            if event.probe == probe:
                reader.see(event)
        results = [self._order(probe, reader)]
        if self.writes:
            results.append(self._complete(history, probe, reader))
        if self.p99 is not None:
            results.append(self._delay(history, probe, reader, self.p99, "delay_p99"))
        if self.slowest is not None:
            results.append(self._delay(history, probe, reader, self.slowest, "delay_max"))
        doubts = stream_doubts(history, probe)
        for result in results:
            result.subject = probe
            result.doubts += doubts
        return results

    def _order(self, probe: str, reader: Reader) -> Result:
        result = Result(
            claim="no gap, no duplicate, order kept",
            value=float(len(reader.wrong)),
            bound=0.0,
            error=0.0,
            unit="violations",
            figures={
                "changes": float(reader.changes),
                "snapshots": float(reader.snapshots),
                "reconnections": float(reader.reconnections),
                "resumed": float(reader.resumed),
            },
            evidence=reader.wrong,
        )
        if not reader.changes:
            result.doubts.append(f"{probe} saw no change")
        result.doubts += [f"{probe}: {text}" for text in reader.odd[:1]]
        if reader.reconnections < self.reconnections:
            result.doubts.append(
                f"{probe} reconnected {reader.reconnections} times, {self.reconnections} are needed to show the resume"
            )
        return result

    def _complete(self, history: History, probe: str, reader: Reader) -> Result:
        run = history.probes.get(probe)
        end = history.last if run is None or run.end is None else run.end.t
        acked = [
            w
            for w in writes_of(history, self.writes)
            if w.acknowledged and w.position >= 0 and w.done <= end - to_ns(self.settle)
        ]
        wrong = [e for w in acked if (e := reader.misses(w)) is not None]
        result = Result(
            claim="every acknowledged write arrives",
            value=float(len(wrong)),
            bound=0.0,
            error=0.0,
            unit="writes",
            figures={"acknowledged": float(len(acked))},
            evidence=wrong,
        )
        if not acked:
            result.doubts.append("no write was acknowledged")
        return result

    def _delay(
        self, history: History, probe: str, reader: Reader, bound: Seconds, figure: str
    ) -> Result:
        spans = windows(history, self.phase)
        acks = {w.position: w.done for w in writes_of(history, self.writes) if w.position >= 0}
        delays, late = [], []
        for change in reader.seen.values():
            since = change.at - history.header.wall if change.at else acks.get(change.id)
            if since is not None and any(change.t in span for span in spans):
                delays.append(to_s(change.t - since))
                late.append((change.t - since, change))
        result = Result(
            claim=f"{'99 % of the changes' if figure == 'delay_p99' else 'all changes'} arrive within {bound:g} s",
            bound=float(bound),
            error=0.001,
            unit="s",
            figures=spread_figures(delays, "delay_"),
        )
        if not delays:
            result.doubts.append(f"no change that {probe} saw says when it was committed")
            return result
        result.value = result.figures[figure]
        late.sort(key=lambda pair: -pair[0])
        result.evidence = [
            Evidence(c.t, f"change {c.id} arrived after {to_s(d):.3f} s") for d, c in late[:3]
        ]
        return result


@dataclass(slots=True)
class Reader:
    """Follows one subscriber's stream as a correct receiver would, and notes what breaks the protocol."""

    position: int = -1  # the newest id, -1 before the first snapshot
    changes: int = 0
    snapshots: int = 0
    connections: int = 0  # those on which anything came
    resumed: int = 0  # connections that went on with the change after the last one
    wrong: list[Evidence] = field(default_factory=list)
    seen: dict[int, Stream] = field(default_factory=dict)
    covered: list[tuple[int, int]] = field(
        default_factory=list
    )  # (from, to] ids that a snapshot replaced
    odd: list[str] = field(
        default_factory=list
    )  # where the subscriber itself did not resume as it should
    _silent: bool = True  # nothing at all was seen on this connection yet
    _fresh: bool = False  # no change and no snapshot was seen on this connection yet
    _asked: int = -1

    @property
    def reconnections(self) -> int:
        return max(0, self.connections - 1)

    def see(self, event: Stream) -> None:
        if event.what in ("snapshot", "change", "heartbeat") and self._silent:
            self.connections += 1
            self._silent = False
        if event.what == "connect":
            self._connect(event)
        elif event.what == "snapshot":
            self._snapshot(event)
        elif event.what == "change":
            self._change(event)

    def misses(self, write: Written) -> Evidence | None:
        """Why an acknowledged write counts as not arrived, or None."""
        change = self.seen.get(write.position)
        if change is not None:
            if change.key == write.key and same_value(change.value, write.value):
                return None
            text = f"{write} came as {change.key} = {change.value!r}"
            return Evidence(change.t, text)
        if any(low < write.position <= high for low, high in self.covered):
            return None
        return Evidence(write.done, f"{write} never came")

    def _connect(self, event: Stream) -> None:
        self._silent = self._fresh = True
        if event.id != self.position:
            self.odd.append(f"it asked to resume from {event.id}, though it had {self.position}")
        self._asked = event.id

    def _snapshot(self, event: Stream) -> None:
        self.snapshots += 1
        if event.id < self.position:
            self._note(event, f"a snapshot at {event.id} goes back behind {self.position}")
        else:
            self.covered.append((self.position, event.id))
        self.position = max(self.position, event.id)
        self._fresh = False

    def _change(self, event: Stream) -> None:
        self.changes += 1
        if self.position < 0:
            self._note(event, f"change {event.id} came before any snapshot")
        elif event.id in self.seen:
            self._note(event, f"change {event.id} came twice")
        elif event.id <= self.position:
            self._note(event, f"change {event.id} came after {self.position}")
        elif event.id > self.position + 1:
            self._note(event, f"change {event.id} came after {self.position}: a gap")
        elif self._fresh and self._asked == self.position:
            self.resumed += 1
        self.seen.setdefault(event.id, event)
        self.position = max(self.position, event.id)
        self._fresh = False

    def _note(self, event: Stream, text: str) -> None:
        self.wrong.append(Evidence(event.t, f"{event.probe}: {text} (at {clock(event.t)})"))
