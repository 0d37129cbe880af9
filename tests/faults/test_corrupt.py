from __future__ import annotations

import pytest

from faults.corrupt import Corrupt
from harness.errors import RuntimeFailure
from harness.runtime.spot import Spot


@pytest.fixture
def files(nodes, tmp_path, monkeypatch):
    """The folder of every node, with an older and a newer file in it."""
    (tmp_path / "bucket").mkdir()
    for n, name in enumerate(("base-1.tar", "base-2.tar")):
        (tmp_path / "bucket" / name).write_bytes(bytes(range(10 + n)))
    monkeypatch.setattr(nodes, "folder", lambda node: tmp_path)
    return tmp_path / "bucket"


def test_bites_and_heals(lives, files):
    before = [path.read_bytes() for path in sorted(files.iterdir())]
    lives(Corrupt("db-us", "base*"))
    assert [path.read_bytes() for path in sorted(files.iterdir())] == before


def test_says_so_when_it_does_not(honest, files):
    honest(Corrupt("db-us"))


def test_one_bit_of_the_newest_that_matches(on_cluster, files):
    async def act(cluster):
        (files / "other").write_bytes(b"newest of all")
        await Corrupt("db-us", "base*").inject(cluster)

    on_cluster(act)
    assert (files / "base-1.tar").read_bytes() == bytes(range(10))
    now = (files / "base-2.tar").read_bytes()
    different = [(a ^ b).bit_count() for a, b in zip(now, range(11), strict=True)]
    assert sum(different) == 1
    assert different[5] == 1


def test_what_came_in_its_place_is_left_alone(on_cluster, files):
    async def act(cluster):
        fault = Corrupt("db-us", "base-2*")
        await fault.inject(cluster)
        (files / "base-2.tar").write_bytes(b"another one")
        await fault.heal(cluster)
        assert (await fault.verify_healed(cluster)).bit

    on_cluster(act)
    assert (files / "base-2.tar").read_bytes() == b"another one"


def test_its_undo_says_what_to_put_back(nodes, files):
    (undo,) = Corrupt("db-us", "base-1*").undo(nodes)
    assert (undo.action, undo.subject) == ("mend", "db-us")
    assert Spot.parse(undo.detail) == Spot("bucket/base-1.tar", 5, 5)


def test_nothing_to_corrupt_is_said(nodes, files):
    with pytest.raises(RuntimeFailure, match="corrupt: db-us has no file like nothing"):
        Corrupt("db-us", "nothing*").undo(nodes)


def test_an_unknown_node_is_said_with_the_nearest(nodes):
    with pytest.raises(ValueError, match="corrupt: no node is called 'db'; did you mean 'db-us'"):
        Corrupt("db").check(nodes)


def test_where_files_are_out_of_reach_it_is_refused(nodes, monkeypatch):
    monkeypatch.setattr(nodes, "has_files", False)
    with pytest.raises(ValueError, match="can't be reached in this runtime"):
        Corrupt("db-us").check(nodes)
