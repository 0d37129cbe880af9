import asyncio

from reference_impl.pop.negative import NegativeCache


def test_believed_for_its_ttl_only(virtual):
    async def course():
        cache = NegativeCache(ttl=1.0)
        cache.add("gone")
        seen = ["gone" in cache, "other" in cache]
        await asyncio.sleep(0.9)
        seen.append("gone" in cache)
        await asyncio.sleep(0.2)
        seen += ["gone" in cache, len(cache)]
        return seen

    assert virtual(course()) == [True, False, True, False, 0]


def test_least_recently_used_goes_first(virtual):
    async def course():
        cache = NegativeCache(size=2)
        cache.add("a")
        cache.add("b")
        assert "a" in cache
        cache.add("c")
        return {key for key in "abc" if key in cache}

    assert virtual(course()) == {"a", "c"}


def test_a_flag_that_appears_is_forgotten_as_absent(virtual):
    async def course():
        cache = NegativeCache()
        cache.add("a")
        cache.discard("a")
        cache.discard("never there")
        return "a" in cache

    assert virtual(course()) is False
