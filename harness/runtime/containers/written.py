"""A topology's containers as a file describes them that is brought up without squall: by Compose, or as a stack on a swarm.

Both files are rendered from the same containers. What a run would copy into a container is written by the container's own
command here, from its environment.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import SquallError
from harness.network.toxiproxy import proxy_name
from harness.runtime.containers import layout as layouts
from harness.runtime.containers.blueprint import IN_IMAGE, Blueprint
from harness.topology import ROUTER

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.runtime.base import Address, Plan
    from harness.runtime.containers.engine import Container
    from harness.runtime.containers.layout import Layout
    from harness.topology import Topology

IMAGE = "squall-node"
SETTINGS = "squall.settings"  # label: of the node's settings
ROOM = "/var/lib/squall"  # the image's user may write there


def check(topology: Topology) -> None:
    """Raises `SquallError` for a topology that can't be written."""
    if topology.nodes_of(ROUTER):
        raise SquallError(f"{topology.path}: a router needs what a Compose file can't give it")
    if topology.program.partition(".")[0] not in IN_IMAGE:
        raise SquallError(f"{topology.path}: the program '{topology.program}' is not in the image")
    layouts.check(topology)


def settings_digest(topology: Topology, node: str) -> str:
    """Of the program and the node's settings: what a platform that is up can't be changed in any more."""
    found = topology.nodes.get(node)
    text = json.dumps([topology.program, found.settings if found else {}], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def containers(
    plan: Plan, laid: Layout, links: Mapping[str, tuple[Address, Address]]
) -> list[Container]:
    """Toxiproxy first. `links`: where each listens and where it sends on."""
    blueprint = Blueprint(plan, laid, IMAGE, seed=0)
    nodes = plan.topology.nodes.values()
    return [_toxiproxy(blueprint, links), *(_unpacking(blueprint.of(node)) for node in nodes)]


def _toxiproxy(blueprint: Blueprint, links: Mapping[str, tuple[Address, Address]]) -> Container:
    """With its proxies from the start."""
    proxies = [
        {"name": proxy_name(link), "listen": str(at), "upstream": str(to), "enabled": True}
        for link, (at, to) in links.items()
    ]
    made = blueprint.toxiproxy()
    return replace(
        made,
        command=(*made.command, "-config", f"{ROOM}/proxies.json"),
        files={f"{ROOM}/proxies.json": json.dumps(proxies).encode()},
    )


def _unpacking(made: Container) -> Container:
    """The files that a run would copy in are in the room here, where the image's user may write."""
    moved = {path: f"{ROOM}/{Path(path).name}" for path in made.files}
    return replace(
        made,
        command=tuple(moved.get(word, word) for word in made.command),
        files={moved[path]: content for path, content in made.files.items()},
    )


def command(made: Container, first: str = "") -> list[str]:
    """Writes its files, runs the shell command `first`, and becomes what it is."""
    writes = [f'printf %s "${name}" >{path}' for name, path in _variables(made).items()]
    script = " && ".join(filter(None, [*writes, first, f"exec {shlex.join(made.command)}"]))
    return ["sh", "-c", literal(script)]


def environment(made: Container) -> dict[str, str]:
    """What `command` writes its files from."""
    return {name: literal(made.files[path].decode()) for name, path in _variables(made).items()}


def literal(text: str) -> str:
    """Both formats replace what follows a dollar."""
    return text.replace("$", "$$")


def _variables(made: Container) -> dict[str, str]:
    return {f"FILE_{number}": path for number, path in enumerate(made.files)}
