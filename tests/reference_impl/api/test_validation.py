"""The API takes no flag that a PoP could not use."""

import asyncio

import aiohttp
import pytest

from reference_impl.api.role import Api
from reference_impl.storage.memory import MemoryChangeLog, MemoryDatabase
from tests.reference_impl.support import environment, node

ON = {"state": "ENABLED", "variants": {"on": True, "off": False}, "defaultVariant": "on"}
RULE = {"if": [{"==": [{"var": "a"}, 1]}, "on", "off"]}


def put(*requests):
    """The status and body of each request, in turn; and how many changes were written."""

    async def main():
        database = MemoryDatabase()
        api = Api(node("api-1", "api"), environment(), MemoryChangeLog(database))
        await api.start()
        answers = []
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as http:
            for path, body in requests:
                url = f"http://127.0.0.1:{api.site.port}/v1/orgs/{path}"
                async with http.put(url, json=body) as response:
                    answers.append((response.status, await response.json(content_type=None)))
        await api.stop()
        return answers, database.store.seq

    return asyncio.run(main())


def test_a_good_flag_is_taken():
    (answer,), written = put(("acme/flags/k", {**ON, "targeting": RULE}))
    assert answer == (200, {"org": "acme", "key": "k", "version": 1, "seq": 1})
    assert written == 1


@pytest.mark.parametrize(
    "flag",
    [{}, {**ON, "state": "PERHAPS"}, {**ON, "variants": {}}, {**ON, "defaultVariant": "none"}],
)
def test_a_flag_that_cannot_be_compiled_is_refused_in_one_line(flag):
    (answer,), written = put(("acme/flags/k", flag))
    status, body = answer
    assert status == 400
    assert body["error"]
    assert "\n" not in body["error"]
    assert written == 0


def test_shared_rules_are_those_of_the_organisation():
    answers, _ = put(
        ("acme/flags/$evaluators", {"isOne": RULE}),
        ("acme/flags/k", {**ON, "targeting": {"$ref": "isOne"}}),
        ("other/flags/k", {**ON, "targeting": {"$ref": "isOne"}}),
    )
    assert [status for status, _ in answers] == [200, 200, 400]


@pytest.mark.parametrize("path", ["acme/flags/%00", "a%0Ab/flags/k", f"acme/flags/{'x' * 257}"])
def test_a_name_that_is_none_is_refused(path):
    (answer,), written = put((path, ON))
    assert (answer[0], written) == (400, 0)
