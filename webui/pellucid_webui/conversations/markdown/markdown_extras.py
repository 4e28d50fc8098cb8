r"""Markdown extensions for chats: formulas, task lists, scrolling tables.

Formulas are ``$x$``, ``$$x$$``, ``\(x\)`` and ``\[x\]``, rendered as MathML. A formula that is
incomplete or cannot be rendered is shown as source, with every backslash.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock
from markdown_it.rules_core import StateCore
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict

from pellucid_webui.conversations.markdown.formulas import mathml

DELIMITERS = {"\\(": "\\)", "\\[": "\\]", "$$": "$$"}
"""The marks around a formula; single dollars have separate rules."""

BLOCK_DELIMITERS = {"\\[": "\\]", "$$": "$$"}
"""The marks around a block formula, which contains no empty line."""

MAX_FORMULA_CHARACTERS = 4_000
"""A longer search for the end would take quadratic time."""

MAX_FORMULA_LINES = 200

_DOLLARS = re.compile(r"\$(?![\s$])(?:[^$\\]|\\.)*?(?<!\s)\$(?![0-9A-Za-z$])", re.DOTALL)
"""Spaces just inside the dollars, or a digit or letter after, indicate prices or variables."""

_TASK = re.compile(r"\[([ xX])\][ \t]+")

_CODE_INDENT = 4

WIDE_CHARACTERS = 30
"""Longer inline formulas scroll sideways: phones may be too narrow."""

_TAG = re.compile("<[^>]*>")


def add_extras(parser: MarkdownIt) -> MarkdownIt:
    parser.inline.ruler.before("escape", "formula", _inline_formula)
    parser.block.ruler.before(
        "fence", "formula_block", _formula_block, {"alt": ["paragraph", "reference", "blockquote", "list"]}
    )
    parser.core.ruler.after("inline", "tasks", _tasks)
    parser.add_render_rule("formula", _render_formula)
    parser.add_render_rule("formula_block", _render_formula_block)
    parser.add_render_rule("task", _render_task)
    scroll = '<div class="pl-table-scroll" role="region" aria-label="Table" tabindex="0">'
    parser.add_render_rule("table_open", lambda *_: f"{scroll}<table>\n")
    parser.add_render_rule("table_close", lambda *_: "</table></div>\n")
    return parser


def _inline_formula(state: StateInline, silent: bool) -> bool:
    end = _end_of_formula(state.src, state.pos, state.posMax)
    if end is None:
        return False
    if not silent:
        state.push("formula", "code", 0).content = state.src[state.pos : end]
    state.pos = end
    return True


def _end_of_formula(text: str, start: int, most: int) -> int | None:
    opening = text[start : start + 2]
    if opening in DELIMITERS:
        closing = DELIMITERS[opening]
        end = text.find(closing, start + 2, min(most, start + MAX_FORMULA_CHARACTERS))
        return None if end < 0 or not text[start + 2 : end].strip() else end + 2
    if not opening.startswith("$"):
        return None
    found = _DOLLARS.match(text, start, most)
    return None if found is None else found.end()


def _formula_block(state: StateBlock, first: int, end: int, silent: bool) -> bool:
    """Parse a block formula, which may lack the end in a growing text."""
    start = state.bMarks[first] + state.tShift[first]
    opening = state.src[start : start + 2]
    if opening not in BLOCK_DELIMITERS or state.sCount[first] - state.blkIndent >= _CODE_INDENT:
        return False
    last = _last_line(state, first, end, BLOCK_DELIMITERS[opening], may_grow=not silent)
    if last is None:
        return False
    if not silent:
        token = state.push("formula_block", "div", 0)
        token.content = state.getLines(first, last + 1, state.blkIndent, False).strip()
        token.map = [first, last + 1]
    state.line = last + 1
    return True


def _last_line(state: StateBlock, first: int, end: int, closing: str, *, may_grow: bool) -> int | None:
    """Return the last line of a formula block, or None for an inline formula."""
    most = min(end, first + MAX_FORMULA_LINES)
    for line in range(first, most):
        if state.isEmpty(line) or (line > first and state.sCount[line] < state.blkIndent):
            return None
        text = state.src[state.bMarks[line] + state.tShift[line] : state.eMarks[line]].rstrip()
        place = text.find(closing, 2 if line == first else 0)
        if place >= 0:
            return line if place + len(closing) == len(text) else None
    return end - 1 if may_grow and most == end == state.lineMax and end > first + 1 else None


def _tasks(state: StateCore) -> None:
    for place in range(2, len(state.tokens)):
        token = state.tokens[place]
        if token.type != "inline" or state.tokens[place - 2].type != "list_item_open" or not token.children:
            continue
        found = _TASK.match(token.children[0].content) if token.children[0].type == "text" else None
        if found is not None:
            token.children[0].content = token.children[0].content[found.end() :]
            token.children.insert(0, Token("task", "input", 0, meta={"done": found[1] != " "}))


def _render_formula(self: Any, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType) -> str:
    source = tokens[index].content
    rendered = _rendered(source)
    if rendered is None:
        return f'<code class="pl-math">{escape(source)}</code>'
    is_display = _is_display(source)
    is_wide = is_display or len(_TAG.sub("", rendered)) > WIDE_CHARACTERS
    shape = " pl-formula-display" if is_display else " pl-formula-wide" if is_wide else ""
    scrolls = ' role="group" aria-label="Formula" tabindex="0"' if is_wide else ""
    return f'<span class="pl-formula{shape}"{scrolls} data-source="{escape(source)}">{rendered}</span>'


def _render_formula_block(self: Any, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType) -> str:
    source = tokens[index].content
    rendered = _rendered(source)
    if rendered is None:
        return f'<div class="pl-math-block"><code class="pl-math">{escape(source)}</code></div>\n'
    return (
        '<div class="pl-formula pl-formula-display" role="group" aria-label="Formula" tabindex="0"'
        f' data-source="{escape(source)}">{rendered}</div>\n'
    )


def _is_display(source: str) -> bool:
    return source.startswith(tuple(BLOCK_DELIMITERS))


def _rendered(source: str) -> str | None:
    """Return the MathML of a formula with marks, or None."""
    opening = source[:2] if source[:2] in DELIMITERS else "$"
    closing = DELIMITERS.get(opening, "$")
    if len(source) < len(opening) + len(closing) or not source.endswith(closing):
        return None
    return mathml(source[len(opening) : -len(closing)], _is_display(source))


def _render_task(self: Any, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType) -> str:
    done = tokens[index].meta["done"]
    state = ' checked="" aria-label="done"' if done else ' aria-label="open"'
    return f'<input type="checkbox" class="pl-task" disabled=""{state}>'
