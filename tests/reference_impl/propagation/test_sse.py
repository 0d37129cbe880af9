"""Events survive encoding, and any way of cutting their bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference_impl.propagation import sse
from reference_impl.propagation.types import Change, FlagState, Heartbeat, OrgState, Snapshot
from reference_impl.resilience.errors import CallError

FLAGS = st.dictionaries(st.text(max_size=5), st.none() | st.text() | st.integers(-9, 9), max_size=3)
SEQ = st.integers(0, 2**53)
MESSAGES = st.one_of(
    st.builds(Heartbeat, SEQ),
    st.builds(Change, SEQ, st.text(), SEQ, st.text(), st.none() | FLAGS, SEQ),
    st.builds(
        Snapshot,
        SEQ,
        st.dictionaries(
            st.text(max_size=5),
            st.builds(
                OrgState,
                SEQ,
                st.dictionaries(st.text(), st.builds(FlagState, SEQ, FLAGS), max_size=2),
            ),
            max_size=2,
        ),
    ),
)


@given(st.lists(MESSAGES, max_size=6), st.lists(st.integers(1, 40)), st.booleans())
def test_any_cut_gives_the_same_messages(messages, cuts, crlf):
    data = b"".join(sse.encode(message) for message in messages)
    if crlf:
        data = data.replace(b"\n", b"\r\n")
    parser, got = sse.Parser(), []
    for size in cuts:
        got += parser.feed(data[:size])
        data = data[size:]
    got += parser.feed(data)
    assert [sse.decode(event) for event in got] == messages
    ids = [None if isinstance(m, Heartbeat) else str(m.seq) for m in messages]
    assert [event.id for event in got] == ids


def test_comments_other_fields_and_unknown_events_are_skipped():
    parser = sse.Parser()
    text = (
        b': hello\nretry: 5\n\nevent: news\ndata: 1\n\nevent:heartbeat\ndata:{"seq":\ndata:4}\n\n'
    )
    messages = [sse.decode(event) for event in parser.feed(text)]
    assert messages == [None, Heartbeat(4)]


DEEP = b'{"seq":1,"org":"o","version":1,"key":"k","at":0,"flag":{"x":' + b"[" * 99999
NOT_UTF8 = b'{"seq":1,"org":"\xff","version":1,"key":"k","at":0,"flag":null}'


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"[]", b'{"seq":"1"}', b"\xff", DEEP, NOT_UTF8], ids=range(7)
)
@pytest.mark.parametrize("name", ["change", "snapshot"])
def test_damaged_data_is_invalid(name, data):
    with pytest.raises(CallError):
        sse.decode(sse.Event(name, None, data))


def test_an_event_without_end_is_refused(monkeypatch):
    monkeypatch.setattr(sse, "LARGEST_EVENT", 1000)
    parser = sse.Parser()
    with pytest.raises(CallError):
        for _ in range(12):
            parser.feed(b"data: " + bytes(100) + b"\n")
