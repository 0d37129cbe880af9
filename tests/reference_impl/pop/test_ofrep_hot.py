"""What answers about hot flags allow caches to do, and nobody else's do."""

import re

import pytest

from reference_impl.evaluation import compile_flag
from reference_impl.pop.levels import Level
from reference_impl.pop.ofrep import Ofrep
from reference_impl.pop.popularity.counting import Popularity
from reference_impl.pop.popularity.detector import HotSettings
from tests.reference_impl.pop.test_ofrep import StaticView, flag

PATH = b"/ofrep/v1/evaluate/flags/"


class Front:
    """A PoP's data path, asked without a network."""

    def __init__(self, *hot):
        self.view = StaticView()
        self.popularity = Popularity(HotSettings(ttl=7))
        self.ofrep = Ofrep(self.view, None, self.popularity)
        self.heat(*hot)

    def heat(self, *keys):
        self.popularity.set_hot(frozenset(("default", key) for key in keys))

    def ask(self, key, method=b"POST", body=b"{}", **headers):
        named = {name.replace("_", "-").encode(): value for name, value in headers.items()}
        head, _, body = self.ofrep.route(method, PATH + key, named)(body).partition(b"\r\n\r\n")
        status, *lines = head.split(b"\r\n")
        return int(status.split()[1]), dict(line.split(b": ", 1) for line in lines), body


def test_a_cold_flags_answer_says_nothing_of_caches():
    _, headers, _ = Front("limit").ask(b"theme")
    assert headers.keys() == {b"Content-Type", b"Content-Length"}


def test_a_static_hot_flags_answer_is_everybodys():
    status, headers, body = Front("theme").ask(b"theme")
    assert status == 200
    assert headers[b"Cache-Control"] == b"public, max-age=7"
    assert headers[b"Vary"] == b"X-Org-Id"
    assert headers[b"Content-Location"] == PATH + b"theme"
    assert re.fullmatch(rb'W/"[0-9a-f]{24}"', headers[b"ETag"])
    assert b'"dark"' in body


def test_a_targeted_hot_flags_answer_is_its_clients():
    _, headers, _ = Front("dark-mode").ask(b"dark-mode")
    assert headers[b"Cache-Control"] == b"private, max-age=7"
    assert headers.keys().isdisjoint({b"ETag", b"Content-Location"})


def test_errors_are_never_kept():
    status, headers, _ = Front("broken").ask(b"broken")
    assert status == 400
    assert b"Cache-Control" not in headers


def test_what_is_hot_holds_for_its_organisation_alone():
    front = Front("theme")
    front.view.by_org["acme"] = {"theme": flag("theme", variants={"a": 1}, defaultVariant="a")}
    assert b"Cache-Control" not in front.ask(b"theme", x_org_id=b"acme")[1]


def test_headers_come_and_go_with_the_heat():
    front = Front()
    seen = []
    for keys in ((), ("theme",), ()):
        front.heat(*keys)
        seen.append(front.ask(b"theme")[1].get(b"Cache-Control"))
    assert seen == [None, b"public, max-age=7", None]


@pytest.mark.parametrize("level", [Level.DEGRADED_L1, Level.DEGRADED_L2, Level.EMERGENCY])
def test_what_may_be_old_already_is_not_kept_longer(level):
    front = Front("theme")
    front.ask(b"theme")
    front.view.level = level
    assert b"Cache-Control" not in front.ask(b"theme")[1]
    assert front.ask(b"theme", b"GET")[0] == 405


def test_get_is_answered_for_static_hot_flags_only():
    front = Front("theme", "dark-mode")
    assert front.ask(b"theme", b"GET", b"") == front.ask(b"theme")
    for key in (b"dark-mode", b"limit", b"nowhere"):
        status, headers, _ = front.ask(key, b"GET", b"")
        assert (status, headers[b"Allow"]) == (405, b"POST")


def test_the_etag_changes_with_the_flag_and_with_nothing_else():
    front = Front("theme")
    tag = front.ask(b"theme")[1][b"ETag"]
    front.view.seq += 1  # another flag's change
    status, headers, body = front.ask(b"theme", b"GET", b"", if_none_match=tag)
    assert (status, body) == (304, b"")
    assert (headers[b"ETag"], headers[b"Cache-Control"]) == (tag, b"public, max-age=7")
    front.view.seq += 1
    front.view.by_org["default"]["theme"] = compile_flag(
        "theme", {"state": "ENABLED", "variants": {"d": "light"}, "defaultVariant": "d"}, version=44
    )
    status, headers, body = front.ask(b"theme", b"GET", b"", if_none_match=tag)
    assert status == 200
    assert headers[b"ETag"] != tag
    assert b'"light"' in body


def test_evaluations_are_counted_however_they_are_asked_for():
    front = Front("theme")
    for _ in range(3):
        front.ask(b"theme")
    front.ask(b"theme", b"GET", b"")
    front.ask(b"limit")
    assert front.popularity._counts.counts == {("default", "theme"): 4, ("default", "limit"): 1}


def test_too_many_requests_hold_for_get_too():
    front = Front("theme")
    front.view.wait = 2.0
    assert front.ask(b"theme", b"GET", b"")[0] == 429
