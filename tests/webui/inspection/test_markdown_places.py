"""Tests that characters of rendered Markdown have true places in the source, or no place."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid_webui.conversations.markdown.markdown_to_html import blocks
from pellucid_webui.inspection.markdown_places import RenderedBlock, rendered_blocks
from support.trial_counts import trial_count

MARKS = (
    "\n", "\n\n", "\r\n", "\r", " ", "  ", "    ", "\t", "*", "**", "***", "_", "__", "`", "``", "```", "````\n",
    "~~", "~~~", "# ", "## ", " #", " ##", "> ", "- ", "+ ", "1. ", "10) ", "|", "\\|", "|-|-|\n", "---\n", "===\n",
    "[", "]", "](http://a.b)", "](http://a.b \"", "\")", "![", "<", ">", "<http://c.d/", "[x]: http://e.f\n", "[x]",
    "\\(", "\\)", "\\[", "\\]",
    "&amp;", "&#42;", "&", "\\", "\\*", "\\\n", "$", "$$", "- [ ] ", "\0", "\u202e", "😀", "\ufeff",
)  # fmt: skip
"""Pieces of Markdown between unique characters."""

FIRST = 0x4E00
"""First of the unique characters, all CJK: letters that are no syntax and have no entities."""


@st.composite
def hostile(draw: st.DrawFn, marks: Sequence[str] = MARKS) -> str:
    """Draw a text of marks and of unique characters."""
    parts: list[str] = []
    for index in range(draw(st.integers(1, 30))):
        parts.append(draw(st.sampled_from(marks)))
        parts.append(chr(FIRST + index) * draw(st.integers(0, 1)))
    return "".join(parts)


def assert_whole(formula: str) -> None:
    """Assert that a part of the source is a formula with both delimiters."""
    assert re.fullmatch(r"\$\$.+\$\$|\$.+\$|\\\(.+\\\)|\\\[.+\\\]", formula, re.DOTALL), formula


def placed(block: RenderedBlock) -> dict[int, int]:
    """Return the index in the source for each placed character of a block."""
    return {run.text + at: run.source + at for run in block.runs for at in range(run.length)}


@settings(max_examples=trial_count(300))
@given(hostile())
def test_never_wrong(source: str) -> None:
    """A character of any Markdown has the true place or no place, and no place is used twice."""
    used: list[int] = []
    for block in rendered_blocks(source):
        found = placed(block)
        used += found.values()
        for at, origin in found.items():
            same = (block.text[at], source[origin])
            assert same[0] == same[1] or same in ((" ", "\n"), ("\n", "\r"), (" ", "\r"), ("\ufffd", "\0"))
            if ord(block.text[at]) >= FIRST and block.text[at] not in "😀\ufeff\ufffd":
                assert origin == source.index(block.text[at])
        for formula in block.formulas:
            used += range(formula.source, formula.source_end)
            assert_whole(source[formula.source : formula.source_end])
            assert not any(formula.text <= at < formula.text_end for at in found)
    assert len(used) == len(set(used))


@settings(max_examples=trial_count(300))
@given(hostile([mark for mark in MARKS if not re.search(r"[|&$!\[\]<(]", mark)]))
def test_nothing_missing(source: str) -> None:
    """Without tables, entities, links and images, every shown letter has a place."""
    for block in rendered_blocks(source):
        found = placed(block)
        letters = [at for at, character in enumerate(block.text) if FIRST <= ord(character) < FIRST + 30]
        assert [at for at in letters if at not in found] == []


@settings(max_examples=trial_count(300))
@given(hostile())
def test_the_text_is_the_page_s(source: str) -> None:
    """The blocks have the text of the page's HTML, without the controls."""
    html = re.sub(r"<figcaption>.*?</figcaption>|<[^>]*>", "", "".join(blocks(source)), flags=re.DOTALL)
    plain = re.sub(r"[&]#(\d+);|&(\w+);", "?", html)
    shown = re.sub(r"[&<>\"']", "?", "".join(block.text for block in rendered_blocks(source)))
    assert shown == re.sub(r"[&<>\"']", "?", plain)


@pytest.mark.parametrize(
    ("source", "letters"),
    [
        ("a *b* **c** ~~d~~ `e` [f](http://g.h) \\* i", "abcdefi*"),
        ("# a #\n\nb\n=\n\n> - c\n>   d\n\n1. e\n   - f", "abcdef"),
        ("| a | b |\n|---|---|\n| c *d* | e |\n\nf | g\n--|--\nh |\n", "abcdefgh"),
        ("```python\nif a:\n\tb()\n```\n\n    c\n      d", "ifabcd"),
        ("- a\n\n  ```\n  b\n    c\n  ```\n", "abc"),
        ("<http://a.b/c>", "abc"),
    ],
)
def test_constructs(source: str, letters: str) -> None:
    """All constructs of Markdown have places, except for addresses and languages."""
    found = "".join(block.text[at] for block in rendered_blocks(source) for at in sorted(placed(block)))
    assert set(letters) <= set(found)
    assert "python" not in found


@pytest.mark.parametrize(
    ("source", "formulas"),
    [
        ("Take $x^2$ and \\(\\nothing\\), *b*", ["$x^2$"]),
        ("> $$\n> \\frac{a}{b}\n> $$\n\nx", ["$$\n> \\frac{a}{b}\n> $$"]),
        ("a\r\n\r\n\\[\r\nx\r\n\\]\r\n", ["\\[\r\nx\r\n\\]"]),
        ("| $a$ | b |\n|--|--|\n| c | $d$ |", ["$a$", "$d$"]),
        ("$$\nx", []),
    ],
)
def test_formulas(source: str, formulas: list[str]) -> None:
    """A rendered formula is placed as a whole; a formula shown as source by characters."""
    blocks = rendered_blocks(source)
    assert [source[one.source : one.source_end] for block in blocks for one in block.formulas] == formulas
    assert all(block.text[one.text : one.text_end].strip() for block in blocks for one in block.formulas)
    shown = "".join(source[place] for block in blocks for place in placed(block).values())
    assert ("nothing" in source) == ("\\(\\nothing\\)" in shown)


@pytest.mark.parametrize("source", ["&amp;", "| a\\|b | c |\n|--|--|\n| d | e |", "![a](http://b.c)"])
def test_uncertain(source: str) -> None:
    """Entities, table rows with escaped pipes, and images have no places."""
    first = rendered_blocks(source)[0]
    assert not {"&", "a", "b", "c"} & {first.text[at] for at in placed(first)}
