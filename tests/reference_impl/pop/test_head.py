"""The compiled reader of heads against httptools, the parser that it goes before."""

import httptools
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from reference_impl.pop.head import COMPILED, read_key, scan
from reference_impl.pop.ofrep import BULK

pytestmark = pytest.mark.skipif(not COMPILED, reason="the compiled reader was not built")

BODY = b'{"context":{}}'


def request(
    *lines, target=BULK + b"/dark-mode", body=BODY, method=b"POST", version=b"HTTP/1.1", length=None
):
    size = b"Content-Length: %d" % (len(body) if length is None else length)
    head = b"\r\n".join([b"%b %b %b" % (method, target, version), *lines, size])
    return head + b"\r\n\r\n" + body


class Yardstick:
    """What httptools makes of the same bytes: None unless they are one whole request that keeps its connection."""

    def __init__(self, data):
        self.target, self.headers, self.body, self.whole = b"", {}, b"", 0
        self.parser = httptools.HttpRequestParser(self)
        self.parser.feed_data(data)

    def on_url(self, url):
        self.target += url

    def on_header(self, name, value):
        self.headers[name.lower()] = value

    def on_body(self, body):
        self.body += body

    def on_message_complete(self):
        self.whole += 1


def agrees(data):
    """True if it was read, and as the yardstick reads it; False if it was left to that."""
    found = scan(data, BULK)
    if found is None:
        return False
    key, body = found
    target, headers = read_key(key)
    other = Yardstick(data)
    assert other.whole == 1
    assert other.parser.get_method() == b"POST"
    assert other.parser.should_keep_alive()
    assert (target, body) == (other.target, other.body)
    wanted = {
        name: other.headers[name]
        for name in (b"x-org-id", b"if-none-match")
        if name in other.headers
    }
    assert headers == wanted
    return True


@pytest.mark.parametrize(
    "data",
    [
        request(),
        request(b"Host: x", b"Content-Type: application/json", b"X-Trace-Id: 0000af"),
        request(b"X-Org-Id: acme"),
        request(b"x-org-ID:\t acme", b'If-None-Match: "a", W/"b"'),
        request(b'if-none-match: "a"', b"x-org-id: "),
        request(b"X-Org-Id: \xc3\xbc"),
        request(target=BULK),
        request(target=BULK + b"/a%20b?x=1"),
        request(body=b""),
    ],
)
def test_what_is_usual_is_read(data):
    assert agrees(data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"POST ",
        request()[:-1],  # not whole
        request() + b"x",  # more than one
        request() + request(),
        request(method=b"GET"),
        request(method=b"post"),
        request(version=b"HTTP/1.0"),
        request(target=b"/status"),
        request(target=BULK + b"/a b"),
        request(b"Connection: close"),
        request(b"CONNECTION: keep-alive"),
        request(b"Transfer-Encoding: chunked"),
        request(b"Expect: 100-continue"),
        request(b"Upgrade: h2c"),
        request(b"Content-Length: 14"),  # two of them
        request(length=13),
        request(b"X-Org-Id: a", b"X-Org-Id: b"),
        request(b"X-Org-Id: a", b" folded"),
        request(b"X-Org-Id : a"),
        request(b"X-Org-Id: a "),
        request(b": a"),
        request(b"no colon"),
        request(b"X: a\x00b"),
        request(b"X: a\nX-Org-Id: b"),
        request(b"X: a\rb"),
        request(b"X-Org-Id: " + b"x" * 4000),
        request(target=BULK + b"/" + b"x" * 4000),
        request().replace(b"\r\n", b"\n"),
        request().replace(b"Content-Length: 14", b"Content-Length: +14"),
        request().replace(b"Content-Length: 14", b"Content-Length: 014x"),
        request().replace(b"Content-Length: 14", b"Content-Length:"),
    ],
)
def test_what_is_not_is_left_to_the_parser(data):
    assert scan(data, BULK) is None


NAMES = st.sampled_from(
    [b"Host", b"X-Org-Id", b"x-org-id", b"If-None-Match", b"X-Trace-Id", b"Accept", b"TE", b"Te2"]
)
PIECES = st.one_of(
    st.binary(max_size=6),
    st.sampled_from(
        [
            b"\r\n",
            b"\r",
            b"\n",
            b" ",
            b":",
            b"X-Org-Id: a",
            b"Content-Length: 2",
            b"\r\n\r\n",
            b"\0",
        ]
    ),
)


@settings(max_examples=500, deadline=None)
@given(
    st.lists(st.tuples(NAMES, st.binary(max_size=8)), max_size=5),
    st.binary(max_size=10),
    st.binary(max_size=10),
)
def test_whatever_the_fields_are_both_agree(fields, path, body):
    try:
        agrees(request(*[b"%b: %b" % field for field in fields], target=BULK + path, body=body))
    except httptools.HttpParserError:
        raise AssertionError("read what the parser refuses") from None


@settings(max_examples=500, deadline=None)
@given(st.integers(0, 200), st.integers(0, 6), PIECES)
@example(0, 0, b"")
def test_whatever_is_broken_in_both_agree(at, gone, new):
    whole = request(b"Host: x", b"X-Org-Id: acme", b'If-None-Match: "a"')
    try:
        agrees(whole[:at] + new + whole[at + gone :])
    except httptools.HttpParserError:
        raise AssertionError("read what the parser refuses") from None


def test_wrong_types_are_refused():
    for wrong in [("a", b"b"), (b"a",), (b"a", "b"), (bytearray(b"a"), b"b")]:
        with pytest.raises(TypeError):
            scan(*wrong)
