"""A lease at a majority of witnesses, from the side of whoever wants it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from reference_impl.config import Upstream
from reference_impl.resilience.errors import CallError
from reference_impl.resilience.http import HttpClient
from reference_impl.witness.leases import Answer


@dataclass(frozen=True, slots=True)
class View:
    """The newest lease that a majority of witnesses knows of. `left`: s until all of them hold it for run out."""

    holder: str
    epoch: int
    left: float


class Quorum:
    """The witnesses of one resource. `timeout` in s for one question to one of them."""

    def __init__(
        self, witnesses: Sequence[Upstream], resource: str, http: HttpClient, timeout: float
    ) -> None:
        self.witnesses = tuple(witnesses)
        self.resource = resource
        self._http = http
        self._timeout = timeout
        self._heard = 0

    def __repr__(self) -> str:
        return f"<Quorum {self.resource} {self._heard} of {len(self.witnesses)} answered>"

    @property
    def majority(self) -> int:
        return len(self.witnesses) // 2 + 1

    async def view(self) -> View | None:
        """None when no majority answers: then nobody can know."""
        answers = await self._all("GET", None)
        if len(answers) < self.majority:
            return None
        newest = max(answers, key=lambda answer: answer.epoch)
        left = max(a.left for a in answers if a.epoch == newest.epoch)
        return View(newest.holder, newest.epoch, left)

    async def acquire(self, holder: str, epoch: int, ttl: float) -> float | None:
        """Take or keep the lease. Until when it is held, in s of the loop's clock; None without a majority.

        Counted from before the first question was sent: no witness lets another have it earlier.
        """
        began = asyncio.get_running_loop().time()
        answers = await self._all("POST", {"holder": holder, "epoch": epoch, "ttl": ttl})
        granted = sum(answer.granted for answer in answers)
        return began + ttl if granted >= self.majority else None

    async def release(self, holder: str, epoch: int) -> None:
        await self._all("POST", {"holder": holder, "epoch": epoch, "ttl": 0})

    async def _all(self, method: str, body: dict[str, object] | None) -> list[Answer]:
        """Those who answered in time: at once when a majority of equal mind has, for a dead one need not be waited for."""
        asking = {asyncio.create_task(self._one(w, method, body)) for w in self.witnesses}
        answers: list[Answer] = []
        try:
            while asking and not self._settled(answers):
                done, asking = await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
                answers += [answer for task in done if (answer := task.result()) is not None]
        finally:
            for task in asking:
                task.cancel()
        self._heard = len(answers)
        return answers

    def _settled(self, answers: list[Answer]) -> bool:
        return any(
            sum((a.holder, a.epoch, a.granted) == (b.holder, b.epoch, b.granted) for b in answers)
            >= self.majority
            for a in answers
        )

    async def _one(
        self, witness: Upstream, method: str, body: dict[str, object] | None
    ) -> Answer | None:
        url = f"{witness.url}/leases/{self.resource}"
        sent = None if body is None else msgspec.json.encode(body)
        try:
            answer = await self._http.request(method, url, body=sent, within=self._timeout)
            return msgspec.json.decode(answer.body, type=Answer)
        except (CallError, msgspec.DecodeError):
            return None
