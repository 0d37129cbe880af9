"""Settings of the database role."""

from __future__ import annotations

from typing import Annotated

import msgspec

from reference_impl.config import Positive


class DatabaseNodeSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Times in s. `first`: who begins, where no node has ever been primary. `synchronous`: nodes of which, while this one is
    primary, the first that is there must have a commit on disk before it is acknowledged; none: nobody need have.

    `lease`: for how long one grant lets it act as primary; it asks anew each `renew`, and stops `margin` before the end.
    `stuck`: a standby that hears nothing for so long, though there is a primary, is made anew from it.
    `jump`: by so much the log's position goes on when this node is promoted. Where it may lack the newest changes, others have
    seen them under positions that it will give out again; a gap makes all of them ask for a snapshot.
    `server`: PostgreSQL's own settings, over those of `server.py`.
    """

    resource: str = "primary"
    first: bool = False
    synchronous: tuple[str, ...] = ()
    port: int = 5432
    lease: Positive = 5.0
    renew: Positive = 0.5
    margin: Positive = 1.5
    ask_timeout: Positive = 0.75
    tick: Positive = 0.5
    stuck: Positive = 8.0
    fence: bool = True
    jump: Annotated[int, msgspec.Meta(ge=0)] = 0
    server: dict[str, str | int | float | bool] = {}
