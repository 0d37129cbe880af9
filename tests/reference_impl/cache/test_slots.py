"""Which node has which slot, and what CLUSTER NODES says of it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reference_impl.cache.slots import SLOTS, name_of, parse_nodes, shares, slot_of

TEXT = """\
07c37df 127.0.0.1:6379@16379 myself,master - 0 0 1 connected 0-5460 5500 [5501-<-e7d1ee]
67ed2db 127.0.0.2:6379@16379,host master - 0 1426238316232 2 connected 5461-5499 5501-10922
292f8b3 :6379@16379 master,noaddr - 1426238316232 1426238316232 3 disconnected
824fe11 127.0.0.4:6379@16379 handshake - 1426238316232 0 0 disconnected
"""


def test_a_view_of_a_cluster_is_read():
    one, two, three, four = parse_nodes(TEXT)
    assert (one.id, one.host, one.myself, one.known) == ("07c37df", "127.0.0.1", True, True)
    assert one.slots == (range(5461), range(5500, 5501))
    assert one.slot_count == 5462
    assert (two.host, two.myself, two.known) == ("127.0.0.2", False, True)
    assert two.slots == (range(5461, 5500), range(5501, 10923))
    assert (three.host, three.known, three.slots) == ("", False, ())
    assert (four.host, four.known) == ("127.0.0.4", False)


@pytest.mark.parametrize("text", ["hello", "a b c d e f g h i-j", "a b:1 myself - 0 0 1 x 1-x"])
def test_what_is_no_view_is_refused(text):
    with pytest.raises(ValueError, match=r"CLUSTER NODES|invalid literal"):
        parse_nodes(text)


@given(st.lists(st.text("abc-123", min_size=1), min_size=1, max_size=20, unique=True), st.randoms())
@settings(deadline=None)
def test_shares_are_all_slots_once_and_equal(nodes, chance):
    shuffled = list(nodes)
    chance.shuffle(shuffled)
    found = dict(shares(nodes))
    assert found == dict(shares(shuffled))
    assert sorted(slot for slots in found.values() for slot in slots) == list(range(SLOTS))
    sizes = [len(slots) for slots in found.values()]
    assert max(sizes) - min(sizes) <= 1


@given(st.tuples(st.text(), st.text()), st.tuples(st.text(), st.text()))
@settings(deadline=None)
def test_two_flags_never_share_a_name(one, two):
    assert (name_of(*one) == name_of(*two)) is (one == two)


def test_slots_are_redis_own():
    assert slot_of("123456789") == 0x31C3 % SLOTS  # the specification's example
    assert slot_of("{user1000}.following") == slot_of("{user1000}.followers")
