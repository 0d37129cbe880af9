from hypothesis import given
from hypothesis import strategies as st

from harness.probes.sse import SseEvent, SseParser

TEXT = (
    b": a comment\r\n"
    b"event: snapshot\nid: 41\ndata: {}\n\n"
    b"event:change\r\nid:42\r\ndata:one\r\ndata: two\r\nretry: 5\r\n\r\n"
    b"id: 43\n\n"
    b"data: plain\n\n"
    b"event: cut off\ndata: never"
)
EVENTS = [
    SseEvent("snapshot", b"{}", "41"),
    SseEvent("change", b"one\ntwo", "42"),
    SseEvent("message", b"plain", None),
]


@given(st.lists(st.integers(0, len(TEXT)), max_size=12))
def test_events_do_not_depend_on_how_the_bytes_are_cut(cuts):
    edges = [0, *sorted(cuts), len(TEXT)]
    parser = SseParser()
    got = [e for a, b in zip(edges, edges[1:], strict=False) for e in parser.feed(TEXT[a:b])]
    assert got == EVENTS
    assert "unfinished" in repr(parser)
