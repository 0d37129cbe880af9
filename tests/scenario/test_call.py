from __future__ import annotations

import asyncio
import json

import pytest

from harness.errors import RuntimeFailure, SpecError
from harness.history import Call as Made
from harness.history import Note
from harness.scenario.call import call
from harness.scenario.load import load_scenario
from harness.scenario.model import Call
from tests.probes.probe_support import Act, refusing, reply, serving, site_for
from tests.small import SCENARIO, write_small


def test_what_is_sent_and_noted():
    async def main():
        async with serving(lambda r: reply({"version": 2})) as server:
            site, log = site_for(server.port, other=9)
            step = Call(
                "app", "/records/x", "PUT", {"to": {"address_of": "other"}}, {"If-Match": "1"}
            )
            await call(site, step)
            await call(site, Call("app", "/promote"))
        first, second = server.requests
        assert (first.method, first.path, first.headers["if-match"]) == ("PUT", "/records/x", "1")
        assert json.loads(first.body) == {"to": "127.0.0.1"}
        assert first.headers["content-type"] == "application/json"
        assert (second.method, second.body) == ("POST", b"")
        assert [n.text for n in log.of(Note)] == [
            'PUT /records/x at app: 200 {"version": 2}',
            'POST /promote at app: 200 {"version": 2}',
        ]

    asyncio.run(main())


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (reply({"error": "too old"}, status=412), "HTTP_412.*too old"),
        (Act.RESET, "CONNECTION_RESET"),
        (Act.HANG, "TIMEOUT"),
    ],
)
def test_without_a_success_the_run_ends(answer, says):
    async def main():
        async with serving(lambda r: answer) as server:
            site, log = site_for(server.port)
            with pytest.raises(RuntimeFailure, match=says):
                await call(site, Call("app", "/x", within=0.3))
            assert not log.of(Note)

    asyncio.run(main())


def test_nobody_there():
    async def main():
        with refusing() as port:
            site, _ = site_for(port)
            with pytest.raises(RuntimeFailure, match="POST /x at app: CONNECTION_REFUSED"):
                await call(site, Call("app", "/x"))

    asyncio.run(main())


@pytest.mark.parametrize(
    ("step", "says"),
    [
        ("{node: pop-9, path: /x}", "no node 'pop-9'"),
        ("{node: pop-1, path: /x, body: {at: [{address_of: pop-9}]}}", "no node 'pop-9'"),
        ("{node: pop-1}", "'path' is missing"),
    ],
)
def test_names_in_it_must_be_known(tmp_path, step, says):
    path = write_small(tmp_path)
    path.write_text(SCENARIO.replace("  - wait: 1s", f"  - call: {step}\n  - wait: 1s"))
    with pytest.raises(SpecError, match=says):
        load_scenario(path)


@pytest.mark.parametrize(
    ("answer", "recorded"),
    [
        (reply({"took": [1]}), {"status": 200, "error": "", "data": {"took": [1]}}),
        (reply(b"no", status=503), {"status": 503, "error": "SERVICE_UNAVAILABLE", "data": "no"}),
        (Act.RESET, {"status": 0, "error": "CONNECTION_RESET", "data": None}),
        (Act.HANG, {"status": 0, "error": "TIMEOUT", "data": None}),
    ],
)
def test_with_a_label_whatever_comes_is_recorded_for_a_check(answer, recorded):
    async def main():
        async with serving(lambda r: answer) as server:
            site, log = site_for(server.port)
            await call(site, Call("app", "/x", within=0.3, label="restore"))
        (made,) = log.of(Made)
        assert (made.label, made.node) == ("restore", "app")
        assert {name: getattr(made, name) for name in recorded} == recorded
        assert made.t > made.sent

    asyncio.run(main())
