"""Compiles a targeting rule (JsonLogic with flagd's operators) to nested Python closures, once per flag version."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, Final, TypeAlias

from reference_impl.evaluation import fractional, values, versions
from reference_impl.evaluation.errors import InvalidFlag

_truthy = values.truthy

Rule: TypeAlias = Callable[[Any], Any]  # from data to value

# A rule of a person's making has tens of steps; these limits are for the other ones.
MAX_DEPTH: Final = 100
MAX_STEPS: Final = 20_000

_PAIR: Final = 2
_SEM_VER_ARGUMENTS: Final = 3


class RuleCompiler:
    """Compiles the rules of one flag. Raises `InvalidFlag`."""

    def __init__(self, flag_key: str, evaluators: Mapping[str, Any]) -> None:
        self.flag_key = flag_key
        self.needs_flagd = False  # whether a rule may look at $flagd, or at the context as a whole
        self._evaluators = evaluators
        self._open: list[str] = []  # shared rules being expanded
        self._depth = 0
        self._inner = 0  # how deep in rules about the elements of a list
        self._steps = 0

    def __repr__(self) -> str:
        return f"<RuleCompiler of {self.flag_key!r}, {self._steps} steps>"

    def invalid(self, where: str, why: str) -> InvalidFlag:
        """The error to raise for something wrong in an operator."""
        return InvalidFlag(self.flag_key, f"targeting, {where!r}", why)

    @property
    def at_root(self) -> bool:
        """Whether the rule being compiled sees the evaluation context, not an element of a list."""
        return self._inner == 0

    def compile(self, logic: Any) -> Rule:
        """The rule as a function of its data."""
        self._steps += 1
        self._depth += 1
        if self._depth > MAX_DEPTH or self._steps > MAX_STEPS:
            raise InvalidFlag(
                self.flag_key, "targeting", f"over {MAX_DEPTH} levels or {MAX_STEPS} steps"
            )
        try:
            if isinstance(logic, list):
                return _make_list([self.compile(item) for item in logic])
            if isinstance(logic, dict) and len(logic) == 1:
                ((name, arguments),) = logic.items()
                return self._operator(name, arguments)
            return constant(logic)
        finally:
            self._depth -= 1

    def compile_inner(self, logic: Any) -> Rule:
        """A rule about the elements of a list."""
        self._inner += 1
        try:
            return self.compile(logic)
        finally:
            self._inner -= 1

    def _operator(self, name: str, arguments: Any) -> Rule:
        if name == "$ref":
            return self._shared(arguments)
        build = OPERATORS.get(name)
        if build is None:
            raise self.invalid(name, "unknown operator")
        return build(self, arguments if isinstance(arguments, list) else [arguments])

    def _shared(self, name: Any) -> Rule:
        if not isinstance(name, str) or name not in self._evaluators:
            raise self.invalid("$ref", f"no shared rule {name!r} in $evaluators")
        if name in self._open:
            raise self.invalid("$ref", f"shared rule {name!r} refers to itself")
        self._open.append(name)
        try:
            return self.compile(self._evaluators[name])
        finally:
            self._open.pop()


Builder: TypeAlias = Callable[[RuleCompiler, list[Any]], Rule]


def constant(value: Any) -> Rule:
    """A rule that always gives this value."""
    return lambda _: value


def is_scalar(logic: Any) -> bool:
    """Whether this is a constant that is compared by value."""
    return not isinstance(logic, dict | list)


def _make_list(rules: list[Rule]) -> Rule:
    return lambda data: [rule(data) for rule in rules]


def _apply(function: Callable[..., Any], rules: list[Rule], most: int | None = None) -> Rule:
    """Call with all values, of which the first `most` count."""
    if most is not None and len(rules) > most:
        return lambda data: function(*[rule(data) for rule in rules][:most])
    match rules:
        case [one]:
            return lambda data: function(one(data))
        case [one, two]:
            return lambda data: function(one(data), two(data))
        case _:
            return lambda data: function(*[rule(data) for rule in rules])


def _simple(function: Callable[..., Any], least: int = 0, most: int | None = None) -> Builder:
    """An operator that is a function of its values; missing ones are null."""

    def build(compiler: RuleCompiler, arguments: list[Any]) -> Rule:
        padded = arguments + [None] * (least - len(arguments))
        return _apply(function, [compiler.compile(argument) for argument in padded], most)

    return build


# -- logic ---------------------------------------------------------------------------------------------------------------


def _if(compiler: RuleCompiler, arguments: list[Any]) -> Rule:
    rules = [compiler.compile(argument) for argument in arguments]
    otherwise = rules.pop() if len(rules) % 2 else constant(None)
    branches = list(zip(rules[::2], rules[1::2], strict=True))
    if len(branches) == 1 and all(map(is_scalar, arguments[1:])):
        return _if_constant(branches[0][0], *arguments[1:])

    def rule(data: Any) -> Any:
        for condition, then in branches:
            if values.truthy(condition(data)):
                return then(data)
        return otherwise(data)

    return rule


def _if_constant(condition: Rule, then: Any, otherwise: Any = None) -> Rule:
    """The common rule: one condition, mostly a comparison, and the variants' names."""

    def rule(data: Any) -> Any:
        value = condition(data)
        if value is True or (value is not False and _truthy(value)):
            return then
        return otherwise

    return rule


def _first(stop_at: bool) -> Builder:
    """`or` and `and`: the first value that decides, or the last."""

    def build(compiler: RuleCompiler, arguments: list[Any]) -> Rule:
        rules = [compiler.compile(argument) for argument in arguments]

        def rule(data: Any) -> Any:
            value = None
            for each in rules:
                value = each(data)
                if values.truthy(value) is stop_at:
                    break
            return value

        return rule

    return build


def _equality(
    function: Callable[[Any, Any], bool],
    *,
    negated: bool,
) -> Builder:
    general = _simple(
        (lambda a, b: not function(a, b)) if negated else function, least=_PAIR, most=_PAIR
    )

    def build(compiler: RuleCompiler, arguments: list[Any]) -> Rule:
        if len(arguments) != _PAIR or not isinstance(arguments[1], str):
            return general(compiler, arguments)
        # The common rules: something equals a given text, and that something is an attribute.
        expected: str = arguments[1]
        left = compiler.compile(arguments[0])
        attribute = _attribute(compiler, arguments[0])
        if attribute is not None:

            def attribute_rule(data: Any) -> bool:
                value = data.get(attribute)
                if type(value) is str:
                    return (value == expected) is not negated
                return function(value, expected) is not negated

            return attribute_rule

        def rule(data: Any) -> bool:
            value = left(data)
            if type(value) is str:
                return (value == expected) is not negated
            return function(value, expected) is not negated

        return rule

    return build


def _ordering(holds: Callable[[Any, Any], bool]) -> Builder:
    """`<` and its like, with a third value: between."""

    def compare(a: Any, b: Any, c: Any = None) -> bool:
        return holds(*values.comparable(a, b)) and (c is None or holds(*values.comparable(b, c)))

    return _simple(compare, least=_PAIR, most=3)


# -- data ----------------------------------------------------------------------------------------------------------------


def _var(compiler: RuleCompiler, arguments: list[Any]) -> Rule:
    key = arguments[0] if arguments else None
    if not isinstance(key, str) or not key or key.startswith("$flagd"):
        compiler.needs_flagd |= compiler.at_root
    if len(arguments) > 1 or not isinstance(key, str):
        rules = [compiler.compile(argument) for argument in arguments[:_PAIR]]
        return _on_data(values.lookup, rules)
    if _attribute(compiler, {"var": key}) is not None:
        return lambda data: data.get(key)
    return lambda data: values.lookup(data, key)


def _attribute(compiler: RuleCompiler, logic: Any) -> str | None:
    """The name, if this is `var` of an attribute of the context, which unlike other data is always an object."""
    match logic:
        case {"var": str() as name, **others} | {"var": [str() as name], **others}:
            plain = name and "." not in name and not name.startswith("$flagd")
            return name if plain and not others and compiler.at_root else None
    return None


def _on_data(function: Callable[..., Any], rules: list[Rule]) -> Rule:
    return lambda data: function(data, *[rule(data) for rule in rules])


def _missing(function: Callable[..., Any], most: int | None = None) -> Builder:
    def build(compiler: RuleCompiler, arguments: list[Any]) -> Rule:
        compiler.needs_flagd |= compiler.at_root
        return _on_data(function, [compiler.compile(argument) for argument in arguments[:most]])

    return build


def _in(compiler: RuleCompiler, arguments: list[Any]) -> Rule:
    general = _simple(lambda needle, haystack: values.contains(haystack, needle), _PAIR, _PAIR)
    if len(arguments) != _PAIR or not isinstance(arguments[1], list):
        return general(compiler, arguments)
    if not all(isinstance(item, str) for item in arguments[1]):
        return general(compiler, arguments)
    # The common rule: something is one of the given texts.
    known = frozenset(arguments[1])
    needle = compiler.compile(arguments[0])

    def rule(data: Any) -> bool:
        value = needle(data)
        return isinstance(value, str) and value in known

    return rule


def _over_list(
    function: Callable[[list[Any], Rule], Any], otherwise: Callable[[], Any], least: int
) -> Builder:
    """An operator on a list and a rule about its elements; `otherwise` if it is none, or too little is given."""

    def build(compiler: RuleCompiler, arguments: list[Any]) -> Rule:
        if len(arguments) < least:
            return lambda _: otherwise()
        source = compiler.compile(arguments[0])
        inner = compiler.compile_inner(arguments[1] if len(arguments) > 1 else None)

        def rule(data: Any) -> Any:
            items = source(data)
            return function(items, inner) if isinstance(items, list) else otherwise()

        return rule

    return build


def _reduce(compiler: RuleCompiler, arguments: list[Any]) -> Rule:
    if not arguments:
        return constant(None)
    source = compiler.compile(arguments[0])
    inner = compiler.compile_inner(arguments[1] if len(arguments) > 1 else None)
    initial = arguments[_PAIR] if len(arguments) > _PAIR else None  # data, not a rule

    def rule(data: Any) -> Any:
        items = source(data)
        accumulator = initial
        for item in items if isinstance(items, list) else ():
            accumulator = inner({"current": item, "accumulator": accumulator})
        return accumulator

    return rule


# -- flagd's own ---------------------------------------------------------------------------------------------------------


def _fractional(compiler: RuleCompiler, arguments: list[Any]) -> Rule:
    by_default_key = bool(arguments) and isinstance(arguments[0], list)
    raw = arguments if by_default_key else arguments[1:]
    fixed = all(isinstance(bucket, list) and all(map(is_scalar, bucket)) for bucket in raw)
    for bucket in raw:
        _check_bucket(compiler, bucket)
    if by_default_key and fixed and compiler.at_root:
        buckets = fractional.make_buckets(raw)
        assert buckets is not None
        return fractional.by_targeting_key(compiler.flag_key, buckets)
    compiler.needs_flagd |= compiler.at_root
    return _on_data(fractional.distribute, [compiler.compile(argument) for argument in arguments])


def _check_bucket(compiler: RuleCompiler, bucket: Any) -> None:
    if isinstance(bucket, dict):
        return  # known only when evaluated
    computed = isinstance(bucket, list) and len(bucket) == _PAIR and not is_scalar(bucket[1])
    why = fractional.problem([bucket[0], 1] if computed else bucket)
    if why:
        raise compiler.invalid("fractional", why)


def _sem_ver(compiler: RuleCompiler, arguments: list[Any]) -> Rule:
    if len(arguments) != _SEM_VER_ARGUMENTS:
        raise compiler.invalid("sem_ver", "takes a version, a comparison and a version")
    comparison = arguments[1]
    computed = isinstance(comparison, dict)
    if not computed and (isinstance(comparison, list) or comparison not in versions.COMPARISONS):
        raise compiler.invalid("sem_ver", f"unknown comparison {comparison!r}")
    return _apply(versions.compare, [compiler.compile(argument) for argument in arguments])


def _affix(name: str, holds: Callable[[str, str], bool]) -> Builder:
    def compare(value: Any, affix: Any) -> bool | None:
        if not isinstance(value, str) or not isinstance(affix, str):
            return None
        return holds(value, affix)

    def build(compiler: RuleCompiler, arguments: list[Any]) -> Rule:
        if len(arguments) != _PAIR:
            raise compiler.invalid(name, "takes two texts")
        return _apply(compare, [compiler.compile(argument) for argument in arguments])

    return build


def _extreme(choose: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *given: choose(map(values.number, given), default=values.NAN)


OPERATORS: Final[Mapping[str, Builder]] = MappingProxyType(
    {
        "if": _if,
        "?:": _if,
        "and": _first(stop_at=False),
        "or": _first(stop_at=True),
        "!": _simple(lambda value: not _truthy(value), 1, 1),
        "!!": _simple(_truthy, 1, 1),
        "==": _equality(values.loose_equal, negated=False),
        "!=": _equality(values.loose_equal, negated=True),
        "===": _equality(values.strict_equal, negated=False),
        "!==": _equality(values.strict_equal, negated=True),
        "<": _ordering(operator.lt),
        "<=": _ordering(operator.le),
        ">": _ordering(operator.gt),
        ">=": _ordering(operator.ge),
        "+": _simple(values.total),
        "*": _simple(values.product),
        "-": _simple(values.minus, 1, 2),
        "/": _simple(lambda a, b: values.number(a) / values.number(b), 2, 2),
        "%": _simple(values.remainder, 2, 2),
        "min": _simple(_extreme(min)),
        "max": _simple(_extreme(max)),
        "cat": _simple(lambda *given: "".join(map(values.text, given))),
        "substr": _simple(values.substring, 2, 3),
        "in": _in,
        "merge": _simple(values.merged),
        "log": _simple(lambda value: value, 1, 1),
        "var": _var,
        "missing": _missing(values.missing),
        "missing_some": _missing(values.missing_some, 2),
        "map": _over_list(lambda items, rule: [rule(item) for item in items], list, 1),
        "filter": _over_list(
            lambda items, rule: [item for item in items if _truthy(rule(item))], list, 2
        ),
        # That all of no elements is false is JsonLogic's own decision.
        "all": _over_list(
            lambda items, rule: bool(items) and all(_truthy(rule(item)) for item in items), bool, 2
        ),
        "some": _over_list(lambda items, rule: any(_truthy(rule(item)) for item in items), bool, 2),
        "none": _over_list(
            lambda items, rule: not any(_truthy(rule(item)) for item in items), partial(bool, 1), 2
        ),
        "reduce": _reduce,
        "fractional": _fractional,
        "sem_ver": _sem_ver,
        "starts_with": _affix("starts_with", str.startswith),
        "ends_with": _affix("ends_with", str.endswith),
    }
)
