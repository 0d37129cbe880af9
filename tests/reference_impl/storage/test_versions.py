"""The contract of versions, for those in memory and those in PostgreSQL."""

import pytest

from reference_impl.storage.memory import MemoryDatabase
from reference_impl.storage.postgres import DatabaseSettings
from reference_impl.storage.versions import NEWEST, MemoryVersions, PostgresVersions
from tests.reference_impl.storage.test_storage import (
    ON,
    PATIENT,
    contract,
    database,
    upstream,
)

__all__ = ["database"]


@pytest.fixture(params=["memory", "postgres"])
def make(request):
    if request.param == "memory":
        shared = MemoryDatabase()
        return lambda writer: MemoryVersions(shared)
    server = request.getfixturevalue("postgres_server")
    settings = DatabaseSettings(database=request.getfixturevalue("database"), **PATIENT)
    return lambda writer: PostgresVersions([upstream(server)], settings, writer=writer)


async def written(log):
    """Ten changes of two flags and two organisations, the last a deletion."""
    found = [
        await log.put_flag(
            ("acme", "other")[n % 3 == 2], ("a", "b")[n % 2], {**ON, "n": n}, 100 + n
        )
        for n in range(9)
    ]
    return [*found, await log.put_flag("acme", "b", None, 200)]


@contract
async def test_a_version_is_named_by_its_position(log, reader):
    for change in await written(log):
        assert await reader.version(change.org, change.key, change.seq) == change
    assert await reader.version("acme", "a", 2) is None
    assert await reader.version("acme", "a", 99) is None


@contract
async def test_history_is_newest_first(log, reader):
    changes = await written(log)
    for org in ("acme", "other"):
        for key in ("a", "b"):
            own = [c for c in changes if (c.org, c.key) == (org, key)][::-1]
            assert await reader.history(org, key, NEWEST, 50) == own
            assert await reader.history(org, key, NEWEST, 1) == own[:1]
            assert await reader.history(org, key, own[0].seq, 50) == own[1:]


@contract
async def test_what_is_forgotten_is_gone_and_the_flags_stay(log, other):
    changes = await written(log)
    assert await other.count() == 10
    oldest = await other.changes_since(0, 4)
    assert oldest == changes[:4]
    await other.forget(oldest)
    await other.forget(oldest)
    assert await log.count() == 6
    assert await log.changes_since(0, 50) == changes[4:]
    assert await log.version("acme", changes[0].key, 1) is None
    assert (await log.snapshot()).seq == 10
    assert (await log.put_flag("acme", "a", ON, 300)).seq == 11
