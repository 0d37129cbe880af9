from __future__ import annotations

import pytest

from harness.errors import SquallError
from harness.requirements import (
    is_requirement,
    recovery_objectives,
    requirement,
    requirements,
    single_points,
)

IDS = [
    "E1",
    "E2",
    "E3",
    "E4",
    "E5",
    "E6",
    "S1",
    "S2",
    "S3",
    "S4",
    "D1",
    "D2",
    "D3",
    "D4",
    "D5",
    "D6",
    "M1",
    "M2",
    "M3",
    "M4",
    "P1",
    "P2",
    "P3",
    "P4",
    "B1",
    "B2",
    "B3",
    "B4",
    "C1",
    "C2",
]


def test_every_id_of_the_specification_is_there_in_order():
    assert [r.id for r in requirements()] == IDS


def test_every_requirement_says_where_it_stands_what_it_promises_and_what_must_be_seen():
    for r in requirements():
        assert all((r.section, r.title, r.target, r.observed)), r
        assert "\n" not in r.observed + r.target, "folded text must be one line"


def test_recovery_table_in_seconds():
    table = {
        r.recovery.row: (r.id, r.recovery.rto, r.recovery.rpo)
        for r in recovery_objectives()
        if r.recovery
    }
    assert table == {
        "Single PoP failure": ("E2", 0, 0),
        "Regional hub failure": ("S2", 60, 0),
        "Origin AZ failure": ("D3", 300, 0),
        "Origin region failure": ("M2", 900, 60),
        "Global platform outage": ("M4", 1800, 300),
    }


def test_unknown_id_is_an_error_that_names_the_known_ones():
    assert not is_requirement("Z9")
    with pytest.raises(SquallError, match="no requirement 'Z9'; there are E1, E2"):
        requirement("Z9")


def test_known_id():
    assert requirement("D3").title == "The platform survives the loss of an origin zone"


def test_the_table_of_single_points_of_failure():
    assert [(p.component, p.risk, p.mitigation) for p in single_points()] == [
        ("Origin DB", "High", "Multi-AZ primary, read replicas"),
        ("Streaming servers", "Medium", "Multiple servers, hub architecture"),
        ("Regional hubs", "Medium", "Multiple hubs per region, failover"),
        ("Edge PoPs", "Low", "Anycast routes to healthy PoPs"),
        ("Edge KV", "Low", "Replicated, multi-region"),
    ]
