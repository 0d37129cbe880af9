from __future__ import annotations

import httptools
import pytest

from harness.network.script import Answer, Kind, Play, Rule, Script


def played(script: Script, *requests: str) -> list[str]:
    play = Play(script)
    rules = [play.decide(*request.split(" ")) for request in requests]
    return [rule.label if rule else "pass" for rule in rules]


def test_the_first_two_attempts_of_each_path_then_pass():
    script = Script((Rule(Answer(code=503), per_path=2),))
    asked = ["GET /a", "GET /b", "GET /a", "GET /a", "GET /b?x=1", "GET /b"]
    assert played(script, *asked) == ["503", "503", "503", "pass", "503", "pass"]


def test_so_often_in_all():
    script = Script((Rule(Answer(Kind.RESET), times=2),))
    assert played(script, "GET /a", "GET /b", "GET /c") == ["reset", "reset", "pass"]


def test_rules_come_in_order_and_a_used_up_one_lets_the_next_have_it():
    script = Script((Rule(Answer(code=503), times=1), Rule(Answer(Kind.HANG), name="stall")))
    assert played(script, "GET /a", "GET /a", "GET /a") == ["503", "stall", "stall"]


@pytest.mark.parametrize(
    ("rule", "fits"),
    [
        ({"path": "/ofrep"}, ["POST /ofrep/v1"]),
        ({"method": "get"}, ["GET /stream", "GET /health"]),
        ({"regex": "/h[a-z]+"}, ["GET /health"]),
        ({"regex": "/str"}, []),
        ({"path": "/s", "regex": ".*m"}, ["GET /stream"]),
    ],
)
def test_what_fits(rule, fits):
    asked = ["GET /stream", "POST /ofrep/v1", "GET /health"]
    answers = played(Script((Rule(Answer(), **rule),)), *asked)
    assert [ask for ask, said in zip(asked, answers, strict=True) if said != "pass"] == fits


@pytest.mark.parametrize(
    ("answer", "status", "body", "header"),
    [
        (Answer(), 503, b'{"error": "scripted"}', None),
        (Answer(code=429, retry_after=7), 429, b'{"error": "scripted"}', (b"Retry-After", b"7")),
        (Answer(Kind.EMPTY), 200, b"", (b"Content-Length", b"0")),
        (Answer(Kind.EMPTY, body="[]"), 200, b"[]", None),
        (Answer(code=304), 304, b"", None),
        (
            Answer(body="data: x", content_type="text/event-stream", code=200),
            200,
            b"data: x",
            (b"Content-Type", b"text/event-stream"),
        ),
    ],
)
def test_answers_are_whole_http(answer, status, body, header):
    seen = Parsed()
    parser = httptools.HttpResponseParser(seen)
    parser.feed_data(answer.render())
    assert (parser.get_status_code(), seen.body, seen.done) == (status, body, True)
    assert header is None or header in seen.headers


class Parsed:
    def __init__(self):
        self.body, self.headers, self.done = b"", [], False

    def on_header(self, name, value):
        self.headers.append((name, value))

    def on_body(self, body):
        self.body += body

    def on_message_complete(self):
        self.done = True


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="200 to 599, not 100"):
        Answer(code=100)
    with pytest.raises(ValueError, match="before its question"):
        Answer(delay=-1)
    with pytest.raises(ValueError, match="no regular expression"):
        Rule(Answer(), regex="(")
