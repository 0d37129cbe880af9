"""Absence: something that other nodes have is never seen at a node of a certain kind, as a read at a primary."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, ClassVar

from harness.checkers.base import Checker, Result, clock, windows
from harness.checkers.soundness import fault_doubts, run_doubts
from harness.checkers.status_field import field_of
from harness.checkers.writes import same_value
from harness.history import Status
from harness.verdict import Evidence

if TYPE_CHECKING:
    from harness.history_io import History
    from harness.verdict import Finding


@dataclass(frozen=True, kw_only=True)
class Absent(Checker):
    """While a node's status has all of `when`, the keys of its `field` (a mapping) have none like `keys` (patterns).

    Looked at: the statuses of `nodes` in the spans of `phase` ("": all). For the claim to say anything, each pattern must have
    been seen at a node whose status had not all of `when`, and some status must have had it.
    """

    nodes: tuple[str, ...]
    field: str
    keys: tuple[str, ...]
    when: dict[str, Any] = dataclasses.field(default_factory=dict)
    phase: str = ""

    name: ClassVar[str] = "absent"

    def __call__(self, history: History) -> list[Finding]:
        spans = windows(history, self.phase)
        seen = [s for s in history.of(Status) if s.node in self.nodes and s.ok]
        seen = [s for s in seen if any(s.t in span for span in spans)]
        chosen = [s for s in seen if self._is_meant(s)]
        found = [(s, key) for s in chosen for key in self._keys(s)]
        result = Result(
            subject=", ".join(self.nodes),
            claim=f"none of {', '.join(self.keys)} is among {self.field}",
            value=float(len(found)),
            bound=0.0,
            error=0.0,
            unit="statuses",
            figures={"looked at": float(len(chosen)), "others": float(len(seen) - len(chosen))},
            doubts=[
                *run_doubts(history),
                *fault_doubts(history, max((s.end for s in spans), default=0)),
            ],
        )
        if not chosen:
            result.doubts.append(f"no status had {self.when}")
        elsewhere = {k for s in seen if not self._is_meant(s) for k in self._keys(s)}
        for pattern in self.keys:
            if not any(fnmatchcase(key, pattern) for key in elsewhere):
                result.doubts.append(f"{pattern} was seen nowhere else either")
        if found:
            result.doubts = [d for d in result.doubts if "nowhere else" not in d]
            result.reason = f"{found[0][1]} was among {self.field} of {found[0][0].node}"
            result.evidence = [
                Evidence(s.t, f"{s.node} at {clock(s.t)}: {key} among {self.field}")
                for s, key in found[:3]
            ]
        return [result.finding(self)]

    def _is_meant(self, status: Status) -> bool:
        return all(same_value(field_of(status, name), value) for name, value in self.when.items())

    def _keys(self, status: Status) -> list[str]:
        value = field_of(status, self.field)
        keys = value if isinstance(value, dict) else {}
        return [key for key in keys if any(fnmatchcase(key, pattern) for pattern in self.keys)]
