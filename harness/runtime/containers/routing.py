"""Anycast by BGP: what the router and the PoPs are told. Pure.

PoPs announce one address to the router by BGP, watched by BFD (RFC 5880); the router sends each client group to the nearest
PoP that announces it. It answers ARP for the address, so that clients on the host need no route of their own, and has a
routing table for each group, chosen by the source address.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import SquallError
from harness.topology import ROUTER
from harness.yamlspec import nearest as nearest_word

if TYPE_CHECKING:
    from harness.runtime.containers.layout import Anycast, Layout
    from harness.topology import Node, Topology

ENTRY_FILE, ROUTING_FILE = "/etc/squall/anycast_node.py", "/etc/squall/routing.json"
ENTRY = Path(__file__).with_name("anycast_node.py")
# What bird needs to send its packets and set routes, and the entry program to give up being root for the others.
CAPABILITIES = ("NET_ADMIN", "NET_RAW", "NET_BIND_SERVICE", "SETUID", "SETGID")
GROUPS = ("bird",)
_OPEN_RETURN = {"net.ipv4.conf.all.rp_filter": "0", "net.ipv4.conf.default.rp_filter": "0"}
POP_SYSCTLS = _OPEN_RETURN
ROUTER_SYSCTLS = {
    **_OPEN_RETURN,
    "net.ipv4.ip_forward": "1",
    "net.ipv4.conf.all.send_redirects": "0",
}
ROUTER_AS, POP_AS = 64512, 64513
FIRST_TABLE, BEST = 101, 200


@dataclass(frozen=True, slots=True)
class Settings:
    """Of the router. `nearest`: for each client group PoPs from near to far; those not named come after.

    `interval` in s, `multiplier`: so many BFD packets missed mean that the PoP is gone.
    """

    nearest: dict[str, list[str]] = field(default_factory=dict)
    interval: float = 0.03
    multiplier: int = 3


def settings_of(node: Node, topology: Topology) -> Settings:
    """Raises `SquallError` for a setting that can't be."""
    known = ("nearest", "interval", "multiplier")
    for name in node.settings:
        if name not in known:
            raise SquallError(
                f"{topology.path}: {node.name}: unknown setting '{name}'{nearest_word(name, known)}"
            )
    made = Settings(**node.settings)
    pops = {link.to for link in topology.links_from(node.name)}
    for group, order in made.nearest.items():
        if group not in topology.clients:
            raise SquallError(
                f"{topology.path}: {node.name}: nearest: no client group '{group}'{nearest_word(group, topology.clients)}"
            )
        for pop in order:
            if pop not in pops:
                raise SquallError(
                    f"{topology.path}: {node.name}: nearest: no route to '{pop}'{nearest_word(pop, pops)}"
                )
    if not 0.005 <= made.interval <= 10 or not 1 <= made.multiplier <= 50:  # noqa: PLR2004 - what BIRD takes
        raise SquallError(
            f"{topology.path}: {node.name}: interval is 0.005 to 10 s, multiplier 1 to 50"
        )
    return made


def router_file(layout: Layout, settings: Settings) -> bytes:
    """What the entry program in the router's container is told."""
    anycast = layout.anycast
    assert anycast is not None
    tables = {
        network.subnet: table for table, network in enumerate(layout.groups.values(), FIRST_TABLE)
    }
    homes = layout.homes[anycast.router]
    told = {
        "anycast": anycast.address,
        "door": homes[anycast.network.name],
        "addresses": list(homes.values()),
        "tables": tables,
        "bird": _router_conf(layout, anycast, settings),
    }
    return json.dumps(told).encode()


def pop_file(layout: Layout, pop: str, settings: Settings, program: tuple[str, ...]) -> bytes:
    """What the entry program in a PoP's container is told. `program`: the PoP's own, which it starts beside bird."""
    anycast = layout.anycast
    assert anycast is not None
    told = {
        "anycast": anycast.address,
        "program": program,
        "bird": _pop_conf(layout, anycast, pop, settings),
    }
    return json.dumps(told).encode()


def _router_conf(layout: Layout, anycast: Anycast, settings: Settings) -> str:
    pops = list(anycast.edges)
    home = layout.homes[anycast.router]
    users = "\n".join(
        f"  route {network.subnet} via {anycast.network.gateway};"
        for network in layout.groups.values()
    )
    peers = "\n".join(
        f"protocol bgp {_name(pop)} from pop {{ local {home[edge.name]} as {ROUTER_AS}; "
        f"neighbor {layout.homes[pop][edge.name]} as {POP_AS}; }}"
        for pop, edge in anycast.edges.items()
    )
    groups = []
    for table, group in enumerate(layout.groups, FIRST_TABLE):
        named = settings.nearest.get(group, [])
        order = [*named, *(pop for pop in pops if pop not in named)]
        choice = " else ".join(
            f'if proto = "{_name(pop)}" then preference = {BEST - place};'
            for place, pop in enumerate(order)
        )
        groups.append(
            f"ipv4 table t{table};  # {group}\n"
            f"protocol pipe p{table} {{ table master4; peer table t{table}; import none; export filter {{\n"
            f"  if net != ANYCAST then reject; {choice} else reject; accept; }}; }}\n"
            f"protocol kernel k{table} {{ kernel table {table}; ipv4 {{ table t{table}; import none; export all; }}; }}"
        )
    return f"""\
{_head(home[anycast.network.name])}
define ANYCAST = {anycast.address}/32;
# The way back to the users, told to the PoPs.
protocol static users {{ ipv4;
{users}
}}
{_bfd(settings)}
template bgp pop {{
  {_SESSION}
  ipv4 {{ import where net = ANYCAST; export where proto = "users"; next hop self; }};
}}
{peers}
# A pipe carries every route, not only the best; each group's table prefers by its own order.
{chr(10).join(groups)}
# The host asks for the address by ARP from its own address there, which belongs to no group.
protocol kernel {{ ipv4 {{ import none; export where source ~ [ RTS_BGP, RTS_STATIC ]; }}; }}
"""


def _pop_conf(layout: Layout, anycast: Anycast, pop: str, settings: Settings) -> str:
    edge = anycast.edges[pop]
    own, router = layout.homes[pop][edge.name], layout.homes[anycast.router][edge.name]
    return f"""\
{_head(own)}
# Enabled while the PoP wants users.
protocol static anycast {{ disabled; ipv4; route {anycast.address}/32 blackhole; }}
{_bfd(settings)}
protocol bgp uplink {{
  local {own} as {POP_AS};
  neighbor {router} as {ROUTER_AS};
  {_SESSION}
  ipv4 {{ import where net != {anycast.address}/32; export where proto = "anycast"; next hop self; }};
}}
# Answers go back through the router.
protocol kernel {{ ipv4 {{ import none; export where source = RTS_BGP; }}; }}
"""


def _head(router_id: str) -> str:
    return f"""\
log stderr all;
timeformat log "%F %T.%6f";
router id {router_id};
debug protocols {{ states, events }};
protocol device {{ scan time 1; }}"""


def _bfd(settings: Settings) -> str:
    every = f"{settings.interval * 1000:.0f} ms"
    return f"""\
protocol bfd {{
  accept ipv4 direct;
  interface "*" {{ min rx interval {every}; min tx interval {every}; idle tx interval 100 ms; multiplier {settings.multiplier}; }};
}}"""


_SESSION = (
    "direct; bfd on; graceful restart off; hold time 9; startup hold time 9; connect delay time 0; "
    "connect retry time 1; error wait time 0, 0; error forget time 1;"
)


def _name(pop: str) -> str:
    """As BIRD names protocols."""
    return "pop_" + pop.replace("-", "_")


def checked(topology: Topology) -> None:
    """Raises `SquallError` for a router whose settings can't be."""
    for node in topology.nodes_of(ROUTER):
        settings_of(node, topology)
