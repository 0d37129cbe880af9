import pytest

from harness.errors import SpecError, SquallError
from harness.target import Target, fill, fill_headers, fill_path, pointer
from harness.yamlspec import build, loads


def test_templates_replace_names_and_leave_other_braces():
    body = '{"state":"ENABLED","variants":{"v":{n}},"x":{}}'
    assert fill(body, n="5") == '{"state":"ENABLED","variants":{"v":5},"x":{}}'
    assert fill("{a}{b}{unknown", a="{b}", b="2") == "{b}2{unknown"
    assert fill_path("/o/{org}/{key}", org="a b", key="x/y?") == "/o/a%20b/x%2Fy%3F"
    assert fill_headers({"X": "t-{org}"}, org="acme") == {"X": "t-acme"}
    with pytest.raises(ValueError, match="line break"):
        fill_headers({"X": "{org}"}, org="a\r\nEvil: 1")


def test_pointers():
    data = {"a": {"b": [{"c": 1}]}, "n": None}
    assert pointer("a.b.0.c")(data) == 1
    assert [pointer(p)(data) for p in ("", "a.x", "a.b.1", "a.b.x", "n.x", "a.b.0.c.d")] == [
        None
    ] * 6
    assert pointer("a")("text") is None


def test_a_target_file_names_only_what_differs():
    text = "name: ours\nevaluate: {path: '/e/{key}', value: v}\ncapabilities: [evaluate]"
    target = build(Target, loads(text))
    assert (target.evaluate.path, target.evaluate.value) == ("/e/{key}", "v")
    assert target.write == Target().write
    target.require("evaluate")
    with pytest.raises(SquallError, match="target ours can't do 'write'"):
        target.require("evaluate", "write")
    with pytest.raises(SpecError, match="unknown capability 'fly'"):
        build(Target, loads("capabilities: [fly]"))
