"""Whether the kernel lets processes that run write to files at all (RLIMIT_FSIZE, setrlimit(2)): a disk that is full.

With a limit of 0 each write to a file fails with EFBIG, which PostgreSQL takes as a full disk; also a write over what is there, as
on a full disk that never writes in place. Sockets, pipes and the files of others are not touched.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

WITHIN = 10.0  # s for the helper
# One fork for all: this process is large. A process that has ended meanwhile is no failure.
_SCRIPT = 'for pid; do prlimit --pid="$pid" --fsize="$0:" || [ ! -e "/proc/$pid" ] || exit 1; done'


def fill(pids: Iterable[int]) -> None:
    """Let them write to no file; what they fork inherits it. Nothing happens to those that are gone. Raises OSError."""
    _limit(pids, "0")


def lift(pids: Iterable[int]) -> None:
    """Undo `fill`. Harmless where it was never done. Raises OSError."""
    _limit(pids, "unlimited")


def limited(pid: int) -> bool:
    """Whether it may write to no file now; False when it is gone."""
    try:
        rows = Path(f"/proc/{pid}/limits").read_text(encoding="ascii").splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return False
    # "Max file size             0                    unlimited            bytes"
    return any(row.startswith("Max file size") and row.split()[3] == "0" for row in rows)


def _limit(pids: Iterable[int], soft: str) -> None:
    """By util-linux's prlimit as the processes' own user: root may lack the right to limit others' (CAP_SYS_RESOURCE)."""
    if shutil.which("prlimit") is None:
        raise FileNotFoundError(errno.ENOENT, "prlimit (of util-linux) is not on PATH")
    owned: dict[tuple[int, int], list[str]] = {}
    for pid in pids:
        with contextlib.suppress(FileNotFoundError):
            status = Path(f"/proc/{pid}").stat()
            owned.setdefault((status.st_uid, status.st_gid), []).append(str(pid))
    for (user, group), theirs in owned.items():
        mine = user == os.geteuid()
        done = subprocess.run(  # noqa: S603 - numbers, and one of two words
            ["/bin/sh", "-c", _SCRIPT, soft, *theirs],
            user=None if mine else user,
            group=None if mine else group,
            extra_groups=None if mine else [],
            capture_output=True,
            timeout=WITHIN,
            check=False,
        )
        if done.returncode:
            raise PermissionError(errno.EPERM, done.stderr.decode(errors="replace").strip())
