"""Which versions are to be archived. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from typing import Annotated, Final

import msgspec

from reference_impl.clock import NS
from reference_impl.config import Positive
from reference_impl.propagation.types import Change

DAY: Final = 86_400.0
Count = Annotated[int, msgspec.Meta(ge=1)]


class ArchiveSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Hot are the newest `keep` versions of all flags together that are at most `age` s old, and always the very newest.

    `batch` versions are archived at a time; `every` s it is looked for more.
    """

    keep: Count = 100_000
    age: Positive = 30 * DAY
    batch: Count = 500
    every: Positive = 0.5


def due(oldest: Sequence[Change], count: int, now: int, settings: ArchiveSettings) -> list[Change]:
    """Of the `oldest` versions, in the log's order, those to archive now. `count`: of all that are hot; `now`: Unix ns.

    A part of the log from its beginning on, so that what stays has no gap. The newest stays: by it readers of the log see
    that there is more than they have.
    """
    surplus = max(0, count - settings.keep)
    aged = sum(1 for _ in takewhile(lambda c: now - c.at >= settings.age * NS, oldest))
    return list(oldest[: max(0, min(count - 1, max(surplus, aged)))])
