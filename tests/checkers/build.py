"""Synthetic histories: a small language for tests of checkers. Times are given in seconds."""

from harness.history import (
    SCHEMA,
    Alert,
    Call,
    Clock,
    Complete,
    Crowd,
    End,
    FaultEvent,
    Filled,
    Header,
    Invoke,
    LoadEnd,
    LoadTotal,
    Objects,
    Phase,
    Probe,
    ProbeEnd,
    Processes,
    Recommendation,
    Resolved,
    Stall,
    Status,
    Stored,
    Stream,
    Transition,
    Wire,
)
from harness.history_io import History

MS = 0.001
WALL = 1_764_000_000_000_000_000


def ns(seconds):
    return round(seconds * 1e9)


class Builder:
    """Collects events; `history()` closes it soundly unless told otherwise."""

    def __init__(self):
        self.events = []
        self.ops = {}
        self.kinds = {}
        self.wires = 0
        self.topology = {}

    def add(self, event):
        self.events.append(event)
        return self

    def stall(self, t, lasted):
        return self.add(Stall(t=ns(t), lasted=ns(lasted)))

    def phase(self, t, name):
        return self.add(Phase(t=ns(t), name=name))

    def probe(self, name, kind="evaluate", start=0.0, interval=0.0, budget=0.0):
        self.kinds[name] = kind
        self.ops.setdefault(name, 0)
        return self.add(
            Probe(t=ns(start), name=name, kind=kind, interval=ns(interval), budget=ns(budget))
        )

    def request(
        self,
        probe,
        t,
        took=0.001,
        late=0.0,
        outcome="ok",
        *,
        kind=None,
        key="k",
        wrote=None,
        **answer,
    ):
        """One request due at t; `took` None: no Complete. `answer`: fields of the Complete."""
        op = self.ops.get(probe, 0)
        self.ops[probe] = op + 1
        kind = kind or self.kinds.get(probe, "evaluate")
        sent = ns(t + late)
        self.add(Invoke(t=sent, op=op, probe=probe, kind=kind, due=ns(t), key=key, value=wrote))
        if took is not None:
            done = sent + ns(took)
            self.add(
                Complete(t=done, op=op, probe=probe, kind=kind, outcome=outcome, key=key, **answer)
            )
        return self

    def write(self, probe, t, value, version=-1, took=0.002, outcome="ok", key="k"):
        return self.request(
            probe, t, took, outcome=outcome, kind="write", key=key, wrote=value, version=version
        )

    def read(self, t, value, key="k", outcome="ok", **more):
        return self.request(
            "read-back", t, kind="read", key=key, value=value, outcome=outcome, **more
        )

    def fault(
        self,
        t,
        heal=None,
        *,
        n=1,
        name="crash",
        bit=True,
        healed=True,
        targets=("pop-a",),
        label="",
        verified=True,
    ):
        def stage(at, what, ok=False):
            self.add(
                FaultEvent(
                    t=ns(at),
                    fault=n,
                    name=name,
                    stage=what,
                    bit=ok,
                    targets=list(targets),
                    label=label,
                    seen="seen",
                )
            )

        stage(t, "inject")
        stage(t + 0.001, "injected")
        if verified:
            stage(t + 0.002, "verified", bit)
        if heal is not None:
            stage(heal, "heal")
            stage(heal + 0.001, "healed")
            stage(heal + 0.002, "heal-verified", healed)
        return self

    def status(self, t, node="pop-a", *, ok=True, level="", boot="b1", steps=(), **more):
        transitions = [
            Transition(n=i, t=ns(at), source=a, to=b) for i, (at, a, b) in enumerate(steps)
        ]
        return self.add(
            Status(
                t=ns(t), node=node, ok=ok, level=level, boot=boot, transitions=transitions, **more
            )
        )

    def stream(self, t, what, n=-1, probe="sub", at=None, **more):
        unix = 0 if at is None else WALL + ns(at)
        return self.add(Stream(t=ns(t), probe=probe, what=what, id=n, at=unix, **more))

    def wire(
        self,
        t,
        took=0.001,
        *,
        link="pop-a->api",
        path="/x",
        status=200,
        error="",
        scripted="",
        method="GET",
    ):
        self.wires += 1
        return self.add(
            Wire(
                t=ns(t),
                link=link,
                n=self.wires,
                connection=1,
                method=method,
                path=path,
                request_end=ns(t),
                response_start=ns(t + took) if status else 0,
                end=ns(t + took),
                status=status,
                error=error,
                scripted=scripted,
            )
        )

    def processes(self, t, pids, memory=None, *, node="pop-a", names=None, error="", cpu=0.0):
        """`memory` in MiB, the same for all or one for each. `cpu` in s, of each."""
        share = [memory or 1] * len(pids) if not isinstance(memory, list) else memory
        return self.add(
            Processes(
                t=ns(t),
                node=node,
                pids=list(pids),
                names=names or [f"worker-{n}" for n in range(len(pids))],
                memory=[round(each * 2**20) for each in share],
                cpu=[ns(cpu) for _ in pids],
                error=error,
            )
        )

    def filled(self, t, mib, flags=1000):
        return self.add(Filled(t=ns(t), flags=flags, size=round(mib * 2**20)))

    def load(self, start, end, requests, *, unanswered=0, probe="load", name="evaluate", error=""):
        """Locust's last word: so many requests between the two."""
        total = LoadTotal(name=name, requests=requests, failures=unanswered, unanswered=unanswered)
        return self.add(
            LoadEnd(t=ns(end), start=ns(start), probe=probe, totals=[total], error=error)
        )

    def counted(self, t, count, *, node="pop-a", took=0.002, **more):
        """A status asked for `took` s before `t`, with the node's count."""
        data = {"counters": {"evaluations": count}}
        return self.status(t, node, asked=ns(t - took), data=data, **more)

    def alert(self, t, name, sender="", **data):
        return self.add(Alert(t=ns(t), name=name, sender=sender, data=data))

    def crowd(self, t, streams, *, node="hub-1", began=0.0, open_=None, closes=0, last=0, **more):
        given = {"changes": streams * last, "gaps": 0, "repeats": 0, "first": last, "last": last}
        return self.add(
            Crowd(
                t=ns(t),
                node=node,
                began=ns(began),
                streams=streams,
                open=streams if open_ is None else open_,
                connects=streams + closes,
                closes=closes,
                **(given | more),
            )
        )

    def recommends(self, t, state="raised", value=30.0, **more):
        """By default a stream server, for 30 connections where 20 are the threshold."""
        self.recommended = getattr(self, "recommended", 0) + 1
        given = {"kind": "add_stream_server", "node": "stream-1", "metric": "connections"} | more
        given = {"threshold": 20.0} | given
        return self.add(
            Recommendation(t=ns(t), n=self.recommended, state=state, value=value, **given)
        )

    def moved(self, t, by, total, *, settled=True):
        """The platform's calendar was moved on by `by` s, by `total` s so far."""
        return self.add(
            Clock(t=ns(t), nodes=["backup"], by=ns(by), total=ns(total), settled=settled, seen="x")
        )

    def listed(self, t, *keys, node="store-eu", prefix="b/", size=5, ok=True):
        """A store lists objects; a key is a name, or a name and its ETag."""
        pairs = [key if isinstance(key, tuple) else (key, f"etag of {key}") for key in keys]
        objects = [Stored(key, size, etag) for key, etag in pairs]
        return self.add(Objects(t=ns(t), node=node, prefix=prefix, ok=ok, objects=objects))

    def called(self, t, label="restore", took=1.0, **answer):
        return self.add(Call(t=ns(t + took), label=label, node="cold", sent=ns(t), **answer))

    def placed(self, t, label, shards, **servers):
        """The platform lists its organisations: server (`db1`) to shard to organisations."""
        told = {
            server: {str(shard): list(orgs) for shard, orgs in some.items()}
            for server, some in servers.items()
        }
        count = sum(len(orgs) for some in servers.values() for orgs in some.values())
        data = {"shards": shards, "organisations": count, "servers": told}
        return self.called(t, label, 0.01, status=200, data=data)

    def resolved(
        self, t, *nodes, probe="users", ttl=1.0, took=0.002, name="api.example.com", **more
    ):
        """A client learns at `t` that the name leads to these nodes."""
        return self.add(
            Resolved(
                t=ns(t),
                asked=ns(t - took),
                probe=probe,
                name=name,
                addresses=[f"127.0.0.{n}" for n, _ in enumerate(nodes)],
                nodes=list(nodes),
                ttl=ns(ttl),
                server="dns-1",
                **more,
            )
        )

    def history(self, end, *, error="", cut=False, skipped=None, ends=True, miscount=0):
        """With ProbeEnds that agree with what was sent, and an End."""
        events = list(self.events)
        if ends:
            for name in self.kinds:
                events.append(
                    ProbeEnd(
                        t=ns(end) - 1,
                        name=name,
                        sent=self.ops[name] + miscount,
                        skipped=(skipped or {}).get(name, 0),
                    )
                )
        if not cut:
            events.append(End(t=ns(end), error=error))
        return History(
            Header(
                t=0,
                schema=SCHEMA,
                origin=0,
                wall=WALL,
                scenario="s",
                run="r",
                topology=self.topology,
            ),
            events,
        )


def without(history, test):
    """The history without the events that pass the test."""
    return History(history.header, [e for e in history.events if not test(e)])


def steady(b, probe, start, end, interval, answer=None, **common):
    """Requests each `interval` s; `answer(t)` gives the fields of the one due at t."""
    count = round((end - start) / interval)
    for n in range(count):
        t = start + n * interval
        b.request(probe, t, **(common | (answer(t) if answer else {})))
    return b
