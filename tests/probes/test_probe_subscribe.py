import json

import pytest

from harness.history import Probe, ProbeEnd, Stream
from harness.probes import SubscribeProbe
from harness.probes.subscribe import default_value
from harness.target import Subscribe, Target
from tests.probes.probe_support import Act, refusing, reply, running, serving, site_for, until

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"


def event(name, data, id_=None):
    line = f"id: {id_}\n" if id_ is not None else ""
    return f"event: {name}\n{line}data: {json.dumps(data)}\n\n".encode()


def change(seq):
    flag = {"variants": {"v": seq * 10}, "defaultVariant": "v"}
    data = {"seq": seq, "org": "acme", "version": 1, "key": "k", "flag": flag, "at": 1000 + seq}
    return event("change", data, seq)


class Log5:
    """A stream server with changes 1 to 5: sends two of them per connection, then ends it as told."""

    def __init__(self, ending):
        self.ending = ending
        self.asked = []

    async def __call__(self, request):
        last = request.headers.get("last-event-id")
        self.asked.append(last)
        request.writer.write(HEAD)
        position = int(last) if last else 0
        if last is None:
            request.writer.write(event("snapshot", {"seq": 0, "orgs": {}}, 0))
        for seq in range(position + 1, min(position + 2, 5) + 1):
            request.writer.write(change(seq))
        request.writer.write(event("heartbeat", {"seq": 5}))
        await request.writer.drain()
        return Act.HANG if position + 2 >= 5 else self.ending


@pytest.mark.parametrize(
    ("ending", "error"), [(Act.CLOSE, "CONNECTION_CLOSED"), (Act.RESET, "CONNECTION_RESET")]
)
def test_resumes_where_it_was_cut(both_loops, ending, error):
    async def main():
        stream = Log5(ending)
        async with serving(stream) as server:
            site, log = site_for(server.port)
            async with running(SubscribeProbe(name="s", node="app", group="europe"), site):
                await until(lambda: log.of(Stream, what="change", id=5), lambda: log.events[-3:])
        assert log.of(Probe)[0].kind == "subscribe"
        seen = [(s.what, s.id) for s in log.of(Stream) if s.what != "heartbeat"]
        if ending is Act.CLOSE:  # a reset may overtake what was sent before it
            assert seen == [
                ("connect", -1),
                ("open", -1),
                ("snapshot", 0),
                ("change", 1),
                ("change", 2),
                ("close", -1),
                ("connect", 2),
                ("open", -1),
                ("change", 3),
                ("change", 4),
                ("close", -1),
                ("connect", 4),
                ("open", -1),
                ("change", 5),
                ("close", -1),
            ]
            assert stream.asked == [None, "2", "4"]
        changes = [s.id for s in log.of(Stream, what="change")]
        assert changes == [1, 2, 3, 4, 5]
        third = log.of(Stream, what="change", id=3)[0]
        assert (third.org, third.key, third.value, third.at) == ("acme", "k", 30, 1003)
        assert log.of(Stream, what="heartbeat")[0].id == 5
        closes = [s.error for s in log.of(Stream, what="close")]
        assert closes[-1] == "PROBE_END"
        assert set(closes[:-1]) == {error}
        assert log.of(ProbeEnd)[0].sent == len(log.of(Stream, what="connect"))

    both_loops(main())


def test_cuts_itself_off(run):
    async def forever(request):
        last = request.headers.get("last-event-id")
        request.writer.write(HEAD + change(int(last or 0) + 1))
        return Act.HANG

    async def main():
        async with serving(forever) as server:
            site, log = site_for(server.port)
            probe = SubscribeProbe(name="s", node="app", cut_every=0.03)
            async with running(probe, site):
                await until(lambda: log.of(Stream, what="change", id=3), lambda: log.events[-3:])
        assert {s.error for s in log.of(Stream, what="close")[:2]} == {"CUT_BY_PROBE"}
        assert [s.id for s in log.of(Stream, what="connect")][:3] == [-1, 1, 2]

    run(main())


def test_silence_is_death(run):
    async def main():
        async def silent(request):
            request.writer.write(HEAD)
            return Act.HANG

        async with serving(silent) as server:
            target = Target(subscribe=Subscribe(silence=0.1))
            site, log = site_for(server.port, target=target)
            async with running(SubscribeProbe(name="s", node="app"), site):
                await until(lambda: len(server.requests) >= 2, lambda: log.events)
        (first, *_) = log.of(Stream, what="close")
        (opened, *_) = log.of(Stream, what="open")
        assert first.error == "TIMEOUT"
        assert first.t - opened.t >= 95_000_000

    run(main())


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (reply({}, status=503), "SERVICE_UNAVAILABLE"),
        (reply({}, status=404), "HTTP_404"),
        (Act.HANG, "TIMEOUT"),
        (HEAD + b"event: change\nid: 1\ndata: {broken\n\n", "INVALID"),
        (HEAD + b"event: change\nid: one\ndata: {}\n\n", "INVALID"),
    ],
    ids=["503", "404", "no headers", "broken data", "broken id"],
)
def test_what_is_not_a_stream(run, answer, error):
    async def main():
        async with serving(lambda r: answer) as server:
            site, log = site_for(server.port)
            probe = SubscribeProbe(name="s", node="app", timeout=0.1)
            async with running(probe, site):
                await until(lambda: len(server.requests) >= 2, lambda: log.events)
        assert log.of(Stream, what="close")[0].error == error
        assert log.of(Stream, what="change") == []

    run(main())


def test_the_pause_before_reconnecting_is_bounded(run):
    async def main():
        with refusing() as port:
            site, log = site_for(port)
            probe = SubscribeProbe(name="s", node="app", reconnect=0.01, reconnect_max=0.04)
            async with running(probe, site):
                await until(lambda: len(log.of(Stream, what="connect")) >= 8, lambda: log.events)
        times = [s.t for s in log.of(Stream, what="connect")]
        gaps = [b - a for a, b in zip(times, times[1:], strict=False)]
        least = [10, 20, 40, 40, 40, 40, 40]
        assert all(gap >= (ms - 2) * 1_000_000 for gap, ms in zip(gaps, least, strict=False))
        assert {s.error for s in log.of(Stream, what="close")} == {"CONNECTION_REFUSED"}

    run(main())


def test_a_prewarm_is_beside_the_log(run):
    async def main():
        hot = b'event: prewarm\ndata: {"id":"p:1","org":"acme","key":"popular","by":"pop-1"}\n\n'

        async with serving(lambda r: HEAD + hot) as server:
            site, log = site_for(server.port)
            async with running(SubscribeProbe(name="s", node="app"), site):
                await until(lambda: len(server.requests) >= 2, lambda: log.events)
        seen = log.of(Stream, what="prewarm")[0]
        assert (seen.org, seen.key, seen.id) == ("acme", "popular", -1)
        assert "last-event-id" not in server.requests[1].headers

    run(main())


def test_default_value():
    assert default_value(None) is None
    assert default_value({"variants": {"a": 1}, "defaultVariant": "a"}) == 1
    assert default_value({"variants": {"a": 1}}) is None
    with pytest.raises(ValueError, match="reconnect"):
        SubscribeProbe(name="s", node="app", reconnect=0)
