"""Continuous backup: WAL is received as it is written and shipped to the object stores each second, the last piece too."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NoReturn

import msgspec

from reference_impl.backup.primary import Primary
from reference_impl.backup.programs import Programs
from reference_impl.backup.wal_names import (
    PARTIAL,
    is_history,
    is_partial,
    is_segment,
    lsn_text,
    segment_start,
    timeline_of,
)
from reference_impl.config import Positive
from reference_impl.objectstore.base import ObjectStore
from reference_impl.programs import ProgramError
from reference_impl.resilience.errors import CallError

WAL: Final = "wal/"
PACKED: Final = ".gz"
GONE: Final = "has already been removed"  # the primary has recycled what we wanted next
Alert = Callable[[str, dict[str, object]], None]


class WalSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Times in s. `every`: between two shipments, about the RPO. `overdue`: WAL that waits so long is told as an alert.

    `slot`: the replication slot by which the primary keeps WAL until it was received.
    """

    slot: str = "squall_backup"
    every: Positive = 1.0
    retry: Positive = 1.0
    overdue: Positive = 60.0


@dataclass(frozen=True, slots=True)
class _Piece:
    """The segment that is being written: `mark` tells its states apart (name, bytes written, checksum); `end`: its LSN."""

    mark: tuple[str, int, int] = ("", 0, 0)
    packed: bytes = b""
    end: int = 0


@dataclass(slots=True)
class _Shipment:
    """What one location has: whole files by name, and the newest piece of the segment that is being written."""

    store: ObjectStore
    whole: set[str] = field(default_factory=set)
    piece: tuple[str, int, int] = ("", 0, 0)
    position: int = 0
    error: str = ""


class WalShipper:
    """Receives into `folder` and ships to all `stores`.

    `renewed` is called when what was shipped before may not lead to what comes now (another timeline, a gap): a new base
    backup is wanted.
    """

    def __init__(
        self,
        programs: Programs,
        folder: Path,
        stores: Sequence[ObjectStore],
        settings: WalSettings,
        primary: Primary,
        alert: Alert,
        renewed: Callable[[], None],
    ) -> None:
        self.settings = settings
        self.error = ""
        self.receiving = False
        self._programs = programs
        self._folder = folder
        self._shipments = [_Shipment(store) for store in stores]
        self._primary = primary
        self._alert = alert
        self._renewed = renewed
        self._piece = _Piece()
        self._timeline = 0
        self._behind_since: float | None = None
        self._told = False

    def __repr__(self) -> str:
        state = "receiving" if self.receiving else f"not receiving ({self.error})"
        return f"<WalShipper {state} at={lsn_text(self.shipped)}>"

    @property
    def shipped(self) -> int:
        """The position up to which every location has the WAL."""
        return min((each.position for each in self._shipments), default=0)

    def status(self) -> dict[str, object]:
        """`behind_s`: for how long something that was committed has been waiting to be shipped everywhere."""
        now = asyncio.get_running_loop().time()
        return {
            "receiving": self.receiving,
            "shipped": lsn_text(self.shipped),
            "locations": {each.store.name: lsn_text(each.position) for each in self._shipments},
            "behind_s": 0.0 if self._behind_since is None else now - self._behind_since,
            "error": self.error or "; ".join(each.error for each in self._shipments if each.error),
        }

    async def receive(self) -> NoReturn:
        """Until cancelled; begins again after a failure."""
        while True:
            try:
                if await self._primary.keep_wal(self.settings.slot):
                    self._renewed()
                self.receiving = True
                await self._programs.receive_wal(self._folder, self.settings.slot)
            except (CallError, ProgramError) as error:
                self.error = str(error)
            finally:
                self.receiving = False
            if GONE in self.error:
                self._leap()
            await asyncio.sleep(self.settings.retry)

    async def ship(self) -> NoReturn:
        """Until cancelled: a round each `every` s, from start to start."""
        loop = asyncio.get_running_loop()
        turn = loop.time()
        while True:
            await self.round()
            turn = max(turn + self.settings.every, loop.time())
            await asyncio.sleep(turn - loop.time())

    async def round(self) -> None:
        """Ship what is new, to each location for itself; then see whether anything waits too long."""
        begun = asyncio.get_running_loop().time()
        at = await self._primary_position()
        await asyncio.gather(*(self._ship_to(each) for each in self._shipments))
        self._tidy()
        self._weigh(at, begun)

    # ------------------------------------------------------------------------------------------------------ private

    def _leap(self) -> None:
        """Go on from what the primary still has; what is in between is lost to the archive."""
        self._alert("WAL_GAP", {"shipped": lsn_text(self.shipped), "error": self.error})
        for name in self._files():
            (self._folder / name).unlink()
        for shipment in self._shipments:
            shipment.position = 0
        self._renewed()

    async def _primary_position(self) -> int | None:
        try:
            at = await self._primary.position()
        except CallError as error:
            self.error = str(error)
            return None
        if self.receiving:
            self.error = ""
        return at

    async def _ship_to(self, shipment: _Shipment) -> None:
        try:
            for name in self._files():
                if is_partial(name):
                    await self._ship_piece(shipment, name)
                elif name not in shipment.whole:
                    await self._ship_whole(shipment, name)
        except CallError as error:
            shipment.error = str(error)
        except FileNotFoundError:
            return  # a piece became a whole segment meanwhile: the next round has it
        else:
            shipment.error = ""

    async def _ship_whole(self, shipment: _Shipment, name: str) -> None:
        raw = (self._folder / name).read_bytes()
        await shipment.store.put(f"{WAL}{name}{PACKED}", _packed(raw))
        shipment.whole.add(name)
        if is_segment(name):
            await shipment.store.delete(f"{WAL}{name}{PARTIAL}{PACKED}")
            shipment.position = segment_start(name, len(raw)) + len(raw)

    async def _ship_piece(self, shipment: _Shipment, name: str) -> None:
        piece = self._piece_of(name)
        if piece.mark != shipment.piece:
            await shipment.store.put(f"{WAL}{name}{PACKED}", piece.packed)
            shipment.piece = piece.mark
        shipment.position = max(shipment.position, piece.end)

    def _piece_of(self, name: str) -> _Piece:
        """What is written of the current segment; packed once for all locations, and only when it has changed."""
        raw = (self._folder / name).read_bytes()
        written = len(raw.rstrip(b"\0"))
        mark = name, written, zlib.crc32(raw[:written])
        if mark != self._piece.mark:
            start = segment_start(name.removesuffix(PARTIAL), len(raw)) if raw else 0
            self._piece = _Piece(mark, _packed(raw), start + written)
        return self._piece

    def _files(self) -> list[str]:
        """Histories first, for they tell what the segments behind them belong to; then in the WAL's order."""
        names = [path.name for path in self._folder.iterdir()]
        histories = sorted(name for name in names if is_history(name))
        return histories + sorted(name for name in names if is_segment(name) or is_partial(name))

    def _tidy(self) -> None:
        """What every location has is not needed here, but for the newest segment: the receiver goes on from there."""
        segments = [name for name in self._files() if is_segment(name)]
        for name in segments[:-1]:
            if all(name in each.whole for each in self._shipments):
                (self._folder / name).unlink()
        newest = timeline_of(segments[-1]) if segments else self._timeline
        if self._timeline and newest > self._timeline:
            self._renewed()
        self._timeline = newest

    def _weigh(self, at: int | None, begun: float) -> None:
        """`at` was the primary's position when the round began, which by now is to be everywhere.

        A position that can't be known counts as not shipped: a dead primary is others' alert, but silence must not look well.
        """
        # Zeros at the end of what was written can't be told from what was not: a record is padded to 8 bytes.
        if at is not None and self.shipped + 8 >= at:
            if self._told:
                self._alert("WAL_SHIPPING_RECOVERED", {"shipped": lsn_text(self.shipped)})
            self._behind_since, self._told = None, False
            return
        if self._behind_since is None:
            self._behind_since = begun
        waited = asyncio.get_running_loop().time() - self._behind_since
        if waited > self.settings.overdue and not self._told:
            self._told = True
            self._alert("WAL_OVERDUE", {"waited_s": waited, **self.status()})


def _packed(raw: bytes) -> bytes:
    return gzip.compress(raw, compresslevel=1, mtime=0)
