import pytest

from harness.history import Probe, ProbeEnd, Status
from harness.probes import StatusProbe
from harness.probes.status import trim
from tests.probes.probe_support import Act, refusing, reply, running, serving, site_for, until


def body(at):
    return {
        "node": "app",
        "role": "pop",
        "boot": "b1",
        "level": "DEGRADED_L1",
        "seq": 41,
        "upstream": "hub-us-1",
        "transitions": [
            {"n": 1, "at": at, "from": "HEALTHY", "to": "DEGRADED_L1", "reason": "cut"}
        ],
        "workers": 3,
        "log": "x" * 500,
    }


def test_every_program_node_is_asked_on_its_own(both_loops):
    async def main():
        with refusing() as dead:
            async with serving(lambda r: reply(body(site.origin_ns + 5))) as server:
                site, log = site_for(server.port, gone=dead)
                async with running(StatusProbe(interval=0.02), site):
                    await until(
                        lambda: len(log.of(Status, ok=True)) >= 3 and log.of(Status, ok=False),
                        lambda: log.events[-3:],
                    )
        assert log.of(Probe)[0].target == "app,gone"  # not the database
        status = log.of(Status, ok=True)[0]
        assert (status.node, status.role, status.level, status.version) == (
            "app",
            "pop",
            "DEGRADED_L1",
            41,
        )
        assert (status.upstream, status.boot) == ("hub-us-1", "b1")
        (moved,) = status.transitions
        assert (moved.n, moved.t, moved.source, moved.to) == (1, 5, "HEALTHY", "DEGRADED_L1")
        assert set(status.data) == {"workers", "log"}
        assert len(status.data["log"]) == 201
        assert {(s.node, s.error) for s in log.of(Status, ok=False)} == {
            ("gone", "CONNECTION_REFUSED")
        }
        (end,) = log.of(ProbeEnd)
        assert end.sent == len(log.of(Status))
        assert end.skipped == 0

    both_loops(main())


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (Act.HANG, "TIMEOUT"),
        (reply({}, status=503), "SERVICE_UNAVAILABLE"),
        (reply(b"nope"), "INVALID"),
        (reply([1]), "INVALID"),
        (reply({"transitions": [{"n": "x"}]}), "INVALID"),
    ],
    ids=str,
)
def test_a_node_that_does_not_answer_rightly(run, answer, error):
    async def main():
        async with serving(lambda r: answer) as server:
            site, log = site_for(server.port)
            # Only what hangs is to meet its timeout, however busy the machine.
            timeout = 0.1 if answer is Act.HANG else 5.0
            probe = StatusProbe(nodes=("app",), interval=0.02, timeout=timeout)
            async with running(probe, site):
                await until(lambda: len(log.of(Status)) >= 3, lambda: log.events)
            once = await site.status("app", within=timeout)
        assert {(s.ok, s.error) for s in [*log.of(Status), once]} == {(False, error)}
        assert log.of(ProbeEnd)[0].skipped == 0

    run(main())


def test_trim():
    assert trim("x" * 201) == "x" * 200 + "…"
    assert trim(list(range(30))) == list(range(20))
    assert trim({"a": {"b": {"c": {"d": {"e": 1}}}}}) == {"a": {"b": {"c": {"d": "…"}}}}
    assert trim({"n": None, "f": 1.5}) == {"n": None, "f": 1.5}
