"""Finds where each character of a Markdown text is in its rendered HTML, so that tokens can be shown in rendered text.

The inline parser knows where it reads while it adds text; here it records that. What cannot be
placed with certainty, such as an entity or a table cell with an escaped pipe, gets no place. A
rendered formula is one place: its characters are not those of its source.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from html.parser import HTMLParser
from itertools import pairwise
from typing import Any, Literal, cast

from markdown_it import MarkdownIt
from markdown_it.parser_inline import ParserInline
from markdown_it.renderer import RendererHTML
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict

from pellucid_webui.conversations.markdown.markdown_to_html import blocks, markdown_parser

CONTROLS = frozenset({"figcaption", "button"})
"""Elements whose text is the page's, not the author's.
Scripts change it, so it counts as no text of a block.
"""

NOWHERE = -1

_PLACES = "places"
_AT = "at"
_MARK = "\0"  # never in HTML, since the parser replaces this character in its input
_FORMULA = "\0formula"  # instead of the content of a text
_CLOSING = re.compile(r"[ \t]+#+[ \t]*$")
_CONTAINER = re.compile(r"[\s>]*(?:(?:[-+*]|\d{1,9}[.)])[\s>]*)*")

RenderRule = Callable[[Sequence[Token], int, OptionsDict, EnvType], str]


@dataclass(frozen=True, slots=True)
class Run:
    """Characters that are the same in a row in the source and in the text of a block."""

    source: int
    text: int
    length: int


@dataclass(frozen=True, slots=True)
class Formula:
    """A formula: its characters in the source with its marks, and what is shown for them in the text of a block."""

    source: int
    source_end: int
    text: int
    text_end: int


@dataclass(frozen=True, slots=True)
class RenderedBlock:
    """A top-level block: its text as a browser has it, without that of ``CONTROLS``, and where it comes from."""

    text: str
    runs: tuple[Run, ...]
    formulas: tuple[Formula, ...] = ()


def rendered_blocks(source: str) -> list[RenderedBlock]:
    """Return the blocks of a Markdown text, as ``markdown_to_html.blocks`` renders them."""
    text, origins = _normal(source)
    parser = _placing_parser()
    env: dict[str, Any] = {_PLACES: []}
    tokens = parser.parse(text, env)
    lines = _Lines(text.replace("\0", "\ufffd"))
    _place_blocks(tokens, lines)
    found = []
    for html, group in zip(blocks(source), _top_level(tokens), strict=True):
        env[_PLACES] = []
        marked = parser.renderer.render(group, parser.options, env)
        if re.sub(f"{_MARK}\\d+{_MARK}", "", marked) == html:
            found.append(_block(marked, env[_PLACES], lines.text, origins))
        else:  # one that is rendered in another way, such as one that is nested too deeply
            found.append(RenderedBlock(_text_of(html)[0], ()))
    return found


class _PlacingState(StateInline):
    """The state of the inline parser, which notes for each text where in its source it was read."""

    def __init__(self, src: str, md: MarkdownIt, env: EnvType, out: list[Token]) -> None:
        super().__init__(src, md, env, out)
        self._read: list[int] = []

    def append_pending(self, text: str) -> None:
        is_here = self.src.startswith(text, self.pos)
        self._read += range(self.pos, self.pos + len(text)) if is_here else [NOWHERE] * len(text)
        super().append_pending(text)

    def pushPending(self) -> Token:  # noqa: N802 (the library's name)
        token = super().pushPending()
        if len(self._read) >= len(token.content):  # the rule for line ends removes spaces from the end
            token.meta[_PLACES] = self._read[: len(token.content)]
        self._read = []
        return token

    def push(self, ttype: str, tag: str, nesting: Literal[-1, 0, 1]) -> Token:
        token = super().push(ttype, tag, nesting)
        token.meta[_AT] = self.pos
        self._read = []
        return token


class _PlacingInline(ParserInline):
    """The inline parser, which places texts before its last rules rearrange them."""

    def __init__(self, other: ParserInline) -> None:
        super().__init__()
        self.ruler, self.ruler2, self.terminator_re = other.ruler, other.ruler2, other.terminator_re

    def parse(self, src: str, md: MarkdownIt, env: EnvType, tokens: list[Token]) -> list[Token]:
        state = _PlacingState(src, md, env, tokens)
        self.tokenize(state)
        _place_pushed(state.tokens, src)
        for rule in self.ruler2.getRules(""):
            rule(state)
        return state.tokens


def _place_pushed(tokens: Sequence[Token], source: str) -> None:
    """Place the texts that rules have pushed themselves: marks of emphasis, which may become text, code, and escaped characters."""
    at, used = NOWHERE, 0
    for token in tokens:
        begin = token.meta.get(_AT)
        if begin is None:
            continue
        at, used = (at, used) if begin == at else (begin, 0)
        if token.type == "text":
            start = begin + used + (source[begin] == "<")  # of an address that is a link by itself
            used += len(token.content)
        elif token.type == "code_inline":
            start = begin + len(token.markup)
            inside = source[start : start + len(token.content) + 1]
            start += not inside.replace("\n", " ").startswith(token.content)
        elif token.type == "text_special" and token.info == "escape":
            start = begin + len(token.markup) - len(token.content)
        elif token.type == "formula":
            start = begin
        else:
            continue
        if source[start : start + len(token.content)].replace("\n", " ") == token.content:
            token.meta[_PLACES] = list(range(start, start + len(token.content)))


@dataclass(slots=True)
class _Lines:
    """The lines of a text, and where they begin."""

    text: str
    lines: list[str] = field(init=False)
    starts: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.lines = self.text.split("\n")
        self.starts = [0]
        for line in self.lines:
            self.starts.append(self.starts[-1] + len(line) + 1)

    def places(self, content: str, first: int, closing: bool = False) -> list[int]:
        """Return the places of a content whose lines are the ends of the lines from ``first`` on, without what indents them.

        With ``closing`` the number signs that may close a heading are no part of the content.
        """
        found: list[int] = []
        for number, part in enumerate(content.split("\n"), first):
            line = self.lines[number] if number < len(self.lines) else ""
            inner = part.lstrip(" \t")
            end = self._end(line, inner, closing)
            found += [NOWHERE] * (len(part) - len(inner))
            if end is None:
                found += [NOWHERE] * (len(inner) + 1)
                continue
            begin = end - len(inner)
            kept = len(part) - len(inner)
            if kept <= begin and line[begin - kept : begin] == part[:kept]:  # else a tab has become spaces
                found[len(found) - kept :] = range(self.starts[number] + begin - kept, self.starts[number] + begin)
            found += range(self.starts[number] + begin, self.starts[number] + end)
            found.append(self.starts[number] + len(line) if number + 1 < len(self.lines) else NOWHERE)  # the line end
        return found[: len(content)]

    def _end(self, line: str, part: str, closing: bool) -> int | None:
        """Return where a part ends that is the end of a line, apart from spaces; None if it is not."""
        whole = _CLOSING.sub("", line) if closing else line
        for candidate in dict.fromkeys((whole, whole.rstrip(), line.rstrip())):
            if candidate.endswith(part):
                return len(candidate)
        return None


def _place_blocks(tokens: Sequence[Token], lines: _Lines) -> None:
    """Turn places within contents into places in the whole text."""
    cells: list[tuple[Token, str]] = []
    for index, token in enumerate(tokens):
        if token.type == "inline" and token.map is not None:
            before = tokens[index - 1]
            if before.tag in ("th", "td"):
                cells.append((token, token.content))
            else:
                _move(token, lines.places(token.content, token.map[0], before.markup.startswith("#")))
        elif token.type == "fence" and token.map is not None:
            token.meta[_PLACES] = lines.places(token.content, token.map[0] + 1)
        elif token.type in ("code_block", "formula_block") and token.map is not None:
            token.meta[_PLACES] = lines.places(token.content, token.map[0])
        elif token.type == "tr_close":
            _place_row(cells, lines)
            cells = []


def _place_row(cells: Sequence[tuple[Token, str]], lines: _Lines) -> None:
    """Place the cells of a table's row: what is between its pipes.

    Rows of another shape get no places.
    """
    number = cells[0][0].map[0] if cells and cells[0][0].map else None
    if number is None:
        return
    line, contents = lines.lines[number], [content for _, content in cells]
    borders = [NOWHERE, *(found.start() for found in re.finditer(r"(?<!\\)\|", line)), len(line)]
    parts = [line[begin + 1 : end] for begin, end in pairwise(borders)]
    first = 1 if _CONTAINER.fullmatch(parts[0]) else 0
    shown = [part.strip() for part in parts[first:]] + [""] * len(cells)
    for index, (token, content) in enumerate(cells):
        is_same = shown[index] == content or (index == 0 and not first and shown[0].endswith(content))
        if not is_same or "\\|" in line:
            return
        begin = borders[first + index] + 1 + len(parts[first + index].rstrip()) - len(content) if content else 0
        _move(token, [lines.starts[number] + begin + at for at in range(len(contents[index]))])


def _move(inline: Token, places: Sequence[int]) -> None:
    for child in inline.children or ():
        inner = child.meta.get(_PLACES)
        if inner is not None:
            child.meta[_PLACES] = [places[at] if 0 <= at < len(places) else NOWHERE for at in inner]


def _top_level(tokens: Sequence[Token]) -> Iterator[Sequence[Token]]:
    start = depth = 0
    for index, token in enumerate(tokens):
        depth += token.nesting
        if depth == 0:
            yield tokens[start : index + 1]
            start = index + 1


@cache
def _placing_parser() -> MarkdownIt:
    """Return the page's parser, with places, and a renderer that marks where each text begins."""
    parser = markdown_parser()
    parser.core.ruler.disable("text_join")
    parser.inline.ruler2.disable("fragments_join")
    parser.inline = _PlacingInline(parser.inline)
    rules = cast("dict[str, RenderRule]", cast("RendererHTML", parser.renderer).rules)
    rules["text_special"] = rules["text"]
    for name, opening in {
        "text": "",
        "text_special": "",
        "code_inline": "<code>",
        "fence": "<code>",
        "code_block": "<code>",
    }.items():
        rules[name] = _marking(rules[name], opening)
    for name in ("formula", "formula_block"):
        rules[name] = _marking_formula(rules[name])
    return parser


def _marking(rule: RenderRule, opening: str) -> RenderRule:
    """Return a rule that writes the number of a text after ``opening``, where the text begins."""

    def render(tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType) -> str:
        html, token = rule(tokens, index, options, env), tokens[index]
        places = token.meta.get(_PLACES)
        if not places:
            return html
        env[_PLACES].append((token.content, places))
        return html.replace(opening, f"{opening}{_MARK}{len(env[_PLACES]) - 1}{_MARK}", 1)

    return render


def _marking_formula(rule: RenderRule) -> RenderRule:
    """Return a rule that writes a number where a rendered formula begins and one where it ends, or marks its source as other text."""
    source = _marking(rule, '<code class="pl-math">')

    def render(tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType) -> str:
        html, places = rule(tokens, index, options, env), tokens[index].meta.get(_PLACES)
        begin, end = html.find("<math"), html.rfind("</math>")
        if not places or begin < 0:
            return source(tokens, index, options, env)
        env[_PLACES] += [(_FORMULA, places), (_FORMULA, [])]
        number = len(env[_PLACES])
        return f"{html[:begin]}{_MARK}{number - 2}{_MARK}{html[begin:end]}{_MARK}{number - 1}{_MARK}{html[end:]}"

    return render


class _Text(HTMLParser):
    """Collects the text of HTML, as a browser has it."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []
        self._controls = 0

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self._controls += tag in CONTROLS

    def handle_endtag(self, tag: str) -> None:
        self._controls -= tag in CONTROLS

    def handle_data(self, data: str) -> None:
        if not self._controls:
            self.parts.append(data)


def _text_of(marked: str) -> tuple[str, list[tuple[int, int]]]:
    """Return the text of marked HTML, and where in it each number is."""
    parser = _Text()
    parser.feed(marked)
    parser.close()
    text, length = [], 0
    numbers: list[tuple[int, int]] = []
    for index, part in enumerate("".join(parser.parts).split(_MARK)):
        if index % 2:
            numbers.append((int(part), length))
        else:
            text.append(part)
            length += len(part)
    return "".join(text), numbers


def _block(
    marked: str, texts: Sequence[tuple[str, list[int]]], source: str, origins: Sequence[int] | None
) -> RenderedBlock:
    text, numbers = _text_of(marked)
    runs: list[Run] = []
    formulas: list[Formula] = []
    ends = dict(numbers)
    for number, begin in numbers:
        content, places = texts[number]
        if content == _FORMULA:
            formulas += _formula(places, begin, ends.get(number + 1, begin), origins)
            continue
        if text[begin : begin + len(content)] != content:
            continue
        for run in _runs(content, places, begin, source, origins):
            last = runs[-1] if runs else None
            if last is not None and (last.source + last.length, last.text + last.length) == (run.source, run.text):
                runs[-1] = Run(last.source, last.text, last.length + run.length)
            else:
                runs.append(run)
    return RenderedBlock(text, tuple(runs), tuple(formulas))


def _formula(places: Sequence[int], begin: int, end: int, origins: Sequence[int] | None) -> Iterator[Formula]:
    """Yield the formula at these places, if both its ends are known."""
    if places and end > begin and NOWHERE not in (places[0], places[-1]):
        first, last = (place if origins is None else origins[place] for place in (places[0], places[-1]))
        yield Formula(first, last + 1, begin, end)


def _runs(content: str, places: Sequence[int], begin: int, source: str, origins: Sequence[int] | None) -> Iterator[Run]:
    """Yield the longest runs of a content whose characters are those of the source."""
    start = length = 0
    for index, (character, place) in enumerate(zip(content, places, strict=False)):
        is_same = place != NOWHERE and (source[place] == character or (source[place], character) == ("\n", " "))
        origin = place if origins is None else origins[place]
        if length and (not is_same or origin != start + length):
            yield Run(start, begin + index - length, length)
            length = 0
        if is_same:
            start = start if length else origin
            length += 1
    if length:
        yield Run(start, begin + len(content[: len(places)]) - length, length)


def _normal(source: str) -> tuple[str, list[int] | None]:
    """Return a text with line ends as Markdown has them, and where each character was, if that is elsewhere."""
    if "\r" not in source:
        return source, None
    kept = [at for at, character in enumerate(source) if not (character == "\r" and source[at + 1 : at + 2] == "\n")]
    return "".join("\n" if source[at] == "\r" else source[at] for at in kept), kept
