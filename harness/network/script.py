"""What a recording proxy answers in place of the node behind it: ordered rules, the first that fits and isn't used up.

Script((Rule(path="/ofrep", per_path=2, answer=Answer(code=503)),))   # each path's first two attempts, then pass
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from http import HTTPStatus

from harness.units import Seconds

_HALF_JSON = '{"seq": 41, "orgs": {"acme": {"ver'


class Kind(StrEnum):
    STATUS = "status"  # `code` and `body`
    HANG = "hang"  # nothing, until the caller gives up
    RESET = "reset"  # RST in place of an answer
    CUT = "cut"  # the headers, half of the body, then RST
    CORRUPT = "corrupt"  # a whole HTTP answer whose JSON is not whole
    EMPTY = "empty"  # 200 with nothing, or with `body` ("[]")
    PASS = "pass"  # noqa: S105 - not a password: what the node says, after `delay`


@dataclass(frozen=True, slots=True)
class Answer:
    """`delay` in s comes before whatever `kind` it is. `code` 0: 503 for a status, 200 for the others."""

    kind: Kind = Kind.STATUS
    code: int = 0
    body: str = ""
    content_type: str = "application/json"
    retry_after: int | None = None  # s
    delay: Seconds = Seconds(0.0)

    def __post_init__(self) -> None:
        if self.code != 0 and not 200 <= self.code <= 599:  # noqa: PLR2004 - the range of HTTP statuses
            raise ValueError(f"a scripted answer's code is 200 to 599, not {self.code}")
        if self.delay < 0:
            raise ValueError("a scripted answer can't come before its question")

    @property
    def status(self) -> int:
        return self.code or (503 if self.kind is Kind.STATUS else 200)

    def render(self) -> bytes:
        """The whole HTTP/1.1 answer. CUT sends a part of it."""
        body = (self.body or _DEFAULT_BODY.get(self.kind, "")).encode()
        reason = HTTPStatus(self.status).phrase if self.status in list(HTTPStatus) else "Scripted"
        head = [f"HTTP/1.1 {self.status} {reason}"]
        if self.status not in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED):
            head += [f"Content-Type: {self.content_type}", f"Content-Length: {len(body)}"]
        else:
            body = b""
        if self.retry_after is not None:
            head.append(f"Retry-After: {self.retry_after}")
        return "\r\n".join([*head, "", ""]).encode() + body


_DEFAULT_BODY = {
    Kind.STATUS: '{"error": "scripted"}',
    Kind.CORRUPT: _HALF_JSON,
    Kind.CUT: _HALF_JSON * 2,
}


@dataclass(frozen=True, slots=True)
class Rule:
    """Fits requests of `method` (any if "") whose path begins with `path` and matches all of `regex` if given.

    Used up after `times` answers in all, and for one path (without its query) after `per_path`; None: never.
    """

    answer: Answer
    path: str = "/"
    regex: str = ""
    method: str = ""
    times: int | None = None
    per_path: int | None = None
    name: str = ""

    def __post_init__(self) -> None:
        try:
            re.compile(self.regex)
        except re.error as error:
            raise ValueError(f"'{self.regex}' is no regular expression: {error}") from error

    @property
    def label(self) -> str:
        """As the history calls it: its name, else its kind of answer with the status."""
        answer = self.answer
        return self.name or (f"{answer.status}" if answer.kind is Kind.STATUS else str(answer.kind))

    @property
    def resets(self) -> bool:
        """Whether it ends a connection by RST."""
        return self.answer.kind in (Kind.RESET, Kind.CUT)

    def fits(self, method: str, path: str) -> bool:
        return (
            self.method.upper() in ("", method)
            and path.startswith(self.path)
            and (not self.regex or re.fullmatch(self.regex, path) is not None)
        )


@dataclass(frozen=True, slots=True)
class Script:
    rules: tuple[Rule, ...] = ()

    def __str__(self) -> str:
        return ", ".join(rule.label for rule in self.rules) or "pass everything"


@dataclass(slots=True)
class Play:
    """A script being played: knows how often each rule was used. Rules are told apart by their place."""

    script: Script = field(default_factory=Script)
    used: Counter[int] = field(default_factory=Counter)
    used_for: Counter[tuple[int, str]] = field(default_factory=Counter)

    def decide(self, method: str, target: str) -> Rule | None:
        """The rule for this request, counted as used; None: pass it on."""
        path = target.partition("?")[0]
        for place, rule in enumerate(self.script.rules):
            if not rule.fits(method, path):
                continue
            if rule.times is not None and self.used[place] >= rule.times:
                continue
            if rule.per_path is not None and self.used_for[place, path] >= rule.per_path:
                continue
            self.used[place] += 1
            self.used_for[place, path] += 1
            return rule
        return None
