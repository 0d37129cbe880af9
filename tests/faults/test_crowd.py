from __future__ import annotations

import pytest

from faults.crowd import Crowd
from harness.crowd.process import Told
from harness.errors import RuntimeFailure
from harness.fault import Witness


def test_it_does_not_bite_where_there_is_no_stream(on_cluster, monkeypatch):
    """The tiny node answers, and what it answers is no stream."""

    async def act(cluster):
        monkeypatch.setattr("faults.crowd.OPEN_WITHIN", 0.5)
        monkeypatch.setattr("faults._common.HEAL_WITHIN", 0.5)
        fault = Crowd("pop-us", streams=3)
        fault.check(cluster)
        assert (await fault.verify_healed(cluster)).bit
        assert not (await fault.verify(cluster)).bit
        for _ in range(2):
            await fault.inject(cluster)
        proof = await fault.verify(cluster)
        assert not proof.bit
        assert "0 of 3 streams of pop-us are open" in proof.seen
        healed = await fault.verify_healed(cluster)
        assert not healed.bit
        assert "still there" in healed.seen
        for _ in range(2):
            await fault.heal(cluster)
        assert (await fault.verify_healed(cluster)).bit

    on_cluster(act)


class Answering:
    def __init__(self, *counts):
        self._counts = list(counts)

    async def ask(self):
        if not self._counts:
            raise RuntimeFailure("it is gone")
        return type("Told", (), {"open": self._counts.pop(0), "error": ""})

    async def end(self):
        pass


def test_all_must_be_open(on_cluster, monkeypatch):
    async def act(cluster):
        fault = Crowd("pop-us", streams=3)
        fault._process.append(Answering(1, 2, 3))
        proof = await fault.verify(cluster)
        assert proof.bit
        assert "3 of 3" in proof.seen
        monkeypatch.setattr("faults.crowd.OPEN_WITHIN", 0.0)
        proof = await fault.verify(cluster)
        assert not proof.bit
        assert proof.seen == "it is gone"
        await fault.heal(cluster)
        assert fault.witnessed(0) == ()  # nobody knows what it saw

    on_cluster(act)


def told(**fields):
    values = {
        **dict.fromkeys(("connects", "closes", "heartbeats", "bytes", "refused", "measured"), 0),
        "streams": 3,
        "open": 3,
        "changes": 12,
        "gaps": 1,
        "repeats": 2,
        "error": "",
        "first": 4,
        "last": 5,
        "p50": 1.0,
        "p99": 2.0,
        "max": 3.0,
        "came": [],
    }
    return Told(**(values | fields))


class Seeing:
    async def ask(self):
        return told()

    async def end(self):
        pass


def test_what_it_saw_is_told_once_it_is_over(on_cluster):
    async def act(cluster):
        fault = Crowd("pop-us", streams=3, slow=1)
        assert isinstance(fault, Witness)
        fault._process.append(Seeing())
        fault._began.append(500)
        assert fault.witnessed(100) == ()
        await fault.heal(cluster)
        [event] = fault.witnessed(100)
        assert (event.node, event.began, event.streams, event.open) == ("pop-us", 400, 3, 3)
        assert (event.changes, event.gaps, event.repeats, event.slow) == (12, 1, 2, 1)
        assert (event.first, event.last, event.p99) == (4, 5, 2.0)
        assert event.t > event.began

    on_cluster(act)


def test_what_is_wrong_is_said(nodes):
    with pytest.raises(ValueError, match="no node is called 'popus'"):
        Crowd("popus").check(nodes)
    with pytest.raises(ValueError, match="say which node"):
        Crowd().check(nodes)
    for wrong in ({"streams": 0}, {"streams": 2, "slow": 3}):
        with pytest.raises(ValueError, match="streams must be"):
            Crowd("pop-us", **wrong)
