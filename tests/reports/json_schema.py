"""The few keywords of JSON Schema that results.schema.json uses; an unknown keyword is an error, not a pass."""

from __future__ import annotations

import re
from typing import Any

_TYPES = {
    "object": dict, "array": list, "string": str, "number": (int, float), "integer": int, "null": type(None),
}  # fmt: skip
_SILENT = {"$schema", "$defs", "title", "description"}


def violations(
    value: Any, schema: dict[str, Any], root: dict[str, Any] | None = None, at: str = "$"
) -> list[str]:
    root = root or schema
    found: list[str] = []
    for keyword, rule in schema.items():
        if keyword not in _SILENT:
            found += _CHECKS[keyword](value, rule, schema, root, at)
    return found


def _type(value, rule, schema, root, at):
    names = rule if isinstance(rule, list) else [rule]
    fits = any(isinstance(value, _TYPES[n]) and not isinstance(value, bool) for n in names)
    return [] if fits else [f"{at}: {value!r} is not {rule}"]


def _properties(value, rule, schema, root, at):
    return [
        v for name, sub in rule.items() if isinstance(value, dict) and name in value
        for v in violations(value[name], sub, root, f"{at}.{name}")
    ]  # fmt: skip


def _additional(value, rule, schema, root, at):
    if rule is True:
        return []
    extra = set(value) - set(schema.get("properties", {}))
    return [v for name in extra for v in violations(value[name], rule, root, f"{at}.{name}")]


def _ref(value, rule, schema, root, at):
    return violations(value, root["$defs"][rule.removeprefix("#/$defs/")], root, at)


_CHECKS = {
    "type": _type,
    "properties": _properties,
    "additionalProperties": _additional,
    "$ref": _ref,
    "required": lambda v, rule, s, r, at: [f"{at}: no {n}" for n in rule if n not in v],
    "items": lambda v, rule, s, r, at: [
        x for i, e in enumerate(v) for x in violations(e, rule, r, f"{at}[{i}]")
    ],
    "enum": lambda v, rule, s, r, at: [] if v in rule else [f"{at}: {v!r} is none of {rule}"],
    "const": lambda v, rule, s, r, at: [] if v == rule else [f"{at}: {v!r} is not {rule!r}"],
    "minimum": lambda v, rule, s, r, at: [] if v >= rule else [f"{at}: {v} < {rule}"],
    "pattern": lambda v, rule, s, r, at: (
        [] if re.search(rule, v) else [f"{at}: {v!r} is not {rule}"]
    ),
}
