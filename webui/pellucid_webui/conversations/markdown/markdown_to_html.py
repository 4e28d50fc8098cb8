"""Markdown as safe HTML: no HTML from the author, no images, no scripts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import isqrt
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.common.utils import unescapeAll
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict
from pygments.formatters import HtmlFormatter

from pellucid_webui.conversations.markdown.highlighting import MAX_CODE_CHARACTERS, highlighted
from pellucid_webui.conversations.markdown.markdown_extras import add_extras

LINK_SCHEMES = ("http://", "https://", "mailto:")
"""Only addresses with these schemes become links."""

MAX_NESTING = 40
"""Deeper quotes and lists are shown as source."""

_BIDI = re.compile("[\u202a-\u202e\u2066-\u2069]")
"""Characters that change the text direction and could disguise code."""


class _Parser(MarkdownIt):
    def validateLink(self, url: str) -> bool:  # noqa: N802 (the library's name)
        return url.lower().startswith(LINK_SCHEMES)


class _Renderer(RendererHTML):
    def image(self, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType) -> str:
        """Render name and address: loading would inform the image's server of the view."""
        token = tokens[index]
        name = self.renderInlineAsText(token.children, options, env)
        return f'<span class="pl-picture">{escape(name or "picture")} ({escape(str(token.attrGet("src")))})</span>'

    def link_open(self, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType) -> str:
        """Open links in another tab, without referrer."""
        tokens[index].attrSet("rel", "noopener noreferrer nofollow")
        tokens[index].attrSet("target", "_blank")
        return self.renderToken(tokens, index, options, env)

    def fence(self, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType) -> str:
        language, _, name = unescapeAll(tokens[index].info).strip().partition(" ")
        return _code(tokens[index].content, language, name.strip() or language or "text", grows=bool(env.get(_GROWS)))

    def code_block(self, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType) -> str:
        return _code(tokens[index].content, "", "text")

    def code_inline(self, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType) -> str:
        return f"<code>{_with_marked_bidi(escape(tokens[index].content))}</code>"


def markdown_parser() -> MarkdownIt:
    parser = _Parser("commonmark", {"html": False, "linkify": False, "maxNesting": MAX_NESTING}, renderer_cls=_Renderer)
    return add_extras(parser.enable(["table", "strikethrough"]))


_CODE_BUTTONS = (
    '<button type="button" class="pl-wrap" aria-pressed="false" aria-label="Wrap long lines">Wrap</button>'
    '<button type="button" class="pl-to-infill">Insert into Infill</button>'
    '<button type="button" class="pl-copy" aria-label="Copy the code">Copy</button>'
)
_MARKDOWN = markdown_parser()
_GROWS = "grows"
_CONTAINERS = frozenset({"blockquote_open", "list_item_open"})


def blocks(text: str) -> list[str]:
    """Return the HTML of a text, one string per top-level block."""
    return [block.html for block in _parsed(_normal(text), {})]


class IncrementalMarkdown:
    """Renderer for a growing text; each call renders only the last blocks.

    The result equals ``blocks``, except for the highlighting of an open code block.
    """

    def __init__(self) -> None:
        self._settled: list[str] = []
        self._start = 0  # Start of the part that may still change.
        self._addresses = False

    def blocks(self, text: str) -> list[str]:
        """Return the blocks of a text that begins with the previous text."""
        if self._addresses:
            return blocks(text)
        text = _normal(text)
        env: dict[str, Any] = {}
        found = _parsed(text[self._start :], env, grows=True)
        if env.get("references"):  # A link may precede the definition of its address by far.
            self._addresses = True
            return blocks(text)
        shown = [*self._settled, *(block.html for block in found)]
        self._settle(text, found)
        return shown

    def _settle(self, text: str, found: Sequence[_Block]) -> None:
        """Keep all blocks before a block with two complete lines."""
        lines = text[self._start :].split("\n")
        last = max((index for index, block in enumerate(found) if block.line + 2 < len(lines)), default=0)
        self._settled += [block.html for block in found[:last]]
        self._start += sum(len(line) + 1 for line in lines[: found[last].line]) if last else 0


def open_fence(text: str) -> str | None:
    """Return the fence of an open code block, which would swallow any text appended."""
    text = _normal(text)
    last = next(reversed(_MARKDOWN.parse(text)), None)
    return last.markup if last is not None and _is_open(last, text.split("\n")) else None


def _is_open(token: Token, lines: Sequence[str]) -> bool:
    if token.type != "fence" or token.level or token.map is None:
        return False
    first, end = token.map
    closing = re.compile(f" {{0,3}}{re.escape(token.markup[0])}{{{len(token.markup)},}}[ \\t]*")
    return end - first < 2 or closing.fullmatch(lines[end - 1]) is None


@dataclass(frozen=True, slots=True)
class _Block:
    line: int
    html: str


def _parsed(text: str, env: EnvType, *, grows: bool = False) -> list[_Block]:
    tokens = _MARKDOWN.parse(text, env)
    lines = text.split("\n")
    found: list[_Block] = []
    start = depth = 0
    for index, token in enumerate(tokens):
        depth += token.nesting
        if depth == 0:
            found.append(_block(tokens[start : index + 1], lines, grows and index + 1 == len(tokens)))
            start = index + 1
    return found


def _block(tokens: Sequence[Token], lines: Sequence[str], grows: bool) -> _Block:
    first, last = tokens[0].map or (0, 0)
    # The parser has dropped the content.
    if any(token.level >= MAX_NESTING - 1 and token.type in _CONTAINERS for token in tokens):
        return _Block(first, _code("\n".join(lines[first:last]), "", "text"))
    env = {_GROWS: grows and _is_open(tokens[0], lines)}
    return _Block(first, _MARKDOWN.renderer.render(tokens, _MARKDOWN.options, env))


def _normal(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _code(source: str, language: str, caption: str, *, grows: bool = False) -> str:
    coloured = _in_two_parts(source, language) if grows else highlighted(source, language)
    return (
        f'<figure class="pl-code"><figcaption><span>{escape(caption)}</span>{_CODE_BUTTONS}</figcaption>'
        f'<pre tabindex="0"><code>{_with_marked_bidi(coloured)}</code></pre></figure>'
    )


def _in_two_parts(source: str, language: str) -> str:
    """Highlight growing code in two parts, so that the first part can be cached.

    A step of the square root of the length minimizes the total cost of both parts.
    """
    if len(source) > MAX_CODE_CHARACTERS:
        return escape(source)
    step = 1 << (isqrt(len(source)).bit_length() + 1)
    border = source.rfind("\n", 0, len(source) // step * step) + 1
    return highlighted(source[:border], language) + highlighted(source[border:], language)


def _with_marked_bidi(html: str) -> str:
    return _BIDI.sub(lambda found: f'<bdi class="pl-bidi" title="U+{ord(found[0]):04X}">{found[0]}</bdi>', html)


def styles(selector: str, style: str) -> str:
    return str(HtmlFormatter(style=style, classprefix="pl-").get_style_defs(selector))  # type: ignore[no-untyped-call]
