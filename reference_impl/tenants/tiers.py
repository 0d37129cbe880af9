"""The tiers of organisations, and the places that each may take of what is scarce."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Final

import msgspec

from reference_impl.config import Positive

if TYPE_CHECKING:
    from collections.abc import Mapping

Rate = Annotated[float, msgspec.Meta(ge=0)] | None  # requests/s; None: as many as come
Rates = tuple[Rate, Rate, Rate]  # at HEALTHY, at DEGRADED_L1, and at what is worse
_FREE_SHARE: Final = 4  # of the shared places FREE gets one in so many


class Tier(StrEnum):
    """What an organisation pays for."""

    ENTERPRISE = "ENTERPRISE"
    PRO = "PRO"
    FREE = "FREE"


class TenantSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`tiers`: of organisations by name; all others are of `default`, and share one limit.

    `free`, `pro`: requests/s of one organisation, for each level; up to a second's worth may come at once.
    `retry_after`: in how many s somebody may come again for whom there is nothing now. `streams`: that may be open at one node,
    for all who share (a quarter of them FREE), and as many for each ENTERPRISE organisation alone; `pace`: of FREE, s between
    two writes.
    """

    tiers: dict[str, Tier] = {}
    default: Tier = Tier.PRO
    free: Rates = (100.0, 10.0, 0.0)
    pro: Rates = (None, None, 1_000.0)
    retry_after: Positive = 5.0
    streams: Annotated[int, msgspec.Meta(ge=1)] = 10_000
    pace: Positive = 1.0

    def tier(self, org: str) -> Tier:
        """The tier of an organisation."""
        return self.tiers.get(org, self.default)


class Places:
    """Places for what is under way at once, such as calls to others: `size` for all that share them, of which FREE gets a part, and as many for each
    ENTERPRISE organisation alone.
    """

    def __init__(self, tenants: TenantSettings, size: int) -> None:
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
