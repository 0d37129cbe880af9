"""How much of the flags a PoP keeps in memory, and how it brings the others."""

from __future__ import annotations

from typing import Annotated

import msgspec

from reference_impl.config import Positive

Count = Annotated[int, msgspec.Meta(ge=1)]


class TierSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`memory`: bytes that flags may use, half of them as definitions and half compiled; beside it some 100 to 300 bytes for each
    flag that is known, and all shared rules.

    `idle`: an organisation that used nothing for so many s gives its memory up first. `batch`: flags that one call brings.
    `calls`: calls under way, of which an organisation has one at a time. `waiting`: flags that one organisation may wait for.
    `answers`: answers that are kept ready.
    """

    memory: Annotated[int, msgspec.Meta(ge=1 << 16)]
    idle: Positive = 60.0
    batch: Count = 32
    calls: Count = 16
    waiting: Count = 1_000
    answers: Count = 1_000
