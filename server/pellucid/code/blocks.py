"""The lines of blocks of code, by indentation and closing brackets."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from pellucid.code.brackets import CLOSING
from pellucid.code.language_syntax import indentation

_CONTINUES = re.compile(r"\s*[)\]].*[:{(]\s*$|\s*\{\s*$|\s*\)?\s*->")
"""A line that belongs to the header above although it is not further in."""

_CLOSES = re.compile(r"[)\]}]|end\b")


def block_end(lines: Sequence[str], header: int) -> int:
    """Return the line after a header and the block below."""
    outer, end = indentation(lines[header]), header + 1
    for index in range(header + 1, len(lines)):
        line = lines[index]
        if not line.strip():
            continue
        level = indentation(line)
        if level <= outer and not (level == outer and _CONTINUES.match(line)):
            return index + 1 if level == outer and _CLOSES.match(line.strip()) else end
        end = index + 1
    return end


def headers_around(lines: Sequence[str], code: Sequence[str], line: int) -> Iterator[int]:
    """Yield the lines that open the blocks around a line, the innermost first.

    ``code``: the lines with white space for strings and comments.
    """
    level = indentation(lines[line]) if code[line].strip() else len(code[line]) + 1
    for index in range(line - 1, -1, -1):
        text = code[index].strip()
        if not text or text[0] in CLOSING or indentation(lines[index]) >= level:
            continue
        level = indentation(lines[index])
        if text == "{":
            level += 1  # The header above is no further out.
        else:
            yield index
