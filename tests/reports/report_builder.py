"""Synthetic run folders: histories in the shape a run writes them, small and fast to make."""

from __future__ import annotations

import random
from pathlib import Path

import msgspec

from harness.history import (
    SCHEMA,
    Alert,
    Complete,
    End,
    Event,
    FaultEvent,
    Header,
    Invoke,
    Note,
    Phase,
    Probe,
    ProbeEnd,
    Status,
    Stream,
    Transition,
    Wire,
)
from harness.units import NS, to_ns
from harness.verdict import Evidence, Finding, Verdict
from reports.model import RunFacts, ScenarioRecord
from reports.store import write_record, write_run

MS = NS // 1000
WALL = 1_764_000_000 * NS
PHASES = (("baseline", 0.0), ("broken", 10.0), ("recovered", 20.0))


def header(name: str = "hub-crash", **changes) -> Header:
    fields = {
        "t": 0,
        "schema": SCHEMA,
        "origin": 5 * NS,
        "wall": WALL,
        "scenario": name,
        "run": "r-1",
        "requirements": ["S2"],
        "title": "A regional hub crashes",
        "environment": {"python": "3.11.7", "toxiproxy": "2.12.0"},
    }
    return Header(**{**fields, **changes})


def finding(requirement: str = "S2", verdict: Verdict = Verdict.PASS, **changes) -> Finding:
    fields = {
        "check": "recovery-time",
        "requirement": requirement,
        "claim": "service is back within its objective",
        "verdict": verdict,
        "value": 0.104,
        "bound": 60.0,
        "error": 0.006,
        "unit": "s",
        "kind": "rto",
        "subject": "hub-us-1",
        "evidence": (
            Evidence(10 * NS, "hub-us-1 killed"),
            Evidence(10 * NS + 104 * MS, "first answer after which service holds"),
        ),
    }
    return Finding(**{**fields, **changes})


def write_history(folder: Path, events: list[Event], head: Header | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "history.jsonl"
    encode = msgspec.json.Encoder().encode
    lines = [encode(head or header()), *(encode(e) for e in sorted(events, key=lambda e: e.t))]
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path


def request(op, t, latency_ms, *, probe="users", kind="evaluate", late=0, **answer) -> list[Event]:
    """An Invoke at `t` ns (due `late` ns before) and its Complete."""
    done = {"outcome": "ok", "status": 200, "node": "pop-us", **answer}
    return [
        Invoke(t=t, op=op, probe=probe, kind=kind, due=t - late, key="dark-mode"),
        Complete(
            t=t + round(latency_ms * MS),
            op=op,
            probe=probe,
            kind=kind,
            key="dark-mode",
            **done,
        ),
    ]


def busy_history(*, seconds: float = 30.0, rate: int = 200, seed: int = 7) -> list[Event]:
    """A hub crashes at a third of the time, is started again at two thirds; PoPs degrade and come back."""
    draw = random.Random(seed)
    third = seconds / 3
    end = to_ns(seconds)
    broken, healed = to_ns(third), to_ns(2 * third)
    events: list[Event] = [
        *(Phase(t=to_ns(at / 30 * seconds), name=name) for name, at in PHASES),
        Probe(
            t=0, name="users", kind="evaluate", interval=NS // rate, target="front", budget=50 * MS
        ),
        Probe(t=0, name="writer", kind="write", interval=NS // 5, target="api", budget=50 * MS),
        Probe(t=0, name="hub-subscriber", kind="subscribe", target="hub-us-1"),
    ]
    events += _fault(broken, healed)
    events += _evaluations(draw, seconds, rate, broken)
    events += _writes(draw, seconds, broken)
    for node, lag in (("pop-us", 0), ("pop-eu", 0), ("pop-ap", 1)):
        events += _statuses(node, seconds, broken + 200 * MS * (1 + lag), healed, lag)
    for n in range(int(seconds * 3)):
        at = round(n * end / (seconds * 3))
        out = broken < at < broken + 3 * NS
        events.append(
            Wire(
                t=at,
                link="pop-us->hub-us-1:stream",
                n=n,
                connection=1,
                method="GET",
                path="/stream",
                status=0 if out else 200,
                error="upstream-refused" if out else "",
                headers={"x-attempt": "2"} if out and n % 2 else {},
            )
        )
    events += [
        Alert(t=broken + 900 * MS, name="HUB_FAILOVER", sender="pop-us", data={"hub": "hub-us-1"}),
        Alert(t=broken + 950 * MS, name="HUB_FAILOVER", sender="pop-eu", data={"hub": "hub-us-1"}),
        Note(t=broken + 3 * NS, text="waited until pop-us is HEALTHY", source="engine"),
        ProbeEnd(t=end - 1, name="users", sent=int(seconds * rate), latest=3 * MS),
        ProbeEnd(t=end - 1, name="writer", sent=int(seconds * 5), latest=2 * MS),
        End(t=end),
    ]
    return events


def _fault(broken: int, healed: int) -> list[Event]:
    def stage(t, name, **more):
        return FaultEvent(
            t=t,
            fault=1,
            name="crash",
            stage=name,
            targets=["hub-us-1"],
            planned=broken,
            colour="#c0392b",
            label="crash hub-us-1",
            **more,
        )

    return [
        stage(broken, "inject"),
        stage(broken + 3 * MS, "injected"),
        stage(broken + 20 * MS, "verified", bit=True, seen="connection refused at 127.10.1.5:8080"),
        stage(healed, "heal"),
        stage(healed + 400 * MS, "healed"),
        stage(healed + 600 * MS, "heal-verified", bit=True, seen="200 from /health"),
    ]


def _evaluations(draw: random.Random, seconds: float, rate: int, broken: int) -> list[Event]:
    events: list[Event] = []
    for op in range(int(seconds * rate)):
        t = round(op * NS / rate)
        down = broken <= t < broken + 150 * MS
        answer = {"outcome": "unknown", "error": "TIMEOUT", "status": 0} if down else {}
        slow = broken <= t < broken + 2 * NS
        latency = 1000 if down else draw.lognormvariate(0.3, 0.6) * (6 if slow else 1)
        events += request(op, t, latency, late=draw.randrange(MS) if op else 0, **answer)
    return events


def _writes(draw: random.Random, seconds: float, broken: int) -> list[Event]:
    events: list[Event] = []
    for op in range(int(seconds * 5)):
        t = op * NS // 5
        latency = draw.lognormvariate(1.8, 0.4)
        events += request(op, t, latency, probe="writer", kind="write", node="", version=op)
        delay = 3 * NS if broken <= t < broken + 3 * NS else 20 * MS
        seen = t + delay + draw.randrange(30 * MS)
        if seen < to_ns(seconds):
            events.append(
                Stream(
                    t=seen, probe="hub-subscriber", what="change", id=op, at=WALL + t, org="acme"
                )
            )
    return events


def _statuses(node: str, seconds: float, left: int, back: int, lag: int) -> list[Event]:
    """Four a second; DEGRADED_L1 with a position that stands still from `left` on, until `back`."""
    transitions = [
        Transition(n=1, t=left, source="HEALTHY", to="DEGRADED_L1", reason="stream silent"),
        Transition(n=2, t=back, source="DEGRADED_L1", to="HEALTHY", reason="stream restored"),
    ]
    events: list[Event] = []
    for n in range(int(seconds * 4)):
        t = n * NS // 4 + 1
        degraded = left <= t < back
        position = max(min(t, left) if degraded else t, 0) * 5 // NS - lag
        events.append(
            Status(
                t=t,
                node=node,
                ok=True,
                role="pop",
                level="DEGRADED_L1" if degraded else "HEALTHY",
                version=position,
                boot="a",
                transitions=[x for x in transitions if x.t <= t],
            )
        )
    return events


def write_scenario(
    run_dir: Path, folder: str, record: ScenarioRecord, events=None, head=None
) -> None:
    write_history(
        run_dir / folder, busy_history(seconds=6, rate=40) if events is None else events, head
    )
    write_record(run_dir / folder, record)


def write_facts(run_dir: Path, folders: list[str], **changes) -> None:
    fields = {
        "run": "2026-11-23T22-10-05Z-4f2a",
        "started": 1_795_471_805.0,
        "command": "squall run --runtime process",
        "runtime": "process",
        "wall": 94.2,
        "environment": {
            "squall": "0.1.0",
            "commit": "6ac39030",
            "python": "3.11.7",
            "platform": "Linux x86_64, 2 CPUs",
            "toxiproxy": "2.12.0",
            "postgres": "15.14",
            "redis": "7.2.4",
        },
        "scenarios": folders,
    }
    run_dir.mkdir(parents=True, exist_ok=True)
    write_run(run_dir, RunFacts(**{**fields, **changes}))
