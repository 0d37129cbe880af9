"""Our evaluation gives what flagd's own Python evaluator gives, on generated flags and contexts.

`openfeature-flagd-core` is the yardstick. Not compared, as it departs there from JsonLogic as written and as flagd's other
evaluators have it (each is watched for while the yardstick runs, and such an example is discarded):

* a boolean turned into text is "True" there, "true" in JsonLogic;
* `===`, `!==` and `in` take true for 1 there (Python's `True == 1`);
* `==` takes null for 0 there;
* `%` has the divisor's sign there, the dividend's in JsonLogic;
* a number as a `var` path never leads into an object there, and in lists nulls and fractions are special.

Not generated:
* what we refuse when the flag is compiled and flagd-core only when it meets it, or never: unknown operators, malformed
  buckets, `sem_ver` with an unknown comparison, wrong numbers of arguments, default variants that do not exist, variants
  of mixed types (`test_flag.py`);
* `$ref` from one shared rule to an earlier one: substitution there is textual, in one pass;
* the whole scope of a `reduce` by `{"var": ""}`: there it is one object that changes and can come to contain itself.

An outcome where targeting fails is an error on both sides; the codes are compared where flagd-core gives one.
"""

from __future__ import annotations

import contextlib
import copy
import importlib
import io
import operator
from types import SimpleNamespace
from unittest import mock

import json_logic.builtins as reference
import pytest
from hypothesis import HealthCheck, event, given, reject, settings
from hypothesis import strategies as st
from openfeature.contrib.tools.flagd.core import FlagdCore
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import OpenFeatureError

from reference_impl.evaluation import Reason, compile_flag
from reference_impl.evaluation.compiler import OPERATORS, RuleCompiler
from reference_impl.evaluation.flag import RULE_FAILURES

# The module; its package has a function of the same name.
reference_targeting = importlib.import_module(
    "openfeature.contrib.tools.flagd.core.targeting.targeting"
)
NOW = 1_764_000_000.7
VARIANTS = ["on", "off", "true", "false", "1", "gold"]
NAMES = ["tier", "email", "age", "nested", "list", "version", "targetingKey", "missing"]

# -- what is not compared ------------------------------------------------------------------------------------------------


class Excluded(BaseException):
    """The yardstick met one of the cases above. No Exception: nothing may handle it."""


def _confuses(a: object, b: object) -> bool:
    """Whether Python finds equal what JSON does not, at any depth."""
    if isinstance(a, bool) != isinstance(b, bool):
        return isinstance(a, int | float) and isinstance(b, int | float)
    if isinstance(a, list) and isinstance(b, list):
        return any(map(_confuses, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return any(_confuses(a[key], b[key]) for key in a.keys() & b.keys())
    return False


def _watched_text(value):
    if isinstance(value, bool):
        raise Excluded
    return _text(value)


def _watched_var(data=None, key=None, default=None):
    found = _var(data, key, default)
    if isinstance(key, int | float):
        fraction = isinstance(key, bool) or key != int(key)
        into_object = isinstance(data, dict) and str(key).split(".")[0] in data
        if fraction or into_object or (isinstance(data, list) and found is None):
            raise Excluded
    return found


def _watched_equals(data=None, a=None, b=None, *ignored):
    if (a is None) != (b is None):
        raise Excluded
    return _equals(data, a, b, *ignored)


def _watched_remainder(data=None, a=None, b=None, *_):
    first, second = reference.to_number(a), reference.to_number(b)
    if first < 0 or second < 0 or second == float("inf"):
        raise Excluded
    return first % second


def _watched_strict(compare):
    def strict(data=None, a=None, b=None, *_):
        if _confuses(a, b):
            raise Excluded
        return compare(a, b)

    return strict


def _watched_in(data=None, needle=None, haystack=None, *ignored):
    if isinstance(haystack, list) and any(_confuses(needle, item) for item in haystack):
        raise Excluded
    return reference.op_in(data, needle, haystack, *ignored)


_text, _var, _equals = reference.to_string, reference.op_var, reference.op_equals


@contextlib.contextmanager
def watched():
    """The yardstick, watched for what is not compared, on a clock that stands still."""
    replaced = {
        "var": _watched_var,
        "%": _watched_remainder,
        "===": _watched_strict(operator.eq),
        "!==": _watched_strict(operator.ne),
        "==": _watched_equals,
        "!=": lambda *args: not _watched_equals(*args),
        "in": _watched_in,
    }
    with (
        mock.patch.object(reference, "to_string", _watched_text),
        mock.patch.object(reference, "op_var", _watched_var),  # as used by `missing`
        mock.patch.dict(reference_targeting.OPERATORS, replaced),
        mock.patch.object(reference_targeting, "time", SimpleNamespace(time=lambda: NOW)),
        contextlib.redirect_stdout(io.StringIO()),  # `log` prints
    ):
        yield


# -- what is generated ---------------------------------------------------------------------------------------------------

texts = st.one_of(
    st.sampled_from(["gold", "a@b.com", "1", "1.5", "", "-3", "on", "1.2.3", "v2.0", "2.0.0-rc.1"]),
    st.text(alphabet="ab1.é-", max_size=6),
)
numbers = st.one_of(
    st.integers(-5, 30),
    st.sampled_from([0.5, 2.0, -1.25, 1e6, 2**40, 1e300, 1 / 3, 1234567.891234567]),
)
scalars = st.one_of(texts, numbers, st.booleans(), st.none())
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.sampled_from(["a", "b", "1", "x.y"]), inner, max_size=3),
    ),
    max_leaves=6,
)
contexts = st.fixed_dictionaries(
    {},
    optional={
        "tier": st.sampled_from(["gold", "silver"]),
        "email": st.sampled_from(["a@b.com", "c@d.org"]),
        "age": numbers,
        "nested": values,
        "list": st.lists(scalars, max_size=5),
        "version": st.sampled_from(["1.2.3", "v1.3", "2", "2.0.0-rc.1", "1.2.3+b", 1.5, "x"]),
    },
)
paths = st.one_of(
    st.sampled_from(
        [
            *NAMES,
            "nested.a",
            "nested.b.a",
            "list.0",
            "list.length",
            "$flagd.flagKey",
            "$flagd.timestamp",
        ]
    ),
    st.sampled_from(["", "email.length", "tier.0", "nested.0.1", "list.01", "list.-1"]),
)
# In a rule about elements: the element, and its parts.
inner_paths = st.sampled_from(["", "a", "0", "b.a", "length", "targetingKey"])
reduce_paths = st.sampled_from(["current", "accumulator", "current.a", "accumulator.length"])


def op(name, *arguments):
    return st.tuples(*arguments).map(lambda made: {name: list(made)})


def many(name, argument, least=0, most=4):
    return st.lists(argument, min_size=least, max_size=most).map(lambda made: {name: made})


def weights():
    return st.one_of(st.integers(-2, 100), st.just(2**31 - 1), st.just(0))


def buckets(expression):
    variant = st.sampled_from(VARIANTS)
    return st.one_of(
        st.tuples(variant, weights()).map(list),
        st.tuples(variant).map(list),
        st.tuples(expression, weights()).map(list),
        st.tuples(variant, st.just({"var": "age"})).map(list),
        st.just({"var": "list"}),
    )


comparisons = st.sampled_from(["=", "!=", "<", "<=", ">", ">=", "^", "~"])


def leaves(path):
    return st.one_of(
        scalars, variables(path), st.sampled_from([{"$ref": "isGold"}, {"$ref": "key"}])
    )


def variables(path):
    return st.one_of(
        op("var", path),
        path.map(lambda made: {"var": made}),
        op("var", path, scalars),
        op("var", st.integers(0, 3)),
    )


def expressions(path, depth):
    """Rules of at most this depth whose data is addressed by these paths."""
    if depth == 0:
        return leaves(path)
    return st.one_of(leaves(path), *operators(path, depth).values())


def operators(path, depth):
    """By operator: rules with it at the top."""
    inner = st.deferred(lambda: expressions(path, depth - 1))
    element = st.deferred(lambda: expressions(inner_paths, depth - 1))
    step = st.deferred(lambda: expressions(reduce_paths, depth - 1))
    lists = st.one_of(
        st.just({"var": "list"}), st.just({"var": "nested"}), st.lists(scalars, max_size=4), inner
    )
    versions = st.one_of(
        st.just({"var": "version"}),
        st.sampled_from(["1.2.3", "1.2", "v2", "1.2.3-a", "2.0.0", "nonsense", "1.2.3.4", 1, 1.2]),
        inner,
    )
    names = st.sampled_from([*NAMES, "nested.a"])
    bucket_key = st.one_of(
        op("var", path),
        op("cat", inner, inner),
        inner.filter(lambda made: not isinstance(made, list)),
    )
    text = st.one_of(inner, texts)
    return {
        "var": variables(path),
        "missing": st.one_of(many("missing", names), op("missing", st.lists(names, max_size=3))),
        "missing_some": op("missing_some", st.integers(0, 3), st.lists(names, max_size=3)),
        "if": many("if", inner, most=5),
        "?:": many("?:", inner, most=3),
        **{
            name: many(name, inner)
            for name in ("and", "or", "+", "*", "min", "max", "cat", "merge")
        },
        **{name: many(name, inner, most=2) for name in ("!", "!!", "-", "log")},
        **{name: many(name, inner, most=3) for name in ("==", "===", "!=", "!==", "/", "%")},
        **{name: many(name, inner, most=4) for name in ("<", "<=", ">", ">=")},
        "substr": st.one_of(
            many("substr", inner, most=4),
            op("substr", texts, st.integers(-8, 8), st.integers(-8, 8)),
        ),
        "in": st.one_of(
            many("in", inner, most=3),
            op("in", inner, st.lists(texts, max_size=3)),
            op("in", inner, texts),
        ),
        **{name: op(name, lists, element) for name in ("filter", "all", "some", "none")},
        "map": st.one_of(op("map", lists), op("map", lists, element)),
        "reduce": st.one_of(op("reduce", lists, step, scalars), op("reduce", lists, step)),
        "starts_with": op("starts_with", text, text),
        "ends_with": op("ends_with", text, text),
        "sem_ver": op("sem_ver", versions, comparisons, versions),
        "fractional": st.one_of(
            st.lists(buckets(inner), min_size=1, max_size=4).map(lambda made: {"fractional": made}),
            st.tuples(bucket_key, st.lists(buckets(inner), max_size=4)).map(
                lambda made: {"fractional": [made[0], *made[1]]}
            ),
        ),
    }


EVALUATORS = {
    "isGold": {"==": [{"var": "tier"}, "gold"]},
    "key": {"cat": [{"var": "targetingKey"}, "-salt"]},
}
VALUES = {
    "boolean": st.booleans(),
    "string": texts,
    "number": numbers,
    "object": st.one_of(
        st.lists(scalars, max_size=3), st.dictionaries(st.sampled_from("ab"), scalars, max_size=2)
    ),
}


@st.composite
def flags(draw, targeting):
    kind = draw(st.sampled_from(sorted(VALUES)))
    names = draw(st.lists(st.sampled_from(VARIANTS), min_size=1, unique=True))
    definition = {
        "state": draw(st.sampled_from(["ENABLED"] * 9 + ["DISABLED"])),
        "variants": {name: draw(VALUES[kind]) for name in names},
    }
    default = draw(st.one_of(st.sampled_from(names), st.none(), st.just("")))
    if default is not None or draw(st.booleans()):
        definition["defaultVariant"] = default
    rule = draw(targeting)
    if rule is not None or draw(st.booleans()):
        definition["targeting"] = rule
    if draw(st.booleans()):
        definition["metadata"] = draw(
            st.dictionaries(
                st.sampled_from(["team", "n"]), st.one_of(texts, numbers, st.booleans())
            )
        )
    return definition


# -- the comparison ------------------------------------------------------------------------------------------------------

_ABSENT = object()


def ask_yardstick(definition, context, targeting_key):
    """(value, variant, reason, metadata), or an error code; "any" for one that is no OpenFeature error."""
    core = FlagdCore()
    with watched():
        core.set_flags({"flags": {"flag": copy.deepcopy(definition)}, "$evaluators": EVALUATORS})
        asked = EvaluationContext(targeting_key, copy.deepcopy(context))
        try:
            # No typed call: a request by OFREP says no type.
            found = core._resolve("flag", _ABSENT, asked)
        except OpenFeatureError as error:
            return error.error_code.value
        except Exception:
            return "any"
    return found.value, found.variant, found.reason.value, dict(found.flag_metadata)


def ask_ours(definition, context, targeting_key):
    flag = compile_flag("flag", definition, EVALUATORS)
    asked = context if targeting_key is None else {**context, "targetingKey": targeting_key}
    before = copy.deepcopy(asked)
    found = flag.evaluate(asked, lambda: NOW)
    assert asked == before, "the context was changed"
    if found.reason is Reason.ERROR:
        return found.error_code.value
    value = _ABSENT if found.variant is None else found.value
    return value, found.variant, found.reason.value, dict(found.metadata)


def compare(definition, context, targeting_key):
    try:
        expected = ask_yardstick(definition, context, targeting_key)
    except Excluded:
        reject()
    ours = ask_ours(definition, context, targeting_key)
    event("error" if isinstance(ours, str) else ours[2])
    if expected == "any":
        assert isinstance(ours, str), f"the yardstick fails, we say {ours}"
    else:
        assert ours == expected


keys = st.one_of(st.none(), st.just(""), st.text(max_size=12))
quick = settings(
    deadline=None, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow]
)
targetings = st.one_of(*operators(paths, 2).values(), *operators(paths, 1).values())


@settings(quick, max_examples=250)
@given(flags(st.one_of(st.none(), targetings)), contexts, keys)
def test_agrees_on_flags(definition, context, targeting_key):
    compare(definition, context, targeting_key)


@pytest.mark.parametrize("name", sorted(OPERATORS))
def test_agrees_on_the_values_of_an_operator(name):
    """The rule's own value, not only which variant it names."""

    @settings(quick, max_examples=30)
    @given(operators(paths, 2)[name], contexts, keys)
    def agrees(logic, context, targeting_key):
        agree(logic, context, targeting_key)

    agrees()


small_buckets = st.lists(
    st.tuples(st.sampled_from(VARIANTS), st.integers(0, 3)).map(list), min_size=2, max_size=5
)
bucket_keys = st.one_of(st.just([]), st.just([{"cat": ["salt", {"var": "targetingKey"}]}]))


@settings(quick, max_examples=200)
@given(bucket_keys, small_buckets, st.text(min_size=1, max_size=12))
def test_agrees_on_buckets(key, made, targeting_key):
    """Few and small buckets, so that keys fall on their borders."""
    agree({"fractional": [*key, *made]}, {}, targeting_key)


parts = st.integers(0, 2)
close_versions = st.builds(
    "{}.{}.{}{}".format,
    parts,
    parts,
    parts,
    st.sampled_from(["", "-a", "-b.1", "+c"]),
)


@settings(quick, max_examples=200)
@given(close_versions, comparisons, close_versions)
def test_agrees_on_versions(version, comparison, other):
    """Versions close to each other, so that every part decides."""
    agree({"sem_ver": [{"var": "version"}, comparison, other]}, {"version": version}, None)


def test_every_operator_is_generated_and_known_to_the_yardstick():
    special = {"if", "?:", "and", "or", "map", "filter", "reduce", "all", "some", "none"}
    assert set(OPERATORS) == set(operators(paths, 1))
    assert set(OPERATORS) == set(reference_targeting.OPERATORS) | special


FAILED = object()


def agree(logic, context, targeting_key):
    expected = value_by_yardstick(logic, context, targeting_key)
    ours = our_value(logic, context, targeting_key)
    assert same(ours, expected), f"we say {ours!r}, flagd-core {expected!r}"


def value_by_yardstick(logic, context, targeting_key):
    core = FlagdCore()
    definition = {"state": "ENABLED", "variants": {"x": 1}, "targeting": copy.deepcopy(logic)}
    core.set_flags({"flags": {"flag": definition}, "$evaluators": EVALUATORS})
    expanded = core._flag_store.get_flag("flag").targeting
    asked = EvaluationContext(targeting_key, copy.deepcopy(context))
    try:
        with watched():
            return reference_targeting.targeting("flag", expanded, asked)
    except Excluded:
        reject()
    except Exception:
        return FAILED


def our_value(logic, context, targeting_key):
    compiler = RuleCompiler("flag", EVALUATORS)
    compiled = compiler.compile(logic)
    data = {**context, "targetingKey": targeting_key}
    if compiler.needs_flagd:
        data["$flagd"] = {"flagKey": "flag", "timestamp": int(NOW)}
    try:
        return compiled(data)
    except RULE_FAILURES:
        return FAILED


def same(a, b):
    """Equality of JSON values, where true is not 1 and NaN is NaN."""
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    return isinstance(a, bool) == isinstance(b, bool) and (a == b or (a != a and b != b))
