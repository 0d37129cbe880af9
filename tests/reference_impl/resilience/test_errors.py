"""Every outside exception has one kind; bugs have none."""

import asyncio
import errno

import aiohttp
import pytest
import redis.exceptions

from reference_impl.resilience.errors import CallError, kind_of, mapped, status_error


def caused(error, cause):
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (TimeoutError(), "TIMEOUT"),
        (OSError(errno.ETIMEDOUT, "x"), "TIMEOUT"),
        (redis.exceptions.TimeoutError(), "TIMEOUT"),
        (ConnectionRefusedError(), "CONNECTION_REFUSED"),
        (OSError(errno.ECONNREFUSED, "x"), "CONNECTION_REFUSED"),
        (
            caused(redis.exceptions.ConnectionError(), ConnectionRefusedError()),
            "CONNECTION_REFUSED",
        ),
        (ConnectionResetError(), "CONNECTION_RESET"),
        (BrokenPipeError(), "CONNECTION_RESET"),
        (aiohttp.ServerDisconnectedError(), "CONNECTION_RESET"),
        (aiohttp.ClientPayloadError(), "CONNECTION_RESET"),
        (aiohttp.ClientOSError(errno.ECONNRESET, "x"), "CONNECTION_RESET"),
        (asyncio.IncompleteReadError(b"", 1), "CONNECTION_RESET"),
        (redis.exceptions.ConnectionError("closed"), "CONNECTION_RESET"),
        (redis.exceptions.BusyLoadingError(), "SERVICE_UNAVAILABLE"),
        (OSError(errno.ENETUNREACH, "x"), "UNREACHABLE"),
        (aiohttp.InvalidURL("x"), "INVALID"),
        (redis.exceptions.ResponseError(), "INVALID"),
        (CallError("HTTP_418"), "HTTP_418"),
        (ZeroDivisionError(), None),
        (asyncio.CancelledError(), None),
    ],
)
def test_kind_of(error, kind):
    assert kind_of(error) == kind


@pytest.mark.parametrize(
    ("status", "kind"),
    [(503, "SERVICE_UNAVAILABLE"), (500, "HTTP_500"), (404, "HTTP_404"), (429, "HTTP_429")],
)
def test_statuses(status, kind):
    assert status_error(status).kind == kind


def test_mapped_keeps_the_cause_and_names_the_call():
    with (
        pytest.raises(CallError, match="TIMEOUT: read of x: TimeoutError") as caught,
        mapped("read of x"),
    ):
        raise TimeoutError
    assert isinstance(caught.value.__cause__, TimeoutError)


def test_mapped_lets_bugs_and_mapped_errors_pass():
    with pytest.raises(ZeroDivisionError), mapped("x"):
        raise ZeroDivisionError
    error = CallError("INVALID")
    with pytest.raises(CallError) as caught, mapped("x"):
        raise error
    assert caught.value is error
