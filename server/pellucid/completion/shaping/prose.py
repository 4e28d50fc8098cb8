"""Ends of paragraphs, list items and fenced blocks of Markdown."""

from __future__ import annotations

import re

from pellucid.code.language_syntax import indentation
from pellucid.completion.shaping.block_scope import Scope
from pellucid.completion.shaping.cursor_in_fence import FENCE, FencedBlock
from pellucid.completion.shaping.ending_reasons import Ending, ScopeEnd
from pellucid.completion.shaping.parsed_cursor import ParsedCursor

_ITEM = re.compile(r"\s*(?:[-*+]|\d+[.)])(?:\s|$)")
_HEADING = re.compile(r" {0,3}#{1,6}(?:\s|$)")
_MAY_BE_ITEM = re.compile(r"\s*(?:[-*+]?|\d+[.)]?)$")


class FencedScope:
    """A scope in a fenced block, also ended by the fence. A missing fence is suggested."""

    def __init__(self, scope: Scope, block: FencedBlock) -> None:
        self._scope = scope
        self._block = block

    @property
    def blank_lines(self) -> int:
        return self._scope.blank_lines

    def judge(self, line: str, *, whole: bool) -> ScopeEnd | None:
        text, fence = line.strip(), self._block.fence
        if text.startswith(fence):
            if self._block.is_closed:
                return ScopeEnd(0, Ending.SCOPE)
            return ScopeEnd(len(line), Ending.SCOPE) if whole else None
        if not whole and fence.startswith(text):
            return None
        return self._scope.judge(line, whole=whole)


class ParagraphScope:
    """A paragraph, a list item, a heading, or a fenced block opened by the answer."""

    def __init__(self, parsed: ParsedCursor) -> None:
        self._left = parsed.left
        self._first = True
        self._item_indent: int | None = None
        self._fence = ""
        self._begun = bool(parsed.left.strip())
        self._note_item(parsed.left)

    @property
    def blank_lines(self) -> int:
        return 1_000 if self._fence else 0

    def judge(self, line: str, *, whole: bool) -> ScopeEnd | None:
        end = self._judge(line, whole=whole)
        if whole and end is None:
            self._first = False
        return end

    def _judge(self, line: str, *, whole: bool) -> ScopeEnd | None:
        if not line.strip() or (self._first and self._left.strip()):
            return None
        fence = FENCE.match(line)
        if self._fence:
            closes = whole and fence is not None and fence.group(1).startswith(self._fence)
            return ScopeEnd(len(line), Ending.SCOPE) if closes else None
        if self._begun:
            if not whole and _MAY_BE_ITEM.match(line):
                return None
            next_item = _ITEM.match(line) and (self._item_indent is None or indentation(line) <= self._item_indent)
            if next_item or _HEADING.match(line):
                return ScopeEnd(0, Ending.SCOPE)
        if whole:
            self._begun = True
            self._fence = fence.group(1) if fence else ""
            self._note_item(line)
        return None

    def _note_item(self, line: str) -> None:
        if _ITEM.match(line):
            self._item_indent = indentation(line)
