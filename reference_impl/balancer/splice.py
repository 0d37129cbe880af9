"""Two connections joined: what comes in at one goes out at the other, no faster than it is taken there."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Callable
from typing import Final, cast

ABORT: Final = struct.pack("ii", 1, 0)  # linger for 0 s: close by RST


class Half(asyncio.Protocol):
    """One of the two connections. `opened` and `lost` tell its owner.

    Before `join`, what comes is `held` back. `ended`: its other end sends no more. `broke` is told when the other end
    of this connection ends it while an answer is due: it was sent something since it last said anything, or it never
    said a thing; and the peer has not ended first.
    """

    def __init__(
        self,
        opened: Callable[[Half], None] | None = None,
        lost: Callable[[Half], None] | None = None,
        broke: Callable[[], None] | None = None,
    ) -> None:
        self.transport: asyncio.Transport | None = None
        self.peer: Half | None = None
        self._opened = opened
        self._lost = lost
        self._broke = broke
        self._due = True  # an answer is
        self.held: list[bytes] = []
        self.ended = False

    def __repr__(self) -> str:
        state = "open" if self.transport else "closed"
        return f"<Half {state}{' ended' if self.ended else ''}{' joined' if self.peer else ''}>"

    def join(self, peer: Half) -> None:
        """Splice the two. What this half held back goes out now."""
        self.peer, peer.peer = peer, self
        for half in (self, peer):
            if half.transport is not None:
                half.transport.resume_reading()
        # Only now: a write that finds the other side full stops the reading again.
        for half, other in ((self, peer), (peer, self)):
            for chunk in half.held:
                other.write(chunk)
            half.held.clear()
            if half.ended:
                other.write_eof()

    def _tell_broken(self) -> None:
        told, self._broke = self._broke, None
        if told is not None and self._due and self.peer is not None and not self.peer.ended:
            told()

    def reset(self) -> None:
        """End the connection by RST, dropping what was not sent yet."""
        self._broke = None
        if self.transport is not None:
            _linger_none(self.transport)
            self.transport.abort()

    def close(self) -> None:
        """End the connection when all is sent."""
        if self.transport is not None:
            self.transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        if self._opened is not None:
            self._opened(self)

    def data_received(self, data: bytes) -> None:
        self._due = False
        if self.peer is not None:
            self.peer.write(data)
        elif self.transport is not None:
            self.held.append(data)
            self.transport.pause_reading()

    def eof_received(self) -> bool:
        """Pass a half-close on, and stay open for the way back."""
        self.ended = True
        self._tell_broken()
        if self.peer is None:
            return True
        if self.peer.ended:
            self.peer.close()
            return False
        self.peer.write_eof()
        return True

    def pause_writing(self) -> None:
        if self.peer is not None and self.peer.transport is not None:
            self.peer.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.peer is not None and self.peer.transport is not None:
            self.peer.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self._tell_broken()
        if self.peer is not None:
            if exc is None:
                self.peer.close()
            else:
                self.peer.reset()
        if self._lost is not None:
            self._lost(self)

    def write(self, data: bytes) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self._due = True
            self.transport.write(data)

    def write_eof(self) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write_eof()


def _linger_none(transport: asyncio.Transport) -> None:
    """Make the next close of its socket an RST. uvloop's own socket object can't set options: a duplicate can."""
    known = transport.get_extra_info("socket")
    if known is None or known.fileno() < 0:
        return
    with socket.socket(fileno=os.dup(known.fileno())) as duplicate:
        duplicate.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
