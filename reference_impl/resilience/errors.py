"""One kind of error for every call that leaves the process. Outside exceptions are mapped here, once."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp
import redis.exceptions

TIMEOUT = "TIMEOUT"
CONNECTION_RESET = "CONNECTION_RESET"
CONNECTION_REFUSED = "CONNECTION_REFUSED"
SERVICE_UNAVAILABLE = "SERVICE_UNAVAILABLE"
UNREACHABLE = "UNREACHABLE"
INVALID = "INVALID"  # an answer came, and it can't be used

HTTP_UNAVAILABLE = 503
RESET = (errno.ECONNRESET, errno.ECONNABORTED, errno.EPIPE)


class CallError(Exception):
    """A call to another node failed. `kind` is one of this module's names, or `HTTP_<status>`."""

    def __init__(self, kind: str, detail: str = "") -> None:
        super().__init__(f"{kind}: {detail}" if detail else kind)
        self.kind = kind
        self.detail = detail

    def __repr__(self) -> str:
        return f"CallError({self.kind}, {self.detail!r})"


def status_error(status: int, detail: str = "") -> CallError:
    """The error for an HTTP status that is not a success."""
    kind = SERVICE_UNAVAILABLE if status == HTTP_UNAVAILABLE else f"HTTP_{status}"
    return CallError(kind, detail)


def _of_os_error(error: OSError) -> str:
    if isinstance(error, ConnectionRefusedError) or error.errno == errno.ECONNREFUSED:
        return CONNECTION_REFUSED
    # aiohttp's own errors carry the number without being Python's class for it.
    if isinstance(error, ConnectionError) or error.errno in RESET:
        return CONNECTION_RESET
    if error.errno == errno.ETIMEDOUT:
        return TIMEOUT
    return UNREACHABLE


def _of_redis_error(error: redis.exceptions.RedisError) -> str:
    cause = error.__cause__ or error.__context__
    if isinstance(error, redis.exceptions.BusyLoadingError):
        return SERVICE_UNAVAILABLE
    if isinstance(error, redis.exceptions.ConnectionError):
        return _of_os_error(cause) if isinstance(cause, OSError) else CONNECTION_RESET
    return INVALID


def kind_of(error: BaseException) -> str | None:  # noqa: PLR0911 - a table, one line for each
    """The kind of an outside exception; None for what is not a failed call, such as a bug of our own."""
    match error:
        case CallError():
            return error.kind
        case TimeoutError() | asyncio.TimeoutError() | redis.exceptions.TimeoutError():
            return TIMEOUT
        case aiohttp.ClientConnectorError():
            return _of_os_error(error.os_error)
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientPayloadError():
            return CONNECTION_RESET
        case redis.exceptions.RedisError():
            return _of_redis_error(error)
        case OSError():
            return _of_os_error(error)
        case aiohttp.ClientError():
            return INVALID
        case asyncio.IncompleteReadError():
            return CONNECTION_RESET
    return None


@contextmanager
def mapped(what: str) -> Iterator[None]:
    """Turn outside exceptions of the block into `CallError`; `what` names the call in its message."""
    try:
        yield
    except CallError:
        raise
    except Exception as error:
        kind = kind_of(error)
        if kind is None:
            raise
        raise CallError(kind, f"{what}: {str(error) or type(error).__name__}") from error
