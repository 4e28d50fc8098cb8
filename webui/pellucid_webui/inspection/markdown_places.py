"""Places of Markdown characters in rendered text, to show tokens there.

The inline parser knows its position while adding text. Text without a certain place, such as an
entity, has no place. A rendered formula is a single place.
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
"""Text of these elements belongs to the page, and scripts change the text."""

NOWHERE = -1

_PLACES = "places"
_AT = "at"
_MARK = "\0"  # Never in HTML, because the parser replaces this character in the input.
_FORMULA = "\0formula"  # Replaces the content of a text.
_CLOSING = re.compile(r"[ \t]+#+[ \t]*$")
_CONTAINER = re.compile(r"[\s>]*(?:(?:[-+*]|\d{1,9}[.)])[\s>]*)*")

RenderRule = Callable[[Sequence[Token], int, OptionsDict, EnvType], str]


@dataclass(frozen=True, slots=True)
class Run:
    """Consecutive characters that are equal in the source and a block's text."""

    source: int
    text: int
    length: int


@dataclass(frozen=True, slots=True)
class Formula:
    """The range of a formula in the source, with marks, and in a block's text."""

    source: int
    source_end: int
    text: int
    text_end: int


@dataclass(frozen=True, slots=True)
class RenderedBlock:
    """A top-level block: the text in a browser, without ``CONTROLS``."""

    text: str
    runs: tuple[Run, ...]
    formulas: tuple[Formula, ...] = ()


def rendered_blocks(source: str) -> list[RenderedBlock]:
    """Return the blocks as rendered by ``markdown_to_html.blocks``."""
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
        else:  # For example a block nested too deeply.
            found.append(RenderedBlock(_text_of(html)[0], ()))
    return found


class _PlacingState(StateInline):
    """Records the source positions of each text."""

    def __init__(self, src: str, md: MarkdownIt, env: EnvType, out: list[Token]) -> None:
        super().__init__(src, md, env, out)
        self._read: list[int] = []

    def append_pending(self, text: str) -> None:
        is_here = self.src.startswith(text, self.pos)
        self._read += range(self.pos, self.pos + len(text)) if is_here else [NOWHERE] * len(text)
        super().append_pending(text)

    def pushPending(self) -> Token:  # noqa: N802 (the library's name)
        token = super().pushPending()
        if len(self._read) >= len(token.content):  # The rule for line ends removes spaces from the end.
            token.meta[_PLACES] = self._read[: len(token.content)]
        self._read = []
        return token

    def push(self, ttype: str, tag: str, nesting: Literal[-1, 0, 1]) -> Token:
        token = super().push(ttype, tag, nesting)
        token.meta[_AT] = self.pos
        self._read = []
        return token


class _PlacingInline(ParserInline):
    """Places texts before the last rules rearrange them."""

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
    """Place texts pushed by rules: emphasis marks, code, escaped characters."""
    at, used = NOWHERE, 0
    for token in tokens:
        begin = token.meta.get(_AT)
        if begin is None:
            continue
        at, used = (at, used) if begin == at else (begin, 0)
        if token.type == "text":
            start = begin + used + (source[begin] == "<")  # The text of an autolink begins after "<".
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
    text: str
    lines: list[str] = field(init=False)
    starts: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.lines = self.text.split("\n")
        self.starts = [0]
        for line in self.lines:
            self.starts.append(self.starts[-1] + len(line) + 1)

    def places(self, content: str, first: int, closing: bool = False) -> list[int]:
        """Return the places of a content that begins at the line ``first``.

        Each content line ends a source line. With ``closing``, number signs that close a heading
        are excluded.
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
            if kept <= begin and line[begin - kept : begin] == part[:kept]:  # Otherwise a tab has become spaces.
                found[len(found) - kept :] = range(self.starts[number] + begin - kept, self.starts[number] + begin)
            found += range(self.starts[number] + begin, self.starts[number] + end)
            found.append(self.starts[number] + len(line) if number + 1 < len(self.lines) else NOWHERE)  # The line end.
        return found[: len(content)]

    def _end(self, line: str, part: str, closing: bool) -> int | None:
        """Return the end of a part that ends a line, or None."""
        whole = _CLOSING.sub("", line) if closing else line
        for candidate in dict.fromkeys((whole, whole.rstrip(), line.rstrip())):
            if candidate.endswith(part):
                return len(candidate)
        return None


def _place_blocks(tokens: Sequence[Token], lines: _Lines) -> None:
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
    """Place the cells of a table's row, unless the row has another shape."""
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
    """Return the page's parser with places and marks."""
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
    """Return a rule that marks the beginning of a text with a number."""

    def render(tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType) -> str:
        html, token = rule(tokens, index, options, env), tokens[index]
        places = token.meta.get(_PLACES)
        if not places:
            return html
        env[_PLACES].append((token.content, places))
        return html.replace(opening, f"{opening}{_MARK}{len(env[_PLACES]) - 1}{_MARK}", 1)

    return render


def _marking_formula(rule: RenderRule) -> RenderRule:
    """Return a rule that marks both ends of a rendered formula."""
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
    """Return the text of marked HTML, and the places of the numbers."""
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
    if places and end > begin and NOWHERE not in (places[0], places[-1]):
        first, last = (place if origins is None else origins[place] for place in (places[0], places[-1]))
        yield Formula(first, last + 1, begin, end)


def _runs(content: str, places: Sequence[int], begin: int, source: str, origins: Sequence[int] | None) -> Iterator[Run]:
    """Yield the longest runs that equal the source."""
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
    """Normalize line ends; return the characters' origins if changed."""
    if "\r" not in source:
        return source, None
    kept = [at for at, character in enumerate(source) if not (character == "\r" and source[at + 1 : at + 2] == "\n")]
    return "".join("\n" if source[at] == "\r" else source[at] for at in kept), kept
