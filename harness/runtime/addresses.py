"""Each cluster has a 127.x.y.0/24 of its own. Every address in it is worked out from the topology; none is guessed.

    .2 …    one per node, on its role's port          .201   recording proxies (taps), ports 21000 …
    .200    links (toxiproxy), ports 20000 …          .202   toxiproxy's control API
    .231 …  source addresses, one per client group

A range is claimed by a socket in Linux's abstract namespace. It lives in the network namespace, as the addresses do,
so it also keeps apart users and containers that share no files; and the kernel ends it with the process that holds it.
"""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING

from harness.errors import RuntimeFailure
from harness.runtime.base import Address, Plan

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from harness.topology import Topology

FIRST_NODE = 2
LINKS, TAPS, TOXIPROXY, CLIENTS = 200, 201, 202, 231
LINK_PORT, TAP_PORT, TOXIPROXY_PORT = 20000, 21000, 8474

_SECONDS = range(10, 20)
_THIRDS = range(1, 251)
RANGES = tuple(f"127.{second}.{third}" for second in _SECONDS for third in _THIRDS)
# Foreign software on one range is bad luck; on as many as this, it listens on all addresses and none will ever do.
MAX_FOREIGN = 12


def make_plan(prefix: str, topology: Topology, state_dir: Path, taps: Sequence[str]) -> Plan:
    """Where everything is within the range `prefix` ("127.10.1"). Raises ValueError for a tap on an unknown link."""
    unknown = set(taps) - set(topology.links)
    if unknown:
        raise ValueError(f"no link '{min(unknown)}' to tap")
    nodes = enumerate(topology.nodes.values(), FIRST_NODE)
    return Plan(
        topology=topology,
        state_dir=state_dir,
        node={node.name: Address(f"{prefix}.{octet}", node.port) for octet, node in nodes},
        link=_ports(f"{prefix}.{LINKS}", LINK_PORT, topology.links),
        tap=_ports(f"{prefix}.{TAPS}", TAP_PORT, dict.fromkeys(taps)),
        client={name: f"{prefix}.{octet}" for octet, name in enumerate(topology.clients, CLIENTS)},
        toxiproxy=Address(f"{prefix}.{TOXIPROXY}", TOXIPROXY_PORT),
    )


def _ports(host: str, first: int, names: Iterable[str]) -> dict[str, Address]:
    return {name: Address(host, port) for port, name in enumerate(names, first)}


def prefix_of(plan: Plan) -> str:
    return plan.toxiproxy.host.rpartition(".")[0]


def listeners(plan: Plan) -> list[tuple[int, int]]:
    """(last octet, port) of all that something will listen on."""
    far = (plan.far_end(link) for link in plan.topology.links.values())
    nodes = dict.fromkeys([*plan.node.values(), *far])
    every = [*nodes, *plan.link.values(), *plan.tap.values(), plan.toxiproxy]
    return [(int(address.host.rpartition(".")[2]), address.port) for address in every]


class RangeClaim:
    """One range, held as long as this object is open or the process lives, whichever ends first."""

    def __init__(self, prefix: str, holder: socket.socket) -> None:
        self.prefix = prefix
        self._holder = holder

    def __repr__(self) -> str:
        return f"RangeClaim({self.prefix}.0/24, {'held' if self._holder.fileno() >= 0 else 'free'})"

    def close(self) -> None:
        self._holder.close()


def claim_range(wanted: Sequence[tuple[int, int]], after: str = "") -> RangeClaim:
    """Claim the next free range behind `after` on which all of `wanted` (last octet, port) can be listened on.

    Raises `RuntimeFailure` when there is none.
    """
    foreign: list[str] = []
    for prefix in _from(after):
        holder = _try_claim(prefix)
        if holder is None:
            continue
        taken = next(
            (
                f"{prefix}.{octet}:{port}"
                for octet, port in wanted
                if not _free(f"{prefix}.{octet}", port)
            ),
            "",
        )
        if not taken:
            return RangeClaim(prefix, holder)
        holder.close()
        foreign.append(taken)
        if len(foreign) >= MAX_FOREIGN:
            raise RuntimeFailure(
                f"other software listens on {foreign[-1]} and the like, maybe on all addresses: "
                "no range of loopback addresses can be used"
            )
    raise RuntimeFailure(f"all {len(RANGES)} ranges of loopback addresses are in use")


def _from(after: str) -> Iterator[str]:
    """All ranges, beginning behind `after`: one that was just freed is used again as late as possible."""
    begin = RANGES.index(after) + 1 if after in RANGES else 0
    yield from RANGES[begin:]
    yield from RANGES[:begin]


def _try_claim(prefix: str) -> socket.socket | None:
    holder = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        holder.bind(f"\0squall-range-{prefix}")
    except OSError as error:
        holder.close()
        if error.errno == errno.EADDRINUSE:
            return None
        raise
    return holder


def _free(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise
    return True
