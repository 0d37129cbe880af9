"""Whether there is a container engine here, and what tests need of it."""

from __future__ import annotations

import functools

import pytest

from harness.errors import SquallError
from harness.runtime.containers.engine import connect
from harness.runtime.session import prepare


@functools.cache
def why_not() -> str:
    try:
        connect(within=5).close()
    except SquallError as error:
        return str(error)
    return ""


needs_engine = pytest.mark.skipif(bool(why_not()), reason=why_not() or "there is an engine")


@functools.cache
def parts():
    return prepare("docker", [], print)
