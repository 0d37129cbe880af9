"""Definitions: what is refused, and what each outcome looks like."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference_impl.evaluation import ErrorCode, FlagType, InvalidFlag, Reason, compile_flag

BOOLEAN = {"state": "ENABLED", "variants": {"on": True, "off": False}, "defaultVariant": "off"}


def now():
    return 1_764_000_000.9


def made(**changes):
    return {**BOOLEAN, **changes}


def resolve(definition, context=None, evaluators=None):
    return compile_flag("flag", definition, evaluators).evaluate(context or {}, now)


@pytest.mark.parametrize(
    ("definition", "where"),
    [
        ([], "definition"),
        (made(colour="red"), "definition"),
        (made(state="enabled"), "state"),
        ({"variants": {"on": True}}, "state"),
        (made(variants={}), "variants"),
        (made(variants=None), "variants"),
        (made(variants={"on": True, "off": "no"}), "variants"),
        (made(variants={"on": None}), "variants.on"),
        (made(defaultVariant="neither"), "defaultVariant"),
        (made(defaultVariant=3), "defaultVariant"),
        (made(targeting=[1]), "targeting"),
        (made(targeting={"if": [], "or": []}), "targeting"),
        (made(targeting={"no_such": [1]}), "targeting, 'no_such'"),
        (made(targeting={"if": [{"regex": ["a", "b"]}, "on"]}), "targeting, 'regex'"),
        (made(targeting={"$ref": "absent"}), "targeting, '$ref'"),
        (made(targeting={"$ref": 3}), "targeting, '$ref'"),
        (made(targeting={"sem_ver": ["1", "=", "1", "1"]}), "targeting, 'sem_ver'"),
        (made(targeting={"sem_ver": ["1", "==", "1"]}), "targeting, 'sem_ver'"),
        (made(targeting={"sem_ver": ["1", [], "1"]}), "targeting, 'sem_ver'"),
        (made(targeting={"starts_with": ["a"]}), "targeting, 'starts_with'"),
        (made(targeting={"fractional": [["on", 0.5]]}), "targeting, 'fractional'"),
        (made(targeting={"fractional": [["on", True]]}), "targeting, 'fractional'"),
        (made(targeting={"fractional": [["on", 1, 2]]}), "targeting, 'fractional'"),
        (made(targeting={"fractional": [[]]}), "targeting, 'fractional'"),
        (made(targeting={"fractional": [{"var": "x"}, "on"]}), "targeting, 'fractional'"),
        (made(metadata=["a"]), "metadata"),
        (made(metadata={"a": None}), "metadata.a"),
        (made(metadata={"": 1}), "metadata."),
    ],
)
def test_refuses(definition, where):
    with pytest.raises(InvalidFlag) as caught:
        compile_flag("flag", definition)
    assert caught.value.where == where
    assert str(caught.value).startswith(f"flag 'flag': {where}: ")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["if", "fractional", "sem_ver", "$ref", "var", "state", "on", "-"]),
            inner,
            max_size=2,
        )
    ),
    max_leaves=12,
)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "state": st.just("ENABLED") | json_values,
            "variants": st.just({"on": True}) | json_values,
            "defaultVariant": json_values,
            "targeting": json_values,
            "metadata": json_values,
        },
    )
    | json_values
)
def test_any_json_either_compiles_and_evaluates_or_is_refused(definition):
    try:
        flag = compile_flag("flag", definition)
    except InvalidFlag:
        return
    assert flag.evaluate({"targetingKey": "me"}, now).reason in Reason


def test_refuses_shared_rules_that_refer_to_themselves():
    rules = {"a": {"!": {"$ref": "b"}}, "b": {"!": {"$ref": "a"}}}
    with pytest.raises(InvalidFlag, match="'a' refers to itself"):
        compile_flag("flag", made(targeting={"$ref": "a"}), rules)


def test_refuses_rules_too_deep():
    deep: object = "on"
    for _ in range(500):
        deep = {"!": deep}
    with pytest.raises(InvalidFlag, match="levels"):
        compile_flag("flag", made(targeting=deep))


def test_refuses_shared_rules_that_multiply():
    rules = {f"r{n}": {"or": [{"$ref": f"r{n + 1}"}] * 10} for n in range(8)} | {"r8": "on"}
    with pytest.raises(InvalidFlag, match="steps"):
        compile_flag("flag", made(targeting={"$ref": "r0"}), rules)


@pytest.mark.parametrize(
    ("variants", "kind"),
    [
        ({"a": True}, FlagType.BOOLEAN),
        ({"a": "x"}, FlagType.STRING),
        ({"a": 1, "b": 0.5}, FlagType.NUMBER),
        ({"a": {}, "b": []}, FlagType.OBJECT),
    ],
)
def test_type_is_that_of_the_variants(variants, kind):
    assert compile_flag("flag", {"state": "ENABLED", "variants": variants}).type is kind


@pytest.mark.parametrize(
    ("definition", "context", "expected"),
    [
        (made(), {}, (False, "off", Reason.STATIC)),
        (made(targeting={}), {}, (False, "off", Reason.STATIC)),
        (made(state="DISABLED"), {}, (None, None, Reason.DISABLED)),
        (made(defaultVariant=None), {}, (None, None, Reason.DEFAULT)),
        (made(defaultVariant=""), {}, (None, None, Reason.DEFAULT)),
        (made(targeting={"var": "v"}), {"v": "on"}, (True, "on", Reason.TARGETING_MATCH)),
        (made(targeting={"var": "v"}), {}, (False, "off", Reason.DEFAULT)),
        (made(targeting={"var": "v"}, defaultVariant=None), {}, (None, None, Reason.DEFAULT)),
    ],
)
def test_outcomes(definition, context, expected):
    found = resolve(definition, context)
    assert (found.value, found.variant, found.reason) == expected
    assert found.error_code is None


@pytest.mark.parametrize(
    ("targeting", "code"),
    [
        ({"/": [1, 0]}, ErrorCode.PARSE_ERROR),
        ({"cat": "nonsense"}, ErrorCode.GENERAL),
        ({"cat": ""}, ErrorCode.GENERAL),
        ({"merge": [1, 2]}, ErrorCode.GENERAL),
    ],
)
def test_a_rule_that_fails_is_an_error_outcome(targeting, code):
    found = resolve(made(targeting=targeting, metadata={"team": "a"}))
    assert (found.reason, found.error_code, found.variant) == (Reason.ERROR, code, None)
    assert found.error_details
    assert found.metadata == {"team": "a"}


def test_boolean_results_name_variants():
    variants = {"true": "yes", "false": "no"}
    definition = {
        "state": "ENABLED",
        "variants": variants,
        "targeting": {"==": [{"var": "a"}, "x"]},
    }
    assert resolve(definition, {"a": "x"}).value == "yes"
    assert resolve(definition, {"a": "y"}).value == "no"


def test_flagd_properties():
    definition = {
        "state": "ENABLED",
        "variants": {"flag-1764000000": True},
        "targeting": {"cat": [{"var": "$flagd.flagKey"}, "-", {"var": "$flagd.timestamp"}]},
    }
    assert resolve(definition, {"$flagd": {"flagKey": "forged"}}).value is True


def test_the_clock_is_read_only_where_a_rule_looks_at_the_time():
    def no_clock():
        raise AssertionError("read")

    definition = made(targeting={"if": [{"==": [{"var": "tier"}, "gold"]}, "on"]})
    flag = compile_flag("flag", definition)
    assert flag.evaluate({"tier": "gold"}, no_clock).variant == "on"


def test_the_same_outcome_is_the_same_object():
    flag = compile_flag("flag", made(targeting={"var": "v"}), version=7)
    first = flag.evaluate({"v": "on"}, now)
    assert flag.evaluate({"v": "on"}, now) is first
    assert first.flag_version == 7


def test_repr_tells_the_state():
    assert (
        repr(compile_flag("f", made(), version=3))
        == "<CompiledFlag 'f' boolean, STATIC, version 3>"
    )
    assert "targeted" in repr(compile_flag("f", made(targeting={"var": "v"})))


def test_buckets_follow_the_weights_and_stick():
    rule = {"fractional": [["on", 25], ["off", 75]]}
    flag = compile_flag("flag", made(targeting=rule))
    seen = [flag.evaluate({"targetingKey": f"user-{n}"}, now).variant for n in range(4000)]
    again = [flag.evaluate({"targetingKey": f"user-{n}"}, now).variant for n in range(4000)]
    assert seen == again
    assert 900 < seen.count("on") < 1100
