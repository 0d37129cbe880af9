"""Which shard an organisation is on, who has it, and what must move when shards are doubled."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference_impl.shards.plan import PlanError, count_of, finished, first_places, holders, moves
from reference_impl.shards.shard import MOST, Owned, Shard, ShardMap, org_hash, shards

ORGS = st.text(min_size=1, max_size=20)
COUNTS = st.sampled_from([1, 2, 16, 32, 64, 128])


def test_the_hash_is_for_ever():
    assert org_hash("acme") == 0x822B33AD87C148A
    assert str(Shard(16, 3)) == "3/16"


@given(ORGS, COUNTS)
def test_an_organisation_is_on_one_shard_and_then_on_one_of_its_halves(org, count):
    (on,) = [shard for shard in shards(count) if shard.has(org)]
    (half,) = [half for half in on.halves if half.has(org)]
    assert half.of == 2 * count
    assert half.number in (on.number, on.number + count)


def test_a_doubling_moves_half_of_them():
    orgs = [f"org-{n}" for n in range(4000)]
    moved = [org for org in orgs if org_hash(org) % 16 != org_hash(org) % 32]
    assert 1850 < len(moved) < 2150


@given(st.integers(1, 5), COUNTS)
def test_at_first_servers_have_as_many_shards(servers, count):
    names = [f"db-{n}" for n in range(servers)]
    places = first_places(names, count)
    assert sorted(shard for some in places.values() for shard in some) == shards(count)
    sizes = [len(some) for some in places.values()]
    assert max(sizes) - min(sizes) <= 1


@given(st.lists(st.integers(0, 3), min_size=16, max_size=16), st.permutations(range(4)))
def test_a_new_half_moves_only_to_even_out(at, order):
    """Beside a count of organisations, 32 of equal weight, one on each new shard."""
    servers = [f"db-{n}" for n in order]
    places = {shard: f"db-{at[shard.number]}" for shard in shards(16)}
    on = {n: places[Shard(16, n % 16)] for n in range(32)}
    fullest = max(list(on.values()).count(server) for server in servers)
    for shard, source, target in moves(places, servers):
        assert source == places[shard]
        before = list(on.values())
        least = min(before.count(server) for server in servers)
        on[shard.halves[1].number] = target
        if source == target:
            assert least >= before.count(source) - 1
        else:
            assert before.count(target) == least
            assert least + 1 <= before.count(source) - 1
    assert max(list(on.values()).count(server) for server in servers) <= fullest


def test_two_servers_grow_to_four():
    places = {shard: ("db-1", "db-2")[shard.number // 8] for shard in shards(16)}
    plan = moves(places, ["db-1", "db-2", "db-3", "db-4"])
    assert {source for _, source, _ in plan} == {"db-1", "db-2"}
    assert sorted(target for _, _, target in plan) == ["db-3"] * 8 + ["db-4"] * 8
    even = {shard: f"db-{shard.number % 4 + 1}" for shard in shards(32)}
    assert all(source == target for _, source, target in moves(even, sorted({*even.values()})))


def test_where_shards_are_while_they_are_doubled():
    whole, split = Shard(2, 0), Shard(2, 1)
    kept, new = split.halves
    owned = {"a": [Owned(whole), Owned(kept), Owned(new, open=False)], "b": [Owned(new, 2)]}
    assert holders(owned, 2) == {whole: "a", split: "a"}
    assert count_of(owned) == 2
    assert not finished(owned, 4)
    assert finished({"a": [Owned(shard) for shard in shards(4)]}, 4)
    assert not finished({"a": [Owned(shard, open=shard.number > 0) for shard in shards(4)]}, 4)
    assert not finished({}, 4)
    with pytest.raises(PlanError, match="no server has shard 1/2"):
        holders({"a": [Owned(whole)]}, 2)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 5)), max_size=6), ORGS)
def test_the_latest_word_names_the_owner(told, org):
    """By force: of all open shards that have it, the one of the highest epoch; halves before the whole."""
    place = ShardMap()
    last = {}
    for server, epoch in told:
        shard = Shard(2, org_hash(org) % 2) if epoch % 2 else Shard(4, org_hash(org) % 4)
        one = Owned(shard, epoch, open=epoch != 5)
        assert place.learn(server, [one]) == (last.get(server) != one)
        last[server] = one
    known = [(one.epoch, one.shard.of, server) for server, one in last.items() if one.open]
    assert place.owner(org) == (max(known)[2] if known else None)


def test_there_are_256_at_most():
    assert MOST == 256
    assert len(shards(MOST)) == 256
