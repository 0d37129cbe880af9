from __future__ import annotations

from reports import text


def test_clean_replaces_what_xml_forbids_and_terminals_obey():
    assert text.clean("a\x00b\x1b[31mc\u202ed\x85") == "a\ufffdb\ufffd[31mc\ufffdd\ufffd"
    assert text.clean("tab\tline\n") == "tab\tline\n"
    assert text.clean("\ud800") == "\ufffd"


def test_one_line():
    assert text.one_line(" a\n\tb  c ") == "a b c"


def test_shorten_tells_that_it_cut():
    assert text.shorten("abcdef", 6) == "abcdef"
    assert text.shorten("abcdef", 4) == "abc…"
    assert text.shorten("abcdef", 0) == ""


def test_markdown_is_inert_in_a_table_cell():
    assert text.markdown("a|b\n**c** <script> @you [x](y)") == (
        r"a\|b \*\*c\*\* &lt;script&gt; \@you \[x\](y)"
    )
