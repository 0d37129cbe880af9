from __future__ import annotations

import asyncio

import pytest

from tests.faults.faultlab import FakeCluster, does_not_bite, whole_life
from tests.network.netlab import Daemon


@pytest.fixture(scope="session")
def fault_daemon():
    with Daemon() as running:
        yield running


@pytest.fixture(scope="session")
def nodes():
    cluster = FakeCluster()
    yield cluster
    asyncio.run(cluster.close())


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """The tiny nodes answer within a millisecond; what is looked at in vain is looked at again."""
    monkeypatch.setattr("faults._common.SILENCE", 0.2)
    monkeypatch.setattr("faults.bandwidth._MEASURE", 0.3)


@pytest.fixture
def on_cluster(nodes, fault_daemon):
    """Run an async function on the small cluster, which is put right afterwards."""

    def run(act, *args):
        async def whole():
            await nodes.wire(fault_daemon)
            try:
                return await asyncio.wait_for(act(nodes, *args), 20)
            finally:
                await nodes.unwire()

        return asyncio.run(whole())

    return run


@pytest.fixture
def lives(on_cluster):
    return lambda fault: on_cluster(lambda cluster: whole_life(fault, cluster))


@pytest.fixture
def honest(on_cluster, monkeypatch):
    return lambda fault: on_cluster(lambda cluster: does_not_bite(fault, cluster, monkeypatch))
