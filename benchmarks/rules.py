"""What one evaluation costs, by kind of rule, beside openfeature-flagd-core; and a bulk evaluation of 500 flags.

In one process, without sockets. Ours and flagd-core's alternate within a round, so that what else the machine does hits
both; each round gives one ratio. flagd-core is asked through its own interface, which also checks the type.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from openfeature.contrib.tools.flagd.core import FlagdCore
from openfeature.evaluation_context import EvaluationContext

from benchmarks import _common
from benchmarks.evaluation import make_pop
from reference_impl.evaluation import compile_flag
from reference_impl.propagation.types import FlagState, OrgState, Snapshot

BULK_FLAGS = 500
CONTEXT: dict[str, Any] = {
    "tier": "gold",
    "country": "NL",
    "email": "user@example.com",
    "version": "2.4.1",
    "age": 42,
    "groups": ["beta", "staff"],
}
USER = "user-4711"


def when(condition: Any) -> dict[str, Any]:
    return {"if": [condition, "on", "off"]}


RULES: dict[str, Any] = {
    "none": None,
    "string equals": when({"==": [{"var": "tier"}, "gold"]}),
    "number compares": when({">=": [{"var": "age"}, 18]}),
    "one of five": when({"in": [{"var": "country"}, ["DE", "FR", "NL", "BE", "LU"]]}),
    "ends_with": when({"ends_with": [{"var": "email"}, "@example.com"]}),
    "sem_ver": when({"sem_ver": [{"var": "version"}, ">=", "2.0.0"]}),
    "fractional": {"fractional": [{"var": "targetingKey"}, ["on", 25], ["off", 75]]},
    "some of a list": when({"some": [{"var": "groups"}, {"==": [{"var": ""}, "staff"]}]}),
    "three conditions": when(
        {
            "and": [
                {"==": [{"var": "tier"}, "gold"]},
                {"in": [{"var": "country"}, ["DE", "NL"]]},
                {"or": [{">": [{"var": "age"}, 65]}, {"ends_with": [{"var": "email"}, ".com"]}]},
            ]
        }
    ),
}


def definition(rule: Any) -> dict[str, Any]:
    made: dict[str, Any] = {
        "state": "ENABLED",
        "variants": {"on": True, "off": False},
        "defaultVariant": "off",
    }
    return made if rule is None else {**made, "targeting": rule}


def cost(act: Callable[[], object], calls: int) -> float:
    """Microseconds of one call."""
    begun = time.perf_counter()
    for _ in range(calls):
        act()
    return (time.perf_counter() - begun) / calls * 1e6


def rule(name: str, rounds: int, calls: int) -> list[_common.Figure]:
    flag = compile_flag("flag", definition(RULES[name]))
    core = FlagdCore()
    core.set_flags({"flags": {"flag": definition(RULES[name])}})
    asked = EvaluationContext(USER, CONTEXT)
    own = {"targetingKey": USER, **CONTEXT}
    expected = core.resolve_boolean_value("flag", False, asked)
    found = flag.evaluate(own, time.time)
    if (found.value, found.variant) != (expected.value, expected.variant):
        raise RuntimeError(f"{name}: {found!r}, and flagd-core says {expected!r}")
    ours, theirs = [], []
    for _ in range(rounds):
        ours.append(cost(lambda: flag.evaluate(own, time.time), calls))
        theirs.append(
            cost(lambda: core.resolve_boolean_value("flag", False, asked), max(1, calls // 10))
        )
    return [
        _common.Figure(name, "us", ours),
        _common.Figure("  flagd-core", "us", theirs),
        _common.Figure("  ratio", "times", [b / a for a, b in zip(ours, theirs, strict=True)]),
    ]


async def bulk(name: str, rounds: int, calls: int) -> list[float]:
    """Evaluations of all flags per second: from a request's body to the bytes of its answer."""
    pop = make_pop()
    flags = {f"flag-{n}": FlagState(41, definition(RULES[name])) for n in range(BULK_FLAGS)}
    pop.store.replace(Snapshot(50, {"acme": OrgState(3, flags)}))
    route = pop.server.handler.route
    answer = route(b"POST", b"/ofrep/v1/evaluate/flags", {b"x-org-id": b"acme"})
    body = b'{"context":{"targetingKey":"user-4711","tier":"gold"}}'
    answer(body)
    return [1e6 / cost(lambda: answer(body), calls) for _ in range(rounds)]


def main(argv: list[str]) -> int:
    options = _common.parser("rules", __doc__).parse_args(argv)
    rounds = _common.rounds_of(options, usual=9, quick=2)
    calls = 200 if options.quick else 20_000
    print(_common.machine())
    figures = [figure for name in RULES for figure in rule(name, rounds, calls)]
    _common.show("one evaluation", figures)
    _common.show(
        f"all of {BULK_FLAGS} flags",
        [
            _common.Figure(name, "/s", asyncio.run(bulk(name, rounds, max(2, calls // 200))))
            for name in ("none", "string equals")
        ],
    )
    return 0
