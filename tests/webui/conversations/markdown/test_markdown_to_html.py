"""Tests Markdown as HTML: any answer is shown as text, and nothing is loaded or run."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from html import escape
from html.parser import HTMLParser
from types import FrameType
from typing import Any
from unittest.mock import Mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid_webui.conversations.markdown import highlighting
from pellucid_webui.conversations.markdown.formulas import ELEMENTS
from pellucid_webui.conversations.markdown.highlighting import MAX_CODE_CHARACTERS, MAX_LINE_CHARACTERS
from pellucid_webui.conversations.markdown.markdown_to_html import (
    MAX_NESTING,
    IncrementalMarkdown,
    blocks,
    open_fence,
    styles,
)
from support.trial_counts import IS_TRIAL, trial_count

TAGS = {
    "p",
    "em",
    "strong",
    "s",
    "a",
    "br",
    "hr",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "ul",
    "ol",
    "li",
    "blockquote",
    "code",
    "pre",
    "bdi",
    "table",
    "thead",
    "tbody",
    "tr",
    "th",
    "td",
    "span",
    "figure",
    "figcaption",
    "button",
    "div",
    "input",
}
ATTRIBUTES = {
    "a": {"href", "title", "rel", "target"},
    "ol": {"start"},
    "th": {"style"},
    "td": {"style"},
    "span": {"class", "role", "aria-label", "tabindex", "data-source"},
    "bdi": {"class", "title"},
    "figure": {"class"},
    "button": {"type", "class", "aria-label", "aria-pressed"},
    "code": {"class"},
    "div": {"class", "role", "aria-label", "tabindex", "data-source"},
    "input": {"type", "class", "disabled", "checked", "aria-label"},
    "pre": {"tabindex"},
}
STYLES = {"text-align:left", "text-align:right", "text-align:center"}
VOID = {"br", "hr", "input"}


class Page(HTMLParser):
    """Parses HTML as a browser does, and fails for unexpected tags and attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text = ""
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.deepest = 0
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        # Formulas are checked in test_formulas.py.
        if "math" in (tag, *self._open):
            assert tag in ELEMENTS
            assert given.keys().isdisjoint({"id", "href", "src", "onclick", "onerror"})
            self._open.append(tag)
            return
        assert tag in TAGS
        assert given.keys() <= ATTRIBUTES.get(tag, set())
        assert given.get("style") in {None, *STYLES}
        if tag == "a":
            assert str(given["href"]).lower().startswith(("http://", "https://", "mailto:"))
            assert (given["rel"], given["target"]) == ("noopener noreferrer nofollow", "_blank")
        self.tags.append((tag, given))
        if tag not in VOID:
            self._open.append(tag)
            self.deepest = max(self.deepest, len(self._open))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] != "button":
            self.text += data

    def handle_comment(self, data: str) -> None:
        raise AssertionError(data)

    def handle_decl(self, decl: str) -> None:
        raise AssertionError(decl)

    def handle_pi(self, data: str) -> None:
        raise AssertionError(data)

    def unknown_decl(self, data: str) -> None:
        raise AssertionError(data)

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def as_html(text: str) -> str:
    return "".join(blocks(text))


def code(text: str) -> str:
    """Return the text of the only code block."""
    (html,) = blocks(text)
    assert html.startswith('<figure class="pl-code">')
    page = Page(html[html.index("<pre") : html.index("</figure>")])
    return page.text


FRAGMENTS = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<!-- c -->",
    "<?php ?>",
    "<!DOCTYPE x>",
    "<![CDATA[x]]>",
    "&lt;b&gt;",
    "&#60;b>",
    "${alert(1)}",
    "{{x}}",
    "![x](http://elsewhere/p.png)",
    '[x](http://a/ "t")',
    "[x](javascript:alert(1))",
    "[x](JaVaScRiPt&colon;alert(1))",
    "[x](data:text/html,<script>)",
    "[x](data:image/png;base64,AA)",
    "[x](/logout)",
    "[x](//elsewhere)",
    "<javascript:alert(1)>",
    "<http://a/?q=%22>",
    "```",
    "```python\n",
    "~~~",
    "`",
    "``",
    "    code",
    "\t",
    "> ",
    "- ",
    "1. ",
    "* ",
    "# ",
    "|a|b|",
    "|-|:-:|",
    "---",
    "===",
    "**",
    "__",
    "~~",
    "$",
    "$$",
    "\\(",
    "\\)",
    "\\[",
    "\\]\n",
    "$$\n",
    "[ ] ",
    "[x] ",
    "[a]: http://b\n",
    "[a]",
    "[",
    "](",
    ")",
    "!",
    "\\",
    '"',
    "'",
    "\0",
    "\u202e",
    "\u2066",
    "\u200f",
    "\n",
    "\n\n",
    "\r\n",
    "\r",
    " ",
    "x",
    "é",
    "😀",
]

markdown = st.lists(st.sampled_from(FRAGMENTS) | st.text(max_size=3), max_size=25).map("".join)


@settings(max_examples=trial_count(300))
@given(markdown)
def test_no_text_becomes_more_than_markdown(text: str) -> None:
    """Any text gives balanced Markdown tags, safe attributes and web addresses only."""
    Page(as_html(text))
    for html in blocks(text):
        Page(html)


@settings(max_examples=trial_count(300))
@given(markdown, st.data())
def test_growing(text: str, data: st.DataObject) -> None:
    """A growing text always has the blocks of the whole text, except for colours of open code."""
    growing = IncrementalMarkdown()
    for end in [*sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6))), len(text)]:
        found, whole = growing.blocks(text[:end]), blocks(text[:end])
        if open_fence(text[:end]) is None:
            assert found == whole
        assert list(map(uncoloured, found)) == list(map(uncoloured, whole))


def uncoloured(html: str) -> str:
    return re.sub("</?span[^>]*>", "", html)


SOURCE = "".join(f"def f{n}(x):\n    # one\n    return ['two'] * {n}\n\n" for n in range(25))


@pytest.mark.slow
def test_growing_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """Growing code is highlighted exactly, at less than a fifth of the cost of full rendering."""
    ask = Mock(wraps=highlighting._ask)
    monkeypatch.setattr(highlighting, "_ask", ask)
    text = f"```python\n{SOURCE}"
    ends = range(0, len(text) + 1, 8)
    growing = IncrementalMarkdown()
    for end in ends:
        (html,) = growing.blocks(text[:end]) or [""]
        assert uncoloured(html) == uncoloured(as_html(text[:end]))
    assert html.count("pl-k") == as_html(text).count("pl-k")
    assert growing.blocks(f"{text}```\nx") == blocks(f"{text}```\nx")

    def cost(render: Callable[[str], object]) -> int:
        highlighting._by_pygments.cache_clear()
        ask.reset_mock()
        for end in ends:
            render(text[:end])
        return sum(len(call.args[0]) for call in ask.call_args_list)

    assert cost(IncrementalMarkdown().blocks) * 5 < cost(blocks)


LONG = (
    "# One\n\nTwo *three*\n\n- four\n- five\n\n```python\nsix = 7\n```\n\n| a | b |\n|---|---|\n| 8 | 9 |\n\n> ten\n\n"
    * 3
)


def test_a_growing_text_changes_its_last_blocks() -> None:
    """Appending a character changes only the last two blocks."""
    before: list[str] = []
    for end in range(len(LONG) + 1):
        found = blocks(LONG[:end])
        settled = before[:-2]
        assert found[: len(settled)] == settled
        before = found


def test_growing_settles() -> None:
    """Only the last blocks of a growing text are parsed again."""
    growing = IncrementalMarkdown()
    long = LONG * 10
    growing.blocks(long)
    assert calls(lambda: growing.blocks(long + "more")) * 10 < calls(lambda: blocks(long + "more"))


def test_an_address_after_its_link() -> None:
    """A link is recognized wherever the address is defined, even later in a growing text."""
    growing = IncrementalMarkdown()
    text = "[a]\n\n" + "x\n\n" * 10
    assert Page("".join(growing.blocks(text))).named("a") == []
    text += "[a]: http://b\n\ny"
    assert len(Page("".join(growing.blocks(text))).named("a")) == 1
    assert len(Page("".join(growing.blocks(text + " z"))).named("a")) == 1


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "<!-- hidden -->",
        "<img src='http://elsewhere'>",
        "${alert(1)}",
        "{{x}}",
        "a <b>bold</b> c",
        "&lt;",
        "<br>",
    ],
)
def test_html_is_text(text: str) -> None:
    """HTML, templates and comments are shown literally."""
    page = Page(as_html(text))
    assert page.text.strip() == text.replace("&lt;", "<")
    assert [tag for tag, _ in page.tags] == ["p"]


def test_pictures() -> None:
    """An image is shown as a name and an address."""
    page = Page(as_html('![a *cat*](http://elsewhere/p.png "title")'))
    assert page.text.strip() == "a cat (http://elsewhere/p.png)"
    assert page.tags == [("p", {}), ("span", {"class": "pl-picture"})]
    assert Page(as_html("![](https://elsewhere/p.png)")).text.strip() == "picture (https://elsewhere/p.png)"


@pytest.mark.parametrize(
    "address",
    [
        "javascript:alert(1)",
        "JAVASCRIPT:alert(1)",
        "java&#10;script:x",
        "&#106;avascript:x",
        "vbscript:x",
        "data:text/html,x",
        "data:image/png;base64,AA",
        "file:///etc/passwd",
        "/logout",
        "//elsewhere/",
        "#top",
        "page.html",
        "ftp://a",
        "http:a",
        "blob:x",
        "x:y",
    ],
)
def test_other_addresses_are_no_links(address: str) -> None:
    """Only addresses of the web or a mailbox become links."""
    for text in (f"[x]({address})", f"[x](<{address}>)", f"<{address}>", f"[x]\n\n[x]: {address}", f"![x]({address})"):
        page = Page(as_html(text))
        assert (page.named("a"), page.named("img")) == ([], [])


@pytest.mark.parametrize("address", ["http://a/b?c=d&e", "https://a", "mailto:a@b.c", "HTTPS://A/"])
def test_links(address: str) -> None:
    """Links lead to the web, in a new tab."""
    (link,) = Page(as_html(f'[x]({address} "A <title>")')).named("a")
    assert str(link["href"]).lower() == address.lower()
    assert link["title"] == "A <title>"


def test_plain_addresses_are_text() -> None:
    """A bare address is text."""
    assert as_html("see http://a/b") == "<p>see http://a/b</p>\n"


class TestCode:
    def test_a_block(self) -> None:
        """Code is highlighted, with buttons to wrap, copy and put code into the Infill tab."""
        (html,) = blocks("```python\nif x:\n    return '<b>'\n```")
        page = Page(html)
        assert "<span>python</span>" in html
        assert [button["class"] for button in page.named("button")] == ["pl-wrap", "pl-to-infill", "pl-copy"]
        assert '<span class="pl-k">if</span>' in html
        assert "&lt;b&gt;" in html

    @pytest.mark.parametrize("language", ["", "python", "html", "makefile", "no such language", "diff", "yaml"])
    def test_every_character_stays(self, language: str) -> None:
        """Highlighting keeps every character of the code."""
        sources = [
            "    indented\n\tby a tab\n\n\n  and spaces  \n",
            "\n\nx\n",
            "\ufeffx\n",
            "\u2028\n",
            "a\x0bb\x0c\n",
            "",
        ]
        for source in (*sources, "".join(sources)):
            assert code(f"```{language}\n{source}```") in {source, source or "\n"}

    @settings(max_examples=trial_count(300))
    @given(
        st.text(st.sampled_from(" \tab\n(){}'\"#/*<>&:=\\é😀"), max_size=60),
        st.sampled_from(["python", "c", "html", "js", "sql", "yaml", "php"]),
    )
    def test_any_source(self, source: str, language: str) -> None:
        """Any characters in several languages are kept."""
        assert code(f"````{language}\n{source}\n````") == source + "\n"

    def test_by_indentation(self) -> None:
        """Indented code keeps its further indentation."""
        assert code("    a\n      b\n\n    c") == "a\n  b\n\nc\n"

    def test_an_unclosed_fence(self) -> None:
        """An open fence is already code, up to the last character."""
        assert code("```python\ndef f():\n    re") == "def f():\n    re\n"
        assert code("~~~\n`") == "`"
        assert code("```py").strip() == ""

    def test_a_fence_in_a_fence(self) -> None:
        """A longer fence can contain a shorter fence."""
        assert code("````\n```\nx\n```\n````") == "```\nx\n```\n"

    def test_hostile_languages(self) -> None:
        """A language is shown as text."""
        (html,) = blocks('```<script>"${x} y\nz\n```')
        assert "<span>y</span>" in html
        assert "&lt;script&gt;&quot;${x}" in as_html('```<script>"${x}\nz\n```')

    def test_nothing_turns_its_direction(self) -> None:
        """Direction marks are isolated in code, and unchanged in text."""
        for text in ("```c\n/*\u202e } \u2066 */\n```", "`\u202e} \u2066x`"):
            page = Page(as_html(text))
            assert page.named("bdi") == [{"class": "pl-bidi", "title": f"U+{ord(mark):04X}"} for mark in "\u202e\u2066"]
            assert "\u202e" in page.text
        assert as_html("a \u202eb \u200fc") == "<p>a \u202eb \u200fc</p>\n"

    def test_long_lines_and_long_blocks(self) -> None:
        """Code that would be slow to highlight is shown without highlighting."""
        line = "x = 1; " * (MAX_LINE_CHARACTERS // 7 + 1)
        assert "pl-n" not in as_html(f"```python\n{line}\n```")
        assert "pl-n" not in as_html("```python\n" + "x = 1\n" * (MAX_CODE_CHARACTERS // 6 + 1) + "```")
        assert "pl-n" in as_html("```python\n" + "x = 1\n" * 100 + "```")


class TestFormulas:
    @pytest.mark.parametrize(
        "formula",
        [
            "\\(x^2 + y_1\\)",
            "\\[x\\]",
            "$x$",
            "$a_i * b_i$",
            "$$\\int_0^1 x\\,dx$$",
            "\\(\\frac{1}{2} < 3\\)",
            "$\\$5$",
            "$x\ny$",
        ],
    )
    def test_within_a_line(self, formula: str) -> None:
        """A formula becomes MathML with the exact source, and nothing in it is read as Markdown."""
        html = as_html(f"Take {formula}, *then*.")
        found = re.fullmatch(
            (
                r'<p>Take <span class="pl-formula[^"]*"[^>]* data-source="([^"]*)"><math.*</math></span>, '
                r"<em>then</em>.</p>\n"
            ),
            html,
        )
        assert found is not None
        assert found[1] == escape(formula)

    @pytest.mark.parametrize(
        "formula", ["$\\nothing{x}$", "\\(\\frac{1}\\)", "$\\href{javascript:alert(1)}{x}$", "$$\\def\\a{b}\\a$$"]
    )
    def test_shown_as_source(self, formula: str) -> None:
        """A formula that cannot be rendered is shown as source."""
        assert as_html(f"Take {formula}.") == f'<p>Take <code class="pl-math">{escape(formula)}</code>.</p>\n'

    @pytest.mark.parametrize("formula", ["\\[\nx\n= 1\n- y\n\\]", "$$\n\\sum_{i=1}^n i\n$$", "$$ x $$", "\\[ x \\]"])
    def test_a_block(self, formula: str) -> None:
        """A formula of several lines is a block, even directly after a line of text."""
        block = blocks(f"# Title\n{formula}")[1]
        assert re.fullmatch(
            r'<div class="pl-formula pl-formula-display" role="group" aria-label="Formula" tabindex="0"'
            r' data-source="[^"]*"><math.*</math></div>\n',
            block,
        )
        assert f'data-source="{escape(formula)}"' in block
        assert blocks(f"Text:\n\n{formula}\n") == ["<p>Text:</p>\n", block]

    def test_a_block_that_grows(self) -> None:
        """An incomplete formula is a block of source."""
        block = '<div class="pl-math-block"><code class="pl-math">$$\nx\n= 1</code></div>\n'
        assert blocks("# Title\n$$\nx\n= 1")[1] == block

    def test_after_a_line(self) -> None:
        """A complete formula may follow a line directly, even in a list."""
        assert len(blocks("Text:\n$$\nx\n$$\nmore")) == 3
        assert 'data-source="$$\ny\n$$"' in as_html("- Text:\n  $$\n  y\n  $$")

    @pytest.mark.parametrize(
        "text",
        [
            "It costs $5 and $10.",
            "$HOME and $PATH",
            "$A/$B",
            "a $ b $ c",
            "5$ and 6$",
            "\\\\(x\\\\)",
            "$$\n\nx",
            "$$",
            "\\(",
            "\\( \\)",
        ],
    )
    def test_what_is_none(self, text: str) -> None:
        """Prices, shell variables, escaped delimiters and open delimiters are text."""
        assert not {"pl-math", "pl-formula"} & set(re.findall(r"pl-\w+", as_html(text)))

    def test_in_code(self) -> None:
        """Code keeps its dollars and backslashes."""
        assert not {"pl-math", "pl-formula"} & set(re.findall(r"pl-\w+", as_html("`$x$` and\n\n```\n$$\nx\n$$\n```")))


def test_tasks() -> None:
    """A list item with [ ] or [x] has a read-only check box; brackets elsewhere are text."""
    page = Page(as_html("- [ ] open\n- [x] *done*\n- [y] neither\n\n1. [X] done\n\n[x] text"))
    assert [(box.get("checked") is not None, box["aria-label"], box["disabled"]) for box in page.named("input")] == [
        (False, "open", ""),
        (True, "done", ""),
        (True, "done", ""),
    ]
    assert "[y] neither" in page.text
    assert "[x] text" in page.text
    assert "[ ]" not in page.text


def test_tables_scroll() -> None:
    """A table is in a scrollable region."""
    page = Page(as_html("| a |\n|--|\n| 1 |"))
    assert page.named("div") == [{"class": "pl-table-scroll", "role": "region", "aria-label": "Table", "tabindex": "0"}]


def test_tables() -> None:
    """A table is rendered with the alignment of its columns."""
    page = Page(as_html("| a | b |\n|:--|--:|\n| `|` | <b> |"))
    assert [tag for tag, _ in page.tags if tag in ("table", "tr")] == ["table", "tr", "tr"]
    assert page.named("td") == [{"style": "text-align:left"}, {"style": "text-align:right"}]


def test_nested_lists() -> None:
    """Lists can be nested, and numbering starts where the text says."""
    page = Page(as_html("3. a\n   - b\n     - c\n\n       ```\n       code\n       ```\n4. d"))
    assert [tag for tag, _ in page.tags if tag in ("ol", "ul")] == ["ol", "ul", "ul"]
    assert page.named("ol") == [{"start": "3"}]
    assert "code" in page.text


@pytest.mark.parametrize("opening", [">", "> ", "- ", "1. ", "> - ", ">> 1. "])
def test_deep_nesting(opening: str) -> None:
    """Text nested too deeply is shown as source, within the limit of nesting."""
    for depth in (10, 39, 40, 41, 1000):
        page = Page(as_html(opening * depth + "the end"))
        assert "the end" in page.text
        assert page.deepest <= 2 * MAX_NESTING + 5


@pytest.mark.parametrize(
    "text", ["*" * 1000 + "a" + "*" * 1000, "[" * 1000 + "a" + "]" * 1000, "![" * 1000 + "a", "`" * 1000, "**a " * 1000]
)
def test_deep_nesting_within_a_line(text: str) -> None:
    """Text within deeply nested inline marks is shown."""
    assert "a" in Page(as_html(text)).text or text.startswith("`")


def test_a_long_line() -> None:
    """A line of 20,000 characters is shown completely, as text, code and heading."""
    line = "word " * 4_000
    for text in (line, f"```python\n{line}\n```", f"# {line}", f"| {line} |\n|---|"):
        assert line.strip() in Page(as_html(text)).text


def test_nothing() -> None:
    """An empty text, or a text of spaces, has no blocks."""
    assert blocks("") == blocks("  \n\n\t\n") == []


@pytest.mark.parametrize(
    ("text", "fence"),
    [
        ("", None),
        ("a", None),
        ("```", "```"),
        ("```\n```", None),
        ("```\n``", "```"),
        ("```\na\n```  \n\n", None),
        ("````\na\n```", "````"),
        ("~~~~ py\na\n~~~", "~~~~"),
        ("~~~\na\n```", "~~~"),
        ("```\na\n    ```", "```"),
        ("```\na\n   ```", None),
        ("- ```\n  a", None),
        ("> ```\n> a", None),
        ("```\na\n```\nb", None),
        ("a\n\n```py\nb\n\n", "```"),
    ],
)
def test_open_fence(text: str, fence: str | None) -> None:
    """A fence is open if appended text would be code."""
    assert open_fence(text) == fence
    assert ("<em>" in as_html(f"{text}\n\n*x*")) is (fence is None)
    if fence is not None:
        assert "<em>" in as_html(f"{text}\n{fence}\n\n*x*")


LONGEST = 8_000 if IS_TRIAL else 4_000
"""Characters of the longest text whose cost is counted."""


def calls(work: Any) -> int:
    """Return the number of function calls of ``work``: a cost without a clock."""
    count = 0

    def note(frame: FrameType, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count


@pytest.mark.slow
@pytest.mark.parametrize(
    "piece",
    [
        "word ",
        "*a* ",
        "**",
        "[",
        "]",
        "[a](b",
        "![",
        "`",
        "``a`",
        "<a ",
        "<!--",
        "&amp;",
        "\\",
        "> a\n",
        "- a\n",
        "a\n\n",
        "# a\n",
        "| a |\n",
        "~~~\n",
        "```\n",
        "[a]: b\n",
        "*_",
        "_a",
        "~~",
        "a\n===\n",
        "<http://a>",
        "1. a\n  ",
        "$a ",
        "$$ ",
        "$$ a\n",
        "\\(",
        "\\[ a\n",
        "\\[\n",
        "- [ ] a\n",
    ],
)
def test_cost_grows_with_the_text(piece: str) -> None:
    """Twice the input costs about twice as much."""

    def cost(size: int) -> int:
        text = piece * (size // len(piece))
        return calls(lambda: blocks(text))

    blocks(piece)
    assert cost(LONGEST) < 2.5 * cost(LONGEST // 2) + 1000


def test_styles() -> None:
    """The highlighting rules are restricted to a selector."""
    rules = styles(".dark .pl-code", "github-dark")
    assert ".dark .pl-code .pl-k {" in rules
    assert "url(" not in rules
    assert "@import" not in rules
