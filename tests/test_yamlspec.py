from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import SpecError
from harness.units import Seconds
from harness.yamlspec import (
    AtLeast,
    AtMost,
    Marks,
    Tree,
    build,
    build_named,
    load,
    loads,
    parse_seconds,
)


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True, slots=True)
class Part:
    name: str
    weight: Annotated[float, AtLeast(0), AtMost(10)] = 1.0


@dataclass(frozen=True, slots=True)
class Thing:
    name: str
    count: int = 0
    wait: Seconds = Seconds(1.0)
    colour: Colour = Colour.RED
    parts: tuple[Part, ...] = ()
    tags: list[str] = field(default_factory=list)
    by_name: dict[str, Part] = field(default_factory=dict)
    maybe: int | None = None
    one_or_many: str | tuple[str, ...] = ()
    mode: Literal["a", "b"] = "a"
    anything: Any = None
    later: Tree | None = None
    from_: str = ""
    pair: tuple[int, str] | None = None
    flag: bool = False

    def __post_init__(self) -> None:
        if self.name == "bad":
            raise ValueError("a thing can't be called bad")


@dataclass(frozen=True, slots=True)
class Crash:
    node: str
    wait: Seconds = Seconds(0.0)


@dataclass(frozen=True, slots=True)
class Wait:
    nodes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Nothing:
    pass


KINDS: dict[str, type] = {"crash": Crash, "wait": Wait, "nothing": Nothing}


def make(text: str) -> Thing:
    return build(Thing, loads(text, "f.yaml"))


def complaint(text: str) -> str:
    with pytest.raises(SpecError) as caught:
        make(text)
    return str(caught.value)


def test_builds_every_kind_of_field():
    thing = make("""
name: x
count: 3
wait: 100ms
colour: blue
parts: [{name: a}, {name: b, weight: 2}]
tags: [one, two]
by_name: {p: {name: q}}
maybe: 5
one_or_many: [u, v]
mode: b
anything: {k: [1, 2.5, null, true]}
later: {deep: 1}
from: here
pair: [1, z]
flag: true
""")
    assert thing.parts == (Part("a"), Part("b", 2.0))
    assert (thing.count, thing.wait, thing.colour, thing.mode) == (3, 0.1, Colour.BLUE, "b")
    assert thing.by_name == {"p": Part("q")}
    assert thing.one_or_many == ("u", "v")
    assert thing.anything == {"k": [1, 2.5, None, True]}
    assert thing.later is not None
    assert thing.later.plain() == {"deep": 1}
    assert (thing.from_, thing.pair, thing.flag, thing.maybe) == ("here", (1, "z"), True, 5)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name: x\ncuont: 1", "f.yaml:2: unknown key 'cuont'; did you mean 'count'?"),
        ("count: 1", "f.yaml:1: 'name' is missing"),
        ("name: 5", "f.yaml:1: name: must be a text, but is a number (5)"),
        ("name: x\ncount: 1.5", "f.yaml:2: count: must be a whole number"),
        ("name: x\ncount: true", "f.yaml:2: count: must be a whole number, but is true/false"),
        ("name: x\nflag: yes", "f.yaml:2: flag: must be true or false, but is a text ('yes')"),
        ("name: x\nname: y", "f.yaml:2: 'name' is given twice (first in line 1)"),
        ("name: x\nwait: 5 parsecs", "f.yaml:2: wait: '5 parsecs' has an unknown unit 'parsecs'"),
        ("name: x\nwait: soon", "f.yaml:2: wait: 'soon' is not a duration"),
        ("name: x\nwait: -1", "f.yaml:2: wait: a duration can't be negative"),
        ("name: x\nwait: -1s", "f.yaml:2: wait: a duration can't be negative"),
        ("name: x\ncolour: rad", "f.yaml:2: colour: unknown value 'rad'; did you mean 'red'?"),
        ("name: x\nmode: c", "f.yaml:2: mode: unknown value 'c'"),
        (
            "name: x\nparts:\n- name: a\n  weight: -1",
            "f.yaml:4: parts[0].weight: must be at least 0",
        ),
        ("name: x\nparts: [{name: a, weight: 11}]", "parts[0].weight: must be at most 10"),
        ("name: x\nparts: {}", "f.yaml:2: parts: must be a list, but is a mapping"),
        ("name: x\nby_name:\n  p: 7", "f.yaml:3: by_name.p: must be a mapping with name, weight"),
        ("name: x\none_or_many: [1]", "f.yaml:2: one_or_many[0]: must be a text"),
        ("name: x\npair: [1]", "f.yaml:2: pair: must have 2 items, but has 1"),
        ("name: bad", "f.yaml:1: a thing can't be called bad"),
        ("", "f.yaml:1: is empty"),
        ("# only a comment\n", "f.yaml:1: is empty"),
        ("just words", "f.yaml:1: must be a mapping with name"),
        ("name: x\n  bad: [", "f.yaml:2: is not YAML"),
        ("name: x\n---\nname: y", "is not YAML: but found another document"),
        (
            "name: !!python/object:os.system x",
            "tags such as tag:yaml.org,2002:python/object:os.system",
        ),
        ("name: x\n? [a]\n: b", "f.yaml:2: a key must be a plain word"),
        ("name: x\nanything: 1" + "0" * 5000, "f.yaml:2: a number of 5001 digits"),
        ("name: x\nanything: 1e999", "f.yaml:2: 1e999 is too large"),
        ("name: x\nanything: &a [*a]", "nested deeper"),
        ("name: " + "[" * 5000, "f.yaml:1: "),
    ],
)
def test_says_what_is_wrong_and_where(text, expected):
    assert expected in complaint(text)


def test_refuses_an_alias_bomb():
    lines = ["anything:", "- &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"- &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]
    assert "too many aliases or values" in complaint("\n".join(lines))


def test_a_few_aliases_are_fine():
    assert make("name: &n x\nfrom: *n").from_ == "x"


def test_scalars_are_read_as_yaml_1_2():
    thing = make("name: no\nanything: [on, 12:30, 2024-01-01, 007, 1e3, ~, 'null', .5]")
    assert thing.name == "no"
    assert thing.anything == ["on", "12:30", "2024-01-01", 7, 1000.0, None, "null", 0.5]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"a: \xff\xfe", ":1: is not text in UTF-8"),
        (b"a: 1\nb: \x00\x01", ":2: is not text: it has control characters"),
        (b"a: 1\n" * 300_000, ":1: is longer than"),
    ],
)
def test_refuses_files_that_are_not_text(tmp_path, content, expected):
    path = tmp_path / "f.yaml"
    path.write_bytes(content)
    with pytest.raises(SpecError) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}{expected}")


def test_a_missing_file_is_a_clear_line(tmp_path):
    with pytest.raises(SpecError, match="can't be read: No such file"):
        load(tmp_path / "none.yaml")


def test_reads_a_file_with_a_byte_order_mark(tmp_path):
    (tmp_path / "f.yaml").write_bytes(b"\xef\xbb\xbfname: x")
    assert build(Thing, load(tmp_path / "f.yaml")).name == "x"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("100ms", 0.1),
        ("10s", 10),
        ("5min", 300),
        ("1h", 3600),
        ("2.5", 2.5),
        ("7 s", 7),
        ("50us", 5e-5),
    ],
)
def test_durations(text, seconds):
    assert parse_seconds(text) == pytest.approx(seconds)


def test_context_begins_the_message():
    with pytest.raises(SpecError, match="fault x: unknown key 'a'"):
        build(Part, loads("a: 1"), context="fault x")


def test_marks_remember_lines_for_later_checks():
    marks = Marks()
    thing = build(
        Thing, loads("name: x\nparts:\n- name: a\n- weight: 2\n  name: b", "f"), marks=marks
    )
    assert marks.mark(thing).line == 1
    assert marks.mark(thing.parts[1]).line == 4
    assert str(marks.mark(thing.parts[1], "name").error("no")) == "f:5: no"
    with pytest.raises(KeyError):
        marks.tree(Part("never built"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("crash: {node: hub, wait: 5s}", Crash("hub", Seconds(5.0))),
        ("crash: hub", Crash("hub")),
        ("wait: [a, b]", Wait(("a", "b"))),
        ("wait", Wait()),
        ("wait:", Wait()),
        ("nothing", Nothing()),
    ],
)
def test_one_of_a_named_set(text, expected):
    assert build_named(KINDS, loads(text)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("crush: hub", ":1: unknown fault 'crush'; did you mean 'crash'?"),
        ("crash: {nod: hub}", ":1: fault crash: unknown key 'nod'; did you mean 'node'?"),
        ("crash", ":1: fault crash: 'node' is missing"),
        ("crash: [a]", ":1: fault crash.node: must be a text, but is a list"),
        ("nothing: 5", ":1: fault nothing: takes no fields"),
        (
            "{crash: a, wait: b}",
            ":1: must be one fault with its fields, but is a mapping with 2 keys",
        ),
        ("[crash]", ":1: must be one fault with its fields, but is a list"),
    ],
)
def test_errors_of_a_named_set(text, expected):
    with pytest.raises(SpecError) as caught:
        build_named(KINDS, loads(text), what="fault")
    assert expected in str(caught.value)


def test_a_hint_it_cannot_build_is_the_programmers_error():
    @dataclass
    class Odd:
        it: complex

    with pytest.raises(TypeError, match="can't build"):
        build(Odd, loads("it: 1"))


@given(st.text(max_size=80))
def test_any_text_is_built_or_refused_with_a_line(text):
    try:
        build(Thing, loads(text, "f.yaml"))
    except SpecError as error:
        assert error.line >= 1
        assert "\n" not in error.message.strip()


@given(st.recursive(st.text("ab:-[]{}&*!?#\n ", max_size=6), lambda t: st.lists(t).map(str)))
def test_any_punctuation_is_built_or_refused(text):
    try:
        loads(text)
    except SpecError as error:
        assert error.line >= 1
