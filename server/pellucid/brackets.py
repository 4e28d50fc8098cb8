"""Which brackets of a piece of code are open, whatever the language: good enough to tell whose closing one it is."""

from __future__ import annotations

import re

OPENING = "([{"
CLOSING = ")]}"
QUOTES = "\"'`"

_TOKEN = re.compile(r"""(?P<string>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|`(?:\\.|[^`\\\n])*`)|(?P<quote>["'`])|(?P<bracket>[\[\](){}])""")
_END_TAG = re.compile(r"</([A-Za-z][\w:.-]*)")


def is_closed(line: str) -> bool:
    """Whether a line begins by closing something: a bracket or an element."""
    return line.startswith((*CLOSING, "</"))


def opened_in(text: str, closing: str) -> bool:
    """Whether what ``closing`` closes was opened in ``text`` and is open at its end.

    False if it closes nothing.
    """
    tag = _END_TAG.match(closing)
    if tag is not None:
        name = re.escape(tag.group(1))
        return len(re.findall(rf"<{name}\b", text)) > len(re.findall(rf"</{name}\b", text))
    return closing.startswith(tuple(CLOSING + ",;:")) and _open(text) > 0


def is_balanced(text: str) -> bool:
    """Whether all that is opened is closed and all that is closed was opened, strings included."""
    depth = 0
    for match in _TOKEN.finditer(text):
        if match.group("quote"):
            return False
        if match.group("bracket"):
            depth += 1 if match.group() in OPENING else -1
            if depth < 0:
                return False
    return depth == 0


def _open(text: str) -> int:
    """How many brackets of the text's own are open at its end."""
    depth = 0
    for match in _TOKEN.finditer(text):
        if match.group("bracket"):
            depth = depth + 1 if match.group() in OPENING else max(depth - 1, 0)
    return depth
