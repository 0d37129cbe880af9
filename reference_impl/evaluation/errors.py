"""What can be wrong with a definition."""

from __future__ import annotations


class InvalidFlag(ValueError):  # noqa: N818 - named for what it says, as in OpenFeature's vocabulary
    """A flag definition that cannot be compiled. The message says which flag, where in it, and why."""

    def __init__(self, key: str, where: str, why: str) -> None:
        super().__init__(f"flag {key!r}: {where}: {why}")
        self.key = key
        self.where = where
        self.why = why
