"""What each container of a cluster is made of: pure, from the plan and the layout."""

from __future__ import annotations

import importlib.util
import json
import signal
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from harness.errors import SquallError
from harness.runtime import servers
from harness.runtime.containers import routing
from harness.runtime.containers.engine import Container
from harness.runtime.containers.layout import TOXIPROXY_NODE
from harness.runtime.node_file import node_config
from harness.topology import PROGRAM_PORT, ROUTER

if TYPE_CHECKING:
    from harness.runtime.base import Plan
    from harness.runtime.containers.layout import Layout
    from harness.topology import Node

MEBI = 2**20
MEMORY = {"postgres": 512 * MEBI, "redis": 128 * MEBI, TOXIPROXY_NODE: 256 * MEBI}
PROGRAM_MEMORY = 512 * MEBI
HOME = PurePosixPath("/var/lib/squall")
NODE_FILE = "/etc/squall/node.json"
CODE = PurePosixPath("/opt/program")  # programs that are not in the image
IN_IMAGE = {"reference_impl"}
# As the process runtime does: `main([path])` of the module.
RUN_MAIN = (
    "import importlib, sys; sys.path.insert(0, '/opt/program'); "
    "importlib.import_module(sys.argv[1]).main(sys.argv[2:])"
)
MOST_CODE = 8 * MEBI
PROBES = {
    "postgres": "pg_isready -q -h {host}",
    "redis": "redis-cli -h {host} ping | grep -q PONG",
}
# Without a Python of its own: a bash can speak that much HTTP.
PROGRAM_PROBE = (
    'bash -c \'exec 3<>/dev/tcp/{host}/{port} && printf "GET /health HTTP/1.0\\r\\n\\r\\n" >&3 && '
    'head -n 1 <&3 | grep -q " 200"\''
)


class Blueprint:
    """Raises `SquallError` where a node can't be made: settings that can't be, a program that is not there."""

    def __init__(self, plan: Plan, layout: Layout, image: str, seed: int) -> None:
        self._plan = plan
        self._layout = layout
        self._image = image
        self._seed = seed
        self._code = code_of(plan.topology.program)

    def __repr__(self) -> str:
        return f"Blueprint({self._plan.topology.name} at {self._layout.name}, {self._image})"

    def toxiproxy(self) -> Container:
        port = str(self._plan.toxiproxy.port)
        command = ("toxiproxy-server", "-host", "0.0.0.0", "-port", port)  # noqa: S104 - in the run's own networks
        return self._container(TOXIPROXY_NODE, TOXIPROXY_NODE, command)

    def of(self, node: Node) -> Container:
        if node.role == ROUTER:
            return self._router(node)
        return self._server(node) if node.is_server else self._program(node)

    def _container(
        self,
        node: str,
        role: str,
        command: tuple[str, ...],
        check: str = "",
        files: dict[str, bytes] | None = None,
    ) -> Container:
        return Container(
            name=self._layout.container(node),
            node=node,
            image=self._image,
            command=command,
            networks=self._layout.homes[node],
            memory=MEMORY.get(role, PROGRAM_MEMORY),
            files=files or {},
            check=check,
            stop_signal=signal.Signals(servers.stop_signal(role)).name,
        )

    def _server(self, node: Node) -> Container:
        at = self._plan.node[node.name]
        command = servers.container_command(node, at, HOME)
        probe = PROBES[node.role].format(host=at.host)
        return self._container(node.name, node.role, command, probe)

    def _router(self, node: Node) -> Container:
        settings = routing.settings_of(node, self._plan.topology)
        files = {
            routing.ENTRY_FILE: routing.ENTRY.read_bytes(),
            routing.ROUTING_FILE: routing.router_file(self._layout, settings),
        }
        command = ("python", routing.ENTRY_FILE, "router", routing.ROUTING_FILE)
        plain = self._container(node.name, node.role, command, files=files)
        return _privileged(plain, routing.ROUTER_SYSCTLS)

    def _program(self, node: Node) -> Container:
        at, topology = self._plan.node[node.name], self._plan.topology
        command = ("python", "-c", RUN_MAIN, topology.program, NODE_FILE)
        routes = topology.routes_to(node.name)
        # Behind a router it is reached at the anycast address too.
        config = node_config(self._plan, node, HOME, self._seed, "0.0.0.0" if routes else "")  # noqa: S104 - as above
        files = {NODE_FILE: json.dumps(config, indent=1).encode(), **self._code}
        probe = PROGRAM_PROBE.format(host=at.host, port=PROGRAM_PORT)
        plain = self._container(node.name, node.role, command, probe, files)
        return self._announcing(plain, topology.nodes[routes[0].source]) if routes else plain

    def _announcing(self, plain: Container, router: Node) -> Container:
        """The same program, started by the one that speaks for it to the router."""
        settings = routing.settings_of(router, self._plan.topology)
        files = {
            **plain.files,
            routing.ENTRY_FILE: routing.ENTRY.read_bytes(),
            routing.ROUTING_FILE: routing.pop_file(
                self._layout, plain.node, settings, plain.command
            ),
        }
        command = ("python", routing.ENTRY_FILE, "pop", routing.ROUTING_FILE)
        return _privileged(replace(plain, command=command, files=files), routing.POP_SYSCTLS)


def _privileged(container: Container, sysctls: dict[str, str]) -> Container:
    """For what speaks BGP: its first process is root, with the few rights that bird needs."""
    return replace(
        container,
        user="0",
        groups=routing.GROUPS,
        capabilities=routing.CAPABILITIES,
        sysctls=sysctls,
    )


def code_of(program: str) -> dict[str, bytes]:
    """The sources of a program that is not in the image, by where they go in the container.

    Raises `SquallError` for one that can't be found, or is too large to be copied into every node.
    """
    top = program.partition(".")[0]
    if top in IN_IMAGE:
        return {}
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        raise SquallError(f"the program '{program}' can't be imported: no module named '{top}'")
    if not spec.submodule_search_locations:
        assert spec.origin is not None
        return {str(CODE / f"{top}.py"): Path(spec.origin).read_bytes()}
    files = {
        str(CODE / top / path.relative_to(root).as_posix()): path.read_bytes()
        for root in map(Path, spec.submodule_search_locations)
        for path in sorted(root.rglob("*.py"))
    }
    size = sum(map(len, files.values()))
    if size > MOST_CODE:
        raise SquallError(
            f"the package '{top}' has {size / MEBI:.0f} MiB of sources, too much to be copied into containers"
        )
    return files
