"""The container engine: all that is asked of it but the building of images (image.py). Every call has a deadline; errors
are mapped here.

All calls block; async code uses them in threads.
"""

from __future__ import annotations

import io
import json
import tarfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import docker
import docker.errors
import requests.exceptions
from docker.types import IPAMConfig, IPAMPool
from docker.utils import kwargs_from_env

from harness.errors import MissingPartError, RuntimeFailure

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

CALL_WITHIN = 30.0  # s for one call; an idle engine takes a few hundred ms for the longest
OLDEST = (1, 40)  # API of engine 19.03
DEFAULT_URL = "unix:///var/run/docker.sock"

# More than the machine's other processes (1024), less than the measuring side (nice -12 weighs 15000).
PLATFORM_SHARES = 2048

LEASE, ROOM, NODE, HOMES = "squall.lease", "squall.room", "squall.node", "squall.networks"


class OverlapError(RuntimeFailure):
    """The addresses asked for are another network's."""


@dataclass(frozen=True, slots=True)
class Network:
    """One bridge. `gateway` is the host's own address in it."""

    name: str
    subnet: str
    gateway: str


@dataclass(frozen=True, slots=True)
class Container:
    """One container to be. `networks` by name, with its address in each; the first is the one it is born with.

    `files` by absolute path. `memory` in bytes. `check`: a shell command that says by its exit code whether it is well.
    """

    name: str
    node: str
    image: str
    command: tuple[str, ...]
    networks: dict[str, str]
    memory: int
    files: dict[str, bytes] = field(default_factory=dict)
    check: str = ""
    stop_signal: str = "SIGTERM"
    working_dir: str = "/var/lib/squall"
    user: str = ""  # "": the image's
    groups: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ()
    sysctls: dict[str, str] = field(default_factory=dict)  # of its own network


@dataclass(frozen=True, slots=True)
class Look:
    """A container as the engine sees it."""

    running: bool
    paused: bool
    exit_code: int


def engine_url() -> str:
    """Of the engine that DOCKER_HOST names, or the local one.

    Raises `MissingPartError` for one on another machine: probes send to the containers' own addresses, and recording
    proxies listen on the host's, so the engine's bridges must be this machine's.
    """
    try:
        url = str(kwargs_from_env().get("base_url") or DEFAULT_URL)
    except docker.errors.DockerException as error:
        raise MissingPartError(f"DOCKER_HOST and its like can't be right: {_why(error)}") from error
    return must_be_local(url, "DOCKER_HOST")


def must_be_local(url: str, variable: str) -> str:
    """The URL, which `variable` named. Raises `MissingPartError` for any but that of a socket on this machine."""
    if urlsplit(url).scheme not in ("unix", "http+unix"):
        raise MissingPartError(
            f"{variable}={url}: an engine on another machine can't be used, because probes send to containers' own "
            "addresses; run squall on that machine"
        )
    return url


def connect(url: str = "", within: float = CALL_WITHIN) -> Engine:
    """`within` s for each call. Raises `MissingPartError` with one clear line when there is none, it is too old, or
    we may not use it.
    """
    url = url or engine_url()
    try:
        client = docker.DockerClient(base_url=url, timeout=int(within), max_pool_size=32)
        version = client.version()
    except (docker.errors.DockerException, requests.exceptions.RequestException) as error:
        raise MissingPartError(f"no container engine at {url}: {_why(error)}") from error
    api = tuple(int(part) for part in str(version["ApiVersion"]).split("."))
    if api < OLDEST:
        raise MissingPartError(
            f"the container engine at {url} is too old: {version['Version']} has API {version['ApiVersion']}, "
            f"{OLDEST[0]}.{OLDEST[1]} is needed"
        )
    return Engine(url, client, str(version["Version"]))


@dataclass(frozen=True, slots=True)
class Swarm:
    """What an engine is in its swarm; `node`: its id there, "" where it is in none."""

    node: str
    manager: bool


class Engine:
    """Raises `RuntimeFailure` from every method, with what the engine said."""

    def __init__(self, url: str, client: docker.DockerClient, version: str) -> None:
        self.url = url
        self.client = client
        self.version = version
        self._api = client.api
        self._parent: str | None = None

    def __repr__(self) -> str:
        return f"Engine({self.url}, {self.version})"

    def close(self) -> None:
        self.client.close()

    def must_be_here(self) -> None:
        """Raises `MissingPartError` for an engine whose networks are not this machine's: rootless, or in a machine of its own."""
        with _mapped("info"):
            info = self._api.info()
        system = str(info.get("OperatingSystem", ""))
        rootless = any("rootless" in option for option in info.get("SecurityOptions") or ())
        if rootless or system == "Docker Desktop":
            what = "a rootless engine" if rootless else system
            raise MissingPartError(
                f"{self.url} is {what}, whose networks this machine can't reach; use an engine that runs as root on it"
            )

    # ------------------------------------------------------------------------------------------------------- swarm

    def swarm(self) -> Swarm:
        with _mapped("info"):
            found = self._api.info().get("Swarm") or {}
        active = found.get("LocalNodeState") == "active"
        return Swarm(
            str(found.get("NodeID", "")) if active else "", bool(found.get("ControlAvailable"))
        )

    def machines(self, label: str) -> dict[str, str]:
        """Of the swarm that it manages: id to name of those with the label."""
        with _mapped("list the swarm's machines"):
            nodes = self._api.nodes()
        return {
            node["ID"]: str(node["Description"]["Hostname"])
            for node in nodes
            if label in (node["Spec"].get("Labels") or {})
        }

    # ---------------------------------------------------------------------------------------------------- networks

    def create_network(self, network: Network, labels: Mapping[str, str]) -> None:
        """Raises `OverlapError` when its addresses are taken. Nothing leaves it: no masquerading, so no way out."""
        ipam = IPAMConfig(pool_configs=[IPAMPool(subnet=network.subnet, gateway=network.gateway)])
        options = {"com.docker.network.bridge.enable_ip_masquerade": "false"}
        with _mapped(f"network {network.name}"):
            self._api.create_network(
                network.name, driver="bridge", ipam=ipam, labels=dict(labels), options=options
            )

    def join(self, network: str, container: str, address: str) -> None:
        with _mapped(f"connect {container} to {network}"):
            self._api.connect_container_to_network(container, network, ipv4_address=address)

    def leave(self, network: str, container: str) -> None:
        with _mapped(f"disconnect {container} from {network}"):
            self._api.disconnect_container_from_network(container, network, force=True)

    # -------------------------------------------------------------------------------------------------- containers

    def create(self, container: Container, labels: Mapping[str, str]) -> None:
        """Make it, with its networks and files, without starting it."""
        first, *others = container.networks
        api = self._api
        endpoint = api.create_endpoint_config(ipv4_address=container.networks[first])
        with _mapped(f"container {container.name}"):
            api.create_container(
                container.image,
                list(container.command),
                name=container.name,
                hostname=container.node,
                labels={
                    **labels,
                    NODE: container.node,
                    HOMES: json.dumps(container.networks),
                },
                working_dir=container.working_dir,
                stop_signal=container.stop_signal,
                healthcheck=_health(container.check),
                user=container.user or None,
                networking_config=api.create_networking_config({first: endpoint}),
                host_config=api.create_host_config(
                    network_mode=first,
                    mem_limit=container.memory,
                    memswap_limit=container.memory,
                    pids_limit=512,
                    cpu_shares=PLATFORM_SHARES,
                    cgroup_parent=self._cgroup_parent(),
                    cap_drop=["ALL"],
                    cap_add=list(container.capabilities),
                    group_add=list(container.groups),
                    sysctls=container.sysctls,
                    security_opt=["no-new-privileges"],
                    log_config={"Type": "json-file", "Config": {"max-size": "20m"}},
                ),
            )
            for network in others:
                self.join(network, container.name, container.networks[network])
            if container.files:
                api.put_archive(container.name, "/", _archive(container.files))

    def _cgroup_parent(self) -> str:
        """Beside the machine's other processes, not all together in one group that counts as one of them."""
        if self._parent is None:
            self._parent = "/" if self._api.info().get("CgroupDriver") == "cgroupfs" else ""
        return self._parent

    def start(self, name: str) -> None:
        with _mapped(f"start {name}"):
            self._api.start(name)

    def kill(self, name: str) -> None:
        """SIGKILL, also to one that is paused. Nothing happens to one that does not run."""
        with _mapped(f"kill {name}"):
            try:
                self._api.kill(name, "SIGKILL")
            except docker.errors.APIError as error:
                if "is not running" not in str(error.explanation):
                    raise

    def stop(self, name: str, within: int) -> None:
        """Its stop signal, and SIGKILL `within` s later."""
        with _mapped(f"stop {name}"):
            self._api.stop(name, timeout=within)

    def pause(self, name: str) -> None:
        with _mapped(f"pause {name}"):
            self._api.pause(name)

    def unpause(self, name: str) -> None:
        with _mapped(f"unpause {name}"):
            self._api.unpause(name)

    def look(self, name: str) -> Look:
        with _mapped(f"look at {name}"):
            try:
                state = self._api.inspect_container(name)["State"]
            except docker.errors.NotFound:  # it has been removed
                return Look(running=False, paused=False, exit_code=-1)
        return Look(bool(state["Running"]), bool(state["Paused"]), int(state["ExitCode"]))

    def process_of(self, name: str) -> int:
        """The first process of a container that runs, as its machine numbers it."""
        with _mapped(f"look at {name}"):
            return int(self._api.inspect_container(name)["State"]["Pid"])

    def networks_of(self, name: str) -> set[str]:
        with _mapped(f"look at {name}"):
            return set(self._api.inspect_container(name)["NetworkSettings"]["Networks"])

    def processes(self, name: str) -> dict[int, str]:
        """Pid, as the engine's machine counts them, and name of each process of a container that runs."""
        with _mapped(f"look into {name}"):
            told = self._api.top(name, "-eo pid,comm")
        return {int(row[0]): row[1] for row in told["Processes"] or ()}

    def log(self, name: str, tail: int | None = None) -> bytes:
        with _mapped(f"log of {name}"):
            lines: bytes = self._api.logs(name, tail="all" if tail is None else tail)
        return lines

    def tag(self, image: str, name: str) -> None:
        """Give the image one more name, "repository:tag"."""
        repository, _, tag = name.partition(":")
        with _mapped(f"tag {image} as {name}"):
            self._api.tag(image, repository, tag or "latest")

    def said_in(self, image: str, command: str) -> str:
        """What a shell command prints in a container of its own, which is gone afterwards."""
        with _mapped(f"{command} in {image}"):
            said: bytes = self.client.containers.run(
                image,
                ["sh", "-c", command],
                remove=True,
                network_mode="none",
                labels=["squall.look"],
            )
        return said.decode(errors="replace")

    # ------------------------------------------------------------------------------------------------ by their label

    def labelled(self, label: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Containers and networks with the label ("key" or "key=value"), as the engine lists them."""
        with _mapped("list"):
            return (
                self._api.containers(all=True, filters={"label": label}),
                self._api.networks(filters={"label": label}),
            )

    def remove(self, container: str) -> None:
        """Whatever state it is in. Idempotent."""
        with _mapped(f"remove {container}"):
            try:
                self._api.remove_container(container, force=True, v=True)
            except docker.errors.NotFound:
                return
            except docker.errors.APIError as error:
                if "already in progress" not in str(error.explanation):
                    raise

    def remove_network(self, network: str) -> None:
        """Idempotent."""
        with _mapped(f"remove network {network}"):
            try:
                self._api.remove_network(network)
            except docker.errors.NotFound:
                return


@contextmanager
def _mapped(what: str) -> Iterator[None]:
    """The package's errors end here."""
    try:
        yield
    except docker.errors.APIError as error:
        said = str(error.explanation or error)
        if "overlaps with" in said or "Address already in use" in said:
            raise OverlapError(f"the container engine: {what}: {said}") from error
        raise RuntimeFailure(f"the container engine: {what}: {_one_line(said)}") from error
    except (docker.errors.DockerException, requests.exceptions.RequestException) as error:
        raise RuntimeFailure(f"the container engine: {what}: {_why(error)}") from error


def _why(error: Exception) -> str:
    said = str(error)
    if "PermissionError" in said or "Permission denied" in said:
        return "permission denied; be root, or a member of the group that may use it"
    if "FileNotFoundError" in said or "No such file" in said:
        return "there is no such socket; start it, or set DOCKER_HOST"
    if "ConnectionRefused" in said or "Connection refused" in said:
        return "nobody listens there; start it"
    if isinstance(error, requests.exceptions.Timeout):
        return "no answer in time"
    return _one_line(said)


def _one_line(said: str) -> str:
    if "no space left" in said.lower():
        return f"the disk is full ({said.splitlines()[0]})"
    return " ".join(said.split())


def _health(check: str) -> dict[str, Any]:
    """Seldom: each look is a process, and those of a hundred containers come at once. The harness looks for itself."""
    if not check:
        return {"test": ["NONE"]}
    second = 10**9
    return {
        "test": ["CMD-SHELL", check],
        "interval": 600 * second,
        "timeout": 5 * second,
        "retries": 3,
    }


def _archive(files: Mapping[str, bytes]) -> bytes:
    """A tar of files by absolute path, readable by all."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for path, content in files.items():
            entry = tarfile.TarInfo(path.lstrip("/"))
            entry.size, entry.mode = len(content), 0o644
            tar.addfile(entry, io.BytesIO(content))
    return out.getvalue()
