"""The controller of hot spots between PoPs and an anycast of its own, over real sockets."""

import asyncio

from reference_impl.hotspot.role import HotSpotController
from reference_impl.web import Site, json_response
from tests.reference_impl.support import environment, node, until

QUICK = {"interval": 0.02, "timeout": 0.5, "sustain": 0.1, "hold": 0.1}


class Fake:
    """A PoP or an anycast: tells a load, and keeps what it is asked to do."""

    def __init__(self, path, method, total=0.0, capacity=100.0):
        self.total, self.capacity = total, capacity
        self.asked = []
        self.site = Site(self._status, lambda: None)
        self.site.add(method, path, self._take)

    def _status(self):
        return {"scaling": {"total": self.total, "capacity": self.capacity}}

    async def _take(self, request):
        self.asked.append(await request.json())
        return json_response({})

    async def start(self, name):
        await self.site.start("127.0.0.1", 0)
        return (name, "pop", "127.0.0.1", self.site.port)


def test_it_gives_workers_lowers_a_weight_and_takes_it_back():
    async def act():
        pops = {name: Fake("/scale", "POST", 10.0) for name in ("a", "b", "c")}
        anycast = Fake("/weights", "PUT")
        links = [await pop.start(name) for name, pop in pops.items()]
        config = node(
            "hotspot", "hotspot", links={"pop": links, "anycast": [await anycast.start("anycast")]}, **QUICK
        )  # fmt: skip
        role = HotSpotController(config, environment())
        await role.start()

        def told():
            return anycast.asked[-1]["weights"] if anycast.asked else {}

        await until(lambda: told() == {"a": 1, "b": 1, "c": 1}, seen=told)
        assert pops["a"].asked == []
        pops["a"].total = 160.0
        await until(lambda: told().get("a", 1) < 1, seen=told)
        assert pops["a"].asked == [{"workers": 5}, {"shed": 1.0}]
        assert (told()["a"], anycast.asked[-1]["lasting"]) == (0.5, 10.0)
        count = len(anycast.asked)
        await until(lambda: len(anycast.asked) > count + 2, seen=lambda: anycast.asked)
        pops["a"].total = 10.0
        await pops["b"].site.stop()  # one that says nothing is left as it is
        await until(lambda: told().get("a") == 1, seen=told)
        assert set(role.status()["pops"]) == {"a", "c"}
        done = [(each.pop, each.what, each.value) for each in role.actions]
        assert done == [("a", "workers", 5), ("a", "weight", 0.5), ("a", "weight", 1.0)]
        await role.stop()
        for each in (*pops.values(), anycast):
            await each.site.stop()

    asyncio.run(asyncio.wait_for(act(), 60))
