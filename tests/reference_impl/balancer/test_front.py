"""Splicing, health checks, balancer and anycast over real sockets on 127.0.0.0/8, on asyncio's and on uvloop's loop."""

import asyncio
import contextlib
import socket

import aiohttp
import pytest
import uvloop

from reference_impl.anycast.role import Anycast
from reference_impl.balancer.role import Balancer
from reference_impl.config import ConfigError
from tests.reference_impl.support import environment, node, until

# Slower than in service, so that a busy machine's pauses are not taken for failures.
HEALTH = {"interval": 0.05, "failures": 8, "hold": 0.2, "loss_is_down": True}  # at /health
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Backend:
    """Answers /health, and echoes all else after its name: "NAME" newline, then what it gets."""

    def __init__(self, name):
        self.name = name
        self.port = 0
        self.status = b"200 OK"
        self.mute = False
        self.once = False  # answers each connection's first health check alone, and says so
        self.checked = 0
        self.drops = False  # ends every connection but the health check's instead of answering
        self.writers = set()
        self.received = 0

    async def start(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def stop(self):
        """Refuse new connections, and reset those there are."""
        self._server.close()
        for writer in list(self.writers):
            writer.transport.abort()

    async def _serve(self, reader, writer):
        self.writers.add(writer)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                await self._talk(reader, writer)
        finally:
            self.writers.discard(writer)
            writer.close()

    async def _talk(self, reader, writer):
        first = await reader.readline()
        if not first.startswith(b"GET /health"):
            if self.drops:
                return
            writer.write(self.name.encode() + b"\n" + first)
            while data := await reader.read(1 << 16):
                self.received += len(data)
                writer.write(data)
                await writer.drain()
            writer.write(b"bye")
            await writer.drain()
            return
        while True:
            await reader.readuntil(b"\r\n\r\n")
            if self.mute:
                await asyncio.Event().wait()
            self.checked += 1
            answer = OK.replace(b"200 OK", self.status)
            if self.once:
                writer.write(answer.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
                return
            writer.write(answer)
            if not await reader.readline():
                return


class World:
    def __init__(self, kind, names=("a", "b", "c"), clients=None, **settings):
        self.kind, self.names, self.clients, self.settings = kind, names, clients, settings

    async def __aenter__(self):
        self.backends = {name: await Backend(name).start() for name in self.names}
        links = [(b.name, "pop", "127.0.0.1", b.port) for b in self.backends.values()]
        config = node(
            "front", "front", links={"backend": links}, clients=self.clients,
            **{"health": HEALTH, "control_port": 0, **self.settings},
        )  # fmt: skip
        self.role = self.kind(config, environment())
        self.front = self.role.front
        await self.role.start()
        await self.all_known()
        return self

    async def __aexit__(self, *exc):
        await self.role.stop()
        for backend in self.backends.values():
            await backend.stop()

    async def all_known(self):
        checks = [backend.check for backend in self.front.backends]
        await until(lambda: all(c.healthy is not None for c in checks), seen=lambda: checks)

    async def connect(self, source=None):
        address = (source, 0) if source else None
        return await asyncio.open_connection("127.0.0.1", self.front.port, local_addr=address)

    async def served_by(self, source=None):
        """The name of the backend that answers; "" when the connection is closed at once."""
        reader, writer = await self.connect(source)
        writer.write(b"hello\n")
        name = ""
        with contextlib.suppress(ConnectionError):
            name = (await asyncio.wait_for(reader.readline(), 10)).decode().strip()
        writer.close()
        return name

    async def turned(self, name, healthy):
        check = next(b.check for b in self.front.backends if b.name == name)
        await until(lambda: check.healthy is healthy, seen=lambda: self.front)


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request):
    factory = uvloop.new_event_loop if request.param == "uvloop" else None

    def start(world, test):
        async def main():
            async with world:
                await test(world)

        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(main())

    return start


GROUPS = {"127.0.0.11": "americas", "127.0.0.12": "europe"}
NEAREST = {"americas": ["a", "b", "c"], "europe": ["b", "c"]}


def anycast(**settings):
    return World(Anycast, clients=GROUPS, **{"nearest": NEAREST, **settings})


def test_users_reach_the_nearest(run):
    async def test(world):
        assert await world.served_by("127.0.0.11") == "a"
        assert await world.served_by("127.0.0.12") == "b"
        assert await world.served_by() == "a"

    run(anycast(), test)


def test_a_lost_pop_is_withdrawn_and_its_connections_reset(run):
    async def test(world):
        reader, writer = await world.connect("127.0.0.11")
        writer.write(b"hello\n")
        assert await reader.readline() == b"a\n"
        other, other_writer = await world.connect("127.0.0.12")
        other_writer.write(b"hello\n")
        assert await other.readline() == b"b\n"
        await world.backends["a"].stop()
        with contextlib.suppress(ConnectionResetError):
            while await asyncio.wait_for(reader.read(100), 10):
                pass
        await world.turned("a", False)
        assert await world.served_by("127.0.0.11") == "b"
        other_writer.write(b"still here\n")
        assert await other.readline() == b"hello\n"
        assert await other.readline() == b"still here\n"
        writer.close()
        other_writer.close()

    run(anycast(), test)


def test_a_mute_pop_is_withdrawn(run):
    """It takes connections and answers none, as a stopped process does: its users' connections are reset."""

    async def test(world):
        reader, writer = await world.connect("127.0.0.11")
        writer.write(b"hello\n")
        assert await reader.readline() == b"a\n"
        assert await reader.readline() == b"hello\n"
        world.backends["a"].mute = True
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(reader.read(100), 10)
        assert await world.served_by("127.0.0.11") == "b"
        writer.close()
        last = world.front.transitions[-1]
        assert (last.backend, last.to, last.reason, last.reset) == ("a", "down", "no answer", 1)

    run(anycast(), test)


def test_it_comes_back_when_its_answers_have_been_good_for_a_while(run):
    async def test(world):
        world.backends["a"].status = b"503 No"
        await world.turned("a", False)
        world.backends["a"].status = b"200 OK"
        began = asyncio.get_running_loop().time()
        await world.turned("a", True)
        assert asyncio.get_running_loop().time() - began >= 0.15
        assert await world.served_by("127.0.0.11") == "a"
        turns = [(t.n, t.backend, t.from_, t.to) for t in world.front.transitions]
        assert turns[-2:] == [(4, "a", "up", "down"), (5, "a", "down", "up")]

    run(anycast(), test)


def test_users_are_moved_back_when_their_nearest_returns(run):
    async def test(world):
        world.backends["a"].status = b"503 No"
        await world.turned("a", False)
        reader, writer = await world.connect("127.0.0.11")
        writer.write(b"hello\n")
        assert await reader.readline() == b"b\n"
        stays, stays_writer = await world.connect("127.0.0.12")
        stays_writer.write(b"hello\n")
        assert await stays.readline() == b"b\n"
        world.backends["a"].status = b"200 OK"
        await world.turned("a", True)
        with contextlib.suppress(ConnectionResetError):
            while await asyncio.wait_for(reader.read(100), 10):
                pass
        assert await world.served_by("127.0.0.11") == "a"
        stays_writer.write(b"still here\n")
        assert await stays.readline() == b"hello\n"
        assert await stays.readline() == b"still here\n"
        writer.close()
        stays_writer.close()

    run(anycast(), test)


def test_where_none_is_healthy_one_that_answers_will_do(run):
    async def test(world):
        for name in world.names:
            world.backends[name].status = b"503 No"
        world.backends["a"].mute = True
        for name in world.names:
            await world.turned(name, False)
        assert await world.served_by("127.0.0.11") == "b"
        world.backends["c"].status = b"200 OK"
        await world.turned("c", True)
        assert await world.served_by("127.0.0.11") == "c"

    run(anycast(), test)


def test_the_last_that_answers_keeps_its_connections(run):
    async def test(world):
        for name in ("b", "c"):
            world.backends[name].status = b"503 No"
            await world.turned(name, False)
        reader, writer = await world.connect("127.0.0.11")
        writer.write(b"hello\n")
        assert await reader.readline() == b"a\n"
        world.backends["a"].status = b"503 No"
        await world.turned("a", False)
        writer.write(b"still here\n")
        assert await reader.readline() == b"hello\n"
        assert await reader.readline() == b"still here\n"
        writer.close()

    run(anycast(), test)


def test_one_that_breaks_a_connection_comes_last_for_a_moment(run):
    async def test(world):
        world.backends["a"].drops = True
        assert await world.served_by("127.0.0.11") == ""
        assert await world.served_by("127.0.0.11") == "b"
        broken = next(b for b in world.front.backends if b.name == "a")
        assert broken.check.healthy
        loop = asyncio.get_running_loop()
        await until(lambda: loop.time() > broken.suspect_until, seen=lambda: broken)
        world.backends["a"].drops = False
        assert await world.served_by("127.0.0.11") == "a"

    run(anycast(), test)


def test_a_client_that_leaves_first_casts_no_doubt(run):
    async def test(world):
        reader, writer = await world.connect("127.0.0.11")
        writer.write_eof()
        await asyncio.wait_for(reader.read(), 10)
        writer.close()
        assert await world.served_by("127.0.0.11") == "a"
        assert not any(backend.suspect_until for backend in world.front.backends)

    run(anycast(), test)


def test_without_a_healthy_backend_connections_are_closed(run):
    async def test(world):
        for backend in world.backends.values():
            await backend.stop()
        for name in world.names:
            await world.turned(name, False)
        assert await world.served_by() == ""
        assert world.front.refused == 1

    run(anycast(), test)


def test_a_connection_that_ends_as_was_said_is_no_loss(run):
    """As where one of a PoP's workers leaves; `loss_is_down` is for those that just end."""

    async def test(world):
        backend, before = world.backends["a"], list(world.front.transitions)
        backend.once = True
        checked = backend.checked
        await until(lambda: backend.checked > checked + 5, seen=lambda: backend.checked)
        assert list(world.front.transitions) == before
        assert await world.served_by("127.0.0.11") == "a"

    run(anycast(), test)


def test_a_weight_moves_connections_to_the_next_nearest_for_as_long_as_it_lasts(run):
    async def weigh(world, body):
        url = f"http://{world.front.config.listen.host}:{world.front.site.port}/weights"
        async with aiohttp.ClientSession() as session, session.put(url, json=body) as answer:
            return answer.status, await answer.json()

    async def test(world):
        told = await weigh(world, {"weights": {"a": 0.5, "b": 1}, "lasting": 3600})
        assert told == (200, {"weights": {"a": 0.5}})
        assert {await world.served_by("127.0.0.11") for _ in range(40)} == {"a", "b"}
        assert {await world.served_by("127.0.0.12") for _ in range(10)} == {"b"}
        await weigh(world, {"weights": {"a": 0}, "lasting": 3600})
        assert {await world.served_by("127.0.0.11") for _ in range(10)} == {"b"}
        assert (await weigh(world, {"weights": {"a": 2}, "lasting": 1}))[0] == 400
        await weigh(world, {"weights": {"a": 0}, "lasting": 0.01})
        await asyncio.sleep(0.02)
        assert await world.served_by("127.0.0.11") == "a"

    run(anycast(), test)


def test_a_pop_that_refuses_is_passed_over_before_it_is_known_to_be_down(run):
    async def test(world):
        world.backends["a"]._server.close()  # the health check's connection stays
        assert await world.served_by("127.0.0.11") == "b"
        assert next(b for b in world.front.backends if b.name == "a").check.healthy

    run(anycast(), test)


def test_a_slow_reader_holds_the_sender_back(run):
    """Neither side's bytes pile up in the front: a sender without a reader is stopped."""

    async def test(world):
        reader, writer = await world.connect()
        writer.write(b"hello\n")
        chunk = bytes(1 << 16)
        sent = 0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(60):
                while sent < 256 << 20:
                    writer.write(chunk)
                    sent += len(chunk)
                    async with asyncio.timeout(0.5):
                        await writer.drain()
        assert sent < 64 << 20
        writer.write_eof()
        got = 0
        while data := await asyncio.wait_for(reader.read(1 << 20), 20):
            got += len(data)
        assert got == len(b"a\nhello\n") + sent + len(b"bye")
        writer.close()

    run(anycast(), test)


def test_a_half_close_passes_through(run):
    async def test(world):
        reader, writer = await world.connect("127.0.0.11")
        writer.write(b"hello\nrest")
        writer.write_eof()
        assert await asyncio.wait_for(reader.read(), 10) == b"a\nhello\nrestbye"
        writer.close()
        a = world.front.backends[0]
        await until(lambda: not a.halves, seen=lambda: a)

    run(anycast(), test)


def test_a_client_that_goes_is_told_to_the_backend(run):
    async def test(world):
        _, writer = await world.connect("127.0.0.11")
        writer.write(b"hello\n")
        a = world.backends["a"]
        await until(lambda: len(a.writers) == 2, seen=lambda: a.writers)
        writer.transport.abort()
        await until(lambda: len(a.writers) == 1, seen=lambda: a.writers)

    run(anycast(), test)


def test_the_control_port_tells_how_it_goes(run):
    async def test(world):
        await world.served_by("127.0.0.12")
        status = world.front.status()
        assert status["node"] == "front"
        assert [b["node"] for b in status["backends"]] == ["a", "b", "c"]
        assert [b["served"] for b in status["backends"]] == [0, 1, 0]
        reader, writer = await asyncio.open_connection("127.0.0.1", world.front.site.port)
        writer.write(b"GET /status HTTP/1.0\r\n\r\n")
        answer = await asyncio.wait_for(reader.read(), 10)
        assert answer.startswith(b"HTTP/1.0 200")
        assert b'"from":"unknown","to":"up"' in answer
        writer.close()

    run(anycast(), test)


def test_a_route_to_an_unknown_pop_is_refused():
    config = node(
        "front", "anycast", links={"backend": [("a", "pop", "127.0.0.1", 1)]}, nearest={"x": ["z"]}
    )
    with pytest.raises(ConfigError, match="nearest names z"):
        Anycast(config, environment())


def test_least_connections_go_first(run):
    async def test(world):
        held = []
        for _ in range(6):
            reader, writer = await world.connect()
            writer.write(b"hello\n")
            held.append((await asyncio.wait_for(reader.readline(), 10), writer))
        assert sorted(name for name, _ in held) == [b"a\n", b"a\n", b"b\n", b"b\n", b"c\n", b"c\n"]
        for name, writer in held:
            if name == b"b\n":
                writer.close()
        b = next(b for b in world.front.backends if b.name == "b")
        await until(lambda: not b.halves, seen=lambda: b)
        assert await world.served_by() == "b"
        for _, writer in held:
            writer.close()

    run(World(Balancer), test)


def test_round_robin_takes_turns(run):
    async def test(world):
        names = [await world.served_by() for _ in range(9)]
        assert sorted(names) == ["a"] * 3 + ["b"] * 3 + ["c"] * 3
        assert names[:3] == names[3:6] == names[6:]

    run(World(Balancer, policy="round_robin"), test)


def test_a_broken_backend_breaks_its_client_and_nothing_is_sent_twice(run):
    async def test(world):
        reader, writer = await world.connect()
        writer.write(b"hello\n")
        name = (await reader.readline()).decode().strip()
        before = {n: b.received for n, b in world.backends.items() if n != name}
        await world.backends[name].stop()
        with contextlib.suppress(ConnectionResetError):
            while await asyncio.wait_for(reader.read(100), 10):
                pass
        assert {n: b.received for n, b in world.backends.items() if n != name} == before
        writer.close()

    run(World(Balancer), test)


def test_a_reset_is_a_reset_on_the_wire():
    """What the client's kernel sees is RST, not an orderly end, on uvloop too."""

    async def test(world):
        loop = asyncio.get_running_loop()
        with socket.socket() as client:
            client.setblocking(False)
            await loop.sock_connect(client, ("127.0.0.1", world.front.port))
            await loop.sock_sendall(client, b"hello\n")
            await loop.sock_recv(client, 100)
            world.backends["a"].mute = True
            with pytest.raises(ConnectionResetError):
                while await asyncio.wait_for(loop.sock_recv(client, 100), 10):
                    pass

    async def main():
        async with (world := anycast()):
            await test(world)

    uvloop.run(main())
