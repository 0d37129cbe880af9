"""What the controller sees of the databases, and when that means that the primary is lost. Pure."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

PRIMARY, STANDBY = "primary", "standby"


class NodeView(msgspec.Struct, frozen=True):
    """The part of an agent's status that matters here; a node that did not answer has no view."""

    node: str
    state: str
    epoch: int = 0
    lsn: int = 0
    timeline: int = 0
    accepting: bool = False
    streaming: bool = False
    sees: dict[str, bool] = {}


def alive(holder: str, views: Mapping[str, NodeView]) -> str:
    """Why the primary is not lost, in a few words; "" when nobody has any sign of it.

    An agent that answers here and says that it is primary is alive. One that only others see may be cut off from here
    alone: a link that is slow or half dead must not make a second primary. One that answers and says that it is none (it
    was fenced, its server can't start) is lost, whoever sees it.
    """
    own = views.get(holder)
    if own is not None:
        return "it answers as primary" if own.state == PRIMARY else ""
    for view in views.values():
        if view.streaming and view.state == STANDBY:
            return f"{view.node} receives its log"
        if view.sees.get(holder):
            return f"{view.node} sees it"
    return ""


def best(
    holder: str, views: Mapping[str, NodeView], preferred: tuple[str, ...], needed: int
) -> str | None:
    """The standby to promote: who has most of the log, among equals the first preferred. None while too few answer.

    `needed`: how many standbys must be heard, so that one of them has every acknowledged write.
    """
    standbys = [v for v in views.values() if v.state == STANDBY and v.node != holder]
    if len(standbys) < needed:
        return None
    rank = {name: -place for place, name in enumerate(preferred)}
    return max(standbys, key=lambda v: (v.timeline, v.lsn, rank.get(v.node, -len(rank)))).node
