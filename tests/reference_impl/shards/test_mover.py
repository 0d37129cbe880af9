"""The mover as an operator sees it: it gives first shards, doubles them when told to, and lists what is where."""

import asyncio
import contextlib

import aiohttp
import msgspec
import pytest

from reference_impl.config import ConfigError
from reference_impl.resilience.errors import TIMEOUT
from reference_impl.shards.memory import MemoryShards
from reference_impl.shards.role import Mover
from reference_impl.shards.shard import org_hash
from tests.reference_impl.support import environment, node, until

ON = {"state": "ENABLED", "variants": {"on": True}, "defaultVariant": "on"}
ORGS = [f"org-{n}" for n in range(20)]


@contextlib.asynccontextmanager
async def moving(folder, databases, **settings):
    config = msgspec.structs.replace(
        node("mover", "mover", **{"first": ["a"], "shards": 2, "retry": 0.02, **settings}),
        state_dir=str(folder),
    )
    mover = Mover(config, environment(), databases)
    await mover.start()
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as http:

        async def ask(method="GET", path="/shards", body=None):
            url = f"http://127.0.0.1:{mover.site.port}{path}"
            async with http.request(method, url, json=body) as answer:
                return answer.status, await answer.json()

        try:
            yield mover, ask
        finally:
            await mover.stop()


def test_first_shards_then_twice_as_many(tmp_path):
    async def main():
        a, b = MemoryShards("a"), MemoryShards("b")
        async with moving(tmp_path, [a, b]) as (mover, ask):
            await until(lambda: mover.placed, seen=lambda: mover)
            for org in ORGS:
                await a.put_flag(org, "k", ON, 0)
            status, before = await ask()
            assert (status, before["shards"], before["organisations"]) == (200, 2, 20)
            assert sorted(o for some in before["servers"]["a"].values() for o in some) == sorted(
                ORGS
            )
            assert before["servers"]["b"] == {}
            assert await ask("POST", body={"shards": 4}) == (202, {"shards": 4})
            await until(lambda: mover.journal.current is None, seen=lambda: mover)
            _, after = await ask()
            assert (after["shards"], after["organisations"]) == (4, 20)
            assert set(after["servers"]["a"]) == {"0", "1"}
            assert set(after["servers"]["b"]) == {"2", "3"}
            assert await ask("POST", body={"shards": 4}) == (202, {"shards": 4})  # it is so already
            _, told = await ask(path="/status")
            seen = {k: told[k] for k in ("placed", "growing", "moves", "moved", "done", "error")}
            assert seen == {
                "placed": True, "growing": None, "moves": 2, "moved": 2, "done": 1, "error": "",
            }  # fmt: skip

    asyncio.run(main())


def test_sixteen_become_256_one_doubling_at_a_time(tmp_path):
    async def main():
        databases = [MemoryShards(name) for name in "abcd"]
        orgs = [f"org-{n}" for n in range(300)]
        async with moving(tmp_path, databases, shards=16) as (mover, ask):
            await until(lambda: mover.placed, seen=lambda: mover)
            for org in orgs:
                await databases[0].put_flag(org, "k", ON, 0)
            for count in (32, 64, 128, 256):
                assert (await ask("POST", body={"shards": count}))[0] == 202
                await until(lambda: mover.journal.current is None, seen=lambda: mover)
                _, told = await ask()
                assert (told["shards"], told["organisations"]) == (count, len(orgs))
                for some in told["servers"].values():
                    for number, there in some.items():
                        assert {org_hash(org) % count for org in there} <= {int(number)}
            assert (await ask("POST", body={"shards": 512}))[0] == 400
            sizes = [len(await database.organisations()) for database in databases]
            assert min(sizes) > 50, sizes

    asyncio.run(main())


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"shards": 3}, 409),
        ({"shards": 8}, 409),
        ({"shards": 1}, 409),
        ({"shards": 512}, 400),
        ({}, 400),
    ],
)
def test_only_twice_as_many_can_be_had(tmp_path, body, status):
    async def main():
        async with moving(tmp_path, [MemoryShards("a")]) as (mover, ask):
            await until(lambda: mover.placed, seen=lambda: mover)
            found, answer = await ask("POST", body=body)
            assert found == status
            assert answer["error"]
            assert mover.journal.current is None

    asyncio.run(main())


def test_with_a_database_away_nobody_knows_where_all_are(tmp_path):
    async def main():
        a, b = MemoryShards("a"), MemoryShards("b")
        async with moving(tmp_path, [a, b]) as (mover, ask):
            await until(lambda: mover.placed, seen=lambda: mover)
            b.broken = TIMEOUT
            assert (await ask())[0] == 503
            assert (await ask("POST", body={"shards": 4}))[0] == 503

    asyncio.run(main())


def test_it_waits_for_a_database_and_goes_on(tmp_path):
    async def main():
        a, b = MemoryShards("a"), MemoryShards("b")
        b.broken = TIMEOUT
        async with moving(tmp_path, [a, b]) as (mover, ask):
            await until(lambda: mover.error, seen=lambda: mover)
            assert not mover.placed
            b.broken = None
            await until(lambda: mover.placed, seen=lambda: mover)
            await a.put_flag("org-0", "k", ON, 0)
            assert (await ask("POST", body={"shards": 4}))[0] == 202
            await until(lambda: mover.journal.current is None, seen=lambda: mover)

    asyncio.run(main())


def test_one_that_was_stopped_in_the_middle_goes_on(tmp_path):
    async def main():
        a, b = MemoryShards("a"), MemoryShards("b")
        async with moving(tmp_path, [a, b], pace=60.0) as (mover, ask):
            await until(lambda: mover.placed, seen=lambda: mover)
            for org in ORGS:
                await a.put_flag(org, "k", ON, 0)
            await ask("POST", body={"shards": 4})
            await until(lambda: len(mover.journal.current.left) == 1, seen=lambda: mover)
            assert (await ask("POST", body={"shards": 4}))[0] == 202  # it is under way
            assert (await ask("POST", body={"shards": 8}))[0] == 409
        async with moving(tmp_path, [a, b]) as (mover, ask):
            await until(lambda: mover.journal.current is None, seen=lambda: mover)
            _, after = await ask()
            assert (after["shards"], after["organisations"]) == (4, 20)

    asyncio.run(main())


def test_what_is_on_no_shard_is_listed_all_the_same(tmp_path):
    async def main():
        a, b = MemoryShards("a"), MemoryShards("b")
        async with moving(tmp_path, [a, b]) as (mover, ask):
            await until(lambda: mover.placed, seen=lambda: mover)
            change = await a.put_flag("acme", "k", ON, 0)
            await b.replay([change])
            _, told = await ask()
            assert told["servers"]["b"] == {"-": ["acme"]}
            assert told["organisations"] == 2

    asyncio.run(main())


def test_settings_that_can_not_be_right(tmp_path):
    with pytest.raises(ConfigError, match="no link with use 'shard' goes to 'x'"):
        Mover(node("mover", "mover", first=["x"]), environment(), [MemoryShards("a")])
    with pytest.raises(ConfigError, match="needs a link with use 'shard'"):
        Mover(node("mover", "mover"), environment())
