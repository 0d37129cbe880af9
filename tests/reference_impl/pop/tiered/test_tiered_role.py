"""A whole PoP with tiers over real sockets."""

import asyncio
import contextlib
import random
import time

import pytest

from reference_impl.config import ConfigError
from reference_impl.main import ROLES, run
from reference_impl.pop.role import Pop
from reference_impl.pop.shared.crew import pop_crew
from reference_impl.pop.tiered.role import TieredPop
from reference_impl.role import Env
from tests.reference_impl.pop.test_role import World, configured, healthy, running

MANY = 30
TIERS = {"memory": 1 << 17, "batch": 8}  # room for some fifteen definitions


def definition(value):
    return {
        "state": "ENABLED",
        "variants": {"v": value},
        "defaultVariant": "v",
        "metadata": {"x": "y" * 4_000},
    }


@contextlib.asynccontextmanager
async def tiered():
    async with healthy(variant=TieredPop, tiers=TIERS) as at:
        for n in range(MANY):
            await at.world.put(f"k{n:02d}", definition(n))

        async def arrived():
            return (await at.status())["seq"]

        await at.until(at.world.store.seq, arrived)
        yield at


async def bulk(at, **headers):
    url = f"{at.url}/ofrep/v1/evaluate/flags"
    async with at.session.post(url, json={}, headers=headers) as answer:
        body = await answer.json(content_type=None) if answer.status == 200 else None
        return answer.status, answer.headers.get("ETag"), body


def coldest(at):
    return [key for key in at.pop.keys("default") if at.pop.cold("default", key)]


def test_a_cold_flag_is_loaded_on_first_use_and_then_in_memory():
    async def course():
        async with tiered() as at:
            key = coldest(at)[-1]
            status, answer = await at.evaluate(key)
            assert (status, answer["value"]) == (200, int(key[1:]))
            assert answer["metadata"]["loaded"] is True
            status, answer = await at.evaluate(key)
            assert (status, answer["value"]) == (200, int(key[1:]))
            assert "loaded" not in answer["metadata"]
            tiers = (await at.status())["tiers"]
            assert (tiers["known"], tiers["loaded"], tiers["from_kv"]) == (MANY + 1, 1, 1)
            assert tiers["used"] <= tiers["limit"] == TIERS["memory"]
            assert at.world.lookups == []

    asyncio.run(course())


def test_all_flags_are_answered_and_nothing_gives_way():
    async def course():
        async with tiered() as at:
            cold = coldest(at)
            assert len(cold) > 8  # more than a batch
            status, etag, body = await bulk(at)
            assert status == 200
            values = {flag["key"]: flag["value"] for flag in body["flags"]}
            assert values == {"dark-mode": True} | {f"k{n:02d}": n for n in range(MANY)}
            assert coldest(at) == cold
            assert (await bulk(at, **{"If-None-Match": etag}))[0] == 304
            await at.world.put(cold[0], definition("new"))

            async def changed():
                return (await bulk(at, **{"If-None-Match": etag}))[0]

            await at.until(200, changed)

    asyncio.run(course())


def test_no_new_flags_in_l2():
    async def course():
        async with tiered() as at:
            cold = coldest(at)
            held = next(key for key in at.pop.keys("default") if key[0] == "k" and key not in cold)
            await at.world.stream_down()
            at.world.kv.broken = "CONNECTION_REFUSED"
            await at.until_level("DEGRADED_L2")
            assert (await at.evaluate(held))[1]["value"] == int(held[1:])
            status, answer = await at.evaluate(cold[0])
            assert (status, answer["errorCode"]) == (404, "FLAG_NOT_FOUND")
            status, _, body = await bulk(at)
            assert status == 200
            errors = {flag["key"] for flag in body["flags"] if "errorCode" in flag}
            assert errors == set(cold)
            assert (await at.status())["tiers"]["loaded"] == 0

    asyncio.run(course())


def test_what_is_not_known_is_asked_for_at_the_origin():
    async def course():
        async with tiered() as at:
            at.world.hidden["ahead"] = (99, definition("ahead"))
            assert await at.value("ahead") == "ahead"
            assert (await at.evaluate("nowhere"))[0] == 404
            assert {key for key, _ in at.world.lookups} == {"ahead", "nowhere"}

    asyncio.run(course())


def test_it_serves_no_stream():
    async def course():
        async with running(variant=TieredPop, tiers=TIERS) as at:
            await at.until_level("HEALTHY")
            for path in ("/ready", "/stream"):
                status, text = await at.get(path)
                assert (status, "doesn't have all flags" in text) == (503, True)

    asyncio.run(course())


def config(**settings):
    world = World()
    world.ports = {"stream": 1, "origin": 2}
    return configured(world, **settings)


def test_workers_and_tiers_are_refused_in_one_line():
    with pytest.raises(ConfigError, match="tiers are for one process, not 2 workers"):
        pop_crew(config(workers=2, tiers=TIERS), None)
    with pytest.raises(ConfigError, match="memory"):
        run(config(tiers={"memory": 1}))


def test_without_the_setting_all_is_in_memory():
    async def made(**settings):
        return ROLES["pop"](config(**settings), Env(random.Random(1), time.time_ns, "b"))

    assert type(asyncio.run(made())) is Pop
    assert type(asyncio.run(made(tiers=TIERS))) is TieredPop
