"""YAML to frozen data classes, by their type hints, with errors that name file and line.

    tree = load("suites/x.yaml")           # a Tree: plain data that knows its lines
    scenario = build(Scenario, tree)       # by the type hints of the data class
    fault = build_named(faults, item)      # `- crash: {node: hub-us-1}` or `- crash: hub-us-1`

Hints understood: str, int, float, bool, Seconds, list, tuple, dict[str, X], Optional and other unions, Literal,
enums of strings, nested data classes, Any (plain data), Tree (left as it is, to be built later), and
``Annotated[float, AtLeast(0)]``. A field named ``from_`` is written ``from``. ``__post_init__`` may raise ValueError:
it becomes a SpecError with the line. The hints are read at run time, so their imports can't be under TYPE_CHECKING.

Scalars follow YAML 1.2's core schema: ``no`` and ``12:30`` are strings, not a bool and a number.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import (
    Annotated,
    Any,
    ClassVar,
    Literal,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

import yaml

from harness.errors import SpecError
from harness.units import Seconds

T = TypeVar("T")

# Far above what a hand-written file needs, far below what hurts.
MAX_BYTES = 1_000_000
MAX_NODES = 50_000
MAX_DEPTH = 40
MAX_ALIASES = 50
MAX_DIGITS = 18

_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0}
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([a-z]*)")
_INT = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?")
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_PLAIN_TAGS = frozenset(f"tag:yaml.org,2002:{kind}" for kind in ("str", "seq", "map"))


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in a file; `line` is 1-based."""

    path: str
    line: int

    def error(self, message: str) -> SpecError:
        return SpecError(self.path, self.line, message)


@dataclass(frozen=True, slots=True)
class Tree:
    """One YAML value with its place. Lists and mappings hold further trees."""

    value: bool | int | float | str | list[Tree] | dict[str, Tree] | None
    mark: Mark
    keys: dict[str, Mark] = field(default_factory=dict)  # where each key of a mapping stands

    @property
    def line(self) -> int:
        return self.mark.line

    @property
    def kind(self) -> str:
        """What a user would call it."""
        match self.value:
            case None:
                return "nothing"
            case bool():
                return "true/false"
            case int() | float():
                return "a number"
            case str():
                return "a text"
            case list():
                return "a list"
        return "a mapping"

    def plain(self) -> Any:
        """The value without marks: what ``yaml.safe_load`` would give."""
        match self.value:
            case list():
                return [item.plain() for item in self.value]
            case dict():
                return {key: item.plain() for key, item in self.value.items()}
        return self.value

    def error(self, message: str) -> SpecError:
        return self.mark.error(message)

    def key_mark(self, key: str) -> Mark:
        """Where `key` stands; where the mapping itself begins if there is no such key."""
        return self.keys.get(key, self.mark)


class Marks:
    """Side table: where each built data class, and each of its fields, was written. For checks of meaning after `build`."""

    def __init__(self) -> None:
        self._of: dict[int, tuple[object, Tree]] = {}

    def __repr__(self) -> str:
        return f"Marks({len(self._of)} objects)"

    def put(self, built: object, tree: Tree) -> None:
        self._of[id(built)] = (built, tree)  # the reference keeps the id from being used again

    def tree(self, built: object) -> Tree:
        """Raises KeyError for an object that this table's `build` has not made."""
        return self._of[id(built)][1]

    def mark(self, built: object, key: str | None = None) -> Mark:
        """Where the object, or one of its keys, was written."""
        tree = self.tree(built)
        return tree.mark if key is None else tree.key_mark(key)


@dataclass(frozen=True, slots=True)
class AtLeast:
    """``Annotated[float, AtLeast(0)]``: the smallest number allowed."""

    least: float


@dataclass(frozen=True, slots=True)
class AtMost:
    """``Annotated[float, AtMost(1)]``: the largest number allowed."""

    most: float


def nearest(word: str, known: Iterable[str]) -> str:
    """``; did you mean 'x'?`` with the known words, to be put behind a complaint about `word`."""
    words = sorted(known)
    close = difflib.get_close_matches(word, words, n=1, cutoff=0.5)
    hint = f"; did you mean '{close[0]}'?" if close else ""
    return f"{hint} (known: {', '.join(words) or 'none'})"


def parse_seconds(text: str) -> Seconds:
    """``100ms``, ``10s``, ``5min``, ``2h``, ``1.5`` to seconds. Raises ValueError with one clear line."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise ValueError(
            f"'{text}' is not a duration; write it as 100ms, 10s, 5min or a number of seconds"
        )
    number, unit = match.groups()
    if unit and unit not in _UNITS:
        raise ValueError(f"'{text}' has an unknown unit '{unit}'; known: {', '.join(_UNITS)}")
    return Seconds(float(number) * _UNITS[unit or "s"])


# ------------------------------------------------------------------------------------------------ text to tree


def load(path: str | Path) -> Tree:
    """Read a YAML file. Raises `SpecError` for whatever can't be read as one document of plain data."""
    name = str(path)
    try:
        with Path(path).open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise SpecError(name, 1, f"can't be read: {error.strerror}") from error
    if len(raw) > MAX_BYTES:
        raise SpecError(name, 1, f"is longer than {MAX_BYTES} bytes")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise SpecError(name, line, "is not text in UTF-8") from error
    return loads(text, name)


def loads(text: str, path: str = "<text>") -> Tree:
    """The same for a text; `path` is what errors will name."""
    try:
        root = yaml.compose(text, Loader=yaml.BaseLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        message = " ".join(part for part in (error.problem, error.context) if part)
        raise SpecError(path, mark.line + 1 if mark else 1, f"is not YAML: {message}") from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise SpecError(path, line, "is not text: it has control characters") from error
    except RecursionError as error:
        raise SpecError(path, 1, "is nested too deep") from error
    if root is None:
        raise SpecError(path, 1, "is empty")
    return _Reader(path).read(root, depth=0)


class _Reader:
    """Turns PyYAML's nodes into trees; counts what it makes, so that aliases can't blow it up."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._made = 0
        self._seen: set[int] = set()
        self._aliases = 0

    def __repr__(self) -> str:
        return f"_Reader({self._path!r}, made={self._made}, aliases={self._aliases})"

    def read(self, node: yaml.Node, depth: int) -> Tree:
        mark = self._mark(node)
        self._made += 1
        # A node met twice was written once and referred to by an alias.
        if id(node) in self._seen:
            self._aliases += 1
        self._seen.add(id(node))
        if self._aliases > MAX_ALIASES or self._made > MAX_NODES:
            raise mark.error(f"too many aliases or values ({MAX_ALIASES} and {MAX_NODES} at most)")
        if depth > MAX_DEPTH:
            raise mark.error(f"is nested deeper than {MAX_DEPTH} (or an alias refers to itself)")
        if node.tag not in _PLAIN_TAGS:
            raise mark.error(f"tags such as {node.tag} are not allowed")
        if isinstance(node, yaml.SequenceNode):
            return Tree([self.read(item, depth + 1) for item in node.value], mark)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, mark, depth)
        assert isinstance(node, yaml.ScalarNode)  # there is no fourth kind
        return Tree(_scalar(node, mark), mark)

    def _mapping(self, node: yaml.MappingNode, mark: Mark, depth: int) -> Tree:
        values: dict[str, Tree] = {}
        keys: dict[str, Mark] = {}
        for key_node, value_node in node.value:
            key_mark = self._mark(key_node)
            if not isinstance(key_node, yaml.ScalarNode):
                raise key_mark.error("a key must be a plain word")
            key = str(key_node.value)
            if key in values:
                raise key_mark.error(f"'{key}' is given twice (first in line {keys[key].line})")
            values[key] = self.read(value_node, depth + 1)
            keys[key] = key_mark
        return Tree(values, mark, keys)

    def _mark(self, node: yaml.Node) -> Mark:
        return Mark(self._path, node.start_mark.line + 1)


def _scalar(node: yaml.ScalarNode, mark: Mark) -> bool | int | float | str | None:
    text = str(node.value)
    if node.style is not None:  # quoted or a block: always a text
        return text
    if text in _NULLS:
        return None
    if text in _BOOLS:
        return _BOOLS[text]
    if _INT.fullmatch(text):
        if len(text) > MAX_DIGITS:
            raise mark.error(f"a number of {len(text)} digits; put it in quotes if it is a text")
        return int(text)
    if _FLOAT.fullmatch(text):
        number = float(text)
        if not math.isfinite(number):
            raise mark.error(f"{text} is too large for a number")
        return number
    return text


# ----------------------------------------------------------------------------------------------- tree to class


def build(cls: type[T], node: Tree, *, context: str = "", marks: Marks | None = None) -> T:
    """Make a `cls` of `node`. `context` begins the messages ("fault crash"); `marks` learns where things were written.

    Raises `SpecError` at the line of what is wrong: unknown and missing keys, wrong types, bad or negative durations.
    """
    return _Builder(marks).make(cls, node, context)  # type: ignore[no-any-return]


def named(
    registry: Mapping[str, type[T]], node: Tree, *, context: str = "", what: str = "name"
) -> tuple[str, Tree]:
    """Split ``{crash: BODY}``, or the bare word ``crash``, into the name and its body. `what` is for messages."""
    where = f"{context}: " if context else ""
    if isinstance(node.value, str):
        name, body, mark = node.value, Tree(None, node.mark), node.mark
    elif isinstance(node.value, dict) and len(node.value) == 1:
        name, body = next(iter(node.value.items()))
        mark = node.key_mark(name)
    else:
        raise node.error(f"{where}must be one {what} with its fields, but is {_count(node)}")
    if name not in registry:
        raise mark.error(f"{where}unknown {what} '{name}'{nearest(name, registry)}")
    return name, Tree(body.value, mark if body.value is None else body.mark, body.keys)


def build_named(
    registry: Mapping[str, type[T]],
    node: Tree,
    *,
    context: str = "",
    what: str = "name",
    marks: Marks | None = None,
) -> T:
    """Make one of a named set: ``crash: {node: hub-us-1}``; or ``crash: hub-us-1``, which fills the first field;
    or ``crash`` alone, where all fields have defaults. Raises `SpecError` as `build` does.
    """
    name, body = named(registry, node, context=context, what=what)
    cls = registry[name]
    label = f"{context}.{name}" if context else f"{what} {name}"
    if body.value is None:
        body = Tree({}, body.mark)
    elif not isinstance(body.value, dict):
        known = _fields(cls)
        if not known:
            raise body.error(f"{label}: takes no fields, but was given {body.kind}")
        first = next(iter(known))
        body = Tree({first: body}, body.mark, {first: body.mark})
    return build(cls, body, context=label, marks=marks)


def _count(node: Tree) -> str:
    if isinstance(node.value, dict):
        return f"a mapping with {len(node.value)} keys ({', '.join(node.value) or 'none'})"
    return node.kind


def _fields(cls: type[Any]) -> dict[str, dataclasses.Field[Any]]:
    """The fields a user may write, by the word to write."""
    return {item.name.rstrip("_"): item for item in dataclasses.fields(cls) if item.init}


class _Builder:
    def __init__(self, marks: Marks | None) -> None:
        self._marks = marks

    def __repr__(self) -> str:
        return f"_Builder({self._marks!r})"

    def make(self, hint: Any, node: Tree, where: str) -> Any:
        origin = get_origin(hint) or hint
        if origin in self._BY_ORIGIN:
            return self._BY_ORIGIN[origin](self, hint, node, where)
        if isinstance(hint, type) and issubclass(hint, Enum):
            return _choice({str(item.value): item for item in hint}, node, where)
        if dataclasses.is_dataclass(hint):
            return self._dataclass(hint, node, where)
        return _leaf(hint, node, where)

    def _annotated(self, hint: Any, node: Tree, where: str) -> Any:
        inner, *notes = get_args(hint)
        built = self.make(inner, node, where)
        for note in notes:
            if isinstance(note, AtLeast) and built is not None and built < note.least:
                raise _complaint(node, where, f"must be at least {note.least:g}, but is {built:g}")
            if isinstance(note, AtMost) and built is not None and built > note.most:
                raise _complaint(node, where, f"must be at most {note.most:g}, but is {built:g}")
        return built

    def _union(self, hint: Any, node: Tree, where: str) -> Any:
        arms = get_args(hint)
        if node.value is None and type(None) in arms:
            return None
        arms = tuple(arm for arm in arms if arm is not type(None))
        errors: list[tuple[bool, SpecError]] = []
        for arm in arms:
            try:
                return self.make(arm, node, where)
            except SpecError as error:
                errors.append((_shape_fits(arm, node), error))
        # The complaint of the arm that the user probably meant is the telling one.
        fitting = [error for fits, error in errors if fits]
        raise (fitting or [error for _, error in errors])[-1]

    def _sequence(self, hint: Any, node: Tree, where: str) -> Any:
        kind, args = get_origin(hint) or hint, get_args(hint)
        if not isinstance(node.value, list):
            raise _wrong(node, where, "a list")
        if kind is tuple and args and args[-1] is not Ellipsis:
            if len(node.value) != len(args):
                got = len(node.value)
                raise _complaint(node, where, f"must have {len(args)} items, but has {got}")
            hints = list(args)
        else:
            hints = [args[0] if args else Any] * len(node.value)
        pairs = zip(hints, node.value, strict=True)
        items = [self.make(hint, item, f"{where}[{n}]") for n, (hint, item) in enumerate(pairs)]
        return tuple(items) if kind is tuple else items

    def _dict(self, hint: Any, node: Tree, where: str) -> dict[str, Any]:
        args = get_args(hint)
        if not isinstance(node.value, dict):
            raise _wrong(node, where, "a mapping")
        hint = args[1] if args else Any
        return {key: self.make(hint, item, _join(where, key)) for key, item in node.value.items()}

    def _dataclass(self, cls: Any, node: Tree, where: str) -> Any:
        if not isinstance(node.value, dict):
            raise _wrong(node, where, f"a mapping with {', '.join(_fields(cls))}")
        known = _fields(cls)
        for key in node.value:
            if key not in known:
                message = f"unknown key '{key}'{nearest(key, known)}"
                raise node.key_mark(key).error(_prefix(where) + message)
        hints = get_type_hints(cls, include_extras=True)
        given: dict[str, Any] = {}
        for key, item in known.items():
            if key in node.value:
                given[item.name] = self.make(hints[item.name], node.value[key], _join(where, key))
            elif (
                item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
            ):
                raise _complaint(node, where, f"'{key}' is missing")
        try:
            built = cls(**given)
        except ValueError as error:
            raise _complaint(node, where, str(error)) from error
        if self._marks is not None:
            self._marks.put(built, node)
        return built

    # What a hint is at its outside, and how to build that.
    _BY_ORIGIN: ClassVar[dict[Any, Callable[[_Builder, Any, Tree, str], Any]]] = {
        Any: lambda _self, _hint, node, _where: node.plain(),
        Tree: lambda _self, _hint, node, _where: node,
        Seconds: lambda _self, _hint, node, where: _seconds(node, where),
        Literal: lambda _self, hint, node, where: _choice(
            {str(item): item for item in get_args(hint)}, node, where
        ),
        Annotated: _annotated,
        Union: _union,
        types.UnionType: _union,
        list: _sequence,
        tuple: _sequence,
        dict: _dict,
        Mapping: _dict,
    }


def _leaf(hint: Any, node: Tree, where: str) -> Any:
    value = node.value
    if hint is str and isinstance(value, str):
        return value
    if hint is bool and isinstance(value, bool):
        return value
    if hint is int and isinstance(value, int) and not isinstance(value, bool):
        return value
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    names = {str: "a text", bool: "true or false", int: "a whole number", float: "a number"}
    if hint is type(None):
        raise _wrong(node, where, "nothing")
    if hint not in names:
        raise TypeError(f"yamlspec can't build {hint!r} (at {where or 'the top'})")
    raise _wrong(node, where, names[hint])


def _seconds(node: Tree, where: str) -> Seconds:
    value = node.value
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise _wrong(node, where, "a duration such as 100ms, 10s or 5min")
    if isinstance(value, str) and not value.startswith("-"):
        try:
            return parse_seconds(value)
        except ValueError as error:
            raise _complaint(node, where, str(error)) from error
    if isinstance(value, str) or value < 0:
        raise _complaint(node, where, f"a duration can't be negative, but is {value}")
    return Seconds(float(value))


def _choice(options: dict[str, Any], node: Tree, where: str) -> Any:
    if isinstance(node.value, list | dict) or node.value is None:
        raise _wrong(node, where, f"one of {', '.join(options)}")
    word = str(node.value).lower() if isinstance(node.value, bool) else str(node.value)
    if word not in options:
        raise _complaint(node, where, f"unknown value '{word}'{nearest(word, options)}")
    return options[word]


def _shape_fits(hint: Any, node: Tree) -> bool:
    """Is the value of the shape (list, mapping, scalar) that the hint wants?"""
    origin = get_origin(hint) or hint
    if origin in (list, tuple):
        return isinstance(node.value, list)
    if origin in (dict, Mapping) or dataclasses.is_dataclass(origin):
        return isinstance(node.value, dict)
    if origin is str:
        return isinstance(node.value, str)
    return not isinstance(node.value, list | dict)


def _join(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key


def _prefix(where: str) -> str:
    return f"{where}: " if where else ""


def _complaint(node: Tree, where: str, message: str) -> SpecError:
    return node.error(_prefix(where) + message)


def _wrong(node: Tree, where: str, wanted: str) -> SpecError:
    shown = f" ({node.value!r})" if isinstance(node.value, str | int | float) else ""
    return _complaint(node, where, f"must be {wanted}, but is {node.kind}{shown}")
