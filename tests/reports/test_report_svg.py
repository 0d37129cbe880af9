from __future__ import annotations

import xml.etree.ElementTree as ET

from markupsafe import Markup

from reports import svg


def test_text_and_attributes_are_escaped():
    made = svg.el(
        "g",
        svg.title('<script>"&'),
        svg.text(1, 2.25, "</text><script>"),
        id='"onload="x',
        class_="a\x01b",
    )
    root = ET.fromstring(made)
    assert root.get("id") == '"onload="x'
    assert root.get("class") == "a\ufffdb"
    assert [child.text for child in root] == ['<script>"&', "</text><script>"]
    assert "<script" not in made
    assert 'y="2.2"' in made


def test_a_plain_string_that_looks_like_markup_is_still_escaped():
    assert svg.el("desc", "<b>") == Markup("<desc>&lt;b&gt;</desc>")


def test_labels_are_cut_to_their_room():
    assert svg.text(0, 0, "recovered", width=200).endswith(">recovered</text>")
    assert svg.text(0, 0, "recovered", width=32).endswith(">reco…</text>")
    assert svg.text(0, 0, "recovered", width=8) == ""


def test_only_a_colour_is_a_colour():
    assert svg.colour("#c0392b") == "#c0392b"
    assert svg.colour('red" onload="x') == svg.colour("")
    assert svg.colour("#c0392b\n") == svg.colour("")


def test_path_is_interrupted_where_there_is_nothing():
    assert svg.path([(0, 0), (1, 2), None, (3, 4)]) == "M0 0L1 2M3 4h2"


def test_scales():
    assert svg.time_ticks(0, 30) == [0, 5, 10, 15, 20, 25, 30]
    assert len(svg.time_ticks(0, 7_000_000)) == 11
    assert svg.time_ticks(22.6, 61) == [25, 30, 35, 40, 45, 50, 55, 60]
    assert svg.decades(1.5, 70) == [1, 10, 100]
    assert svg.decades(10, 10) == [10, 100]
    assert [svg.nice_top(v) for v in (0, 0.3, 1, 201, 900)] == [1, 0.5, 1, 250, 1000]
