"""The cache of flag configurations ("Caching layer"): what every store of it must do, and its settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Protocol

import msgspec

from reference_impl.config import Positive
from reference_impl.propagation.types import Change, Flag, FlagState
from reference_impl.resilience.breaker import BreakerSettings

NEVER = 0  # the position of a flag that was never written, as far as its reader can tell


class Entry(msgspec.Struct, frozen=True):
    """A flag as the database had it: None where there is none. `version`: its organisation's, when it was read or written."""

    seq: int
    version: int
    flag: Flag | None

    @classmethod
    def read(cls, found: tuple[FlagState, int] | None) -> Entry:
        """What `ChangeLog.get` gave."""
        if found is None:
            return cls(NEVER, 0, None)
        state, version = found
        return cls(state.seq, version, state.flag)

    @classmethod
    def written(cls, change: Change) -> Entry:
        return cls(change.seq, change.version, change.flag)

    @property
    def found(self) -> tuple[FlagState, int] | None:
        """As `ChangeLog.get` gives it."""
        return None if self.flag is None else (FlagState(self.seq, self.flag), self.version)


@dataclass(frozen=True, slots=True)
class Miss:
    """There is no entry. `mine`: the caller is the one to read the database; others wait for what it stores."""

    mine: bool


class ConfigCache(Protocol):
    """Shared by all API servers. Each call ends within its timeout, or raises `CallError`."""

    async def look(self, org: str, key: str, hold: float) -> Entry | Miss:
        """The entry; or a miss, which for `hold` s is one caller's to fill."""
        ...

    async def store(self, org: str, key: str, entry: Entry, until: float) -> None:
        """Keep `entry` until the loop's time `until`, but never in the place of a newer one, however late it arrives."""
        ...

    def status(self) -> dict[str, Any]: ...

    async def start(self) -> None: ...

    async def close(self) -> None: ...


class CacheSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Times in s. `ttl`: no entry is older than that, whatever was lost; `jitter` is the largest part by which it is shorter.

    `timeout` is for one call to the cache; with `breaker`, what a slow or lost node costs. On a miss one reader of all
    servers' asks the database, the others wait up to `hold` for what it stores. Where a node of the cache is lost, an answer
    of the database is used for `shelter` by the server that asked, for at most `sheltered` flags.
    """

    ttl: Positive = 5.0
    jitter: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.2
    timeout: Positive = 0.1
    hold: Positive = 0.25
    poll: Positive = 0.01
    shelter: Positive = 0.5
    sheltered: Annotated[int, msgspec.Meta(ge=1)] = 10_000
    tend: Positive = 1.0
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 6379  # the nodes' own, which they tell
    breaker: BreakerSettings = BreakerSettings(success_threshold=1, timeout=1.0)
