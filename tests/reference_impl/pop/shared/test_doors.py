"""Doors of workers: where new connections go, and that none is lost where they go no more."""

import socket

from hypothesis import given, settings
from hypothesis import strategies as st

from reference_impl.pop.shared.doors import Doors
from reference_impl.pop.shared.headcount import Headcount
from tests.reference_impl.support import own_host

MANY = 60


def connect(doors):
    made = socket.create_connection(doors.sockets[0].getsockname(), timeout=5)
    made.settimeout(5)
    return made


def accepted(door):
    """All that wait at it; on this machine a connection that is made waits already."""
    door.setblocking(False)
    found = []
    try:
        while True:
            found.append(door.accept()[0])
    except BlockingIOError:
        return found


def test_connections_come_to_the_open_doors_alone_and_to_each_of_them():
    doors = Doors(own_host(), 0, 4)
    for workers in (1, 3, 2, 4, 1):
        doors.open(workers)
        clients = [connect(doors) for _ in range(MANY)]
        waiting = [accepted(door) for door in doors.sockets]
        assert sum(map(len, waiting)) == MANY
        assert [bool(some) for some in waiting] == [True] * workers + [False] * (4 - workers)
        for each in [*clients, *sum(waiting, [])]:
            each.close()
    for door in doors.sockets:
        door.close()


def test_from_the_first_moment_on_nobody_comes_to_a_door_without_a_worker():
    doors = Doors(own_host(), 0, 4, opened=2)
    clients = [connect(doors) for _ in range(MANY)]
    waiting = [accepted(door) for door in doors.sockets]
    assert [bool(some) for some in waiting] == [True, True, False, False]
    for each in [*clients, *sum(waiting, []), *doors.sockets]:
        each.close()


def test_what_waits_at_a_door_that_is_not_open_any_more_is_still_there():
    doors = Doors(own_host(), 0, 2)
    doors.open(2)
    clients = [connect(doors) for _ in range(MANY)]
    doors.open(1)
    for waiting in accepted(doors.sockets[1]):
        waiting.sendall(b"here")
        waiting.close()
    for waiting in accepted(doors.sockets[0]):
        waiting.sendall(b"here")
        waiting.close()
    assert all(client.recv(4) == b"here" for client in clients)
    for each in [*clients, *doors.sockets]:
        each.close()


@settings(max_examples=50)
@given(st.lists(st.integers(0, 62), max_size=50))
def test_requests_are_counted_in_words_of_their_own(workers):
    headcount = Headcount(3)
    for worker in workers:
        headcount.counter(worker)[0] += 1
        headcount.serve(worker, yes=True)
    assert headcount.requests == len(workers)
    assert all(headcount.serving(n) == (n in workers) for n in range(63))
    assert (headcount.wanted, headcount.reachable) == (3, 3)
