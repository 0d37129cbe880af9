"""What a run's workers share: one warden, begun by the run's main process and ended with it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import SquallError
from harness.runtime.base import Runtime
from harness.runtime.process import ProcessRuntime
from harness.runtime.warden_client import WardenProcess

RUNTIMES = ("process",)


@dataclass(frozen=True, slots=True)
class Session:
    """Plain data, so that a forked worker can open the runtime for itself."""

    runtime: str
    warden: Path


def check_runtime(name: str) -> None:
    """Raises SquallError for a runtime that squall does not have."""
    if name not in RUNTIMES:
        raise SquallError(f"unknown runtime '{name}' (known: {', '.join(RUNTIMES)})")


@contextlib.contextmanager
def open_session(runtime: str, programs: Sequence[str]) -> Iterator[Session]:
    """Start the warden with the platforms' programs loaded; at the end it ends all that is still running."""
    check_runtime(runtime)
    with WardenProcess.start(programs) as warden:
        yield Session(runtime, warden.socket)


def open_runtime(session: Session) -> Runtime:
    return ProcessRuntime(session.warden)
