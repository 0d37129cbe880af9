"""Faults as they are written on a command line: ``latency link='a->b' latency=200ms``, and the list of all of them."""

from __future__ import annotations

import dataclasses
from enum import Enum
from typing import TYPE_CHECKING, Any, get_args, get_origin, get_type_hints

from harness import yamlspec
from harness.errors import SpecError, SquallError
from harness.units import Seconds
from harness.yamlspec import Mark, Tree

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.fault import Fault, FaultInfo

_MARK = Mark("command line", 1)


def fault_of(faults: Mapping[str, FaultInfo], name: str, words: Sequence[str]) -> Fault:
    """Build the fault that ``NAME [FIELD=VALUE …]`` means. A bare value fills the first field; commas make lists.

    Raises `SquallError` with one line that names the nearest fault or field.
    """
    try:
        if name not in faults:
            raise _MARK.error(f"unknown fault '{name}'{yamlspec.nearest(name, faults)}")
        cls = faults[name].cls
        body = Tree(_fields(name, cls, words), _MARK) if words else Tree(None, _MARK)
        registry = {known: info.cls for known, info in faults.items()}
        return yamlspec.build_named(registry, Tree({name: body}, _MARK), what="fault")
    except SpecError as error:  # there is no file whose name and line could be told
        raise SquallError(error.message) from None


def describe(info: FaultInfo) -> str:
    """The name, what it does, and its fields with what they are when not given."""
    fields = ", ".join(_field(info.cls, item) for item in _known(info.cls).values())
    return f"{info.name}\n    {info.summary}\n    fields: {fields or 'none'}"


def _known(cls: type[Any]) -> dict[str, dataclasses.Field[Any]]:
    """By the word that a user writes."""
    return {item.name.rstrip("_"): item for item in dataclasses.fields(cls) if item.init}


def _fields(name: str, cls: type[Any], words: Sequence[str]) -> dict[str, Tree]:
    known, hints = _known(cls), get_type_hints(cls)
    given: dict[str, Tree] = {}
    for word in words:
        key, sign, text = word.partition("=")
        if not sign:
            key, text = _first(name, known, word), word
        if key in given:
            raise _MARK.error(f"fault {name}: '{key}' is given twice")
        hint = hints[known[key].name] if key in known else str
        given[key] = _tree(text, hint)
    return given


def _first(name: str, known: Mapping[str, object], word: str) -> str:
    if not known:
        raise _MARK.error(f"fault {name}: takes no fields, but was given '{word}'")
    first = next(iter(known))
    # `crash hub-1,hub-2`: the field for several goes by the plural.
    return f"{first}s" if "," in word and f"{first}s" in known else first


def _tree(text: str, hint: Any) -> Tree:
    kinds = {get_origin(arm) or arm for arm in (hint, *get_args(hint))}
    several = bool(kinds & {tuple, list})
    if several and ("," in text or str not in kinds or get_origin(hint) in (tuple, list)):
        return Tree([_leaf(item.strip()) for item in text.split(",") if item.strip()], _MARK)
    return Tree(text, _MARK) if str in kinds else _leaf(text)


def _leaf(text: str) -> Tree:
    """Numbers, true and false are told from texts as in a scenario file."""
    return yamlspec.loads(text, _MARK.path) if text else Tree("", _MARK)


def _field(cls: type[Any], item: dataclasses.Field[Any]) -> str:
    word, hint = item.name.rstrip("_"), get_type_hints(cls)[item.name]
    if isinstance(hint, type) and issubclass(hint, Enum):
        return f"{word}={_default(item, hint)} (of {', '.join(str(one.value) for one in hint)})"
    shown = _default(item, hint)
    return f"{word}={shown}" if shown else word


def _default(item: dataclasses.Field[Any], hint: Any) -> str:
    """As it would be written; "" for a field that must be given or is empty."""
    if item.default is dataclasses.MISSING:
        return ""
    if hint is Seconds:
        return f"{item.default * 1000:g}ms" if 0 < item.default < 1 else f"{item.default:g}s"
    if isinstance(item.default, tuple):
        return ",".join(map(str, item.default))
    return str(item.default.value if isinstance(item.default, Enum) else item.default)
