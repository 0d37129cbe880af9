"""flagd's flag definitions, checked and compiled."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from reference_impl.evaluation.compiler import Rule, RuleCompiler
from reference_impl.evaluation.errors import InvalidFlag
from reference_impl.evaluation.resolution import (
    ErrorCode,
    FlagType,
    Json,
    Metadata,
    Reason,
    Resolution,
)

Clock: TypeAlias = Callable[[], float]  # Unix time in seconds

_FIELDS: Final = {
    "state",
    "variants",
    "defaultVariant",
    "targeting",
    "metadata",
    "source",
    "selector",
}
# What arithmetic on values of the wrong kind or size raises.
RULE_FAILURES: Final = (
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)


@dataclass(frozen=True, slots=True)
class _Definition:
    """A checked definition, targeting still a rule in JSON."""

    enabled: bool
    variants: Mapping[str, Json]
    type: FlagType
    default: str | None
    targeting: Mapping[str, Any] | None
    metadata: Metadata


class CompiledFlag:
    """One version of a flag, ready to be evaluated. Made by `compile_flag`.

    `version` is the log position of the flag's last change; `type` the one type of all its variants.
    """

    __slots__ = (
        "_default",
        "_fixed",
        "_key",
        "_matches",
        "_metadata",
        "_needs_flagd",
        "_rule",
        "key",
        "type",
        "version",
    )

    def __init__(
        self, key: str, definition: _Definition, rule: Rule | None, needs_flagd: bool, version: int
    ) -> None:
        self.key = key
        self.type = definition.type
        self.version = version
        self._metadata = definition.metadata
        self._rule = rule
        self._needs_flagd = needs_flagd
        self._matches: dict[str, Resolution] = {
            name: self._outcome(Reason.TARGETING_MATCH, name, value)
            for name, value in definition.variants.items()
            if name
        }
        name = definition.default
        value = None if name is None else definition.variants[name]
        self._default = self._outcome(Reason.DEFAULT, name, value)
        self._fixed: Resolution | None = None
        if not definition.enabled:
            self._fixed = self._outcome(Reason.DISABLED)
        elif rule is None:
            reason = Reason.DEFAULT if name is None else Reason.STATIC
            self._fixed = self._outcome(reason, name, value)

    def __repr__(self) -> str:
        kind = self._fixed.reason if self._fixed else "targeted"
        return f"<CompiledFlag {self.key!r} {self.type}, {kind}, version {self.version}>"

    @property
    def static(self) -> bool:
        """Whether every evaluation gives the same outcome, whatever the context."""
        return self._fixed is not None

    def evaluate(self, context: dict[str, Any], clock: Clock) -> Resolution:
        """The outcome for this context, which is not changed. Never raises: a rule that fails is an ERROR outcome.

        Outcomes other than errors are made once: the same outcome of this flag version is the same object.
        """
        if self._fixed is not None:
            return self._fixed
        assert self._rule is not None
        try:
            if self._needs_flagd:
                flagd = {"flagKey": self.key, "timestamp": int(clock())}
                target = context.get("targetingKey")
                context = {**context, "$flagd": flagd, "targetingKey": target}
            variant = self._rule(context)
        except RULE_FAILURES as failure:
            why = f"targeting failed: {type(failure).__name__}: {failure}"
            return self._error(ErrorCode.PARSE_ERROR, why)
        if variant is None:
            return self._default
        if not isinstance(variant, str):
            variant = str(variant).lower() if isinstance(variant, bool) else str(variant)
        match = self._matches.get(variant)
        if match is None:
            return self._error(ErrorCode.GENERAL, f"targeting gave {variant!r}, not a variant")
        return match

    def _outcome(
        self, reason: Reason, variant: str | None = None, value: Json = None
    ) -> Resolution:
        return Resolution(
            self.key, value, variant, reason, metadata=self._metadata, flag_version=self.version
        )

    def _error(self, code: ErrorCode, details: str) -> Resolution:
        return Resolution(
            self.key, None, None, Reason.ERROR, code, details, self._metadata, self.version
        )


def compile_flag(
    key: str,
    definition: Mapping[str, Any],
    evaluators: Mapping[str, Any] | None = None,
    *,
    version: int = 0,
) -> CompiledFlag:
    """Check and compile a flagd flag definition.

    `evaluators`: the organisation's shared rules, for `$ref`. `version`: log position of this definition.
    Raises `InvalidFlag`, and nothing else, for whatever JSON the definition may be.
    """
    checked = _check(key, definition)
    compiler = RuleCompiler(key, evaluators or {})
    rule = compiler.compile(checked.targeting) if checked.targeting else None
    return CompiledFlag(key, checked, rule, compiler.needs_flagd, version)


def _check(key: str, definition: Any) -> _Definition:
    if not isinstance(definition, Mapping):
        raise InvalidFlag(key, "definition", "must be an object")
    unknown = sorted(map(str, definition.keys() - _FIELDS))
    if unknown:
        raise InvalidFlag(key, "definition", f"unknown field {unknown[0]!r}")
    state = definition.get("state")
    if state not in ("ENABLED", "DISABLED"):
        raise InvalidFlag(key, "state", f"must be ENABLED or DISABLED, not {state!r}")
    variants = _check_variants(key, definition.get("variants"))
    flag_type = _type_of(key, variants)
    default = _default_variant(key, definition.get("defaultVariant"))
    if default is not None and default not in variants:
        raise InvalidFlag(key, "defaultVariant", f"{default!r} is not a variant")
    targeting = definition.get("targeting") or None
    if targeting is not None and not (isinstance(targeting, dict) and len(targeting) == 1):
        raise InvalidFlag(key, "targeting", "must be an object with one operator")
    metadata = _check_metadata(key, definition.get("metadata"))
    return _Definition(state == "ENABLED", variants, flag_type, default, targeting, metadata)


def _check_variants(key: str, variants: Any) -> dict[str, Json]:
    if not isinstance(variants, dict) or not variants:
        raise InvalidFlag(key, "variants", "must be an object with at least one variant")
    return variants


def _type_of(key: str, variants: Mapping[str, Json]) -> FlagType:
    types = {name: _variant_type(value) for name, value in variants.items()}
    for name, found in types.items():
        if found is None:
            raise InvalidFlag(key, f"variants.{name}", f"no type of value for {variants[name]!r}")
    first, *others = dict.fromkeys(types.values())
    if others:
        raise InvalidFlag(key, "variants", f"are of mixed types, {first} and {others[0]}")
    assert first is not None
    return first


def _variant_type(value: Any) -> FlagType | None:
    match value:
        case bool():
            return FlagType.BOOLEAN
        case str():
            return FlagType.STRING
        case int() | float():
            return FlagType.NUMBER
        case dict() | list():
            return FlagType.OBJECT
        case _:
            return None


def _default_variant(key: str, name: Any) -> str | None:
    if name is None or name == "":
        return None
    if isinstance(name, bool):
        return str(name).lower()
    if not isinstance(name, str):
        raise InvalidFlag(key, "defaultVariant", f"must be the name of a variant, not {name!r}")
    return name


def _check_metadata(key: str, metadata: Any) -> Metadata:
    if not metadata:
        return {}
    if not isinstance(metadata, dict):
        raise InvalidFlag(key, "metadata", "must be an object")
    for name, value in metadata.items():
        if not name or not isinstance(value, bool | int | float | str):
            raise InvalidFlag(key, f"metadata.{name}", "must be a text, a number or a boolean")
    return metadata
