"""The contract of object stores, for the one in memory and the one behind HTTP; and what HTTP alone must do."""

import asyncio
import base64
import contextlib
import hashlib
import random

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference_impl.config import Upstream
from reference_impl.objectstore.base import DAMAGED, NOT_FOUND, ObjectInfo
from reference_impl.objectstore.files import UNFINISHED, Folder
from reference_impl.objectstore.http import HttpObjectStore, StoreSettings
from reference_impl.objectstore.memory import MemoryObjectStore
from reference_impl.objectstore.role import Objects
from reference_impl.objectstore.s3 import key_of, listing_xml, parse_listing, token_of
from reference_impl.resilience.errors import CallError
from reference_impl.resilience.http import HttpClient
from tests.reference_impl.support import environment, node

BODY = bytes(range(256)) * 5


class Lab:
    """One store, and a way to damage what it holds."""

    def __init__(self, store, role=None, url=""):
        self.store, self.role, self.url = store, role, url

    def damage(self, key):
        if self.role is None:
            self.store.damaged.add(key)
            return
        flip(self.role.folder._file(key), -3)


def flip(path, at):
    raw = bytearray(path.read_bytes())
    raw[at] ^= 1
    path.write_bytes(raw)


@contextlib.asynccontextmanager
async def memory(_):
    yield Lab(MemoryObjectStore())


@contextlib.asynccontextmanager
async def http(folder):
    config = node("store-eu", "objects")
    role = Objects(
        type(config)(**{f: getattr(config, f) for f in config.__struct_fields__} | {"state_dir": str(folder)}),
        environment(),
    )  # fmt: skip
    await role.start()
    client = HttpClient(5.0)
    where = Upstream("store-eu", "objects", "127.0.0.1", role.site.port)
    try:
        yield Lab(
            HttpObjectStore(where, StoreSettings(), client, random.Random(1)), role, where.url
        )
    finally:
        await client.close()
        await role.stop()


@pytest.fixture(params=[memory, http])
def on_store(request, tmp_path):
    def run(test):
        async def main():
            async with request.param(tmp_path) as lab:
                await test(lab)

        asyncio.run(main())

    return run


@pytest.fixture
def on_http(tmp_path):
    def run(test):
        async def main():
            async with http(tmp_path) as lab, aiohttp.ClientSession() as session:
                await test(lab, session)

        asyncio.run(main())

    return run


async def kind_of_failure(call):
    with pytest.raises(CallError) as caught:
        await call
    return caught.value.kind


def test_what_was_put_is_got(on_store):
    async def test(lab):
        store = lab.store
        etag = await store.put("wal/0001 ü&<.gz", BODY)
        assert etag == hashlib.md5(BODY).hexdigest()
        assert await store.get("wal/0001 ü&<.gz") == BODY
        assert await store.get("wal/0001 ü&<.gz", 10, 20) == BODY[10:20]
        assert await store.get("wal/0001 ü&<.gz", 1270) == BODY[1270:]
        assert await store.get("wal/0001 ü&<.gz", 5, 5) == b""
        info = await store.head("wal/0001 ü&<.gz")
        assert (info.key, info.size, info.etag) == ("wal/0001 ü&<.gz", len(BODY), etag)
        assert await store.list() == [info]

    on_store(test)


def test_a_second_put_replaces_the_first(on_store):
    async def test(lab):
        await lab.store.put("k", b"one")
        await lab.store.put("k", b"")
        assert await lab.store.get("k") == b""
        assert [info.size for info in await lab.store.list()] == [0]

    on_store(test)


def test_what_is_not_there_is_not_found(on_store):
    async def test(lab):
        assert await kind_of_failure(lab.store.get("nothing")) == NOT_FOUND
        assert await kind_of_failure(lab.store.head("nothing")) == NOT_FOUND
        await lab.store.delete("nothing")
        await lab.store.put("k", b"x")
        await lab.store.delete("k")
        assert await kind_of_failure(lab.store.get("k")) == NOT_FOUND
        assert await lab.store.list() == []

    on_store(test)


def test_a_list_is_sorted_and_of_a_prefix(on_store):
    async def test(lab):
        for key in ("b/2", "a", "b/10", "b", "ä/1", "B/1", "b/2/3"):
            await lab.store.put(key, key.encode())
        keys = [info.key for info in await lab.store.list()]
        assert keys == sorted(keys, key=str.encode)
        assert len(keys) == 7
        assert [info.key for info in await lab.store.list("b/")] == ["b/10", "b/2", "b/2/3"]
        assert await lab.store.list("c") == []

    on_store(test)


def test_a_flipped_bit_is_noticed(on_store):
    async def test(lab):
        await lab.store.put("k", BODY)
        lab.damage("k")
        assert await kind_of_failure(lab.store.get("k")) == DAMAGED
        assert await kind_of_failure(lab.store.get("k", 3, 4)) == DAMAGED
        assert [info.key for info in await lab.store.list()] == ["k"]
        await lab.store.put("k", BODY)
        assert await lab.store.get("k") == BODY

    on_store(test)


# ------------------------------------------------------------------------------------------------- over HTTP alone


def test_a_body_that_was_changed_on_the_way_is_refused(on_http):
    async def test(lab, session):
        wrong = {"Content-MD5": base64.b64encode(hashlib.md5(b"other").digest()).decode()}
        async with session.put(f"{lab.url}/backups/k", data=b"this", headers=wrong) as answer:
            assert answer.status == 400
            assert b"<Code>BadDigest</Code>" in await answer.read()
        assert await kind_of_failure(lab.store.head("k")) == NOT_FOUND

    on_http(test)


def test_pages_together_are_the_whole(on_http):
    async def test(lab, session):
        keys = [f"k{n:02}" for n in range(25)]
        for key in keys:
            await lab.store.put(key, b"")
        token, seen = "", []
        for _ in range(9):
            query = {"list-type": "2", "max-keys": "3"} | (
                {"continuation-token": token} if token else {}
            )
            async with session.get(f"{lab.url}/backups", params=query) as answer:
                objects, token = parse_listing(await answer.read())
            assert len(objects) <= 3
            seen += [each.key for each in objects]
        assert seen == keys
        assert token == ""

    on_http(test)


@pytest.mark.parametrize(
    ("method", "path", "headers", "status", "code"),
    [
        ("GET", "/backups/nothing", {}, 404, "NoSuchKey"),
        ("GET", "/backups/k", {"Range": "bytes=9-"}, 416, "InvalidRange"),
        ("GET", "/backups/k", {"Range": "lines=1-2"}, 416, "InvalidRange"),
        ("GET", "/backups", {}, 501, "NotImplemented"),
        ("GET", "/backups?list-type=2&continuation-token=%FF", {}, 400, "InvalidArgument"),
        ("GET", "/backups?list-type=2&max-keys=many", {}, 400, "InvalidArgument"),
        ("PUT", f"/backups/{'k' * 241}", {}, 400, "KeyTooLongError"),
    ],
)
def test_errors_have_s3s_names(on_http, method, path, headers, status, code):
    async def test(lab, session):
        await lab.store.put("k", b"123")
        async with session.request(method, lab.url + path, headers=headers) as answer:
            assert answer.status == status
            assert f"<Code>{code}</Code>".encode() in await answer.read()

    on_http(test)


def test_a_range_says_what_it_is(on_http):
    async def test(lab, session):
        await lab.store.put("k", b"0123456789")
        asked = {"Range": "bytes=4-99"}
        async with session.get(f"{lab.url}/backups/k", headers=asked) as answer:
            assert (answer.status, await answer.read()) == (206, b"456789")
            assert answer.headers["Content-Range"] == "bytes 4-9/10"

    on_http(test)


def test_an_unfinished_object_is_none_and_goes_at_the_next_start(tmp_path):
    folder = Folder(tmp_path)
    folder.open()
    folder.put(UNFINISHED, b"a key may begin like that", 0)
    left = tmp_path / f"{UNFINISHED}7"
    left.write_bytes(b"{")
    assert folder.keys() == [UNFINISHED]
    folder.open()
    assert not left.exists()
    assert folder.get(UNFINISHED) == b"a key may begin like that"


@given(st.text(min_size=1))
def test_a_token_leads_back_to_its_key(key):
    assert key_of(token_of(key)) == key


def test_a_listing_is_read_as_it_was_written():
    objects = [ObjectInfo("a<&>\"'", 3, "ff", 1_764_000_000_123_000_000)]
    assert parse_listing(listing_xml("b", "a", objects, 5, "next")) == (objects, "next")
    with pytest.raises(ValueError, match="no listing"):
        parse_listing(b"<a>")
