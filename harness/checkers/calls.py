"""What a wiretap saw of one caller: exchanges, their error classes as the caller felt them, and the operations they make."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from harness.history import Wire

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from harness.history_io import History

TIMEOUT = "TIMEOUT"
CONNECTION_RESET = "CONNECTION_RESET"
SERVICE_UNAVAILABLE = "SERVICE_UNAVAILABLE"
RETRYABLE = (TIMEOUT, CONNECTION_RESET, SERVICE_UNAVAILABLE)
UNCLEAR = "UNCLEAR"
_ERROR = 400


def error_class(wire: Wire) -> str:
    """Nothing ("") for success, else the caller's error: it gave up waiting, its connection was reset, or a status.

    A scripted answer counts as reset when it is called so, or "cut" (broken off in the middle). "UNCLEAR" where the
    upstream broke off: how the caller felt that, the wire does not tell.
    """
    if wire.error == "caller-closed":
        return TIMEOUT
    if ("reset" in wire.scripted and not wire.status) or wire.scripted == "cut":
        return CONNECTION_RESET
    if wire.status == 503:  # noqa: PLR2004 - Service Unavailable
        return SERVICE_UNAVAILABLE
    if wire.status:
        return f"HTTP_{wire.status}" if wire.status >= _ERROR else ""
    return UNCLEAR


@dataclass(frozen=True, slots=True)
class Call:
    """One operation of the caller: its attempts in order. All times in ns.

    `fine`: statuses from 400 on that are answers and not failures, such as 404 to "is there such a flag?".
    """

    path: str
    attempts: tuple[Wire, ...]
    fine: frozenset[int] = frozenset()

    @property
    def start(self) -> int:
        return self.attempts[0].t

    @property
    def end(self) -> int:
        return end_of(self.attempts[-1])

    @property
    def error(self) -> str:
        """The last attempt's class: "" when the operation succeeded."""
        last = self.attempts[-1]
        return "" if last.status in self.fine and not last.error else error_class(last)


def end_of(wire: Wire) -> int:
    """When the attempt was over: its answer sent, or its caller gone."""
    return max(wire.end, wire.response_start, wire.request_end, wire.t)


def exchanges(history: History, link: str, path: str) -> list[Wire]:
    """The exchanges on links that match the pattern `link`, with paths that begin with `path`, by time."""
    return [w for w in history.of(Wire) if fnmatchcase(w.link, link) and w.path.startswith(path)]


def calls(wires: Sequence[Wire], gap: int, fine: Iterable[int] = ()) -> list[Call]:
    """Exchanges of one caller and path, with at most `gap` ns between them, are attempts of one operation.

    A caller may try its second choice next: the links of one source count as one.
    """
    groups: dict[tuple[str, str, str], list[list[Wire]]] = defaultdict(list)
    for wire in wires:
        runs = groups[wire.link.split("->", 1)[0], wire.method, wire.path]
        if runs and wire.t - max(end_of(w) for w in runs[-1]) <= gap:
            runs[-1].append(wire)
        else:
            runs.append([wire])
    good = frozenset(fine)
    found = [Call(run[0].path, tuple(run), good) for runs in groups.values() for run in runs]
    return sorted(found, key=lambda call: call.start)
