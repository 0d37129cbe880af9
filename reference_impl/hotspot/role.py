"""The controller of geographic hot spots: reads what PoPs say, gives them workers, and tells anycast their weights."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, Any, Final, NoReturn

import msgspec

from reference_impl.config import NodeConfig, Positive, Upstream
from reference_impl.hotspot.policy import Action, HotSpots, HotSpotSettings, Seen
from reference_impl.resilience.errors import CallError
from reference_impl.resilience.http import HttpClient
from reference_impl.role import Env
from reference_impl.web import Site, Tasks

if TYPE_CHECKING:
    from collections.abc import Iterable

_log = logging.getLogger(__name__)
KEPT: Final = 20  # actions
LASTING: Final = 10.0  # s that anycast believes a weight; it is told again at each look


class ControllerSettings(HotSpotSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`interval` between looks and `timeout` of each call, in s."""

    interval: Positive = 0.5
    timeout: Positive = 0.5


class Done(msgspec.Struct, frozen=True):
    """An action. `at` in ns of the monotonic clock. `load`: of the PoP before it, as a share of what it can bear."""

    n: int
    at: int
    pop: str
    what: str
    value: float
    load: float


class _Scaling(msgspec.Struct):
    total: float
    capacity: float


class _Status(msgspec.Struct):
    scaling: _Scaling | None = None


class HotSpotController:
    """A `Role`. Links: "pop" to the control ports of PoPs, "anycast" to that of what leads users to them."""

    def __init__(self, config: NodeConfig, env: Env) -> None:
        self.config = config
        self.env = env
        self.settings = config.settings_as(ControllerSettings)
        self.spots = HotSpots(self.settings)
        self.seen: dict[str, Seen] = {}
        self.actions: deque[Done] = deque(maxlen=KEPT)
        self._pops = {link.to: link for link in config.upstreams("pop")}
        config.upstream("pop")  # a controller without one is a mistake
        self._http = HttpClient(self.settings.timeout)
        self._tasks = Tasks()
        self._made = 0
        self.site = Site(self.status, lambda: None)

    def __repr__(self) -> str:
        return f"<HotSpotController {self.config.name} {self.spots!r}>"

    async def start(self) -> None:
        """See `Role.start`."""
        await self.site.start(self.config.listen.host, self.config.listen.port)
        self._tasks.start(self._run, "hot spots")

    async def stop(self) -> None:
        """See `Role.stop`."""
        await self._tasks.stop()
        await self.site.stop()
        await self._http.close()

    def status(self) -> dict[str, Any]:
        """What `GET /status` answers."""
        weights = self.spots.weights
        return {
            "node": self.config.name,
            "role": self.config.role,
            "boot": self.env.boot,
            "pops": {
                name: {"rate": one.rate, "capacity": one.capacity, "weight": weights.get(name, 1.0)}
                for name, one in self.seen.items()
            },
            "actions": list(self.actions),
        }

    async def _run(self) -> NoReturn:
        while True:
            looks = await asyncio.gather(*(self._look(link) for link in self._pops.values()))
            self.seen = {name: one for name, one in looks if one is not None}
            now = asyncio.get_running_loop().time()
            actions = self.spots.observe(now, self.seen)
            self._note(now, actions)
            await asyncio.gather(*(self._do(action) for action in actions), self._tell_weights())
            await asyncio.sleep(self.settings.interval)

    async def _look(self, link: Upstream) -> tuple[str, Seen | None]:
        try:
            answer = await self._http.request("GET", f"{link.url}/status")
            scaling = msgspec.json.decode(answer.body, type=_Status).scaling
        except (CallError, msgspec.DecodeError) as error:
            _log.debug("%s says nothing: %s", link.to, error)
            return link.to, None
        return link.to, Seen(scaling.total, scaling.capacity) if scaling else None

    def _note(self, now: float, actions: Iterable[Action]) -> None:
        for action in actions:
            one = self.seen[action.pop]
            self._made += 1
            load = one.rate / one.capacity
            self.actions.append(
                Done(self._made, round(now * 1e9), action.pop, action.what, action.value, load)
            )

    async def _do(self, action: Action) -> None:
        """More workers, or: connections that are kept follow the weight too."""
        if action.what == "workers":
            body: dict[str, float] = {"workers": int(action.value)}
        elif action.shed:
            body = {"shed": action.shed}
        else:
            return
        await self._send("POST", self._pops[action.pop], "/scale", body)

    async def _tell_weights(self) -> None:
        body = {"weights": self.spots.weights, "lasting": LASTING}
        await asyncio.gather(
            *(
                self._send("PUT", link, "/weights", body)
                for link in self.config.upstreams("anycast")
            )
        )

    async def _send(self, method: str, link: Upstream, path: str, body: object) -> None:
        try:
            await self._http.request(method, link.url + path, body=msgspec.json.encode(body))
        except CallError as error:
            _log.warning("%s %s of %s: %s", method, path, link.to, error)
