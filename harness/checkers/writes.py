"""What the write probes did, in the log's order, and what an evaluation's answer shows of it."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.history import Complete
    from harness.history_io import History, Request


@dataclass(frozen=True, slots=True)
class Written:
    """One write: when it was sent and answered (ns), and how. `position` is where the log has it, -1 unknown."""

    key: str
    value: object
    probe: str
    sent: int
    done: int
    outcome: (
        str  # "ok": acknowledged; "fail": certainly not done; "unknown": may or may not be there
    )
    position: int
    order: int  # counts the writes of its key as they were sent

    @property
    def acknowledged(self) -> bool:
        return self.outcome == "ok"

    def __str__(self) -> str:
        return f"{self.key} = {self.value!r} (log position {self.position})"


def writes_of(history: History, probes: Sequence[str]) -> list[Written]:
    """The writes of these probes (all for an empty sequence), as they were sent. One without an end is "unknown"."""
    orders: dict[str, int] = defaultdict(int)
    found = []
    for request in history.requests:
        invoke = request.invoke
        if invoke.kind != "write" or (probes and invoke.probe not in probes):
            continue
        found.append(_written(request, orders[invoke.key]))
        orders[invoke.key] += 1
    return found


def _written(request: Request, order: int) -> Written:
    invoke, done = request.invoke, request.complete
    return Written(
        key=invoke.key,
        value=invoke.value,
        probe=invoke.probe,
        sent=invoke.t,
        done=done.t if done is not None else 1 << 62,
        outcome=done.outcome if done is not None else "unknown",
        position=done.version if done is not None and done.outcome == "ok" else -1,
        order=order,
    )


def token(value: object) -> bytes:
    """A value as something hashable that keeps True and 1 apart."""
    return msgspec.json.encode(value)


@dataclass(slots=True)
class KeyLog:
    """The writes to one key; answers where in the log an evaluation's answer stands."""

    key: str
    writes: list[Written] = field(default_factory=list)
    _by_value: dict[bytes, Written] = field(default_factory=dict)
    _acked: list[Written] = field(default_factory=list)
    _positions: list[int] = field(default_factory=list)

    def seal(self) -> None:
        """Build the indexes; call once, after the last write was added."""
        self._by_value = {token(w.value): w for w in self.writes}
        self._acked = sorted(
            (w for w in self.writes if w.acknowledged and w.position >= 0), key=lambda w: w.position
        )
        self._positions = [w.position for w in self._acked]

    @property
    def acknowledged(self) -> list[Written]:
        """In the log's order."""
        return self._acked

    def position(self, answer: Complete) -> int:
        """The log position of the value that an answer shows; -1 when it shows none of the writes.

        From `flag_version` in the answer's metadata, else from the value. A value whose write was never acknowledged
        stands where the last one acknowledged before it stands.
        """
        told = answer.metadata.get("flag_version")
        if isinstance(told, int) and not isinstance(told, bool):
            return told
        write = self._by_value.get(token(answer.value))
        if write is None:
            return -1
        if write.position >= 0:
            return write.position
        return max((w.position for w in self._acked if w.order < write.order), default=-1)

    def after(self, position: int) -> list[Written]:
        """The acknowledged writes behind a log position, in the log's order."""
        return self._acked[bisect_right(self._positions, position) :]

    def oldest_missing(self) -> list[int]:
        """For each acknowledged write in the log's order: the earliest answer among it and those behind it, ns.

        Writes in flight together may be answered in another order than the log's.
        """
        earliest: list[int] = []
        least = 1 << 62
        for write in reversed(self._acked):
            least = min(least, write.done)
            earliest.append(least)
        return earliest[::-1]


def key_logs(writes: Sequence[Written]) -> dict[str, KeyLog]:
    logs: dict[str, KeyLog] = {}
    for write in writes:
        logs.setdefault(write.key, KeyLog(write.key)).writes.append(write)
    for log in logs.values():
        log.seal()
    return logs


class Freshness:
    """How old what an answer shows is: the age of the oldest acknowledged write that it does not show."""

    def __init__(self, logs: dict[str, KeyLog]) -> None:
        self._logs = logs
        self._earliest = {key: log.oldest_missing() for key, log in logs.items()}

    def __repr__(self) -> str:
        return f"<Freshness of {len(self._logs)} keys>"

    def age(self, request: Request) -> int | None:
        """Nanoseconds of staleness when the request was sent, 0 for none; None when its key was never written.

        Writes acknowledged after the request was sent don't count: the answer could not know them.
        """
        log = self._logs.get(request.invoke.key)
        if log is None or request.complete is None:
            return None
        missing = log.after(log.position(request.complete))
        if not missing:
            return 0
        at = len(log.acknowledged) - len(missing)
        return max(0, request.invoke.t - self._earliest[request.invoke.key][at])


def same_value(shown: object, written: object) -> bool:
    """Whether what was shown is what was written; True and 1 differ, 1 and 1.0 do not."""
    if isinstance(shown, bool) != isinstance(written, bool):
        return False
    return shown == written
