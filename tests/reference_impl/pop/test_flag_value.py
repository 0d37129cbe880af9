"""`GetFlagValue` at each degradation level."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from reference_impl.evaluation import ErrorCode, Reason, compile_flag
from reference_impl.pop.flag_value import Defaults, get_flag_value, known_keys, level_metadata
from reference_impl.pop.levels import Level

TARGETED = compile_flag(
    "checkout",
    {
        "state": "ENABLED",
        "variants": {"on": True, "off": False},
        "defaultVariant": "off",
        "targeting": {"if": [{"==": [{"var": "tier"}, "gold"]}, "on"]},
    },
)
TEXT = compile_flag("theme", {"state": "ENABLED", "variants": {"d": "dark"}, "defaultVariant": "d"})
GOLD = {"tier": "gold"}


def view(level):
    flags = {"checkout": TARGETED, "theme": TEXT}
    return SimpleNamespace(
        level=level,
        clock=lambda: 0.0,
        defaults=Defaults({"maintenance": True, "banner": "none", "theme": "light"}),
        flag=lambda org, key: flags.get(key) if org == "acme" else None,
        keys=lambda org: flags.keys() if org == "acme" else (),
    )


def ask(level, key, context=GOLD):
    found = get_flag_value(view(level), level, "acme", key, context)
    return found and (found.value, found.reason, found.error_code)


FOUND = (True, Reason.TARGETING_MATCH, None)
NOT_FOUND = (None, Reason.ERROR, ErrorCode.FLAG_NOT_FOUND)


@pytest.mark.requirement("P3")
@pytest.mark.parametrize("level", [Level.HEALTHY, Level.DEGRADED_L1])
def test_with_an_origin_evaluates_from_memory_and_loads_the_rest(level):
    assert ask(level, "checkout") == FOUND
    assert ask(level, "theme") == ("dark", Reason.STATIC, None)
    assert ask(level, "absent") is None
    assert ask(level, "maintenance") is None  # packaged defaults are for later


@pytest.mark.requirement("P3")
def test_degraded_l2_gives_memory_then_packaged_defaults_and_no_new_flags():
    assert ask(Level.DEGRADED_L2, "checkout") == FOUND
    assert ask(Level.DEGRADED_L2, "theme") == ("dark", Reason.STATIC, None)
    assert ask(Level.DEGRADED_L2, "banner") == ("none", Reason.DEFAULT, None)
    assert ask(Level.DEGRADED_L2, "absent") == NOT_FOUND


@pytest.mark.requirement("P3")
def test_emergency_gives_booleans_without_targeting():
    assert ask(Level.EMERGENCY, "checkout") == (False, Reason.DEFAULT, None)
    assert ask(Level.EMERGENCY, "maintenance") == (True, Reason.DEFAULT, None)
    for key in ("theme", "banner", "absent"):
        assert ask(Level.EMERGENCY, key) == NOT_FOUND
    details = get_flag_value(
        view(Level.EMERGENCY), Level.EMERGENCY, "acme", "theme", {}
    ).error_details
    assert "only boolean defaults are served" in details


@pytest.mark.parametrize(
    ("level", "marks"),
    [
        (Level.HEALTHY, {}),
        (Level.DEGRADED_L1, {"stale_warning": True}),
        (Level.DEGRADED_L2, {"emergency_mode": True}),
        (Level.EMERGENCY, {"emergency_mode": True}),
    ],
)
def test_marks(level, marks):
    assert level_metadata(level) == marks


def test_all_flags_are_those_in_memory_and_where_they_count_the_defaults():
    assert known_keys(view(Level.HEALTHY), "acme") == ["checkout", "theme"]
    assert known_keys(view(Level.DEGRADED_L1), "acme") == ["checkout", "theme"]
    everything = ["banner", "checkout", "maintenance", "theme"]
    assert known_keys(view(Level.DEGRADED_L2), "acme") == everything
    assert known_keys(view(Level.EMERGENCY), "acme") == everything
    assert known_keys(view(Level.EMERGENCY), "other") == ["banner", "maintenance", "theme"]
