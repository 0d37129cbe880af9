"""What a warden and its clients say to each other: JSON lines over a Unix socket, each a tagged message.

A client sends `Request`s and gets one `Reply` for each, in any order; between them the warden tells it of
`Spawned` and `Exited` nodes of its cluster.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from harness.fault import Undo


class Preload(msgspec.Struct, frozen=True, tag="preload"):
    """Import `module` in the warden, so that nodes forked later have it already. Answer: null, or why it can't be."""

    module: str


class Claim(msgspec.Struct, frozen=True, tag="claim"):
    """Claim a range for a new cluster, which then belongs to this connection. Answer: `Claimed`."""

    listeners: tuple[tuple[int, int], ...]


class Claimed(msgspec.Struct, frozen=True):
    prefix: str
    state_dir: str


class Where(msgspec.Struct, frozen=True):
    """A container: at which engine (a URL), what it is called there, and its networks with its address in each."""

    engine: str
    container: str
    homes: dict[str, str]


class Hold(msgspec.Struct, frozen=True, tag="hold"):
    """Hold a cluster of containers for this connection: all that carries its lease's label at `engine` (a URL) is
    removed when the connection ends. `borrowed`: the nodes of a cluster that others made; of that nothing is ever removed,
    only what the ledger says is undone. Answer: `Held`.
    """

    engine: str
    borrowed: dict[str, Where] = {}


class Held(msgspec.Struct, frozen=True):
    """`lease` names it in labels; `room` is the warden's, by whose lock others see whether anyone still holds it."""

    lease: str
    room: str


class Spawn(msgspec.Struct, frozen=True, tag="spawn"):
    """Start a node. `module`: fork and call its ``main(argv)``; else exec ``argv[0]``. Answer: `Spawned`.

    `uid`, `gid`: None leaves the warden's. `env` is laid over the environment.
    """

    node: str
    argv: tuple[str, ...]
    log: str
    cwd: str
    module: str = ""
    env: dict[str, str] = {}
    uid: int | None = None
    gid: int | None = None
    nice: int = 0


class Respawn(msgspec.Struct, frozen=True, tag="respawn"):
    """Start a node that has exited as it was started before; one that runs is left. Answer: `Spawned`."""

    node: str


class Signal(msgspec.Struct, frozen=True, tag="signal"):
    """Signal a node, and with `tree` all its descendants. Answer: a list of (pid, start) of those signalled.

    Nothing happens when it has exited.
    """

    node: str
    number: int
    tree: bool = True


class Wait(msgspec.Struct, frozen=True, tag="wait"):
    """Answered with the exit code (negative: the signal) as soon as the node has exited."""

    node: str


class Keep(msgspec.Struct, frozen=True, tag="keep"):
    """From now on the cluster outlives its connections. Answer: null."""

    toxiproxy: tuple[str, int]


class Attach(msgspec.Struct, frozen=True, tag="attach"):
    """Operate the warden's kept cluster through this connection. Answer: `Attached`."""


class Attached(msgspec.Struct, frozen=True):
    """`name`: the claimed range, or the lease of containers; of those the warden knows no `nodes`."""

    name: str
    nodes: tuple[Spawned, ...]


class End(msgspec.Struct, frozen=True, tag="end"):
    """Kill all nodes, remove state and claim. Answered with null when nothing is left."""


class Record(msgspec.Struct, frozen=True, tag="record"):
    """Put an undo into the ledger, before the act that it undoes. Answer: its id.

    It is carried out when this connection ends without `Done`, or with `hold` not before `CarryOut`.
    """

    undo: Undo
    hold: bool = False


class Done(msgspec.Struct, frozen=True, tag="done"):
    """The undo has been carried out by its owner. Answer: null."""

    entry: int


class Outstanding(msgspec.Struct, frozen=True, tag="outstanding"):
    """Answer: a list of `Entry`, in the order in which to carry them out (last recorded first)."""


class Entry(msgspec.Struct, frozen=True):
    id: int
    undo: Undo


class CarryOut(msgspec.Struct, frozen=True, tag="carry-out"):
    """Carry out entries of the ledger. Answered with null when that is done, or with what failed."""

    entries: tuple[int, ...]


Body: TypeAlias = (
    Preload
    | Claim
    | Hold
    | Spawn
    | Respawn
    | Signal
    | Wait
    | Keep
    | Attach
    | End
    | Record
    | Done
    | Outstanding
    | CarryOut
)


class Request(msgspec.Struct, frozen=True):
    id: int
    body: Body


class Reply(msgspec.Struct, frozen=True, tag="reply"):
    """`error` says in one line what went wrong; else `result` is what the request's description says."""

    id: int
    result: msgspec.Raw = msgspec.Raw(b"null")
    error: str | None = None


class Spawned(msgspec.Struct, frozen=True, tag="spawned"):
    """A node runs as process `pid`, started at `start` (clock ticks since boot). pid 0: it has exited."""

    node: str
    pid: int
    start: int


class Exited(msgspec.Struct, frozen=True, tag="exited"):
    node: str
    pid: int
    code: int


FromWarden: TypeAlias = Reply | Spawned | Exited

MAX_LINE = 1_000_000


def encode(message: msgspec.Struct) -> bytes:
    return msgspec.json.encode(message) + b"\n"
