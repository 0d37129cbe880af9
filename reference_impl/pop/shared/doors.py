"""The sockets of a PoP's workers: one for each that there may ever be, all at the node's address.

The kernel gives a new connection to one of the sockets that listen at an address (SO_REUSEPORT). A socket that is closed
resets what it had not accepted yet, so none is ever closed: a filter of the group (SO_ATTACH_REUSEPORT_CBPF, socket(7))
chooses among the first `n`, and a worker that leaves accepts what its door still has.
"""

from __future__ import annotations

import ctypes
import socket
import struct
from typing import Final

from reference_impl.pop.http import bind

BACKLOG: Final = 1024
_SO_ATTACH_REUSEPORT_CBPF: Final = 51
# Of classic BPF: load a random number, its remainder by n, return it. include/uapi/linux/filter.h.
_LOAD_WORD, _MODULO, _RETURN = 0x20, 0x94, 0x16
_RANDOM: Final = 0xFFFFF000 + 56  # SKF_AD_OFF + SKF_AD_RANDOM
_INSTRUCTION: Final = "HBBI"


class Doors:
    """`workers` sockets that listen; connections may wait at each before a worker accepts them.

    `opened`: connections come to so many from the first on; None: to all, and no filter is used. Raises `OSError` where
    the address cannot be had.
    """

    def __init__(self, host: str, port: int, workers: int, opened: int | None = None) -> None:
        first = bind(host, port, shared=True)
        port = first.getsockname()[1]
        others = (bind(host, port, shared=True) for _ in range(workers - 1))
        self.sockets = [first, *others]
        if opened is not None:
            self.open(opened)  # before anybody can come to a door that has no worker
        for door in self.sockets:
            door.listen(BACKLOG)  # in the order by which the filter counts them

    def __repr__(self) -> str:
        return f"<Doors {len(self.sockets)} at {self.sockets[0].getsockname()}>"

    def open(self, workers: int) -> None:
        """Let new connections come to the first `workers` alone. Raises `OSError` where the kernel has no such filter."""
        program = struct.pack(
            "=" + _INSTRUCTION * 3,
            *(_LOAD_WORD, 0, 0, _RANDOM),
            *(_MODULO, 0, 0, workers),
            *(_RETURN, 0, 0, 0),
        )
        code = ctypes.create_string_buffer(program, len(program))
        described = struct.pack("HP", 3, ctypes.addressof(code))
        self.sockets[0].setsockopt(socket.SOL_SOCKET, _SO_ATTACH_REUSEPORT_CBPF, described)
