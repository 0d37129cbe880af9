"""Links as toxiproxy proxies: the one module that talks to the daemon, and the only importer of toxiproxy-python.

Of toxiproxy-python 0.1.1 the data classes and exceptions are used, not its transport: that keeps one host for the
whole interpreter as a class attribute (two daemons in one process would steal each other's calls), has no timeouts,
and reads error answers as if they were results. Here each `Toxiproxy` has its own address and every call a deadline.

What the daemon (2.12) does that callers must know:

* Adding or removing a toxic waits for every connection of that proxy to let go of its current chunk. One whose peer
  has died or stopped reading never does; the proxy's control calls then freeze for good. So each call has a deadline,
  one retry, and as a last resort `restart`: a new daemon, with all proxies created again as they are wanted.
* Disabling a proxy closes its connections with FIN unless data is unread; see `CARRY_RESETS`.
* Removing a `timeout` toxic closes the connections that it held.
* ``POST /reset`` enables proxies before it removes their toxics, so it is not used at all.
* Names are path segments and link ids contain "->": `proxy_name` maps them, the same way in every process.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar, cast

import aiohttp
from toxiproxy import Proxy
from toxiproxy.exceptions import InvalidToxic, NotFound, ProxyExists
from toxiproxy.toxic import Toxic as RawToxic

from harness.errors import RuntimeFailure
from harness.network.base import Direction, LinkState, Toxic
from harness.network.toxics import checked

if TYPE_CHECKING:
    from harness.runtime.base import Address

CALL_WITHIN = 3.0  # s for one control call; an idle daemon answers in milliseconds
RESTART_WITHIN = 15.0  # s for the runtime's restart hook
_TRIES = 2
_POLL = 0.02

# The daemon sets SO_LINGER 0 on connections that begin while a reset_peer toxic is present, whatever its toxicity. With
# this one, which never acts, a peer's RST reaches the other side as RST instead of FIN. It can lose the last bytes
# of a normal close, so it is put only on links whose callers must see resets.
CARRY_RESETS = Toxic("carry-resets", "reset_peer", Direction.UPSTREAM, {"timeout": 0}, toxicity=0.0)

Restart = Callable[[], Awaitable[None]]
T = TypeVar("T")

_FROZEN = (TimeoutError, aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, OSError)


def proxy_name(link: str) -> str:
    """The proxy's name for a link id: readable, safe in a URL, and unique by a digest."""
    digest = hashlib.sha256(link.encode()).hexdigest()[:8]
    return f"{re.sub(r'[^A-Za-z0-9]+', '-', link)}.{digest}"


class Toxiproxy:
    """`LinkControl` on one daemon. Use it from one event loop at a time; calls for different links may run together.

    Links made by `create` are remembered as they are wanted (`wanted`), to be compared with the daemon's own answer
    (`state`) and to be made again after a restart. Other links can be controlled too, when the daemon has them.
    """

    def __init__(
        self, daemon: Address, restart: Restart | None = None, within: float = CALL_WITHIN
    ) -> None:
        self.daemon = daemon
        self._restart = restart
        self._within = within
        self._ends: dict[str, tuple[Address, Address]] = {}
        self._wanted: dict[str, LinkState] = {}
        self._restarts = 0
        self._reviving = asyncio.Lock()

    def __repr__(self) -> str:
        cut = sum(not state.enabled for state in self._wanted.values())
        toxic = sum(bool(state.toxics) for state in self._wanted.values())
        return (
            f"Toxiproxy({self.daemon}, {len(self._wanted)} links, {cut} cut, {toxic} toxic, "
            f"{self._restarts} restarts)"
        )

    @property
    def restarts(self) -> int:
        """How often the daemon froze and was started anew: each one broke all connections of all links."""
        return self._restarts

    # ------------------------------------------------------------------------------------------ the daemon itself

    async def version(self) -> str:
        """As the daemon says. Raises `RuntimeFailure`."""
        answer = await self._settled("/version", lambda: self._call("GET", "/version"))
        return str(answer["version"])

    async def ready(self, within: float = 10.0) -> None:
        """Wait until the control API answers; raises `RuntimeFailure` after `within` s with what was seen last."""
        deadline = asyncio.get_running_loop().time() + within
        while True:
            try:
                await self._call("GET", "/version")
            except (*_FROZEN, RuntimeFailure) as error:
                if asyncio.get_running_loop().time() >= deadline:
                    raise RuntimeFailure(
                        f"toxiproxy at {self.daemon} did not answer within {within:g} s: {_said(error)}"
                    ) from error
                await asyncio.sleep(_POLL)
            else:
                return

    async def create(self, proxies: Mapping[str, tuple[Address, Address]]) -> None:
        """Make a proxy for each link: (where it listens, where it sends on). Raises `RuntimeFailure`."""
        self._ends |= proxies
        self._wanted |= {link: LinkState(link, enabled=True, toxics=()) for link in proxies}
        await self._changed("create", lambda: self._populate(list(proxies), enabled=True))

    # ----------------------------------------------------------------------------------------------- LinkControl

    async def cut(self, link: str) -> None:
        await self._enable(link, on=False)

    async def restore(self, link: str) -> None:
        await self._enable(link, on=True)

    async def add(self, link: str, toxic: Toxic) -> None:
        """Raises ValueError, with nothing sent, for a toxic that the daemon could not carry out."""
        toxic = replace(toxic, attributes=checked(toxic))
        known = self._wanted.get(link)
        if known is not None:
            others = tuple(each for each in known.toxics if each.name != toxic.name)
            self._wanted[link] = replace(known, toxics=(*others, toxic))
        await self._changed(f"add {toxic.name} to {link}", lambda: self._put(link, toxic))

    async def remove(self, link: str, toxic: str) -> None:
        known = self._wanted.get(link)
        if known is not None:
            left = tuple(each for each in known.toxics if each.name != toxic)
            self._wanted[link] = replace(known, toxics=left)
        await self._changed(f"remove {toxic} from {link}", lambda: self._drop(link, toxic))

    async def state(self, link: str) -> LinkState:
        """As the daemon says now. Raises `RuntimeFailure`; never restarts the daemon."""
        return await self._settled(f"state of {link}", lambda: self._show(link))

    def wanted(self, link: str) -> LinkState:
        """As this object last asked for. Raises KeyError for a link that `create` was not given."""
        return self._wanted[link]

    # ---------------------------------------------------------------------------------------------------- the acts

    async def _enable(self, link: str, *, on: bool) -> None:
        known = self._wanted.get(link)
        if known is not None:
            self._wanted[link] = replace(known, enabled=on)
        path = f"/proxies/{proxy_name(link)}"
        verb = "restore" if on else "cut"
        await self._changed(f"{verb} {link}", lambda: self._call("PATCH", path, {"enabled": on}))

    async def _populate(self, links: list[str], *, enabled: bool) -> None:
        body = [
            {
                "name": proxy_name(link),
                "listen": str(self._ends[link][0]),
                "upstream": str(self._ends[link][1]),
                "enabled": enabled,
            }
            for link in links
        ]
        await self._call("POST", "/populate", body)

    async def _put(self, link: str, toxic: Toxic) -> None:
        """A toxic of that name that is there already is kept if it is the same, else replaced."""
        path = f"/proxies/{proxy_name(link)}/toxics"
        body = {
            "name": toxic.name,
            "type": toxic.type,
            "stream": str(toxic.direction),
            "toxicity": toxic.toxicity,
            "attributes": toxic.attributes,
        }
        try:
            await self._call("POST", path, body)
        except ProxyExists:  # toxiproxy-python's name for 409, whatever it is that exists
            if toxic not in (await self._show(link)).toxics:
                await self._drop(link, toxic.name)
                await self._call("POST", path, body)

    async def _drop(self, link: str, toxic: str) -> None:
        try:
            await self._call("DELETE", f"/proxies/{proxy_name(link)}/toxics/{toxic}")
        except NotFound as error:
            if "toxic" not in str(error):
                raise  # it is the proxy that is not there

    async def _show(self, link: str) -> LinkState:
        answer = await self._call("GET", f"/proxies/{proxy_name(link)}")
        proxy = Proxy(**answer)
        toxics = tuple(_toxic(RawToxic(**each)) for each in answer["toxics"])
        return LinkState(link, enabled=bool(proxy.enabled), toxics=toxics)

    # ------------------------------------------------------------------------------- deadlines, retries, restarts

    async def _settled(self, what: str, act: Callable[[], Awaitable[T]]) -> T:
        """Carry out `act`, twice if it freezes; every failure becomes a `RuntimeFailure`."""
        try:
            return await self._tried(act)
        except _FROZEN as error:
            raise RuntimeFailure(f"toxiproxy at {self.daemon}: {what}: {_said(error)}") from error
        except (NotFound, ProxyExists, InvalidToxic) as error:
            raise RuntimeFailure(f"toxiproxy at {self.daemon}: {what}: {error}") from error

    async def _changed(self, what: str, act: Callable[[], Awaitable[object]]) -> None:
        """As `_settled`, but a daemon that stays frozen is restarted with everything as it is wanted."""
        seen = self._restarts
        try:
            await self._settled(what, act)
        except RuntimeFailure as error:
            if not isinstance(error.__cause__, _FROZEN) or self._restart is None:
                raise
            await self._revive(seen, what, act)

    async def _tried(self, act: Callable[[], Awaitable[T]]) -> T:
        for _ in range(_TRIES - 1):
            try:
                return await act()
            except _FROZEN:
                continue
        return await act()

    async def _revive(self, seen: int, what: str, act: Callable[[], Awaitable[object]]) -> None:
        """Restart, unless another call did so since `seen`; then bring the daemon to what is wanted, and act."""
        assert self._restart is not None
        async with self._reviving:
            if self._restarts == seen:
                try:
                    await asyncio.wait_for(self._restart(), RESTART_WITHIN)
                except TimeoutError as error:
                    raise RuntimeFailure(
                        f"toxiproxy at {self.daemon} was not restarted within {RESTART_WITHIN:g} s"
                    ) from error
                await self.ready(RESTART_WITHIN)
                self._restarts += 1
                await self._settled("create all proxies again", self._recreate)
        await self._settled(
            what, act
        )  # idempotent: it settles what came in while the daemon was away

    async def _recreate(self) -> None:
        """Toxics come before the door opens, so that nothing passes undisturbed for a moment."""
        await self._populate(list(self._ends), enabled=False)
        for link, state in self._wanted.items():
            for toxic in state.toxics:
                await self._put(link, toxic)
            if state.enabled:
                await self._call("PATCH", f"/proxies/{proxy_name(link)}", {"enabled": True})

    async def _call(self, method: str, path: str, body: object = None) -> Any:
        """One HTTP exchange on a connection of its own: a frozen call must not hold up the next."""
        timeout = aiohttp.ClientTimeout(total=self._within)
        async with (
            aiohttp.ClientSession(timeout=timeout, trust_env=False) as session,
            session.request(
                method, self.daemon.url + path, json=body, headers={"Connection": "close"}
            ) as answer,
        ):
            text = await answer.text()
            if answer.ok:
                return await answer.json(content_type=None) if text else {}
            raise _error(answer.status, text.strip())


def _error(status: int, said: str) -> Exception:
    """What an error answer means, by toxiproxy-python's exceptions where it has one."""
    kinds = {400: InvalidToxic, 404: NotFound, 409: ProxyExists}
    if status in kinds:
        return cast("Exception", kinds[status](said))
    if status == 503:  # noqa: PLR2004 - the daemon's own 25 s watchdog: the handler is stuck
        return TimeoutError("the daemon gave up on its own call")
    return RuntimeFailure(f"toxiproxy answered {status}: {said}")


def _toxic(raw: RawToxic) -> Toxic:
    return Toxic(
        raw.name, raw.type, Direction(raw.stream), dict(raw.attributes), float(raw.toxicity)
    )


def _said(error: BaseException) -> str:
    return (
        "no answer in time"
        if isinstance(error, TimeoutError)
        else str(error) or type(error).__name__
    )
