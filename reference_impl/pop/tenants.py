"""How many requests of an organisation a PoP serves ("Bulkhead Pattern").

ENTERPRISE is never turned away. PRO is limited only where the PoP is badly off; FREE always, and it gives way first.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from reference_impl.pop.levels import CHAIN, Level
from reference_impl.tenants.tiers import Tier

if TYPE_CHECKING:
    from reference_impl.tenants.tiers import Rate, TenantSettings

_OTHERS: Final = ""  # those who are not named share one bucket


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
    """Who may be served now."""

    def __init__(self, settings: TenantSettings, level: Level) -> None:
        self.settings = settings
        self.limiting = False  # whether anybody is limited now; else `wait` needn't be asked
        self.share = 1.0  # of each rate that is this process's, where several serve one PoP
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

    def wait(self, org: str) -> float:
        """0 to serve a request; else in how many s the organisation may come again."""
        rate = self._rates.get(self.settings.tier(org))
        if rate is None:
            return 0.0
        if not rate:
            return self.settings.retry_after
        return self._bucket(org, rate * self.share).take(asyncio.get_running_loop().time())

    def _bucket(self, org: str, rate: float) -> Bucket:
        name = org if org in self.settings.tiers else _OTHERS
        now = asyncio.get_running_loop().time()
        bucket = self._buckets.get(name)
        if bucket is None:
            bucket = self._buckets[name] = Bucket(rate, now)
        elif bucket.rate != rate:
            bucket.set_rate(rate, now)
        return bucket
