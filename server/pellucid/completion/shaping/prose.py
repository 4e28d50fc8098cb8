"""Where a paragraph, a list item or a fenced block of Markdown ends."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from pellucid.completion.shaping.block_scope import Scope
from pellucid.completion.shaping.ending import Ending, ScopeEnd
from pellucid.completion.shaping.language_syntax import indentation
from pellucid.completion.shaping.parsed_cursor import ParsedCursor
from pellucid.completion.suggestion import DocumentCursor

_FENCE = re.compile(r" *(?:[-*+>] *)?(`{3,}|~{3,})\s*([\w+#-]*)")
_ITEM = re.compile(r"\s*(?:[-*+]|\d+[.)])(?:\s|$)")
_HEADING = re.compile(r" {0,3}#{1,6}(?:\s|$)")
_MAY_BE_ITEM = re.compile(r"\s*(?:[-*+]?|\d+[.)]?)$")


@dataclass(frozen=True, slots=True)
class FencedBlock:
    """A place in a fenced block of Markdown: as if the block were a file, and the fence that ends it."""

    cursor: DocumentCursor
    fence: str


def find_fenced_block(cursor: DocumentCursor) -> FencedBlock | None:
    """The fenced block that the cursor stands in, if it does."""
    if cursor.language not in ("markdown", "md"):
        return None
    open_fence, language, begin, at = "", "", 0, 0
    for line in cursor.before.splitlines(keepends=True)[: None if not cursor.left else -1]:
        at += len(line)
        match = _FENCE.match(line)
        if match is None:
            continue
        if not open_fence:
            open_fence, language, begin = match.group(1), match.group(2), at
        elif match.group(1).startswith(open_fence) and not match.group(2):
            open_fence = ""
    if not open_fence:
        return None
    return FencedBlock(
        replace(cursor, before=cursor.before[begin:], after=_until(open_fence, cursor.after), language=language or "text"), open_fence
    )


def _until(fence: str, after: str) -> str:
    """The text before the line with the closing fence."""
    here, *lines = after.splitlines(keepends=True) or [""]
    for number, line in enumerate(lines):
        if line.strip().startswith(fence):
            return here + "".join(lines[:number])
    return after


class FencedScope:
    """A block within a fence: ends with the fence too, which is suggested where the text has none."""

    def __init__(self, scope: Scope, fence: str, *, is_closed: bool) -> None:
        self._scope = scope
        self._fence = fence
        self._is_closed = is_closed

    @property
    def blanks(self) -> int:
        return self._scope.blanks

    def judge(self, line: str, *, whole: bool) -> ScopeEnd | None:
        text = line.strip()
        if text.startswith(self._fence):
            if self._is_closed:
                return ScopeEnd(0, Ending.SCOPE)
            return ScopeEnd(len(line), Ending.SCOPE) if whole else None
        if not whole and self._fence.startswith(text):
            return None
        return self._scope.judge(line, whole=whole)


class ParagraphScope:
    """A paragraph, a list item, a heading, or a fenced block that the answer begins."""

    def __init__(self, parsed: ParsedCursor) -> None:
        self._parsed = parsed
        self._first = True
        self._item: int | None = None  # indentation of the list item
        self._fence = ""
        self._begun = bool(parsed.left.strip())
        self._note(parsed.left)

    @property
    def blanks(self) -> int:
        return 1_000 if self._fence else 0

    def judge(self, line: str, *, whole: bool) -> ScopeEnd | None:
        end = self._judge(line, whole=whole)
        if whole and end is None:
            self._first = False
        return end

    def _judge(self, line: str, *, whole: bool) -> ScopeEnd | None:
        if not line.strip() or (self._first and self._parsed.left.strip()):
            return None
        fence = _FENCE.match(line)
        if self._fence:
            closes = whole and fence is not None and fence.group(1).startswith(self._fence)
            return ScopeEnd(len(line), Ending.SCOPE) if closes else None
        if self._begun:
            if not whole and _MAY_BE_ITEM.match(line):
                return None
            next_item = _ITEM.match(line) and (self._item is None or indentation(line) <= self._item)
            if next_item or _HEADING.match(line):
                return ScopeEnd(0, Ending.SCOPE)
        if whole:
            self._begun = True
            self._fence = fence.group(1) if fence else ""
            self._note(line)
        return None

    def _note(self, line: str) -> None:
        if _ITEM.match(line):
            self._item = indentation(line)
