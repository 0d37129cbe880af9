"""Files that are on disk before anyone is told so."""

from __future__ import annotations

import os
from pathlib import Path


def replace_file(path: Path, *parts: bytes, draft: Path | None = None) -> None:
    """Let `path` hold `parts`, all or, after a crash, what it held before. `draft`: the name it has until then."""
    fresh = draft or path.with_suffix(".new")
    with fresh.open("wb") as file:
        file.writelines(parts)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Without it, a power cut could bring an old name back."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
