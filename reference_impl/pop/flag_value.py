"""What a PoP answers at each degradation level: the specification's `GetFlagValue` ("Degradation Handlers")."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from reference_impl.evaluation import (
    Clock,
    CompiledFlag,
    ErrorCode,
    FlagType,
    Json,
    Metadata,
    Reason,
    Resolution,
)
from reference_impl.pop.levels import Level

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

_HEALTHY, _L1, _L2, _EMERGENCY = Level


@dataclass(frozen=True, slots=True)
class Fallback:
    """The origin was not asked, or did not answer. `metadata` goes into the answer: `{"fallback": true, …}`."""

    metadata: Metadata


class Defaults:
    """The values that are packaged with a PoP, by flag key, the same for all organisations."""

    def __init__(self, values: Mapping[str, Json] | None = None) -> None:
        self._resolutions = {key: _default(key, value) for key, value in (values or {}).items()}

    def __repr__(self) -> str:
        return f"<Defaults for {sorted(self._resolutions)}>"

    @property
    def keys(self) -> frozenset[str]:
        """The flags that have one."""
        return frozenset(self._resolutions)

    def get(self, key: str) -> Resolution | None:
        """`GetDefault`: of any type."""
        return self._resolutions.get(key)

    def get_boolean(self, key: str, flag: CompiledFlag | None) -> Resolution | None:
        """`GetHardcodedDefault`: booleans only; false for a flag that has none and is known to be boolean."""
        packaged = self._resolutions.get(key)
        if packaged is not None:
            return packaged if isinstance(packaged.value, bool) else None
        if flag is not None and flag.type is FlagType.BOOLEAN:
            return _default(key, False)
        return None


class View(Protocol):
    """What the data path asks of its PoP. All but `load` answer from memory, at once."""

    @property
    def node(self) -> str:
        """The node's name."""
        ...

    @property
    def level(self) -> Level: ...

    @property
    def seq(self) -> int:
        """The log position of the flags in memory."""
        ...

    @property
    def clock(self) -> Clock:
        """Unix time in s, for rules that look at `$flagd.timestamp`."""
        ...

    @property
    def defaults(self) -> Defaults: ...

    def admit(self, org: str) -> float:
        """0 to serve a request of this organisation; otherwise in how many seconds it may come again (429)."""
        ...

    def flag(self, org: str, key: str) -> CompiledFlag | None:
        """A flag that is in memory."""
        ...

    def keys(self, org: str) -> Collection[str]:
        """The keys of all flags of an organisation that are in memory."""
        ...

    async def load(self, org: str, key: str) -> CompiledFlag | Fallback | None:
        """Ask the origin for a flag that is not in memory; None if there is none. Bounded in time; never raises."""
        ...


def get_flag_value(
    view: View, level: Level, org: str, key: str, context: dict[str, Any]
) -> Resolution | None:
    """`GetFlagValue(flag_key, context)` at this level, the view's. None: not in memory, and at this level the origin may be asked.

    The warnings of the degraded levels are `level_metadata`'s. "No new flags" in DEGRADED_L2: the origin is not asked.
    EMERGENCY disables targeting and gives booleans only; for other flags an SDK uses its caller's default.
    """
    if level is _EMERGENCY:
        resolution = view.defaults.get_boolean(key, view.flag(org, key))
        return resolution or not_found(key, "emergency: only boolean defaults are served")
    flag = view.flag(org, key)
    if flag is not None:
        return flag.evaluate(context, view.clock)
    if level is _L2:
        return view.defaults.get(key) or not_found(
            key, "not in memory, and no new flags are loaded"
        )
    return None


def level_metadata(level: Level) -> dict[str, bool]:
    """The marks that the level puts on each answer."""
    if level is _HEALTHY:
        return {}
    return {"stale_warning": True} if level is _L1 else {"emergency_mode": True}


def known_keys(view: View, org: str) -> list[str]:
    """The keys that a bulk evaluation covers at this level: what is in memory, and where they count, the defaults."""
    keys = view.keys(org)
    return sorted(keys if view.level in (_HEALTHY, _L1) else {*keys, *view.defaults.keys})


def not_found(key: str, why: str, metadata: Metadata | None = None) -> Resolution:
    """The outcome for a flag that can't be served."""
    details = f"flag {key!r}: {why}"
    return Resolution(
        key, None, None, Reason.ERROR, ErrorCode.FLAG_NOT_FOUND, details, metadata or {}
    )


def _default(key: str, value: Json) -> Resolution:
    return Resolution(key, value, "default", Reason.DEFAULT)
