"""For each checker one history on which it passes. The tests of soundness then spoil them one way at a time."""

import random

from build import MS, Builder, ns, steady

from harness.checkers import CHECKERS
from harness.checkers.answers import Expected
from harness.checkers.levels import Step
from harness.checkers.procedure import Sign
from harness.checkers.staleness import Cadence
from harness.history import Attempt


def outage(b=None, *, heal=8.0, gap=0.3):
    """A PoP dies at 2 s: failures for `gap` s, then another one answers."""
    b = b or Builder()
    b.phase(0, "baseline").phase(2, "broken").probe("users", interval=0.01, budget=0.05)

    def answer(t):
        if 2.0 <= t < 2.0 + gap:
            return {"outcome": "fail", "error": "CONNECTION_REFUSED"}
        return {"node": "pop-a" if t < 2.0 else "pop-b", "level": "HEALTHY"}

    steady(b, "users", 0, 10, 0.01, answer)
    return b.fault(2.0, heal)


def availability():
    b = Builder().phase(0, "baseline").probe("users", interval=0.01, budget=0.05).fault(3.0, 6.0)
    steady(b, "users", 0, 10, 0.01, node="pop-a")
    return CHECKERS["availability"](
        requirement="E2", probe="users", phase="baseline", min_ratio=0.99
    ), b


def recovery():
    return CHECKERS["recovery"](requirement="S2", probe="users", rto=1.0, objective=0.2), outage()


def reconvergence():
    return CHECKERS["reconvergence"](requirement="E2", probe="users", within=0.5), outage()


def writes(b, end=8.0, start=0.0, every=0.1, keys=("a", "b")):
    """Acknowledged writes with rising values; position = value."""
    b.probe("writer", "write", interval=every, budget=0.05)
    for n in range(round((end - start) / every)):
        b.write("writer", start + n * every, n + 1, n + 1, key=keys[n % len(keys)])
    return n + 1


def durability():
    b = Builder().fault(3.0, 6.0)
    last = writes(b)
    b.read(9.0, last - 1, "a").read(9.0, last, "b")
    return CHECKERS["durability"](requirement="D3", writes=("writer",)), b


L1 = ((2.5, "HEALTHY", "DEGRADED_L1"), (6.5, "DEGRADED_L1", "HEALTHY"))


def levels():
    b = Builder().fault(2.0, 6.0).probe("users", interval=0.1, budget=0.05)
    b.status(1.0, level="HEALTHY").status(9.9, level="HEALTHY", steps=L1)

    def answer(t):
        low = 2.5 < t < 6.5
        return {"node": "pop-a", "level": "DEGRADED_L1" if low else "HEALTHY", "stale": low}

    steady(b, "users", 0, 10, 0.1, answer)
    steps = (Step(to="DEGRADED_L1", within=1.0), Step(to="HEALTHY", within=1.0, since="heal"))
    return CHECKERS["levels"](requirement="P3", steps=steps, probes=("users",)), b


def polled(b, every=2.0, lag=0.0):
    """A node that fetches all that is acknowledged each `every` s; answers for key k at 20/s."""
    b.probe("writer", "write", interval=0.1, budget=0.05).probe("users", interval=0.05, budget=0.05)
    acks = [(n * 0.1 + 0.002, n + 1) for n in range(99)]
    for n in range(99):
        b.write("writer", n * 0.1, n + 1, n + 1)

    def answer(t):
        polled_at = t // every * every - lag
        seen = max((v for at, v in acks if at <= polled_at), default=0)
        return {
            "node": "pop-a",
            "level": "DEGRADED_L1",
            "value": seen,
            "version": seen,
            "metadata": {"flag_version": seen},
        }

    return steady(b, "users", 0, 10, 0.05, answer)


def shedding():
    b = Builder().fault(3.0, 6.0).phase(0, "x").probe("users", interval=0.01, budget=0.05)

    def answer(t):
        refused = {"outcome": "fail", "status": 429, "retry_after": "1"}
        return {} if t % 0.1 < 0.01 else refused

    steady(b, "users", 0, 10, 0.01, answer)
    return CHECKERS["shedding"](
        requirement="P4", probe="users", phase="x", at_most=12.0, at_least=5.0
    ), b


def staleness():
    b = polled(Builder().fault(3.0, 6.0))
    cadence = Cadence(min=1.9, max=2.1)
    return CHECKERS["staleness"](
        requirement="P3", probe="users", bound=2.1, level="DEGRADED_L1", cadence=cadence
    ), b


def propagation():
    b = polled(Builder().fault(3.0, 6.0))
    return CHECKERS["propagation"](requirement="S1", probes=("users",), p99=2.2), b


def stream():
    b = Builder().fault(3.0, 6.0)
    last = writes(b, every=0.1, keys=("a",))
    b.probe("sub", "subscribe")
    b.stream(0.0, "connect").stream(0.0, "open").stream(0.0, "snapshot", 0)
    for n in range(1, last + 1):
        if n == 40:
            b.stream(3.9, "close").stream(3.9, "connect", 39).stream(3.9, "open")
        b.stream((n - 1) * 0.1 + 0.05, "change", n, at=(n - 1) * 0.1, key="a", value=n)
    checker = CHECKERS["stream"](
        requirement="S1", probes=("sub",), writes=("writer",), reconnections=1, p99=0.2
    )
    return checker, b


def retried(b, rng, path, at, how, attempts=3, jitter=0.1):
    """One operation of a client that keeps the retry policy."""
    kinds = {
        "503": {"status": 503},
        "reset": {"status": 0, "scripted": "reset"},
        "timeout": {"status": 0, "error": "caller-closed", "took": 0.5},
        "500": {"status": 500},
    }
    delay = 0.1
    for _ in range(attempts):
        more = kinds[how]
        b.wire(at, path=path, **more)
        at += more.get("took", 0.001) + delay * (1 + rng.random() * jitter) + rng.random() * MS
        delay *= 2


def retries():
    b = Builder().fault(3.0, 6.0)
    rng = random.Random(7)
    for n in range(10):
        for m, how in enumerate(("503", "reset", "timeout", "500")):
            retried(b, rng, f"/{how}/{n}", n * 0.5 + m * 0.01, how, 1 if how == "500" else 3)
    return CHECKERS["retries"](requirement="P2", link="pop-a->api"), b


def broken_circuit(
    b, *, threshold=5, timeout=3.0, successes=3, heal=8.0, end=12.0, demanded=0.1, trials=1
):
    """A breaker as specified, on the wire, under a demand for a cold key each `demanded` s."""
    b.probe("cold", interval=demanded, budget=0.05)
    state, failures, good, since = "closed", 0, 0, 0.0
    for n in range(round(end / demanded)):
        t = n * demanded
        if state == "open" and t > since + timeout:
            state, good = "half", 0
        if state == "open":
            b.request("cold", t, key=f"cold-{n}", reason="DEFAULT", value=False)
            continue
        ok = not 1.0 <= t < heal
        for extra in range(trials if state == "half" else 1):
            b.wire(
                t + 0.001 + extra * MS / 4,
                took=0.01,
                path=f"/flags/cold-{n}{'x' * extra}",
                status=200 if ok else 500,
            )
        b.request("cold", t, 0.02, key=f"cold-{n}", reason="STATIC" if ok else "DEFAULT", value=ok)
        if ok:
            failures, good = 0, good + 1
            if state == "half" and good == successes:
                state = "closed"
        else:
            failures += 1
            if state == "half" or failures == threshold:
                state, since, failures = "open", t + 0.011, 0
    return b.fault(1.0, heal)


def breaker():
    b = broken_circuit(Builder())
    fallback = Expected(reason="DEFAULT", value=False)
    checker = CHECKERS["breaker"](
        requirement="P1",
        link="pop-a->api",
        demand="cold",
        path="/flags",
        timeout=3.0,
        fallback=fallback,
    )
    return checker, b


def reconnect_spread():
    b = Builder().fault(3.0, 8.0)
    for n in range(6):
        b.wire(0.1 * n, took=2.95, link=f"pop-{n}->hub-1", path="/stream")
        b.wire(3.5 + 0.2 * n, took=3.0, link=f"pop-{n}->hub-2", path="/stream")
    checker = CHECKERS["reconnect_spread"](
        requirement="S2", link="pop-*->hub-*", min_span=0.5, max_in_window=2, within=3.0
    )
    return checker, b


def alert():
    b = (
        Builder()
        .fault(3.0, 6.0)
        .probe("watch", "alerts")
        .alert(4.0, "HUB_FAILOVER", "pop-a", hub="hub-1")
    )
    return CHECKERS["alert"](
        requirement="S2", alert="HUB_FAILOVER", within=2.0, data={"hub": "hub-1"}
    ), b


def recommended():
    b = Builder().fault(3.0, 6.0, label="crowd").probe("feed", "recommendations")
    b.recommends(4.0).recommends(7.0, "withdrawn", 10.0)
    return CHECKERS["recommended"](
        requirement="S4",
        kind="add_stream_server",
        node="stream-1",
        metric="connections",
        threshold=20.0,
        fault="crowd",
        within=2.0,
        withdrawn=2.0,
    ), b


def growing(few=100, many=400, hub=lambda pops: 0.001 + pops * 40e-6, origin=lambda _: 0.001):
    """Few PoPs until 10 s, many from 11 s to 20 s, twice; `hub` and `origin`: s of CPU that a change costs at so many."""
    b = Builder().fault(0.5, 44.5, name="crowd").probe("status", "status")
    spent = {"hub-1": 0.0, "stream-1": 0.0}
    writes(b, end=45.0)
    for n, name in enumerate(("few", "many", "few", "many")):
        start, pops = 1.0 + n * 11, many if name == "many" else few
        b.phase(start, name).phase(start + 10, "between")
        for k in range(40):
            t = start + k * 0.25 + 0.1
            b.processes(t, (7,), node="hub-1", cpu=spent["hub-1"])
            b.processes(t, (8,), node="stream-1", cpu=spent["stream-1"])
            spent["hub-1"] += hub(pops) * 2.5
            spent["stream-1"] += origin(pops) * 2.5
            b.status(t, "stream-1", data={"subscribers": 2})
        if name == "many":
            b.crowd(start + 10.5, many - few, began=start - 0.5, last=round((start + 10) * 10))
    return b.crowd(44.5, few, began=0.6, last=430)


def growth():
    return CHECKERS["growth"](
        requirement="C1",
        hubs=("hub-1",),
        origin="stream-1",
        writes=("writer",),
        small="few",
        large="many",
    ), growing()


def names():
    b = Builder().fault(3.0, 8.0).probe("users", interval=0.01, budget=0.05)
    steady(b, "users", 0, 10, 0.01)
    for n in range(10):
        b.resolved(n + 0.5, "lb-us" if n < 4 or n > 8 else "lb-eu")
    return CHECKERS["names"](
        requirement="M2", domain="api.example.com", to=("lb-eu",), within=2.0
    ), b


def route():
    b = Builder().phase(0, "x").fault(3.0, 6.0).probe("users", interval=0.01, budget=0.05)
    steady(b, "users", 0, 10, 0.01, node="api-us")
    for n in range(10):
        b.resolved(n + 0.5, "lb-us")
    checker = CHECKERS["route"](
        requirement="M3", probe="users", phase="x", to=("lb-us",), answered_by=("api-us",)
    )
    return checker, b


def status_field():
    b = Builder().fault(3.0, 8.0)
    for n in range(100):
        b.status(n * 0.1, upstream="hub-1" if n < 40 else "hub-2")
    return CHECKERS["status_field"](
        requirement="S2", node="pop-a", field="upstream", equals="hub-2", within=2.0
    ), b


def answers():
    b = Builder().phase(0, "x").fault(3.0, 6.0).probe("users", interval=0.1, budget=0.05)
    steady(b, "users", 0, 10, 0.2, key="bool", value=False, reason="DEFAULT", level="EMERGENCY")
    steady(b, "users", 0.1, 10.1, 0.2, key="text", outcome="fail", status=404)
    expect = (Expected(key="bool", value=False, at_least=5), Expected(key="text", status=404))
    return CHECKERS["answers"](requirement="P3", probe="users", phase="x", expect=expect), b


def open_streams():
    b = Builder().fault(3.0, 6.0).probe("a", "subscribe").probe("b", "subscribe")
    b.stream(0.0, "connect", probe="a").stream(0.1, "open", probe="a")
    for n in range(9):
        b.stream(n + 0.2, "connect", probe="b")
        b.stream(n + 0.3, "close", probe="b", error="HTTP_429")
    return CHECKERS["open_streams"](requirement="P4", probes=("a", "b"), at_most=1), b


def prewarm():
    b = Builder().fault(3.0, 6.0).phase(0, "heating").phase(6, "hot")
    b.probe("crowd", interval=0.01, budget=0.05).probe("sub", "subscribe")
    steady(
        b, "crowd", 0, 10, 0.01, lambda t: {"node": "pop-a", "key": "b" if t % 0.2 < 0.01 else "a"}
    )
    b.stream(0.0, "connect").stream(0.0, "open").stream(1.0, "prewarm", org="default", key="a")
    for n in range(100):
        b.status(n * 0.1 + 0.05, data={"prewarmed": {"default/a": 1} if n > 12 else {}})
    checker = CHECKERS["prewarm"](
        requirement="E5", key="a", cold="b", at="pop-a", threshold=50.0, nodes=("pop-a",),
        subscribers=("sub",), phase="heating", within=2.0,
    )  # fmt: skip
    return checker, b


def databases(b, lost=3.0, taken=5.0):
    """db-1 acts in term 1 and is read by api-1 until it is lost; then db-2 does, in term 2."""
    for n in range(100):
        t = n * 0.1
        one, two = t < lost, t > taken
        first = {"accepting": one, "epoch": 1, "readers": {"api-1": 1} if one else {}}
        readers = {"api-1": 1} if two else {"stream-1": 1}
        b.status(t, "db-1", data=first)
        b.status(t, "db-2", data={"accepting": two, "epoch": 1 + two, "readers": readers})
    return b


def exclusive():
    b = databases(Builder().fault(3.0, 8.0))
    return CHECKERS["exclusive"](requirement="D3", nodes=("db-1", "db-2"), field="accepting"), b


def absent():
    b = databases(Builder().fault(3.0, 8.0))
    return CHECKERS["absent"](
        requirement="S3",
        nodes=("db-1", "db-2"),
        field="readers",
        keys=("stream-*",),
        when={"accepting": True},
    ), b


def failed_over(b, took=(1.0, 2.0, 3.0), names=("detect", "promote", "dns"), fault=3.0):
    """db-1 is lost at 3 s; the controller tells at 5 s and more, as it goes on, what it did and when."""
    steps = [
        {"step": name, "at": ns(fault + after) + 0, "seen": ""}
        for name, after in zip(names, took, strict=True)
    ]
    for n in range(100):
        t = n * 0.1
        told = [step for step in steps if step["at"] <= ns(t)]
        b.status(t, "failover", data={"failovers": [{"n": 1, "steps": told}] if told else []})
    return b


def procedure():
    b = databases(Builder().fault(3.0, 8.0), taken=5.0)
    failed_over(b).alert(4.1, "LOST").probe("users", interval=0.1, budget=0.05)
    for n in range(20):
        b.resolved(n * 0.5, "lb-1" if n < 12 else "lb-2")
    checker = CHECKERS["procedure"](
        requirement="M2",
        node="failover",
        steps=("detect", "promote", "dns"),
        within=5.0,
        signs=(
            Sign(step="detect", alert="LOST"),
            Sign(step="promote", node="db-2", field="accepting", equals=True),
            Sign(step="dns", domain="api.example.com", to=("lb-2",)),
        ),
    )
    return checker, b


REGIONS = {"nodes": {"db": {"region": "us"}, "store-eu": {"region": "eu"}}}


def hourly(b, hours=12, keep=5, made=lambda hour: True, **more):
    """A store that is listed hour by hour, 0.1 s apart; what is made in an hour is kept for `keep` hours."""
    b.topology = REGIONS
    for hour in range(hours):
        t = 0.5 + hour * 0.1
        b.moved(t, 3600, hour * 3600)
        keys = [f"b/{n:03}" for n in range(max(0, hour - keep + 1), hour + 1) if made(n)]
        b.listed(t + 0.05, *keys, **more)
    return b


def backups():
    b = hourly(Builder().fault(3.0, 6.0))
    return CHECKERS["backups"](
        requirement="B2", nodes=("store-eu",), prefix="b/", every=3600.0, keep=5 * 3600.0,
        away_from="db",
    ), b  # fmt: skip


def called():
    b = Builder().fault(3.0, 8.0).called(4.0, status=200, data={"point": {"piece": True}})
    return CHECKERS["called"](
        requirement="B4", call="restore", within=2.0, holds={"point.piece": True}
    ), b


def bounded():
    b = Builder().phase(0, "x").fault(3.0, 6.0)
    writes(b)
    for n in range(100):
        b.status(n * 0.1, "archiver", data={"hot": 20})
    return CHECKERS["bounded"](
        requirement="D6", node="archiver", field="hot", at_most=30, writes=("writer",), phase="x",
        margin=4.0,
    ), b  # fmt: skip


def past(b, read=lambda value: {}, archived=("v/a", "v/b")):
    """Each acknowledged write is read again as a version; `read`: what is told otherwise of that value, None: nothing."""
    last = writes(b.phase(0, "x"))
    b.listed(8.5, *archived, prefix="v/").phase(9, "final").probe("read-versions", "version")
    for value in range(1, last + 1):
        told = {"value": value, "version": value, "metadata": {"written": "d", "read": "d"}}
        more = read(value)
        if more is not None:
            key = ("a", "b")[(value - 1) % 2]
            b.request("read-versions", 9 + value * MS, key=key, wrote=value, **told | more)
    return b


def versions():
    b = past(Builder().fault(3.0, 6.0))
    return CHECKERS["versions"](
        requirement="D6",
        writes=("writer",),
        phase="final",
        node="store-eu",
        prefix="v/",
        at_least=2,
    ), b


def cached(b, reads=lambda t: 4 * t, hits=lambda t: 40 * t, start=0.0, end=10.0, boot="b1"):
    """An API server that is asked 50 times a second; `reads` and `hits`: what it has counted by then."""
    b.phase(0, "x").probe("users", interval=0.02, budget=0.05)
    steady(b, "users", 0, 10, 0.02, node="api-1")
    for n in range(round(start * 10), round(end * 10)):
        t = n * 0.1 + 0.05
        counted = {"reads": int(reads(t)), "hits": int(hits(t)), "misses": int(10 * t)}
        b.status(t, "api-1", boot=boot, data={"cache": counted})
    return b


def counter_rate():
    b = cached(Builder().fault(3.0, 6.0))
    return CHECKERS["counter_rate"](
        requirement="D5", node="api-1", field="cache.reads", at_most=10, probe="users", phase="x"
    ), b


def counter_share():
    b = cached(Builder().fault(3.0, 6.0))
    return CHECKERS["counter_share"](
        requirement="D5", node="api-1", field="cache.hits", among=("cache.hits", "cache.misses"),
        at_least=0.7, probe="users", phase="x",
    ), b  # fmt: skip


def shared(b, workers=3, start=0.0, end=10.0, late=None):
    """Workers that answer in turn for two keys, each with what is acknowledged; `late(worker)` s behind."""
    writes(b, end=end)
    b.probe("users", interval=0.02, budget=0.05)

    def answer(n, t):
        worker = n % workers
        seen = max(0, int((t - (late(worker) if late else 0.0) - 0.002) / 0.1 + 1e-9) + 1)
        return {
            "node": "pop-a",
            "value": seen,
            "version": seen,
            "metadata": {"flag_version": seen, "worker": worker},
        }

    for n in range(round((end - start) / 0.02)):
        t = start + n * 0.02 + 0.011
        shown = answer(n, t)
        key = ("a", "b")[(shown["version"] + 1) % 2]
        b.request("users", t, key=key, **shown)
    return b


def shared_store():
    return CHECKERS["shared_store"](requirement="E1", probe="users", workers=3, within=0.5), shared(
        Builder().fault(3.0, 6.0)
    )


# Workers of 100 requests/s each, 4 s of cooldown: load by second, and the steps that it calls for.
LOAD = (50,) * 3 + (180,) * 8 + (50,) * 9
STEPS = ((3.9, 1, 2), (7.9, 2, 3), (12.0, 3, 2), (16.0, 2, 1))


def scaled(b, steps=STEPS, load=LOAD, late=0.1):
    """A node that tells its steps, and of whose workers each that is wanted answers in turn, new ones after `late` s."""
    b.probe("users", interval=0.1)
    made = [{"n": n, "at": ns(t), "from": a, "to": z} for n, (t, a, z) in enumerate(steps, start=1)]
    for n in range(len(load) * 10):
        t = n * 0.1 + 0.05
        told = [step for step in made if step["at"] <= ns(t)]
        workers = told[-1]["to"] if told else (steps[0][1] if steps else 1)
        b.status(t, "pop-1", data={"scaling": {"workers": workers, "steps": told}})
    asked = 0
    for second, rate in enumerate(load):
        for n in range(rate):
            t = second + n / rate
            wanted = [z for at, _, z in steps if at <= t - late]
            workers = wanted[-1] if wanted else (steps[0][1] if steps else 1)
            b.request("users", t, node="pop-1", metadata={"worker": asked % workers})
            asked += 1
    return b


def autoscaling():
    checker = CHECKERS["autoscaling"](
        requirement="E3", node="pop-1", probes=("users",), target=100, cooldown=4.0, window=1.0,
        within=1.0, maximum=3,
    )  # fmt: skip
    return checker, scaled(Builder().fault(3.0, 6.0))


def spotted(
    b, *, more=5, weights=((5.0, 0.5), (15.2, 1.0)), kept=0.5, to="pop-2", added=None, back=15.2
):
    """pop-1 gets `more` workers at 3 s; from 5 s on it is told to keep a weight of its users, and keeps `kept` of them."""
    step = {"n": 1, "at": ns(3.0), "from": 2, "to": 2 + more, "reason": "hot spot"}
    b.phase(0, "calm").phase(2.5, "hot").phase(4, "critical").phase(15, "cooled")
    b.probe("users", interval=0.01)
    for n in range(200):
        t = n * 0.1 + 0.05
        steps = [step] if t > 3 and more else []
        b.status(t, "pop-1", data={"scaling": {"workers": 2 + more * bool(steps), "steps": steps}})
        weight = ([1.0] + [value for at, value in weights if at <= t])[-1]
        b.status(t + 0.01, "hotspot", data={"pops": {"pop-1": {"weight": weight}}})
    chance = random.Random(7)
    for n in range(2000):
        t = n * 0.01
        away = 5.1 < t < back and chance.random() >= kept
        workers = 2 + (more if added is None else added) * (t > 3)
        b.request("users", t, node=to if away else "pop-1", metadata={"worker": n % workers})
    return b


def hot_spot():
    checker = CHECKERS["hot_spot"](
        requirement="E4", node="pop-1", controller="hotspot", to="pop-2", probes=("users",),
        within=2.0, settle=0.5,
    )  # fmt: skip
    return checker, spotted(Builder().fault(3.0, 6.0))


def shared_memory():
    b = Builder().fault(2.0, 3.0).phase(0, "before").phase(4, "loading").phase(6, "loaded")
    b.filled(5.0, 20)
    for n in range(8):
        b.processes(n * 0.5 + 0.1, (1, 2, 3), 10)
        b.processes(6.1 + n * 0.4, (1, 2, 3), [30, 10.2, 10.2])
    return CHECKERS["shared_memory"](
        requirement="E1", node="pop-a", baseline="before", phase="loaded", processes=3
    ), b


def memory():
    b = Builder().fault(2.0, 3.0).phase(0, "before").phase(4, "loading").phase(6, "loaded")
    b.filled(5.0, 20)
    for n in range(8):
        b.processes(n * 0.5 + 0.1, (1,), 30)
        b.processes(6.1 + n * 0.4, (1,), 34.2 if n % 2 else 34)
    return CHECKERS["memory"](
        requirement="E6", node="pop-a", baseline="before", phase="loaded", most=6
    ), b


def replacement():
    b = Builder().fault(3.0, 8.0, name="worker_crash", label="crash")
    for n in range(100):
        t = n * 0.1 + 0.05
        b.processes(t, (1, 2) if 3 < t < 4 else (1, 2, 3 if t < 3 else 4))
    return CHECKERS["replacement"](requirement="E1", node="pop-a", fault="crash", within=2.0), b


def sharded(b, versions=None, **more):
    """Four organisations written in turn, each with versions of its own; at 5 s two shards become four, and two of them move."""
    b.probe("writer", "write", interval=0.1, budget=0.05)
    orgs = ("o0", "o1", "o2", "o3")
    for n in range(100):
        version = versions(n) if versions else n // 4 + 1
        b.write("writer", n * 0.1, n + 1, version, key=f"{orgs[n % 4]}/f", **more)
    b.placed(2.0, "before", 2, db1={0: ["o0", "o2"]}, db2={1: ["o1", "o3"]})
    after = {"db1": {0: ["o0"]}, "db2": {1: ["o1"]}, "db3": {2: ["o2"], 3: ["o3"]}}
    return b.placed(8.0, "after", 4, **after)


def placement():
    b = sharded(Builder().fault(3.0, 6.0))
    return CHECKERS["placement"](
        requirement="D4", listings=("before", "after"), shards=4, writes=("writer",)
    ), b


def untouched():
    b = Builder().phase(0, "x").fault(3.0, 6.0, label="db-lost")
    b.placed(2.0, "before", 2, db1={0: ["o0", "o2"]}, db2={1: ["o1"]})
    b.probe("users", interval=0.01, budget=0.05)
    for n in range(1000):
        org, lost = f"o{n % 3}", 3.0 < n * 0.01 < 6.0
        failed = {"outcome": "unknown", "error": "SERVICE_UNAVAILABLE"}
        b.request("users", n * 0.01, key=f"{org}/f", **(failed if lost and org == "o1" else {}))
    checker = CHECKERS["untouched"](
        requirement="D4", probe="users", before="before", lost="db2", fault="db-lost", phases=("x",)
    )
    return checker, b


def taken_over(b, nodes=((0.0, "hub-1"), (3.3, "hub-2"), (7.2, "hub-1")), end=10.0):
    """A PoP whose stream comes from these, each since then."""
    for n in range(round(end / 0.1)):
        t = n * 0.1 + 0.05
        b.status(t, upstream=[name for since, name in nodes if since <= t][-1])
    return b


def mitigation():
    b = taken_over(Builder().fault(3.0, 6.0, label="hub"))
    return CHECKERS["mitigation"](
        requirement="C2", component="Regional hubs", fault="hub", node="pop-a", field="upstream",
        normal=("hub-1",), instead=("hub-2",), within=1.0, back_within=2.0,
    ), b  # fmt: skip


def load_totals():
    b = Builder().fault(3.0, 6.0).probe("users", interval=0.1, budget=0.05)
    for n in range(100):
        t = n * 0.1 + 0.05
        b.request("users", t, attempts=[Attempt(ns(t), ns(t + 0.001))])
        # 50 requests of the load each second from 1 s to 9 s, one of the probe's before each look.
        b.counted(t + 0.03, 7 + n + 1 + min(max(n - 9, 0), 80) * 5)
    b.load(1.0, 9.0, 400)
    return CHECKERS["load_totals"](
        requirement="E3", load="load", nodes=("pop-a",), probes=("users",)
    ), b


SOUND = {
    f.__name__: f
    for f in (
        absent, alert, answers, autoscaling, availability, backups, bounded, breaker, called, counter_rate, counter_share, durability, exclusive,
        growth, hot_spot, levels, load_totals, memory, mitigation, names, open_streams, placement, prewarm, procedure, propagation, recommended,
        reconnect_spread, reconvergence, recovery, replacement, retries, route, shared_memory, shared_store, shedding, staleness, status_field,
        stream, untouched, versions,
    )
}  # fmt: skip
END = {"autoscaling": 20.0, "breaker": 12.0, "growth": 45.0, "hot_spot": 20.0}
