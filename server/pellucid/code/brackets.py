"""Open brackets in code, by rules that fit most languages."""

from __future__ import annotations

import re
from collections.abc import Iterator

OPENING = "([{"
CLOSING = ")]}"
QUOTES = "\"'`"

_TOKEN = re.compile(r"""["'`\[\](){}]""")
_INSIDE = {quote: re.compile(rf"(?:\\.|[^{quote}\\\n])*+") for quote in QUOTES}

_END_TAG = re.compile(r"</([A-Za-z][\w:.-]*)")


def is_closed(line: str) -> bool:
    return line.startswith((*CLOSING, "</"))


def opened_in(text: str, closing: str) -> bool:
    """Return whether ``closing`` closes a bracket or element that ``text`` has left open."""
    tag = _END_TAG.match(closing)
    if tag is not None:
        name = re.escape(tag.group(1))
        return len(re.findall(rf"<{name}\b", text)) > len(re.findall(rf"</{name}\b", text))
    return closing.startswith(tuple(CLOSING + ",;:")) and _open(text) > 0


def is_balanced(text: str) -> bool:
    depth = 0
    for token in _tokens(text):
        if token in QUOTES:
            return False
        depth += 1 if token in OPENING else -1
        if depth < 0:
            return False
    return depth == 0


def _open(text: str) -> int:
    depth = 0
    for token in _tokens(text):
        if token not in QUOTES:
            depth = depth + 1 if token in OPENING else max(depth - 1, 0)
    return depth


def _tokens(text: str) -> Iterator[str]:
    """Yield the brackets outside of strings, and the opening quotes of unclosed strings.

    The line after an unclosed quote is searched once: further quotes in the line are escaped.
    """
    open_until = dict.fromkeys(QUOTES, 0)
    at = 0
    while (match := _TOKEN.search(text, at)) is not None:
        token, at = match.group(), match.end()
        if token not in QUOTES:
            yield token
            continue
        end = at
        if at > open_until[token]:
            inside = _INSIDE[token].match(text, at)
            assert inside is not None, "it may be empty"
            end = inside.end()
        if text.startswith(token, end) and at > open_until[token]:
            at = end + 1
        else:
            open_until[token] = max(open_until[token], end)
            yield token
