"""Tests that formulas become safe MathML at little cost, for any model output."""

from __future__ import annotations

import re
import time
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid_webui.conversations.markdown.formulas import ELEMENTS, MAX_CHARACTERS, is_cheap, mathml
from support.trial_counts import trial_count

WORDS = (
    r"\frac",
    r"\sqrt",
    "{",
    "}",
    "[",
    "]",
    "(",
    ")",
    r"\{",
    r"\langle",
    r"\left(",
    r"\right)",
    r"\begin{aligned}",
    r"\end{aligned}",
    r"\begin{array}{c|c}",
    r"\end{array}",
    "&",
    r"\\",
    r"\\[9em]",
    "^",
    "_",
    r"\text{",
    r"\textbf{",
    r"\color{red}",
    r"\href{javascript:x}",
    r"\htmlClass{x}",
    r"\style{color:red}",
    r"\class{x}",
    r"\rule{9em}{9em}",
    r"\hspace{99em}",
    r"\hspace{1em}",
    r"\def\a{",
    r"\a",
    r"\boxed{",
    r"\cancel{",
    r"\tag{1}",
    r"\label{x}",
    r"\ref{x}",
    r"\unicode{60}",
    "<script>",
    "</math>",
    "<!--",
    "<img src=x onerror=y>",
    "&lt;",
    "'",
    '"',
    "x",
    "1",
    "+",
    r"\sum",
    r"\not",
    r"\mathbf",
    r"\phantom{",
    "é",
    "😀",
    "\u202e",
)
"""Pieces of LaTeX, both ordinary and hostile."""


class Seen(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: set[str] = set()
        self.attributes: dict[str, str] = {}
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        self.attributes |= {name: value or "" for name, value in attrs}


@pytest.mark.parametrize(
    ("latex", "shown"),
    [
        (r"\frac{a}{b}", "<mfrac><mi>a</mi><mi>b</mi></mfrac>"),
        (r"x_1 < y", "<msub><mi>x</mi><mn>1</mn></msub><mo>&lt;</mo><mi>y</mi>"),
        (r"\boxed{42}", '<mrow class="pl-boxed"><mn>42</mn></mrow>'),
        (r"\color{red}{x}", "<mrow><mi>x</mi></mrow>"),
        (r"\text{a <b> \& c}", "<mtext>a\xa0&lt;b&gt;\xa0&amp;c</mtext>"),
    ],
)
def test_rendered(latex: str, shown: str) -> None:
    """Formulas become MathML without colours, and text stays text."""
    assert shown in str(mathml(latex, False))


@pytest.mark.parametrize(
    "latex",
    [
        r"\mathbf{x}^\top \boldsymbol{\theta}",
        r"\begin{aligned} a &= b \\ &= c \end{aligned}",
        r"\begin{cases} 1 & x > 0 \\ 0 & \text{otherwise} \end{cases}",
        r"\begin{split} a &= b \end{split}",
        r"E = mc^2 \tag{1}",
        r"\left( \frac{1}{2} \right] \quad \{ a \mid b \}",
        r"D_{\mathrm{KL}}(p \,\|\, q) = \sum_i p_i \log \frac{p_i}{q_i}",
        r"a \equiv b \pmod{n}, \; c \! d",
        r"\operatorname*{arg\,max}_x \lVert x \rVert",
        r"f(g(h(x))) \in [0, 1)",
    ],
)
def test_common_formulas(latex: str) -> None:
    """Common formulas of models are rendered."""
    assert mathml(latex, True) is not None


@pytest.mark.parametrize(
    "latex",
    [
        r"\nothing",
        r"\frac{1}",
        "x^",
        "{x",
        r"\href{javascript:alert(1)}{x}",
        r"\htmlClass{a}{x}",
        r"\class{a}{x}",
        r"\style{color:red}{x}",
        r"\rule{1e9em}{1em}",
        r"\hspace{1000em} x",
        r"\def\a{x}\a",
        r"\newcommand{\a}{x}\a",
        r"\cancel{x}",
        r"\label{a} x",
        "(" * 30,
        "(" * 200 + ")" * 200,
        "{" * 2000 + "}" * 2000,
        "{)" * 1500,
        r"\sqrt " * 600,
        r"\left( " * 300,
        r"\frac{1}{" * 90 + "x" + "}" * 90,
        "x" * (MAX_CHARACTERS + 1),
        "'" * 3999,
    ],
)
def test_shown_as_source(latex: str) -> None:
    """Unknown, referring, very large or costly formulas are refused at once."""
    begin = time.process_time()
    assert mathml(latex, True) is None
    assert time.process_time() - begin < 2


@settings(max_examples=trial_count(300))
@given(st.lists(st.sampled_from(WORDS), max_size=60), st.sampled_from(["", " "]), st.booleans())
def test_safe(words: list[str], between: str, display: bool) -> None:
    """Any LaTeX gives only known, closed elements that neither link, load nor run anything."""
    html = mathml(between.join(words), display)
    if html is None:
        return
    seen = Seen(html)
    assert seen.elements <= ELEMENTS
    assert not [name for name in seen.attributes if name.startswith("on") or name in ("href", "src", "id")]
    assert seen.attributes.get("class", "pl-boxed") == "pl-boxed"
    assert not re.search(r"url|expression|position|[#@\\]", seen.attributes.get("style", ""))
    assert html.count("<") == html.count(">") == 2 * html.count("</")
    assert html.startswith("<math")
    assert html.endswith("</math>")


def test_the_bound_on_time() -> None:
    """Few delimiters may be open in a long formula: each could double the time."""
    assert is_cheap("f(g(h(x)))" * 100)
    assert is_cheap("[0, 1) " * 8)
    assert not is_cheap("(" * 8 + "x" * 1000)
    assert not is_cheap(r"\langle " * 20)
