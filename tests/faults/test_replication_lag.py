from __future__ import annotations

import pytest

from faults.latency import Latency
from faults.replication_lag import ReplicationLag
from harness.units import Seconds

LAG = Seconds(0.15)


def test_bites_and_heals(lives):
    lives(ReplicationLag("db-us-2", lag=LAG))


def test_says_so_when_it_does_not(honest):
    honest(ReplicationLag("db-us-2", lag=LAG))


def test_only_what_follows_another_database_is_slow(nodes):
    (part,) = ReplicationLag(nodes=("db-us-2",), lag=LAG).parts(nodes)
    assert part == Latency(links=("db-us-2->db-us",), latency=LAG)


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (ReplicationLag(), "replication_lag: say which database"),
        (ReplicationLag("db-us-3"), "no database is called 'db-us-3'; did you mean 'db-us"),
        (ReplicationLag("db-us"), "db-us follows no other database"),
    ],
)
def test_what_is_not_there_is_said(nodes, fault, says):
    with pytest.raises(ValueError, match=says):
        fault.check(nodes)


def test_no_lag_is_refused():
    with pytest.raises(ValueError, match="1 ms or more"):
        ReplicationLag("db-us-2", lag=Seconds(0.0))
