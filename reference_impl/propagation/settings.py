"""Settings of those who serve streams, and of those who follow them too. All durations in s."""

from __future__ import annotations

from typing import Annotated

import msgspec

from reference_impl.config import Positive
from reference_impl.tenants.tiers import TenantSettings

NotNegative = Annotated[float, msgspec.Meta(ge=0)]


class FanOutSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`queue`: changes that may wait for one slow subscriber. `stall`: how long it may take for one piece.

    `tenants`: what organisations may take of the node, by their tier.
    """

    heartbeat: Positive = 1.0
    ring: Annotated[int, msgspec.Meta(ge=1)] = 10_000
    queue: Annotated[int, msgspec.Meta(ge=1)] = 1_000
    stall: Positive = 5.0
    tenants: TenantSettings = TenantSettings()


class FollowSettings(FanOutSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How to follow an upstream.

    `reconnect_spread`: those who lost a stream come back spread evenly over this time, not all at once.
    `patience`: so long a node that has just begun asks for its preferred upstream alone: where a whole region begins at
    once it would scatter over the backups.
    `return_hold`: how long a preferred upstream must be well before we go back to it.
    `failover`: false never leaves the first upstream, which is wrong and shows that the loss is noticed.
    """

    connect_timeout: Positive = 1.0
    heartbeat_timeout: Positive = 3.0
    reconnect_spread: NotNegative = 2.0
    backoff_initial: Positive = 0.2
    backoff_max: Positive = 5.0
    patience: NotNegative = 1.5
    return_check: Positive = 2.0
    return_hold: NotNegative = 10.0
    failover: bool = True
