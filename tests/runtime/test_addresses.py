from __future__ import annotations

import socket
from pathlib import Path

import pytest

from harness.errors import RuntimeFailure
from harness.runtime import addresses
from harness.runtime.addresses import RANGES, claim_range, listeners, make_plan, prefix_of
from harness.runtime.base import Address
from tests.runtime import contract


def plan(taps=()):
    return make_plan("127.10.9", contract.topology("x", "redis"), Path("s"), taps)


def test_everything_has_an_address_of_its_own():
    made = plan(taps=("a->b",))
    assert made.node == {
        "a": Address("127.10.9.2", 8080),
        "b": Address("127.10.9.3", 8080),
        "redis": Address("127.10.9.4", 6379),
    }
    assert made.link == {"a->b": Address("127.10.9.200", 20000)}
    assert made.tap == {"a->b": Address("127.10.9.201", 21000)}
    assert made.client == {"users": "127.10.9.231"}
    assert prefix_of(made) == "127.10.9"
    assert sorted(listeners(made)) == [
        (2, 8080),
        (3, 8080),
        (4, 6379),
        (200, 20000),
        (201, 21000),
        (202, 8474),
    ]


def test_a_tap_needs_its_link():
    with pytest.raises(ValueError, match="no link 'b->a'"):
        plan(taps=("b->a",))


def test_claims_do_not_overlap_and_the_next_is_behind_the_last():
    first = claim_range([(2, 8080)])
    second = claim_range([(2, 8080)])
    try:
        assert first.prefix != second.prefix
        assert RANGES.index(claim_next(first.prefix)) > RANGES.index(first.prefix)
    finally:
        first.close()
        second.close()
    assert "free" in repr(first)


def claim_next(after):
    claim = claim_range([(2, 8080)], after)
    claim.close()
    return claim.prefix


def test_after_the_last_range_comes_the_first():
    assert RANGES.index(claim_next(RANGES[-1])) < len(RANGES) - 1


def test_a_range_with_foreign_software_in_it_is_passed_over(monkeypatch):
    monkeypatch.setattr(addresses, "RANGES", ("127.19.1", "127.19.2"))
    with socket.socket() as foreign:
        foreign.bind(("127.19.1.2", 8080))
        foreign.listen()
        assert claim_next("") == "127.19.2"


def test_foreign_software_on_all_addresses_is_told(monkeypatch):
    with socket.socket() as foreign:
        foreign.bind(("0.0.0.0", 0))
        foreign.listen()
        port = foreign.getsockname()[1]
        with pytest.raises(
            RuntimeFailure, match=rf"other software listens on 127\.\d+\.\d+\.2:{port}"
        ):
            claim_range([(2, port)])


def test_no_range_left_is_told(monkeypatch):
    monkeypatch.setattr(addresses, "RANGES", ("127.19.3",))
    claim = claim_range([])
    with pytest.raises(RuntimeFailure, match="all 1 ranges"):
        claim_range([])
    claim.close()
