"""The cache before a client against RFC 9111: what may be kept is, for as long as it may be, and nothing else."""

import pytest

from harness.probes import caching
from harness.probes.caching import CachingClient
from harness.probes.http import Response

PATH = "/ofrep/v1/evaluate/flags/popular"
MAY = {"cache-control": "public, max-age=2", "etag": 'W/"1"', "content-location": PATH}
S = 1_000_000_000


class Platform:
    """Answers by POST what it is told to; by GET the same, or 304 where it has not changed, or 405."""

    def __init__(self, headers=MAY, gettable=True):
        self.headers, self.gettable, self.body = dict(headers), gettable, b"one"
        self.asked = []

    async def request(self, method, path, *, headers=None, body=b"", timeout=1.0, fresh=False):
        known = (headers or {}).get("If-None-Match")
        self.asked.append((method, known))
        if method == "GET" and not self.gettable:
            return Response(405, {}, b"", 0)
        if known is not None and known == self.headers.get("etag"):
            return Response(304, self.headers, b"", 0)
        return Response(200, self.headers, self.body, 0)


@pytest.fixture
def clock(monkeypatch):
    at = [0]
    monkeypatch.setattr(caching, "now_ns", lambda: at[0])

    def move(seconds):
        at[0] = round(seconds * S)

    return move


async def ask(client):
    answer = await client.request("POST", PATH, headers={"X-Org-Id": "acme"}, body=b"{}")
    return answer.status, answer.body, answer.headers.get("age")


def test_kept_for_its_age_then_asked_for_by_its_etag(run, clock):
    async def main():
        platform = Platform()
        client = CachingClient(platform)
        assert await ask(client) == (200, b"one", None)
        clock(1.9)
        assert await ask(client) == (200, b"one", "1")
        clock(2.0)
        assert await ask(client) == (200, b"one", None)
        clock(3.9)
        assert await ask(client) == (200, b"one", "1")
        platform.headers["etag"], platform.body = 'W/"2"', b"two"
        clock(4.0)
        assert await ask(client) == (200, b"two", None)
        clock(5.9)
        assert await ask(client) == (200, b"two", "1")
        assert platform.asked == [("POST", None), ("GET", 'W/"1"'), ("GET", 'W/"1"')]

    run(main())


@pytest.mark.parametrize(
    "headers",
    [
        {},
        MAY | {"cache-control": ""},
        MAY | {"cache-control": "private, max-age=2"},
        MAY | {"cache-control": "public"},
        MAY | {"content-location": "/elsewhere"},
        MAY | {"etag": ""},
    ],
    ids=str,
)
def test_not_kept(run, clock, headers):
    async def main():
        platform = Platform(headers)
        client = CachingClient(platform)
        for _ in range(3):
            assert await ask(client) == (200, b"one", None)
        assert platform.asked == [("POST", None)] * 3

    run(main())


def test_where_get_is_refused_it_is_asked_for_by_post_again(run, clock):
    async def main():
        platform = Platform()
        client = CachingClient(platform)
        await ask(client)
        platform.gettable, platform.headers = False, {}
        clock(3)
        assert await ask(client) == (200, b"one", None)
        assert await ask(client) == (200, b"one", None)
        assert [method for method, _ in platform.asked] == ["POST", "GET", "POST", "POST"]

    run(main())


def test_age_counts_from_when_it_was_asked_for(run, clock):
    async def main():
        class Slow(Platform):
            async def request(self, *args, **how):
                clock(1.5)
                return await super().request(*args, **how)

        client = CachingClient(Slow())
        await ask(client)
        clock(1.9)
        assert (await ask(client))[2] == "1"
        clock(2.1)
        assert (await ask(client))[2] is None

    run(main())
