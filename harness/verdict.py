"""What a check says: three values, with the figures and the events that prove it."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Verdict(StrEnum):
    """`UNKNOWN` is for everything that was not shown: a fault that did not bite, a probe that ran late, no data."""

    PASS = "pass"  # noqa: S105 - a verdict
    FAIL = "fail"
    UNKNOWN = "unknown"

    @classmethod
    def combine(cls, verdicts: list[Verdict]) -> Verdict:
        """One broken promise is a fail; else anything not shown is unknown; nothing at all is unknown."""
        if cls.FAIL in verdicts:
            return cls.FAIL
        if not verdicts or cls.UNKNOWN in verdicts:
            return cls.UNKNOWN
        return cls.PASS


class Evidence(msgspec.Struct, frozen=True):
    """One event that proves a finding: when (ns on the history's clock, i.e. since its origin) and what was seen."""

    t: int
    text: str


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of one check to one claim.

    `value`, `bound` and `error` are in `unit` ("s", "ms", "writes", "ratio" …). `relation` says how value and bound
    are compared: "<=", ">=", "=="; a check over several figures puts the deciding one in `value` and the rest in
    `figures`. A fail is said only when the bound is broken by more than the measurement error; a pass where
    value + error would break the bound is still a pass, with the error shown.
    """

    check: str
    requirement: str
    claim: str
    verdict: Verdict
    reason: str = ""
    value: float | None = None
    relation: str = "<="
    bound: float | None = None
    error: float | None = None
    unit: str = ""
    figures: dict[str, float] = {}
    evidence: tuple[Evidence, ...] = ()
    kind: str = ""  # "rto" or "rpo" puts the finding in the report's RTO/RPO table
    subject: str = ""  # what was measured: "pop-us", "hub crash" …
