"""The warden: a small process that starts nodes, and ends them whatever becomes of whoever asked for them.

    python -m harness.runtime.warden --room DIR [--preload MODULE ...] [--detach]

It has one thread, because a fork copies only one and the kernel's "die with your parent" is about the parent's thread.
A connection is a lease on one cluster: when it ends, for whatever reason, the cluster ends too; or, where the
cluster is kept (``squall up``), what the connection left in the ledger is undone. Without ``--detach`` it ends with its
own parent (end of file on stdin, or the parent's exit), and everything with it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import importlib
import os
import selectors
import shutil
import signal
import socket
import sys
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from harness.errors import SquallError
from harness.network.toxiproxy import Toxiproxy
from harness.priority import PLATFORM, set_nice
from harness.runtime import limits, procfs
from harness.runtime.addresses import RangeClaim, claim_range
from harness.runtime.base import Address
from harness.runtime.home import PidRecord, Room, home_lock, locked
from harness.runtime.ledger import Ledger
from harness.runtime.programs import adopt_orphans, die_with_parent, fork_helper, fork_node
from harness.runtime.spot import Spot
from harness.runtime.sysv import remove_segment
from harness.runtime.wire import (
    MAX_LINE,
    Attach,
    Attached,
    Body,
    CarryOut,
    Claim,
    Claimed,
    Done,
    End,
    Entry,
    Exited,
    FromWarden,
    Held,
    Hold,
    Keep,
    Outstanding,
    Preload,
    Record,
    Reply,
    Request,
    Respawn,
    Signal,
    Spawn,
    Spawned,
    Wait,
    Where,
    encode,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import ModuleType

TICK = 0.05  # s between looks at processes that must go
IDLE_EXIT = 30.0  # s after which a detached warden that nobody ever spoke to gives up
SHUTDOWN_WITHIN = 8.0  # s; SIGKILL takes milliseconds, unless the machine is out of breath
REMOVE_WITHIN = (
    90.0  # s; an engine takes a tenth of one for each container, or has to come back first
)
READ_SIZE = 65536
NODE_ACTIONS = {"start", "resume", "connect"}  # the others are about links


class Refused(Exception):  # noqa: N818 - told to the client, never seen by a user
    """Why a request can't be done, in one line."""


@dataclass(eq=False, slots=True)
class Connection:
    sock: socket.socket
    cluster: HeldCluster | None = None
    inbox: bytearray = field(default_factory=bytearray)
    outbox: bytearray = field(default_factory=bytearray)
    entries: set[int] = field(
        default_factory=set
    )  # of the ledger, to be undone when this connection ends

    def __repr__(self) -> str:
        return f"Connection(fd={self.sock.fileno()}, {self.cluster!r}, {len(self.entries)} undos)"


@dataclass(eq=False, slots=True)
class HeldCluster:
    """One cluster: what it holds (a range of addresses and processes, or containers), and who waits for what."""

    name: str
    state_dir: Path
    claim: RangeClaim | None = None
    engine: str = ""  # where its containers are
    borrowed: dict[str, Where] = field(default_factory=dict)  # nodes that are not ours to remove
    removal: int | None = None  # pid of the helper that removes them
    removed: bool = False
    specs: dict[str, Spawn] = field(default_factory=dict)
    pids: dict[str, Spawned] = field(default_factory=dict)  # of the nodes that run
    codes: dict[str, int] = field(default_factory=dict)
    waits: list[tuple[Connection, int, str]] = field(default_factory=list)
    connections: set[Connection] = field(default_factory=set)
    ledger: Ledger | None = None
    toxiproxy: Address | None = None  # set when the cluster is kept
    ending: list[tuple[Connection, int]] | None = None
    dying: dict[int, int] = field(default_factory=dict)  # pid -> start

    @property
    def kept(self) -> bool:
        return self.toxiproxy is not None

    def __repr__(self) -> str:
        state = "ending" if self.ending is not None else "kept" if self.kept else "leased"
        what = f"{len(self.pids)}/{len(self.specs)} run" if self.claim else "containers"
        return f"HeldCluster({self.name}, {state}, {what})"


class Warden:
    def __init__(self, room: Room, *, detached: bool) -> None:
        self._room = room
        self._detached = detached
        self._selector = selectors.DefaultSelector()
        self._connections: set[Connection] = set()
        self._clusters: list[HeldCluster] = []
        self._helpers: dict[int, Callable[[int], None]] = {}
        self._last_prefix = ""
        self._leases = 0
        self._ever_connected = False
        self._running = True
        self._boot = procfs.boot_id()
        self._pids = os.open(
            room.pids, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600
        )
        self._decoder = msgspec.json.Decoder(Request)

    def __repr__(self) -> str:
        return f"Warden({self._room.path.name}, {self._clusters!r}, {len(self._connections)} connections)"

    # ------------------------------------------------------------------------------------------------- the loop

    def listen(self) -> None:
        server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        server.bind(str(self._room.sock))
        self._room.sock.chmod(0o600)
        server.listen(64)
        server.setblocking(False)
        self._watch(server, lambda: self._accept(server))

    def stop_when_readable(self, fd: int) -> None:
        """A pipe from our parent, or its pidfd: both are readable when it is gone."""
        self._watch(fd, self.stop)

    def stop(self) -> None:
        self._running = False

    def serve(self) -> None:
        """Until told to stop, or (detached) until nothing is left to hold."""
        wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        self._watch(wake_read, lambda: self._woken(wake_read))
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: self.stop())
        idle_until = time.monotonic() + IDLE_EXIT
        try:
            while self._running:
                self._turn(TICK if self._busy() else 1.0)
                if self._detached and not self._clusters and not self._connections:
                    self._running = not self._ever_connected and time.monotonic() < idle_until
        finally:
            self._shutdown()

    def _busy(self) -> bool:
        return any(cluster.ending is not None for cluster in self._clusters)

    def _turn(self, timeout: float) -> None:
        for key, events in self._selector.select(timeout):
            if events & selectors.EVENT_READ:
                key.data()
            elif isinstance(key.fileobj, socket.socket):
                self._flush_socket(key.fileobj)
        for cluster in [each for each in self._clusters if each.ending is not None]:
            self._keep_ending(cluster)

    def _watch(self, what: socket.socket | int, act: Callable[[], None]) -> None:
        self._selector.register(what, selectors.EVENT_READ, act)

    def _woken(self, fd: int) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(fd, READ_SIZE)
        self._reap()

    def _shutdown(self) -> None:
        within = REMOVE_WITHIN if any(c.engine for c in self._clusters) else SHUTDOWN_WITHIN
        deadline = time.monotonic() + within
        for cluster in list(self._clusters):
            self._end(cluster)
        while self._clusters and time.monotonic() < deadline:
            self._turn(TICK)
        with locked(home_lock()):
            shutil.rmtree(self._room.path, ignore_errors=True)

    # -------------------------------------------------------------------------------------------------- connections

    def _accept(self, server: socket.socket) -> None:
        sock, _ = server.accept()
        sock.setblocking(False)
        connection = Connection(sock)
        self._connections.add(connection)
        self._ever_connected = True
        self._watch(sock, lambda: self._readable(connection))

    def _readable(self, connection: Connection) -> None:
        try:
            data = connection.sock.recv(READ_SIZE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        connection.inbox += data
        if not data or len(connection.inbox) > MAX_LINE:
            self._lost(connection)
            return
        *lines, rest = bytes(connection.inbox).split(b"\n")
        connection.inbox = bytearray(rest)
        for line in lines:
            self._handle(connection, line)

    def _lost(self, connection: Connection) -> None:
        """The lease has ended."""
        self._connections.discard(connection)
        self._selector.unregister(connection.sock)
        connection.sock.close()
        cluster = connection.cluster
        if cluster is None:
            return
        cluster.connections.discard(connection)
        if not cluster.kept:
            self._end(cluster)
        elif connection.entries and cluster.ending is None:
            try:
                self._carry_out(cluster, connection.entries, _say)
            except (Refused, OSError) as error:
                _say(str(error))

    def _tell(self, connection: Connection, message: FromWarden) -> None:
        if connection in self._connections:
            connection.outbox += encode(message)
            self._flush(connection)

    def _tell_all(self, cluster: HeldCluster, message: FromWarden) -> None:
        for connection in list(cluster.connections):
            self._tell(connection, message)

    def _flush_socket(self, sock: socket.socket) -> None:
        for connection in self._connections:
            if connection.sock is sock:
                self._flush(connection)
                return

    def _flush(self, connection: Connection) -> None:
        """Send what the socket takes now; the rest when it is writable. A broken one is noticed on reading."""
        try:
            sent = connection.sock.send(connection.outbox) if connection.outbox else 0
        except BlockingIOError:
            sent = 0
        except OSError:
            connection.outbox.clear()
            sent = 0
        del connection.outbox[:sent]
        write = selectors.EVENT_WRITE if connection.outbox else 0
        act = self._selector.get_key(connection.sock).data
        self._selector.modify(connection.sock, selectors.EVENT_READ | write, act)

    # ----------------------------------------------------------------------------------------------------- requests

    def _handle(self, connection: Connection, line: bytes) -> None:
        try:
            request = self._decoder.decode(line)
        except msgspec.MsgspecError as error:
            _say(f"not a request: {error}")
            self._lost(connection)
            return
        try:
            self._do(connection, request)
        except (Refused, SquallError, OSError) as error:
            self._tell(connection, Reply(request.id, error=str(error)))

    def _do(self, connection: Connection, request: Request) -> None:
        """Answer at once; or, for what takes time, leave it to a later `_answer`."""
        body = request.body
        match body:
            case Wait(node):
                self._wait(connection, request.id, node)
            case End():
                self._end(_cluster(connection), connection, request.id)
            case CarryOut(entries):
                done = partial(self._answer_undone, connection, request.id)
                self._carry_out(_cluster(connection), set(entries), done)
            case _:
                self._answer(connection, request.id, self._at_once(connection, body))

    def _at_once(self, connection: Connection, body: Body) -> object:
        match body:
            case Preload(module):
                return preload(module)
            case Claim(listeners):
                return self._claim(connection, listeners)
            case Hold(engine, borrowed):
                return self._hold(connection, engine, borrowed)
            case Attach():
                return self._attach(connection)
        return self._operate(connection, _cluster(connection), body)

    def _operate(self, connection: Connection, cluster: HeldCluster, body: Body) -> object:
        match body:
            case Spawn():
                return self._spawn(cluster, body)
            case Respawn(node):
                return self._respawn(cluster, node)
            case Signal(node, number, tree):
                return self._signal(cluster, node, number, tree=tree)
            case Keep(toxiproxy):
                cluster.toxiproxy = Address(*toxiproxy)
                return None
        return self._book(connection, cluster, body)

    def _book(self, connection: Connection, cluster: HeldCluster, body: Body) -> object:
        ledger = cluster.ledger
        if ledger is None:
            ledger = cluster.ledger = Ledger(cluster.state_dir / "ledger.jsonl")
        match body:
            case Record(undo, hold):
                number = ledger.record(undo)
                if not hold:
                    connection.entries.add(number)
                return number
            case Done(entry):
                ledger.done(entry)
                connection.entries.discard(entry)
                return None
            case Outstanding():
                return ledger.outstanding()
        raise Refused(f"{type(body).__name__} is not known here")

    def _answer(self, connection: Connection, number: int, result: object) -> None:
        self._tell(connection, Reply(number, msgspec.Raw(msgspec.json.encode(result))))

    def _answer_undone(self, connection: Connection, number: int, failed: str) -> None:
        self._tell(connection, Reply(number, error=failed or None))

    def _claim(self, connection: Connection, listeners: Sequence[tuple[int, int]]) -> Claimed:
        _has_none(connection)
        claim = claim_range(listeners, self._last_prefix)
        self._last_prefix = claim.prefix
        cluster = self._begin(connection, claim.prefix)
        cluster.claim = claim
        return Claimed(claim.prefix, str(cluster.state_dir))

    def _hold(self, connection: Connection, engine: str, borrowed: dict[str, Where]) -> Held:
        _has_none(connection)
        self._leases += 1
        cluster = self._begin(connection, f"{self._room.path.name}-{self._leases}")
        cluster.engine, cluster.borrowed = engine, borrowed
        return Held(cluster.name, str(self._room.path))

    def _begin(self, connection: Connection, name: str) -> HeldCluster:
        state_dir = self._room.path / name
        state_dir.mkdir(mode=0o711)
        cluster = HeldCluster(name, state_dir)
        self._clusters.append(cluster)
        cluster.connections.add(connection)
        connection.cluster = cluster
        return cluster

    def _attach(self, connection: Connection) -> Attached:
        cluster = next((each for each in self._clusters if each.kept and each.ending is None), None)
        if cluster is None:
            raise Refused("there is no kept cluster")
        cluster.connections.add(connection)
        connection.cluster = cluster
        gone = (Spawned(name, 0, 0) for name in cluster.specs if name not in cluster.pids)
        return Attached(cluster.name, (*cluster.pids.values(), *gone))

    # ------------------------------------------------------------------------------------------------------- nodes

    def _spawn(self, cluster: HeldCluster, spec: Spawn) -> Spawned:
        if cluster.ending is not None:
            raise Refused("the cluster is ending")
        if spec.node in cluster.pids:
            raise Refused(f"{spec.node} runs already")
        pid = fork_node(spec)
        found = procfs.look(pid)
        spawned = Spawned(spec.node, pid, found.start if found else 0)
        self._note(spawned.pid, spawned.start, spec.node)
        cluster.specs[spec.node] = spec
        cluster.pids[spec.node] = spawned
        cluster.codes.pop(spec.node, None)
        self._tell_all(cluster, spawned)
        return spawned

    def _respawn(self, cluster: HeldCluster, node: str) -> Spawned:
        if node in cluster.pids:
            return cluster.pids[node]
        if node not in cluster.specs:
            raise Refused(f"{node} was never started")
        return self._spawn(cluster, cluster.specs[node])

    def _signal(
        self, cluster: HeldCluster, node: str, number: int, *, tree: bool
    ) -> list[tuple[int, int]]:
        running = cluster.pids.get(node)
        if running is None:
            return []
        if not tree:
            procfs.send(running.pid, number)
            return [(running.pid, running.start)]
        signalled = procfs.signal_tree(running.pid, number)
        for process in signalled:
            # The stopped can't notice that their parent is gone; they are to be found without it.
            if number == signal.SIGSTOP and process.pid != running.pid:
                self._note(process.pid, process.start, node)
        return [(process.pid, process.start) for process in signalled]

    def _note(self, pid: int, start: int, node: str) -> None:
        os.write(self._pids, encode(PidRecord(pid, start, node, self._boot)))

    def _wait(self, connection: Connection, number: int, node: str) -> None:
        cluster = _cluster(connection)
        if node in cluster.pids:
            cluster.waits.append((connection, number, node))
        elif node in cluster.codes:
            self._answer(connection, number, cluster.codes[node])
        else:
            raise Refused(f"{node} was never started")

    def _reap(self) -> None:
        roots = False
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            code = os.waitstatus_to_exitcode(status)
            if pid in self._helpers:
                self._helpers.pop(pid)(code)
            else:
                roots = self._exited(pid, code) or roots
        if roots:
            self._end_orphans()

    def _exited(self, pid: int, code: int) -> bool:
        """True if it was a node, not a descendant of one."""
        for cluster in self._clusters:
            cluster.dying.pop(pid, None)
            for node, spawned in list(cluster.pids.items()):
                if spawned.pid != pid:
                    continue
                del cluster.pids[node]
                cluster.codes[node] = code
                self._tell_all(cluster, Exited(node, pid, code))
                for wait in [each for each in cluster.waits if each[2] == node]:
                    cluster.waits.remove(wait)
                    self._answer(wait[0], wait[1], code)
                return True
        return False

    def _end_orphans(self) -> None:
        """A node has ended; of its descendants, which are ours now, none may stay."""
        own = {spawned.pid for cluster in self._clusters for spawned in cluster.pids.values()}
        own |= set(self._helpers)
        for process in procfs.everything().values():
            if process.parent == os.getpid() and process.pid not in own and not process.gone:
                procfs.signal_tree(process.pid, signal.SIGKILL)

    # --------------------------------------------------------------------------------------------- end of a cluster

    def _end(
        self, cluster: HeldCluster, connection: Connection | None = None, number: int = 0
    ) -> None:
        if cluster.ending is None:
            cluster.ending = []
            for spawned in cluster.pids.values():
                for process in procfs.signal_tree(spawned.pid, signal.SIGKILL):
                    cluster.dying[process.pid] = process.start
        if connection is not None:
            cluster.ending.append((connection, number))

    def _keep_ending(self, cluster: HeldCluster) -> None:
        for pid, start in list(cluster.dying.items()):
            if procfs.alive(pid, start) is None:
                del cluster.dying[pid]
            else:
                procfs.send(pid, signal.SIGKILL)
        if cluster.dying or cluster.pids or not self._containers_gone(cluster):
            return
        for node in cluster.specs:
            remove_segment(cluster.state_dir / node / "data")
        if cluster.ledger is not None:
            cluster.ledger.close()
        shutil.rmtree(cluster.state_dir, ignore_errors=True)
        if (
            cluster.state_dir.exists()
        ):  # a copy that its killed worker began still writes: again at the next tick
            return
        if cluster.claim is not None:
            cluster.claim.close()
        self._clusters.remove(cluster)
        for connection, number in cluster.ending or []:
            self._answer(connection, number, None)
        for connection in cluster.connections:
            connection.cluster = None

    def _containers_gone(self, cluster: HeldCluster) -> bool:
        """A helper removes them, or mends what is borrowed; the next one tries again if it can't, for the engine may be
        away for a while.
        """
        if not cluster.engine or cluster.removed:
            return True
        if cluster.removal is None:

            def ended(code: int) -> None:
                cluster.removal, cluster.removed = None, code == 0

            act = partial(_remove_containers, cluster.engine, cluster.name)
            if cluster.borrowed:
                act = partial(
                    _undo, cluster, cluster.ledger.outstanding() if cluster.ledger else []
                )
            cluster.removal = fork_helper(act, sys.stderr.fileno())
            self._helpers[cluster.removal] = ended
        return False

    # -------------------------------------------------------------------------------------------------- the ledger

    def _carry_out(
        self, cluster: HeldCluster, numbers: set[int], then: Callable[[str], None]
    ) -> None:
        """Undo: what concerns nodes at once, what concerns links in a helper, whose HTTP calls must not hold us up."""
        ledger = cluster.ledger
        if ledger is None or cluster.toxiproxy is None:
            raise Refused("the cluster has no ledger")
        links: list[Entry] = []
        for entry in [each for each in ledger.outstanding() if each.id in numbers]:
            if cluster.engine and entry.undo.action in NODE_ACTIONS:
                links.append(entry)
            elif entry.undo.action == "resume":
                self._signal(cluster, entry.undo.subject, signal.SIGCONT, tree=True)
                ledger.done(entry.id)
            elif entry.undo.action == "start":
                self._respawn(cluster, entry.undo.subject)
                ledger.done(entry.id)
            elif entry.undo.action == "lift" and not cluster.engine:
                running = cluster.pids.get(entry.undo.subject)
                limits.lift(each.pid for each in (procfs.tree(running.pid) if running else []))
                ledger.done(entry.id)
            elif entry.undo.action == "mend" and entry.undo.subject in cluster.specs:
                spec = cluster.specs[entry.undo.subject]
                Spot.parse(entry.undo.detail).mend(Path(spec.cwd))
                ledger.done(entry.id)
            else:
                links.append(entry)
        if not links:
            then("")
            return
        act = partial(_undo, cluster, links)
        pid = fork_helper(act, sys.stderr.fileno())
        self._helpers[pid] = partial(_links_undone, ledger, links, then)


def _links_undone(
    ledger: Ledger, links: list[Entry], then: Callable[[str], None], code: int
) -> None:
    if code == 0:
        for entry in links:
            ledger.done(entry.id)
        then("")
    else:
        subjects = ", ".join(entry.undo.subject for entry in links)
        then(f"could not restore {subjects}; the warden's log says why")


def _undo(cluster: HeldCluster, entries: list[Entry]) -> None:
    """In a helper. Of a cluster of containers its nodes too, for the engine's calls take time as well."""
    nodes = [entry for entry in entries if entry.undo.action in NODE_ACTIONS]
    if nodes:
        undos = [entry.undo for entry in nodes]
        _containers().undo(cluster.engine, cluster.name, cluster.borrowed, undos)
    links = [entry for entry in entries if entry not in nodes]
    if links:
        assert (
            cluster.toxiproxy is not None
        )  # whoever records a link's undo has told where its daemon is
        undo_links(cluster.toxiproxy, links)


def _remove_containers(engine: str, lease: str) -> None:
    _containers().remove_lease(engine, lease)


def _containers() -> ModuleType:
    """Imported in the helper that needs it: most wardens never do."""
    return importlib.import_module("harness.runtime.containers.leases")


def undo_links(daemon: Address, entries: list[Entry]) -> None:
    """Restore links and remove toxics. Raises `RuntimeFailure`, or ValueError for an action that is not known."""

    async def undo() -> None:
        toxiproxy = Toxiproxy(daemon)
        for entry in entries:
            match entry.undo.action:
                case "restore":
                    await toxiproxy.restore(entry.undo.subject)
                case "remove-toxic":
                    await toxiproxy.remove(entry.undo.subject, entry.undo.detail)
                case other:
                    raise ValueError(f"unknown undo '{other}'")

    asyncio.run(undo())


def _say(line: str) -> None:
    """To the log; nothing to say is said by nothing."""
    if line:
        print(line, file=sys.stderr, flush=True)


def preload(module: str) -> str | None:
    """Import it, and keep the garbage collector off what all forks share. Returns why it can't be imported."""
    try:
        importlib.import_module(module)
    except BaseException as error:  # noqa: BLE001 - a module may raise anything; the client is told
        return f"{type(error).__name__}: {error}"
    finally:
        gc.collect()
        gc.freeze()
    return None


def _has_none(connection: Connection) -> None:
    if connection.cluster is not None:
        raise Refused("this connection has a cluster already")


def _cluster(connection: Connection) -> HeldCluster:
    if connection.cluster is None:
        raise Refused("this connection has no cluster")
    return connection.cluster


def _enter(room: Room) -> None:
    """Make the room and hold its lock for the rest of our life."""
    with locked(home_lock()):
        if room.path.exists() and not room.abandoned():
            raise SquallError(f"{room.path.name} is in use")
        if room.path.exists():
            raise SquallError(f"{room.path} was left behind; run 'squall doctor'")
        room.path.mkdir(mode=0o711)
        if room.claim_lock() is None:
            raise SquallError(f"{room.path.name} is in use")


def _detach() -> None:
    """Go on as a child of init. Our parent learns from our first process's exit that we listen."""
    if os.fork():
        os._exit(0)
    os.setsid()


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m harness.runtime.warden")
    parser.add_argument("--room", type=Path, required=True)
    parser.add_argument("--preload", action="append", default=[])
    parser.add_argument("--detach", action="store_true")
    options = parser.parse_args(argv)
    room = Room(options.room)
    parent = os.getppid()
    if not options.detach:
        set_nice(PLATFORM)
    try:
        _enter(room)
    except (SquallError, OSError) as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    _listen_and_serve(room, options.preload, None if options.detach else parent)


def _listen_and_serve(room: Room, modules: list[str], parent: int | None) -> None:
    gc.disable()
    warden = Warden(room, detached=parent is None)
    warden.listen()
    ready = os.dup(1)
    log = os.open(room.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    if parent is None:
        _detach()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    else:
        warden.stop_when_readable(0)
        try:
            warden.stop_when_readable(os.pidfd_open(parent))
        except (
            OSError
        ):  # a kernel before 5.3; this way ends us with our parent's thread, maybe too soon
            die_with_parent(signal.SIGTERM)
    adopt_orphans()
    # Whoever waited for this may have been killed; the end of stdin then tells us to clear up, so go on.
    with contextlib.suppress(BrokenPipeError):
        os.write(ready, b"ready\n")
    os.close(ready)
    for module in modules:
        failure = preload(module)
        if failure:  # its own start will say so to whoever asks for it
            _say(f"preload of {module}: {failure}")
    warden.serve()


if __name__ == "__main__":
    main()
