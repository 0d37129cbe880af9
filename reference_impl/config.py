"""The node file: what a node is told about itself, its links and its clients (docs/architecture.md)."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec

Positive = Annotated[float, msgspec.Meta(gt=0)]  # of a setting: a time in s, mostly


class ConfigError(Exception):
    """A node file or a setting that can't be right, said in one line."""


class Listen(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    host: str
    port: int


class Upstream(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The far end of a link: `to` is the node meant; `host` and `port` are where to dial.

    `address` is where the node itself is, by which names (DNS) lead to it.
    """

    to: str
    role: str
    host: str
    port: int
    address: str = ""

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.to} at {self.host}:{self.port}"


S = TypeVar("S", bound=msgspec.Struct)


class NodeConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One node. `links` are by use, in order of preference; `clients` maps source address, or network, to client group."""

    name: str
    role: str
    region: str = ""
    zone: str = ""
    listen: Listen
    links: dict[str, list[Upstream]] = {}
    clients: dict[str, str] = {}
    settings: dict[str, Any] = {}
    seed: int = 0
    state_dir: str = "."

    def upstreams(self, use: str) -> tuple[Upstream, ...]:
        """All links of that use, most preferred first; empty when the topology gives none."""
        return tuple(self.links.get(use, ()))

    def upstream(self, use: str) -> Upstream:
        """The most preferred link of that use. Raises `ConfigError` when there is none."""
        for found in self.upstreams(use):
            return found
        raise ConfigError(f"{self.name}: role {self.role} needs a link with use {use!r}")

    def group_of(self, source: str) -> str | None:
        """The client group of an address: its own, else that of the first network ("198.19.250.0/26") it is in."""
        if source in self.clients or not any("/" in each for each in self.clients):
            return self.clients.get(source)
        address = ip_address(source)
        networks = (each for each in self.clients if "/" in each)
        return next((self.clients[n] for n in networks if address in ip_network(n)), None)

    def settings_as(self, kind: type[S]) -> S:
        """`settings` as the role's own struct. Raises `ConfigError` for a wrong type or an unknown key."""
        try:
            return msgspec.convert(self.settings, kind)
        except msgspec.ValidationError as error:
            raise ConfigError(f"{self.name}: settings of role {self.role}: {error}") from None


def load(path: str | Path) -> NodeConfig:
    """Read a node file. Raises `ConfigError`."""
    try:
        return msgspec.json.decode(Path(path).read_bytes(), type=NodeConfig)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except msgspec.DecodeError as error:
        raise ConfigError(f"{path}: {error}") from None
