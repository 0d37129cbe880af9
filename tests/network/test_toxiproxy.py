from __future__ import annotations

import asyncio
import contextlib
import time

import pytest

from harness.errors import RuntimeFailure
from harness.network.base import Direction, LinkState, Toxic
from harness.network.toxiproxy import CARRY_RESETS, Toxiproxy, proxy_name
from harness.runtime.base import Address
from tests.network.netlab import Daemon, Server, claim_host, eventually, live, reset

GET = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
SLOW = Toxic("slow", "latency", Direction.DOWNSTREAM, {"latency": 60, "jitter": 0})
LINK = "pop-us->hub-us-1:stream"


async def ask(address: Address, within: float = 5.0) -> float:
    """One exchange through the link; how long it took in s. Raises ConnectionError or TimeoutError."""
    began = time.monotonic()
    async with asyncio.timeout(within):
        reader, writer = await asyncio.open_connection(address.host, address.port)
        try:
            writer.write(GET)
            if not await reader.read(100):
                raise ConnectionError("closed")
            return time.monotonic() - began
        finally:
            writer.close()


async def link(daemon: Daemon, server: Server, name: str = LINK, **how):
    control = await daemon.control(**how)
    listen = Address(claim_host(), 20001)
    await control.create({name: (listen, server.address)})
    return control, listen


def test_names_are_safe_in_a_path_and_unique():
    ids = ["a->b", "a->b:kv", "a-b", "a->b->c", "A->b", "a/b"]
    names = {proxy_name(each) for each in ids}
    assert len(names) == len(ids)
    assert all(set(name) <= set("abcdefghijklmnopqrstuvwxyzA0123456789.-") for name in names)


@live
async def test_a_link_passes_is_cut_and_restored(daemon):
    async with Server() as server:
        control, listen = await link(daemon, server)
        assert await control.version() == "git" or (await control.version()).startswith("2.")
        await ask(listen)
        for _ in range(2):
            await control.cut(LINK)
            with pytest.raises(ConnectionError):
                await ask(listen)
        assert await control.state(LINK) == LinkState(LINK, False, ())
        assert repr(control).endswith("1 links, 1 cut, 0 toxic, 0 restarts)")
        for _ in range(2):
            await control.restore(LINK)
            await ask(listen)
        assert await control.state(LINK) == control.wanted(LINK) == LinkState(LINK, True, ())


@live
async def test_cut_ends_open_connections(daemon):
    async with Server() as server:
        control, listen = await link(daemon, server)
        reader, writer = await asyncio.open_connection(listen.host, listen.port)
        writer.write(GET)
        assert await reader.read(100)
        await control.cut(LINK)
        with contextlib.suppress(ConnectionResetError):
            assert await asyncio.wait_for(reader.read(100), 5) == b""
        writer.close()


@live
async def test_toxics_are_added_replaced_and_removed(daemon):
    async with Server() as server:
        control, listen = await link(daemon, server)
        for _ in range(2):
            await control.add(LINK, SLOW)
        assert await ask(listen) >= 0.06
        assert (await control.state(LINK)).toxics == (SLOW,)
        slower = Toxic("slow", "latency", Direction.UPSTREAM, {"latency": 90, "jitter": 0}, 0.9)
        await control.add(LINK, slower)
        assert (await control.state(LINK)).toxics == control.wanted(LINK).toxics == (slower,)
        for _ in range(2):
            await control.remove(LINK, "slow")
        assert (await control.state(LINK)).toxics == ()
        assert (await control.state(LINK)) == control.wanted(LINK)


@live
async def test_a_toxic_that_would_break_the_daemon_is_never_sent(daemon):
    async with Server() as server:
        control, listen = await link(daemon, server)
        with pytest.raises(ValueError, match="average_size"):
            await control.add(LINK, Toxic("s", "slicer", Direction.UPSTREAM, {"average_size": 0}))
        assert (await control.state(LINK)).toxics == control.wanted(LINK).toxics == ()
        await ask(listen)


@live
async def test_an_unknown_link_is_an_error_but_one_made_elsewhere_is_not(daemon):
    async with Server() as server:
        _, listen = await link(daemon, server)
        other = await daemon.control()
        await other.cut(LINK)
        with pytest.raises(ConnectionError):
            await ask(listen)
        await other.restore(LINK)
        for act in (
            other.cut("x->y"),
            other.remove("x->y", "t"),
            other.add("x->y", SLOW),
            other.state("x->y"),
        ):
            with pytest.raises(RuntimeFailure, match="x->y.*proxy not found"):
                await act


@live
async def test_an_address_in_use_is_an_error(daemon):
    async with Server() as server:
        control = await daemon.control()
        with pytest.raises(RuntimeFailure, match="address already in use"):
            await control.create({"in->use": (server.address, server.address)})


@live
async def test_two_daemons_in_one_process_do_not_mix():
    with Daemon() as first, Daemon() as second:
        async with Server() as server:
            (one, at_one), (two, at_two) = await asyncio.gather(
                link(first, server), link(second, server)
            )
            await asyncio.gather(one.cut(LINK), two.add(LINK, SLOW))
            assert await one.state(LINK) == LinkState(LINK, False, ())
            assert await two.state(LINK) == LinkState(LINK, True, (SLOW,))
            with pytest.raises(ConnectionError):
                await ask(at_one)
            await ask(at_two)


@live
async def test_a_frozen_daemon_is_restarted_with_everything_as_it_was_wanted():
    with Daemon() as daemon:
        async with Server() as server:
            control = await daemon.control(within=0.5)
            listens = [Address(claim_host(), 20001) for _ in range(3)]
            ids = ["a->b", "b->c", "c->d"]
            await control.create(
                {each: (listen, server.address) for each, listen in zip(ids, listens, strict=True)}
            )
            await control.cut("a->b")
            await control.add("b->c", SLOW)
            daemon.freeze()
            await asyncio.gather(control.add("c->d", SLOW), control.restore("a->b"))
            assert daemon.starts == 2
            assert control.restarts == 1
            for each in ids:
                assert await control.state(each) == control.wanted(each)
            await ask(listens[0])
            assert await ask(listens[1]) >= 0.06
            assert await ask(listens[2]) >= 0.06


@live
async def test_a_frozen_daemon_without_a_restart_is_an_error_in_time():
    with Daemon() as daemon:
        async with Server() as server:
            control, _ = await link(daemon, server, within=0.3, restart=False)
            daemon.freeze()
            for act in (control.cut(LINK), control.state(LINK), control.ready(0.3)):
                began = time.monotonic()
                with pytest.raises(RuntimeFailure, match="no answer in time"):
                    await act
                assert time.monotonic() - began < 5


@live
async def test_removing_a_toxic_where_the_peer_stopped_reading_does_not_hang():
    """The real freeze: a toxic is blocked in the middle of a chunk that nobody takes."""
    with Daemon() as daemon:
        async with Server() as server:
            control, listen = await link(daemon, server, within=1.0)
            stuck = Toxic("stuck", "latency", Direction.UPSTREAM, {"latency": 1, "jitter": 0})
            await control.add(LINK, stuck)

            async def never_reads(_reader, writer) -> None:
                writer.transport.pause_reading()
                server.peers.append(writer)

            deaf = await asyncio.start_server(never_reads, "127.0.0.1", 0, limit=1024)
            host, port = deaf.sockets[0].getsockname()
            second = Address(claim_host(), 20001)
            await control.create({"deaf->x": (second, Address(host, port))})
            await control.add("deaf->x", stuck)
            _, writer = await asyncio.open_connection(second.host, second.port)
            await fill(writer)
            await control.remove("deaf->x", "stuck")
            assert (await control.state("deaf->x")).toxics == ()
            assert (await control.state(LINK)).toxics == (
                Toxic("stuck", "latency", Direction.UPSTREAM, {"latency": 1, "jitter": 0}),
            )
            await ask(listen)
            writer.transport.abort()
            deaf.close()
            assert control.restarts == 1


async def fill(writer: asyncio.StreamWriter) -> None:
    """Send until nobody takes any more for half a second."""
    for _ in range(10_000):
        writer.write(b"x" * 65536)
        try:
            await asyncio.wait_for(writer.drain(), 0.5)
        except TimeoutError:
            return
    raise AssertionError("the peer reads after all")


@live
async def test_resets_are_carried_across_where_asked_for(daemon):
    class Resetting(Server):
        async def reply(self, method, path, writer) -> None:
            reset(writer)

    async with Resetting() as server:
        control, listen = await link(daemon, server)
        with pytest.raises(ConnectionError, match="closed"):
            await ask(listen)
        await control.add(LINK, CARRY_RESETS)
        with pytest.raises(ConnectionResetError):
            await ask(listen)


@live
async def test_ready_waits_for_a_daemon_that_comes_late():
    daemon = Daemon()
    control = Toxiproxy(daemon.address)
    waiting = asyncio.create_task(control.ready(10))
    await asyncio.sleep(0)
    try:
        daemon.start()
        await waiting
        await eventually(control.version)
    finally:
        daemon.kill()
