import asyncio
from urllib.parse import parse_qs, urlsplit

import pytest

from harness.history import Objects, Stored
from harness.probes.objects import list_objects
from tests.probes.probe_support import Act, refusing, reply, serving, site_for

NS = "http://s3.amazonaws.com/doc/2006-03-01/"


def page(*keys, token=""):
    entries = "".join(
        f"<Contents><Key>{key}</Key><Size>7</Size><ETag>&quot;e-{key}&quot;</ETag></Contents>"
        for key in keys
    )
    more = f"<NextContinuationToken>{token}</NextContinuationToken>" if token else ""
    return f'<ListBucketResult xmlns="{NS}">{entries}{more}</ListBucketResult>'.encode()


def listed(handler, within=5.0):
    async def main():
        async with serving(handler) as server:
            site, log = site_for(server.port)
            await list_objects(site, ("app",), "backups", "a/", within)
        (event,) = log.of(Objects)
        return event, server

    return asyncio.run(main())


def test_all_pages_are_read():
    def handler(request):
        query = parse_qs(urlsplit(request.path).query)
        assert request.path.startswith("/backups?")
        assert (query["list-type"], query["prefix"]) == (["2"], ["a/"])
        if "continuation-token" not in query:
            return reply(page("a/1", "a/2", token="next=="))
        assert query["continuation-token"] == ["next=="]
        return reply(page("a/3"))

    event, _ = listed(handler)
    assert (event.ok, event.node, event.prefix) == (True, "app", "a/")
    assert event.objects == [Stored(f"a/{n}", 7, f"e-a/{n}") for n in (1, 2, 3)]


@pytest.mark.parametrize(
    ("handler", "error"),
    [
        (lambda r: reply(b"<Error/>", status=503), "SERVICE_UNAVAILABLE"),
        (lambda r: reply(b"no xml"), "INVALID"),
        (lambda r: reply(page("k").replace(b"<Size>7</Size>", b"")), "INVALID"),
        (lambda r: Act.RESET, "CONNECTION_RESET"),
        (lambda r: Act.HANG, "TIMEOUT"),
    ],
)
def test_what_it_does_not_list_is_told(handler, error):
    event, _ = listed(handler, within=0.3)
    assert (event.ok, event.error, event.objects) == (False, error, [])


def test_a_store_that_is_down_is_told():
    async def main():
        with refusing() as dead:
            site, log = site_for(dead)
            await list_objects(site, ("app",), "backups", "", 2.0)
        assert log.of(Objects)[0].error == "CONNECTION_REFUSED"

    asyncio.run(main())
