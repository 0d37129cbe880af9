"""OFREP as an OpenFeature provider sees it, and as it is on the wire."""

from __future__ import annotations

import asyncio
import threading

import msgspec
import pytest
import requests
import uvloop
from openfeature.contrib.provider.ofrep import OFREPProvider
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import (
    FlagNotFoundError,
    GeneralError,
    ParseError,
    TypeMismatchError,
)
from openfeature.flag_evaluation import Reason as SdkReason

from reference_impl.evaluation import compile_flag
from reference_impl.pop import ofrep
from reference_impl.pop.flag_value import Defaults, Fallback
from reference_impl.pop.http import HttpServer, bind, response
from reference_impl.pop.levels import Level
from reference_impl.pop.ofrep import Ofrep

DEADLINE = 10.0


def flag(key, version=1, **definition):
    return compile_flag(key, {"state": "ENABLED", **definition}, version=version)


def flags():
    made = [
        flag(
            "dark-mode",
            version=41,
            variants={"on": True, "off": False},
            defaultVariant="off",
            targeting={"if": [{"==": [{"var": "tier"}, "gold"]}, "on"]},
            metadata={"team": "web", "node": "forged"},
        ),
        flag("theme", variants={"d": "dark"}, defaultVariant="d"),
        flag("limit", variants={"ten": 10}, defaultVariant="ten"),
        flag("ratio", variants={"half": 0.5}, defaultVariant="half"),
        flag("menu", variants={"full": {"items": ["a", 1]}}, defaultVariant="full"),
        flag("code-default", variants={"a": "x"}),
        flag("broken", variants={"a": "x"}, targeting={"/": [1, 0]}),
        flag("caf\u00e9 / bar", variants={"a": "x"}, defaultVariant="a"),
    ]
    return {each.key: each for each in made}


class StaticView:
    """A PoP whose memory, level and origin are set by the test."""

    node, seq, level = "pop-1", 42, Level.HEALTHY

    def __init__(self):
        self.defaults = Defaults({"maintenance": True})
        self.by_org = {"default": flags(), "acme": {}}
        self.at_origin = {}
        self.loads = []
        self.wait = 0.0

    def clock(self):
        return 1_764_000_000.0

    def admit(self, org):
        return self.wait

    def flag(self, org, key):
        return self.by_org.get(org, {}).get(key)

    def keys(self, org):
        return self.by_org.get(org, {}).keys()

    async def load(self, org, key):
        self.loads.append((org, key))
        await asyncio.sleep(0)  # gives up its turn, as a real call does
        return self.at_origin.get(key)


class Site:
    """A server in a thread of its own."""

    def __init__(self):
        self.view = StaticView()
        self.ofrep = Ofrep(self.view, {b"/health": lambda *_: response(ofrep.HTTPStatus.OK, b"{}")})
        self.server = HttpServer(self.ofrep)
        self.loop = uvloop.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.call(self.server.start(bind("127.0.0.1", 0)))
        self.url = f"http://127.0.0.1:{self.server.port}"
        self.http = requests.Session()

    def call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(DEADLINE)

    def close(self):
        self.http.close()
        self.call(self.server.close(grace=1.0))
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(DEADLINE)
        self.loop.close()

    def post(self, path, body=b"{}", **headers):
        url = f"{self.url}/ofrep/v1/evaluate/flags{path}"
        return self.http.post(url, data=body, headers=headers, timeout=DEADLINE)

    def metadata(self, key):
        return self.post(f"/{key}").json()["metadata"]


@pytest.fixture
def site():
    made = Site()
    yield made
    made.close()


def test_each_request_is_counted_once_however_it_is_answered(site):
    for path, times in (("/boolean", 3), ("/unheard-of", 2), ("", 4)):
        for _ in range(times):
            site.post(path)
    site.post("/boolean", b"{", **{"X-Org-Id": "other"})
    assert (site.ofrep.evaluations, site.ofrep.bulk_evaluations) == (6, 4)


@pytest.fixture
def provider(site):
    made = OFREPProvider(site.url)
    yield made
    made.session.close()


# -- by an SDK -----------------------------------------------------------------------------------------------------------


def test_all_types(provider):
    assert provider.resolve_boolean_details("dark-mode", True).value is False
    assert provider.resolve_string_details("theme", "?").value == "dark"
    assert provider.resolve_integer_details("limit", 0).value == 10
    assert provider.resolve_float_details("ratio", 0.0).value == 0.5
    assert provider.resolve_object_details("menu", {}).value == {"items": ["a", 1]}


def test_targeting(provider):
    context = EvaluationContext("user-1", {"tier": "gold"})
    found = provider.resolve_boolean_details("dark-mode", False, context)
    assert (found.value, found.variant, found.reason) == (True, "on", SdkReason.TARGETING_MATCH)
    assert found.flag_metadata == {
        "team": "web",
        "node": "pop-1",
        "level": "HEALTHY",
        "version": 42,
        "flag_version": 41,
    }


def test_without_a_default_variant_the_callers_default_holds(provider):
    found = provider.resolve_string_details("code-default", "mine")
    assert (found.value, found.reason) == ("mine", SdkReason.DEFAULT)


def test_errors_reach_the_sdk(provider):
    with pytest.raises(FlagNotFoundError, match="absent"):
        provider.resolve_string_details("absent", "?")
    with pytest.raises(TypeMismatchError):
        provider.resolve_boolean_details("theme", False)
    with pytest.raises(ParseError, match="ZeroDivisionError"):
        provider.resolve_string_details("broken", "?")


def test_an_sdk_is_told_when_to_come_again(site, provider):
    site.view.wait = 1.5
    with pytest.raises(GeneralError, match="retry after: 2"):
        provider.resolve_string_details("theme", "?")
    assert provider.retry_after is not None


# -- on the wire ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", "PARSE_ERROR"),
        (b'{"context":\xff}', "PARSE_ERROR"),
        (b'{"context":[]}', "INVALID_CONTEXT"),
        (b'{"context":null}', "INVALID_CONTEXT"),
        (b"[]", "INVALID_CONTEXT"),
    ],
)
def test_bad_bodies(site, body, code):
    answer = site.post("/theme", body)
    assert (answer.status_code, answer.json()["errorCode"]) == (400, code)
    assert answer.json()["key"] == "theme"
    assert answer.json()["errorDetails"]


@pytest.mark.parametrize("body", [b"", b"{}", b'{"context":{}}', b'{"other":1}'])
def test_a_context_is_not_required(site, body):
    assert site.post("/theme", body).json()["value"] == "dark"


def test_keys_are_url_encoded(site):
    assert site.post("/caf%C3%A9%20%2F%20bar").json()["key"] == "caf\u00e9 / bar"
    assert site.post("/theme?x=1").json()["value"] == "dark"


def test_organisations_are_apart(site):
    site.view.by_org["acme"]["theme"] = flag("theme", variants={"l": "light"}, defaultVariant="l")
    assert site.post("/theme").json()["value"] == "dark"
    assert site.post("/theme", **{"X-Org-Id": "acme"}).json()["value"] == "light"
    assert site.post("/theme", **{"x-org-id": "other"}).status_code == 404


def test_other_methods_and_paths(site):
    answer = site.http.get(f"{site.url}/ofrep/v1/evaluate/flags/theme", timeout=DEADLINE)
    assert (answer.status_code, answer.headers["Allow"]) == (405, "POST")
    assert site.http.get(f"{site.url}/health", timeout=DEADLINE).status_code == 200
    assert site.http.get(f"{site.url}/nowhere", timeout=DEADLINE).status_code == 404
    assert site.post("X").status_code == 404


def test_answers_follow_the_store(site):
    assert site.metadata("theme")["version"] == 42
    site.view.seq = 43
    assert site.metadata("theme")["version"] == 43
    site.view.by_org["default"]["theme"] = flag(
        "theme", version=44, variants={"l": "light"}, defaultVariant="l"
    )
    site.view.seq = 44
    answer = site.post("/theme").json()
    assert (answer["value"], answer["metadata"]["flag_version"]) == ("light", 44)


def test_kept_answers_are_bounded(site, monkeypatch):
    monkeypatch.setattr(ofrep.Ofrep, "kept", 3)
    for _ in range(2):
        for key in ("theme", "limit", "ratio", "menu", "code-default"):
            assert site.post(f"/{key}").json()["key"] == key
    assert len(site.ofrep._answers) <= 3


# -- levels --------------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("P3")
def test_levels_mark_their_answers(site):
    marks = {}
    for level in Level:
        site.view.level = level
        metadata = site.metadata("dark-mode")
        assert metadata["level"] == level
        marks[level] = {name for name in ("stale_warning", "emergency_mode") if metadata.get(name)}
    assert marks == {
        Level.HEALTHY: set(),
        Level.DEGRADED_L1: {"stale_warning"},
        Level.DEGRADED_L2: {"emergency_mode"},
        Level.EMERGENCY: {"emergency_mode"},
    }


@pytest.mark.requirement("P3")
def test_emergency_to_an_sdk(site, provider):
    site.view.level = Level.EMERGENCY
    gold = EvaluationContext("user-1", {"tier": "gold"})
    found = provider.resolve_boolean_details("dark-mode", True, gold)
    assert (found.value, found.reason) == (False, SdkReason.DEFAULT)
    assert provider.resolve_boolean_details("maintenance", False).value is True
    with pytest.raises(FlagNotFoundError, match="only boolean defaults are served"):
        provider.resolve_string_details("theme", "mine")


@pytest.mark.requirement("P3")
@pytest.mark.requirement("E6")
def test_a_cold_flag_is_loaded_where_the_origin_may_be_asked(site):
    site.view.at_origin["cold"] = flag("cold", version=7, variants={"a": "x"}, defaultVariant="a")
    for level in (Level.HEALTHY, Level.DEGRADED_L1):
        site.view.level = level
        answer = site.post("/cold").json()
        assert (answer["value"], answer["metadata"]["flag_version"]) == ("x", 7)
    for level in (Level.DEGRADED_L2, Level.EMERGENCY):
        site.view.level = level
        assert site.post("/cold").status_code == 404
    assert site.view.loads == [("default", "cold")] * 2
    assert site.post("/theme").status_code == 404
    assert len(site.view.loads) == 2


@pytest.mark.requirement("P1")
def test_a_fallback_is_no_flag_and_says_so(site):
    site.view.at_origin["cold"] = Fallback({"fallback": True, "circuit": "OPEN"})
    answer = site.post("/cold")
    assert answer.status_code == 404
    assert answer.json()["errorCode"] == "FLAG_NOT_FOUND"
    metadata = answer.json()["metadata"]
    assert (metadata["fallback"], metadata["circuit"]) == (True, "OPEN")


# -- all flags -----------------------------------------------------------------------------------------------------------


def test_bulk(site):
    answer = site.post("", b'{"context":{"tier":"gold"}}').json()
    found = {each["key"]: each for each in answer["flags"]}
    assert list(found) == sorted(flags())
    assert found["dark-mode"]["value"] is True
    assert found["dark-mode"]["metadata"]["flag_version"] == 41
    assert found["broken"]["errorCode"] == "PARSE_ERROR"
    assert "value" not in found["code-default"]
    assert answer["metadata"] == {"node": "pop-1", "level": "HEALTHY", "version": 42}


def test_bulk_is_not_sent_twice(site):
    first = site.post("")
    etag = first.headers["ETag"]
    again = site.post("", **{"If-None-Match": f'"x", W/{etag}'})
    assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", etag)
    # Another context with the same outcomes is the same; other outcomes are not.
    assert site.post("", b'{"context":{"a":1}}', **{"If-None-Match": etag}).status_code == 304
    gold = b'{"context":{"tier":"gold"}}'
    assert site.post("", gold, **{"If-None-Match": etag}).status_code == 200
    # A change of another organisation moves the log, not this answer; a level does change it.
    site.view.seq = 43
    assert site.post("", **{"If-None-Match": etag}).status_code == 304
    site.view.level = Level.DEGRADED_L1
    assert site.post("", **{"If-None-Match": etag}).status_code == 200


def test_bulk_in_emergency(site):
    site.view.level = Level.EMERGENCY
    found = {each["key"]: each for each in site.post("").json()["flags"]}
    assert found["dark-mode"]["value"] is False
    assert found["maintenance"]["value"] is True
    assert found["theme"]["errorCode"] == "FLAG_NOT_FOUND"


def test_answers_from_memory_are_complete_at_once():
    handler = Ofrep(StaticView())
    answer = handler.route(b"POST", b"/ofrep/v1/evaluate/flags/theme", {})(b"")
    assert isinstance(answer, bytes)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert f"Content-Length: {len(body)}".encode() in head
    assert msgspec.json.decode(body)["value"] == "dark"
    assert repr(handler) == "<Ofrep of pop-1, 1 answers kept for seq 42>"


def test_bulk_has_what_was_found_since_at_the_same_log_position(site):
    before = len(site.post("").json()["flags"])
    site.view.by_org["default"]["new"] = flags()["theme"]
    assert len(site.post("").json()["flags"]) == before + 1
    site.view.seq = 43
    assert site.post("").json()["flags"][0]["metadata"]["version"] == 43
