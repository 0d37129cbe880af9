"""Shares of a bounded memory, against what a plain model says about who may lose what."""

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from reference_impl.pop.tiered.shares import Shares

ORGS = ("a", "b", "c", "d")
USES = st.lists(
    st.tuples(
        st.sampled_from(("put", "get", "drop")),
        st.sampled_from(ORGS),
        st.integers(0, 12),
        st.integers(1, 60),
    ),
    max_size=200,
)


def test_the_last_used_stay(virtual):
    async def course():
        shares = Shares(30, idle=60)
        for key in "abc":
            shares.put("o", key, key.upper(), 10)
        assert shares.get("o", "a") == "A"
        shares.put("o", "d", "D", 10)
        assert [key for key, _ in shares.of("o")] == ["c", "a", "d"]
        assert shares.peek("o", "b") is None
        assert (shares.used, shares.evicted, len(shares)) == (30, 1, 3)

    virtual(course())


def test_what_is_greater_than_all_room_is_not_kept_and_takes_nothing(virtual):
    async def course():
        shares = Shares(30, idle=60)
        shares.put("o", "a", 1, 10)
        shares.put("o", "b", 2, 31)
        assert [key for key, _ in shares.of("o")] == ["a"]
        shares.put("o", "a", 2, 31)  # nor does the old one stay in its place
        assert (len(shares), shares.used) == (0, 0)

    virtual(course())


def test_a_flood_takes_only_from_itself(virtual):
    async def course():
        shares = Shares(1000, idle=60)
        for n in range(20):
            shares.put("small", str(n), n, 10)
        for n in range(10_000):
            shares.put("flood", str(n), n, 10)
        assert len(list(shares.of("small"))) == 20
        assert shares.used == 1000

    virtual(course())


def test_who_is_idle_gives_way_first(virtual):
    async def course():
        shares = Shares(1000, idle=60)
        for n in range(20):
            shares.put("idle", str(n), n, 10)
        shares.put("other", "x", 0, 10)
        await asyncio.sleep(61)
        assert shares.get("other", "x") == 0
        for n in range(1000):
            shares.put("flood", str(n), n, 10)
        assert list(shares.of("idle")) == []
        assert shares.get("other", "x") == 0

    virtual(course())


def test_an_organisation_itself_counts(virtual):
    async def course():
        shares = Shares(100, idle=60, each=30)
        shares.put("a", "x", 1, 10)
        shares.put("a", "y", 2, 10)
        shares.put("b", "x", 3, 20)
        assert shares.used == 100
        shares.drop("b", "x")
        assert shares.used == 50
        shares.drop("a", "x")
        assert shares.used == 40
        shares.put("c", "x", 1, 71)
        assert list(shares.of("c")) == []
        shares.drop_all("a")
        assert (shares.used, len(shares)) == (0, 0)

    virtual(course())


def test_of_equals_who_used_nothing_lately_gives_way(virtual):
    async def course():
        shares = Shares(100, idle=60)
        for n in range(10):
            shares.put(f"org-{n}", "k", n, 10)
        for n in range(10, 100):
            assert shares.get("org-0", "k") == 0
            shares.put(f"org-{n}", "k", n, 10)

    virtual(course())


def test_many_organisations_each_keep_something(virtual):
    async def course():
        shares = Shares(10_000 * 20, idle=60)
        for n in range(100_000):
            shares.put(f"org-{n}", "k", n, 20)
        assert shares.used == 200_000
        assert len(shares) == 10_000

    virtual(course())


@settings(deadline=None)
@given(USES)
def test_against_a_model(uses):
    """Never over the limit; the values are those that were put; and an organisation of a small share loses nothing to others."""

    async def course():
        limit = 200
        shares = Shares(limit, idle=1e9)
        model = {org: {} for org in ORGS}
        for what, org, key, size in uses:
            name = str(key)
            before = {o: {k: s for k, (_, s) in values.items()} for o, values in model.items()}
            if what == "drop":
                shares.drop(org, name)
                model[org].pop(name, None)
            elif what == "put":
                shares.put(org, name, (key, size), size)
                model[org][name] = ((key, size), size)
            else:
                found = shares.get(org, name)
                assert found == (model[org][name][0] if name in model[org] else None)
            after = {o: dict(shares.of(o)) for o in ORGS}
            in_use = sum(1 for o in ORGS if before[o] or o == org)
            for other, values in after.items():
                assert all(model[other][k][0] == v for k, v in values.items())
                lost = model[other].keys() - values.keys()
                if other != org and lost:
                    assert what == "put"
                    assert sum(before[other].values()) > limit / (2 * in_use)
                model[other] = {k: model[other][k] for k in values}
            used = sum(size for values in model.values() for _, size in values.values())
            assert shares.used == used <= limit
            assert len(shares) == sum(map(len, model.values()))

    asyncio.run(course())
