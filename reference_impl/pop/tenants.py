"""Bulkheads by tier: what one organisation may take of a PoP ("Bulkhead Pattern").

ENTERPRISE is never turned away, and what others do takes none of its places. PRO shares, and is limited only where the PoP
is badly off; FREE is limited always, and gives way first.
"""

from __future__ import annotations

import asyncio
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Final

import msgspec

from reference_impl.config import Positive
from reference_impl.pop.levels import CHAIN, Level

if TYPE_CHECKING:
    from collections.abc import Mapping

Rate = Annotated[float, msgspec.Meta(ge=0)] | None  # requests/s; None: as many as come
Rates = tuple[Rate, Rate, Rate]  # at HEALTHY, at DEGRADED_L1, and at what is worse
_OTHERS: Final = ""  # those who are not named share one bucket
_FREE_SHARE: Final = 4  # of the shared places a FREE organisation's calls get one in so many


class Tier(StrEnum):
    """What an organisation pays for."""

    ENTERPRISE = "ENTERPRISE"
    PRO = "PRO"
    FREE = "FREE"


class TenantSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`tiers`: of organisations by name; all others are of `default`, and share one limit.

    `free`, `pro`: requests/s of one organisation, for each level; up to a second's worth may come at once.
    `retry_after`: in how many s somebody may come again for whom there is nothing now.
    """

    tiers: dict[str, Tier] = {}
    default: Tier = Tier.PRO
    free: Rates = (100.0, 10.0, 0.0)
    pro: Rates = (None, None, 1_000.0)
    retry_after: Positive = 5.0


class Bucket:
    """A token bucket: `rate` tokens/s, at most a second's worth, and never less than one. It begins full."""

    __slots__ = ("_at", "_tokens", "rate")

    def __init__(self, rate: float, now: float) -> None:
        self.rate = rate
        self._tokens = max(rate, 1.0)
        self._at = now

    def __repr__(self) -> str:
        return f"<Bucket {self._tokens:.1f} tokens, {self.rate:g}/s>"

    def set_rate(self, rate: float, now: float) -> None:
        """Another rate from now on; what is over a second's worth of it is lost."""
        self._fill(now)
        self.rate = rate
        self._tokens = min(self._tokens, max(rate, 1.0))

    def take(self, now: float) -> float:
        """0 where there was a token; else in how many s there will be one."""
        self._fill(now)
        if self._tokens >= 1.0:
            self._tokens -= 1.0
            return 0.0
        return (1.0 - self._tokens) / self.rate

    def _fill(self, now: float) -> None:
        gained = (now - self._at) * self.rate
        self._tokens = min(max(self.rate, 1.0), self._tokens + gained)
        self._at = now


class Tenants:
    """Who may be served now. `share`: which part of each rate is this process's, where several serve one PoP."""

    def __init__(self, settings: TenantSettings, level: Level, share: float = 1.0) -> None:
        self.settings = settings
        self.limiting = False  # whether anybody is limited now; else `wait` needn't be asked
        self._share = share
        self._rates: dict[Tier, Rate] = {}
        self._buckets: dict[str, Bucket] = {}
        self.at(level)

    def __repr__(self) -> str:
        return f"<Tenants at {self.level}, {len(self._buckets)} limited>"

    def at(self, level: Level) -> None:
        """What holds at this level holds from now on."""
        self.level = level
        step, settings = min(CHAIN.index(level), 2), self.settings
        self._rates = {Tier.FREE: settings.free[step], Tier.PRO: settings.pro[step]}
        tiers = {settings.default, *settings.tiers.values()}
        self.limiting = any(self._rates.get(tier) is not None for tier in tiers)

    def tier(self, org: str) -> Tier:
        """The tier of an organisation."""
        return self.settings.tiers.get(org, self.settings.default)

    def wait(self, org: str) -> float:
        """0 to serve a request; else in how many s the organisation may come again."""
        rate = self._rates.get(self.tier(org))
        if rate is None:
            return 0.0
        if not rate:
            return self.settings.retry_after
        return self._bucket(org, rate * self._share).take(asyncio.get_running_loop().time())

    def _bucket(self, org: str, rate: float) -> Bucket:
        name = org if org in self.settings.tiers else _OTHERS
        now = asyncio.get_running_loop().time()
        bucket = self._buckets.get(name)
        if bucket is None:
            bucket = self._buckets[name] = Bucket(rate, now)
        elif bucket.rate != rate:
            bucket.set_rate(rate, now)
        return bucket


class Places:
    """Calls to others that may be under way: `size` for all that share them, of which FREE gets a part, and as many for each
    ENTERPRISE organisation alone.
    """

    def __init__(self, tenants: Tenants, size: int) -> None:
        self.size = size
        self._tenants = tenants
        self._taken: dict[str, int] = {}  # by whose they are

    def __repr__(self) -> str:
        return f"<Places {dict(self._taken)} of {self.size}>"

    @property
    def taken(self) -> Mapping[str, int]:
        """How many are taken: by name of an ENTERPRISE organisation, or by tier."""
        return self._taken

    def enter(self, org: str) -> str | None:
        """Take a place; None where there is none. What it gives is for `leave`."""
        tier = self._tenants.tier(org)
        if tier is Tier.ENTERPRISE:
            whose, used, size = f"org {org}", self._taken.get(f"org {org}", 0), self.size
        elif tier is Tier.FREE:
            whose, used = str(tier), self._taken.get(tier, 0)
            size = max(1, self.size // _FREE_SHARE)
        else:
            whose, used, size = str(tier), sum(self._taken.get(t, 0) for t in Tier), self.size
        if used >= size:
            return None
        self._taken[whose] = self._taken.get(whose, 0) + 1
        return whose

    def leave(self, whose: str) -> None:
        """Give a place back."""
        self._taken[whose] -= 1
        if not self._taken[whose]:
            del self._taken[whose]
