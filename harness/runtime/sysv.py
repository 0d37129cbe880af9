"""PostgreSQL's System V shared memory segment: it outlives a postmaster that was killed, so we remove it with its data."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_IPC_RMID, _IPC_STAT = 0, 2
_KEY_LINE = 6  # of postmaster.pid, from 0: "key id"
_LIBC = ctypes.CDLL(None, use_errno=True)


def remove_segment(data_dir: Path) -> bool:
    """Remove the segment that ``postmaster.pid`` names, if it is still that one. True if one was removed."""
    try:
        lines = (data_dir / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        key, number = (int(word) for word in lines[_KEY_LINE].split())
    except (OSError, IndexError, ValueError):
        return False  # never started, or stopped in good order
    # struct shmid_ds begins with the key; 256 bytes are more than it has anywhere.
    found = (ctypes.c_int * 64)()
    if (
        _LIBC.shmctl(number, _IPC_STAT, ctypes.byref(found)) != 0
        or found[0] != ctypes.c_int(key).value
    ):
        return False
    return bool(_LIBC.shmctl(number, _IPC_RMID, None) == 0)
