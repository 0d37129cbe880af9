"""What tiers of flags cost: a hot flag beside one of a PoP without them, the first use of a cold one, and memory by number of flags.

In one process, without sockets; the KV is in memory, so that a first use is what the PoP itself does for it.
"""

from __future__ import annotations

import gc
import random
import time
import tracemalloc
from typing import TYPE_CHECKING, Any

import msgspec

from benchmarks import _common
from benchmarks.rules import cost
from reference_impl.config import Listen, NodeConfig
from reference_impl.kv.memory import MemoryKV
from reference_impl.pop.role import Pop
from reference_impl.pop.tiered.role import TieredPop
from reference_impl.propagation.types import FlagState, RawFlagState, RawOrgState, RawSnapshot
from reference_impl.role import Env

if TYPE_CHECKING:
    from collections.abc import Callable

ORG = "acme"
SIZE = 1_000  # bytes of a definition, about
LIMIT = 4 << 20
MIB = 1 << 20


def definition(n: int) -> dict[str, Any]:
    return {
        "state": "ENABLED",
        "variants": {"on": True, "off": False},
        "defaultVariant": "off",
        "targeting": {"if": [{"==": [{"var": "tier"}, "gold"]}, "on", "off"]},
        "metadata": {"text": random.Random(n).randbytes(SIZE // 2 - 90).hex()},
    }


def snapshot(flags: int) -> RawSnapshot:
    states = {
        f"flag-{n}": RawFlagState(n + 1, msgspec.Raw(msgspec.json.encode(definition(n))))
        for n in range(flags)
    }
    return RawSnapshot(flags, {ORG: RawOrgState(flags, states)})


def plain_snapshot(flags: int) -> RawSnapshot:
    """The same for a PoP that takes objects."""
    states = {f"flag-{n}": FlagState(n + 1, definition(n)) for n in range(flags)}
    return RawSnapshot(flags, {ORG: RawOrgState(flags, states)})  # type: ignore[arg-type]


def make(kind: type[Pop], kv: MemoryKV | None = None) -> Pop:
    settings = {"tiers": {"memory": LIMIT}} if kind is TieredPop else {}
    config = NodeConfig(name="pop-1", role="pop", listen=Listen("127.0.0.1", 0), settings=settings)
    return kind(config, Env(random.Random(1), time.time_ns, "benchmark"), kv=kv)


def healthy(pop: Pop, data: RawSnapshot) -> Pop:
    pop.store.replace(data)
    pop.degradation.stream_up()
    return pop


def evaluation(pop: Pop) -> Callable[[], object]:
    """One evaluation of a hot flag, from a request's body to the bytes of its answer."""
    route = pop.server.handler.route
    answer = route(b"POST", b"/ofrep/v1/evaluate/flags/flag-1", {b"x-org-id": ORG.encode()})
    body = b'{"context":{"targetingKey":"user-4711","tier":"gold"}}'
    if callable(answer(body)):
        raise RuntimeError(  # noqa: TRY004 - the state is wrong, not the type
            f"{pop!r} does not answer from memory"
        )
    return lambda: answer(body)


async def hot(rounds: int, calls: int) -> list[_common.Figure]:
    without = evaluation(healthy(make(Pop), plain_snapshot(100)))
    tiered = evaluation(healthy(make(TieredPop), snapshot(100)))
    pairs = [(cost(without, calls), cost(tiered, calls)) for _ in range(rounds)]
    return [
        _common.Figure("without tiers", "us", [a for a, _ in pairs]),
        _common.Figure("with tiers", "us", [b for _, b in pairs]),
        _common.Figure("  more", "us", [b - a for a, b in pairs]),
    ]


async def first_use(rounds: int, flags: int) -> list[float]:
    """Microseconds for each cold flag, one after the other."""
    kv = MemoryKV()
    await kv.replace(plain_snapshot(flags))
    pop = healthy(make(TieredPop, kv), snapshot(flags))
    costs = []
    for _ in range(rounds):
        cold = [key for key in pop.keys(ORG) if pop.compiled.get(ORG, key) is None][:1000]
        begun = time.perf_counter()
        for key in cold:
            await pop.load(ORG, key)
        costs.append((time.perf_counter() - begun) / len(cold) * 1e6)
    return costs


async def memory(kind: type[Pop], flags: int) -> float:
    """MiB that a PoP has more with so many flags, all of them used."""
    pop = make(kind)
    gc.collect()
    tracemalloc.start()
    try:
        pop.store.replace(snapshot(flags) if kind is TieredPop else plain_snapshot(flags))
        for key in list(pop.keys(ORG)):
            pop.compiled.get(ORG, key)
        gc.collect()
        return tracemalloc.get_traced_memory()[0] / MIB
    finally:
        tracemalloc.stop()


def main(argv: list[str]) -> int:
    options = _common.parser("tiers", __doc__).parse_args(argv)
    rounds = _common.rounds_of(options, usual=9, quick=2)
    calls, many = (200, [8_000]) if options.quick else (20_000, [1_000, 10_000, 50_000])
    print(_common.machine())
    _common.show("a hot flag", _common.run_loop(lambda: hot(rounds, calls)))
    loads = _common.run_loop(lambda: first_use(rounds, 8_000))
    _common.show("a cold flag", [_common.Figure("first use", "us", loads)])
    figures = []
    for flags in many:
        for kind, name in ((Pop, "all"), (TieredPop, f"tiers of {LIMIT // MIB} MiB")):
            grown = _common.run_loop(lambda k=kind, n=flags: memory(k, n))  # type: ignore[misc]
            figures.append(_common.Figure(f"{flags} flags of 1 KB, {name}", "MiB", [grown]))
    _common.show("memory", figures)
    return 0
