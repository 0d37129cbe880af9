"""50,000 flags of one organisation, six times what fits, and 100,000 organisations, within a bound of memory."""

import asyncio
import gc
import tracemalloc

import msgspec

from reference_impl.pop.tiered.flags import TieredFlags
from reference_impl.pop.tiered.settings import TierSettings
from reference_impl.pop.tiered.store import TieredStore
from reference_impl.propagation.types import (
    Change,
    FlagState,
    RawFlagState,
    RawOrgState,
    RawSnapshot,
)

LIMIT = 4 << 20
KNOWN = 700  # bytes for each flag that is known, where each organisation has one: names, tables


def definition(n, size=600):
    return {
        "state": "ENABLED",
        "variants": {"v": n},
        "defaultVariant": "v",
        "metadata": {"x": f"{n:0{size}d}"},
    }


def grown(orgs, flags):
    """What a snapshot of `orgs` organisations with `flags` flags each takes, in bytes; and the flags."""
    store = TieredStore()
    made = TieredFlags(store, TierSettings(memory=LIMIT))

    encoded = [msgspec.json.encode(definition(n)) for n in range(flags)]

    def states(org):
        for n in range(flags):
            yield f"flag-{n}", RawFlagState(org * flags + n + 1, msgspec.Raw(encoded[n]))

    gc.collect()
    tracemalloc.start()
    try:
        every = {f"org-{org}": RawOrgState(1, dict(states(org))) for org in range(orgs)}
        store.replace(RawSnapshot(orgs * flags, every))
        del every
        gc.collect()
        return tracemalloc.get_traced_memory()[0], made
    finally:
        tracemalloc.stop()


def test_fifty_thousand_flags_of_one_organisation():
    async def course():
        size, flags = grown(1, 50_000)
        assert size < LIMIT + 50_000 * KNOWN
        assert len(flags.keys("org-0")) == 50_000
        cold = [key for key in flags.keys("org-0") if flags.cold("org-0", key)]
        assert 45_000 < len(cold) < 50_000
        for key in cold[:1_000]:
            n = int(key.removeprefix("flag-"))
            found = flags.take("org-0", key, FlagState(n + 1, definition(n)))
            assert found.evaluate({}, float).value == n
        assert flags.definitions.used + flags.compiled.used <= LIMIT

    asyncio.run(course())


def test_a_hundred_thousand_organisations():
    async def course():
        size, flags = grown(100_000, 1)
        assert size < LIMIT + 100_000 * KNOWN
        store = flags.store
        assert store.count == 100_000
        assert store.apply(Change(store.seq + 1, "org-99999", 2, "flag-0", definition(5), at=0))
        assert store.position("org-99999", "flag-0") == 100_001
        # One that is used keeps its place while many others come by.
        for org in range(0, 100_000, 20):
            name = f"org-{org}"
            if flags.cold(name, "flag-0"):
                seq = store.position(name, "flag-0")
                flags.take(name, "flag-0", FlagState(seq, definition(org)))
            if org % 1_000 == 0:
                assert flags.get("org-0", "flag-0").evaluate({}, float).value == 0
        assert flags.definitions.used + flags.compiled.used <= LIMIT

    asyncio.run(course())
