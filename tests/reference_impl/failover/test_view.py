"""When a primary is lost, and who is to be the next."""

import pytest

from reference_impl.failover.view import NodeView, alive, best


def views(*nodes):
    return {node.node: node for node in nodes}


def standby(name, *, lsn=100, streaming=False, sees=None, timeline=1):
    return NodeView(
        name, "standby", lsn=lsn, streaming=streaming, sees=sees or {}, timeline=timeline
    )


@pytest.mark.parametrize(
    ("seen", "why"),
    [
        (views(NodeView("db-1", "primary")), "it answers as primary"),
        (views(standby("db-2", streaming=True)), "db-2 receives its log"),
        (views(standby("db-2", sees={"db-1": True})), "db-2 sees it"),
        (views(standby("db-2", sees={"db-1": False}), standby("db-3")), ""),
        (views(), ""),
    ],
)
def test_any_sign_of_life_from_anywhere_is_one(seen, why):
    assert alive("db-1", seen) == why


def test_who_says_itself_that_it_is_no_primary_is_none():
    fenced = NodeView("db-1", "fenced")
    assert alive("db-1", views(fenced, standby("db-2", sees={"db-1": True}))) == ""


def test_the_one_with_most_of_the_log_is_chosen_and_among_equals_the_preferred():
    two, three = standby("db-2", lsn=100), standby("db-3", lsn=100)
    order = ("db-1", "db-2", "db-3")
    assert best("db-1", views(two, three), order, 2) == "db-2"
    assert best("db-1", views(two, standby("db-3", lsn=101)), order, 2) == "db-3"
    assert best("db-1", views(standby("db-2", timeline=2, lsn=90), three), order, 2) == "db-2"


def test_with_too_few_to_choose_from_nobody_is():
    assert best("db-1", views(standby("db-2")), (), 2) is None
    assert best("db-1", views(standby("db-2"), NodeView("db-3", "fenced")), (), 2) is None
    assert best("db-1", views(standby("db-2")), (), 1) == "db-2"
