"""One HTTP exchange as a recording proxy sees it, and the parsers that follow both of its ways."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import httptools

from harness.history import Wire
from harness.network.script import Rule

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable


# Request headers that tell something about how a platform behaves.
KEPT = frozenset({"last-event-id", "x-attempt", "x-org-id", "if-none-match", "retry-after"})


@dataclass(slots=True)
class Exchange:
    """Times in ns since the history's origin; 0: not yet."""

    n: int
    connection: int
    t: int
    method: str = ""
    path: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    request_end: int = 0
    response_start: int = 0
    end: int = 0
    status: int = 0
    scripted: str = ""
    error: str = ""
    decided: bool = False
    rule: Rule | None = None
    written: bool = False

    def wire(self, link: str) -> Wire:
        error = "upstream-closed" if self.error == "upstream-reset" else self.error
        return Wire(
            t=self.t,
            link=link,
            n=self.n,
            connection=self.connection,
            method=self.method,
            path=self.path,
            request_end=self.request_end,
            response_start=self.response_start,
            end=self.end,
            status=self.status,
            scripted=self.scripted,
            error=error,
            headers=self.headers,
        )


class Requests:
    """Follows a caller's bytes; appends an exchange to `pending` for each request that begins."""

    def __init__(
        self, pending: deque[Exchange], begin: Callable[[], Exchange], now: Callable[[], int]
    ) -> None:
        self._pending, self._begin, self._now = pending, begin, now
        self._parser: httptools.HttpRequestParser | None = httptools.HttpRequestParser(self)
        self._exchange: Exchange | None = None
        self.in_head = False

    def feed(self, data: bytes) -> None:
        """Bytes that are not HTTP end the following, not the connection."""
        if self._parser is None:
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._parser = None
            self.in_head = False

    def on_message_begin(self) -> None:
        self.in_head = True
        self._exchange = self._begin()
        self._pending.append(self._exchange)

    def on_url(self, url: bytes) -> None:
        assert self._exchange is not None
        self._exchange.path += url.decode("latin-1")

    def on_header(self, name: bytes, value: bytes) -> None:
        assert self._exchange is not None
        key = name.decode("latin-1").lower()
        if key in KEPT:
            self._exchange.headers[key] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        assert self._exchange is not None
        assert self._parser is not None
        self.in_head = False
        self._exchange.method = self._parser.get_method().decode("latin-1")

    def on_message_complete(self) -> None:
        assert self._exchange is not None
        self._exchange.request_end = self._now()


class Responses:
    """Follows the node's bytes; takes exchanges off `pending` as their answers end, in order."""

    def __init__(
        self,
        pending: deque[Exchange],
        finish: Callable[[Exchange], None],
        now: Callable[[], int],
    ) -> None:
        self._pending, self._finish, self._now = pending, finish, now
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)
        self._start = 0
        self._framed = False  # the head says where the body ends
        self._stream = False
        self._interim = False
        self._over = False  # an answer to HEAD, which the parser can't know to have no body

    def feed(self, data: bytes) -> None:
        if self._over:
            self._over = False
            self._parser = httptools.HttpResponseParser(self)
        if self._parser is None:
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._parser = None

    def eof(self) -> None:
        """The node has closed: that is how an answer without a length ends."""
        if self._pending and self._pending[0].response_start and not self._framed:
            self._done()

    def on_message_begin(self) -> None:
        self._start = self._now()
        self._framed = self._stream = False

    def on_header(self, name: bytes, value: bytes) -> None:
        key = name.lower()
        if key in (b"content-length", b"transfer-encoding"):
            self._framed = True
        elif key == b"content-type":
            self._stream = value.lower().startswith(b"text/event-stream")

    def on_headers_complete(self) -> None:
        assert self._parser is not None
        status = self._parser.get_status_code()
        self._interim = status < 200  # noqa: PLR2004 - "100 Continue" and its like precede the answer
        if self._interim or not self._pending:
            return
        exchange = self._pending[0]
        exchange.status = status
        exchange.response_start = self._start
        if self._stream:
            self._finish(exchange)
        if exchange.method == "HEAD":
            self._over = True
            self._done()

    def on_message_complete(self) -> None:
        if self._interim or self._over or not self._pending:
            return
        self._done()

    def _done(self) -> None:
        exchange = self._pending.popleft()
        exchange.end = self._now()
        self._finish(exchange)
