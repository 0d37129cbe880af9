"""The requirements of the specification as data: ids, sections, targets, and the RTO/RPO table in seconds."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import TYPE_CHECKING

import msgspec
import yaml

from harness.errors import SquallError

if TYPE_CHECKING:
    from collections.abc import Mapping


class Recovery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One row of the specification's table "RTO/RPO Targets". `rto` and `rpo` are the limits in s; 0 means none lost.

    For "Single PoP failure" an RTO of 0 means: no request fails for a client that retries once, and no operator acts.
    """

    row: str
    rto: float
    rto_text: str
    rpo: float
    rpo_text: str
    strategy: str


class SinglePoint(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One row of the specification's table "Single Points of Failure Analysis"."""

    component: str
    risk: str
    mitigation: str


class Requirement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One promise of the specification. `unit` is that of its main figure, "" where it has none."""

    id: str
    section: str
    title: str
    target: str
    unit: str
    observed: str
    recovery: Recovery | None = None
    components: tuple[SinglePoint, ...] = ()


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    source: str
    requirements: list[Requirement]


@cache
def load_requirements() -> Mapping[str, Requirement]:
    """Id → requirement, in the specification's order."""
    text = files("harness.data").joinpath("requirements.yaml").read_text("utf-8")
    listed = msgspec.convert(yaml.safe_load(text), _File).requirements
    by_id = {r.id: r for r in listed}
    if len(by_id) != len(listed):
        raise ValueError("requirements.yaml: an id occurs twice")
    return MappingProxyType(by_id)


def requirements() -> tuple[Requirement, ...]:
    """All requirements, in the specification's order."""
    return tuple(load_requirements().values())


def requirement(requirement_id: str) -> Requirement:
    """:raises SquallError: when the specification has no such requirement."""
    try:
        return load_requirements()[requirement_id]
    except KeyError:
        known = ", ".join(load_requirements())
        raise SquallError(f"no requirement {requirement_id!r}; there are {known}") from None


def is_requirement(requirement_id: str) -> bool:
    return requirement_id in load_requirements()


def recovery_objectives() -> tuple[Requirement, ...]:
    """The requirements that stand in the specification's RTO/RPO table, in the table's order."""
    return tuple(r for r in requirements() if r.recovery is not None)


def single_points() -> tuple[SinglePoint, ...]:
    """The components of the specification's table of single points of failure, in the table's order."""
    return tuple(point for r in requirements() for point in r.components)
