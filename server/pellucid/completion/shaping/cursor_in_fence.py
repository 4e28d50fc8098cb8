"""The fenced block of a Markdown document around the cursor."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from pellucid.completion.document_cursor import DocumentCursor

FENCE = re.compile(r" *(?:[-*+>] *)?(`{3,}|~{3,})\s*([\w+#-]*)")
"""A line with an opening or closing fence, and the named language."""


@dataclass(frozen=True, slots=True)
class FencedBlock:
    """The cursor with the block as its file, and the block's closing fence."""

    cursor: DocumentCursor
    fence: str
    is_closed: bool


def find_fenced_block(cursor: DocumentCursor) -> FencedBlock | None:
    if cursor.language not in ("markdown", "md"):
        return None
    open_fence, language, begin, at = "", "", 0, 0
    for line in cursor.before.splitlines(keepends=True)[: None if not cursor.left else -1]:
        at += len(line)
        match = FENCE.match(line)
        if match is None:
            continue
        if not open_fence:
            open_fence, language, begin = match.group(1), match.group(2), at
        elif match.group(1).startswith(open_fence) and not match.group(2):
            open_fence = ""
    if not open_fence:
        return None
    after = _before_fence(open_fence, cursor.after)
    inner = replace(cursor, before=cursor.before[begin:], after=after, language=language or "text")
    return FencedBlock(inner, open_fence, is_closed=after != cursor.after)


def _before_fence(fence: str, after: str) -> str:
    first, *lines = after.splitlines(keepends=True) or [""]
    for number, line in enumerate(lines):
        if line.strip().startswith(fence):
            return first + "".join(lines[:number])
    return after
