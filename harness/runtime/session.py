"""What a run's workers share: the runtime's parts and one warden, begun by the run's main process and ended with it."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import SquallError
from harness.runtime.base import Kind, Parts
from harness.runtime.warden_client import WardenProcess
from harness.yamlspec import nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from harness.runtime.base import Runtime
    from harness.topology import Topology

# By name, imported when asked for: whoever runs processes need not load the docker package.
KINDS = {
    "process": ("harness.runtime.process", "ProcessKind"),
    "docker": ("harness.runtime.containers.runtime", "DockerKind"),
    "compose": ("harness.runtime.containers.borrowed", "ComposeKind"),
    "swarm": ("harness.runtime.containers.swarm", "SwarmKind"),
}


@dataclass(frozen=True, slots=True)
class Session:
    """Plain data, so that a forked worker can open the runtime for itself."""

    runtime: str
    warden: Path
    parts: Parts


def find_kind(name: str) -> Kind:
    """Raises `SquallError` for a runtime that squall does not have."""
    if name not in KINDS:
        raise SquallError(f"unknown runtime '{name}'{nearest(name, KINDS)}")
    module, kind = KINDS[name]
    made: Kind = getattr(import_module(module), kind)()
    return made


def prepare(
    runtime: str, topologies: Sequence[Topology], say: Callable[[str], None] = lambda _line: None
) -> Parts:
    """Find or make all that the runtime needs for these topologies; `say` is told before what takes long.

    Raises `SquallError` for what is missing.
    """
    return find_kind(runtime).prepare(topologies, say)


@contextlib.contextmanager
def open_session(runtime: str, parts: Parts, programs: Sequence[str]) -> Iterator[Session]:
    """Start the warden with the platforms' programs loaded; at the end it ends all that is still running."""
    preload = find_kind(runtime).preload(programs)
    with WardenProcess.start(preload) as warden:
        yield Session(runtime, warden.socket, parts)


def open_runtime(session: Session) -> Runtime:
    return find_kind(session.runtime).open(session.warden, session.parts)
