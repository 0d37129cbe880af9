"""Which squall this is. A module of its own, so that `squall --version` loads nothing else."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as package_version


def version() -> str:
    """As installed; "unknown" in a checkout that was not."""
    try:
        return package_version("squall")
    except PackageNotFoundError:
        return "unknown"
