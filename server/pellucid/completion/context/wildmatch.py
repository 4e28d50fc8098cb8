"""Translation of ignore patterns (git's wildmatch) into expressions without backtracking.

A plain translation of ``*a*a*a*z`` tries every division of a name among the asterisks, in time
exponential in their number. Here each piece between two asterisks, and each run of folders between
two ``**``, is an atomic group that matches only at the first possible position. Because an asterisk
takes the rest in any case, the first position is as good as any later position. A match takes at
most (length of the path) x (length of the pattern) steps.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

STAR, FOLDERS, SOME_FOLDERS, REST = "*", "**/", r"**\/", "**"
"""Tokens for text of any length. Any other token is an expression for one character."""

CROSSING = {FOLDERS: "(?:[^/]*+/)*?", SOME_FOLDERS: "(?:[^/]*+/)+?", REST: ".*"}

_SPECIAL = re.compile(r"[*?\[\\]")
_CLASSES = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "blank": r" \t",
    "cntrl": r"\x00-\x1f\x7f",
    "digit": "0-9",
    "graph": "!-~",
    "lower": "a-z",
    "print": " -~",
    "punct": r"!-/:-@\[-`{-~",
    "space": r" \t-\r",
    "upper": "A-Z",
    "xdigit": "0-9A-Fa-f",
}


def translate(glob: str, *, fold_case: bool = False) -> re.Pattern[str] | None:
    """Return the expression for a whole path, or None for a glob that git never matches.

    Each character represents one byte, because git compares bytes.
    """
    try:
        tokens = list(_tokens(glob))
    except _NeverMatchesError:
        return None
    return re.compile(_expression(tokens), re.DOTALL | re.ASCII | (re.IGNORECASE if fold_case else re.NOFLAG))


class _NeverMatchesError(Exception):
    """A class or escape without an end, or an unknown class name."""


def _tokens(glob: str) -> Iterator[str]:
    """Split a glob into tokens.

    ``**`` crosses folders if it is a whole name. Git compares the text before the first special
    character separately and takes the rest for the beginning of a pattern, so ``a**/b`` crosses
    folders as well.
    """
    special = _SPECIAL.search(glob)
    at = begin = special.start() if special else len(glob)
    yield from map(re.escape, glob[:begin])
    while at < len(glob):
        character = glob[at]
        if character == "*":
            token, at = _asterisks(glob, at, begins=at == begin)
            yield token
        elif character == "[":
            token, at = _class(glob, at + 1)
            yield token
        elif character == "\\":
            yield re.escape(_character(glob, at + 1))
            at += 2
        else:
            yield "[^/]" if character == "?" else re.escape(character)
            at += 1


def _asterisks(glob: str, at: int, *, begins: bool) -> tuple[str, int]:
    """Return the token of the asterisks at ``at``, and the next token's start."""
    end = at
    while glob.startswith("*", end):
        end += 1
    if end - at > 1 and (begins or glob[at - 1] == "/"):
        if end == len(glob):
            return REST, end
        if glob[end] == "/":
            return FOLDERS, end + 1
        if glob.startswith(r"\/", end):
            return SOME_FOLDERS, end + 2
    return STAR, end


def _class(glob: str, at: int) -> tuple[str, int]:
    """Return the token of the bracket expression from ``at``, and the next token's start."""
    negated = _character(glob, at) in "!^"
    at += negated
    members: list[str] = []
    first = ""
    while True:
        character = _character(glob, at)
        if character == "-" and first and at + 1 < len(glob) and glob[at + 1] != "]":
            at += 2 if glob[at + 1] == "\\" else 1
            members.append(_range(first, _character(glob, at)))
            first = ""
        elif (
            character == "["
            and glob.startswith(":", at + 1)
            and (end := glob.find("]", at + 2)) != at + 2
            and (end < 0 or glob[end - 1] == ":")
        ):
            if end < 0 or (name := glob[at + 2 : end - 1]) not in _CLASSES:
                raise _NeverMatchesError
            members.append(_CLASSES[name])
            at, first = end, ""
        else:
            if character == "\\":
                at += 1
            first = _character(glob, at)
            members.append(_range(first, first))
        at += 1
        if glob.startswith("]", at):
            break
    text = "".join(members)
    if negated:
        return f"[^/{text}]", at + 1
    return (f"(?!/)[{text}]" if text else "(?!)"), at + 1


def _range(first: str, last: str) -> str:
    return f"\\x{ord(first):02x}-\\x{ord(last):02x}" if first <= last else ""


def _character(glob: str, at: int) -> str:
    if at >= len(glob):
        raise _NeverMatchesError
    return glob[at]


def _expression(tokens: Sequence[str]) -> str:
    """Join the tokens before the first crossing, then each crossing with its folders."""
    crossings = [at for at, token in enumerate(tokens) if token in CROSSING]
    bounds = [*crossings, len(tokens)]
    expression = _folders(tokens[: bounds[0]], ends_path=not crossings)
    for at, end in pairwise(bounds):
        ends_path = end == len(tokens)
        found = CROSSING[tokens[at]] + _folders(tokens[at + 1 : end], ends_path=ends_path)
        expression += found if ends_path else f"(?>{found})"
    return expression


def _folders(tokens: Sequence[str], *, ends_path: bool) -> str:
    """Join the tokens of names and slashes.

    A name with an asterisk is atomic, together with its end.
    """
    expression, name = "", list[str]()
    for token in [*tokens, r"\Z"] if ends_path else tokens:
        name.append(token)
        if token in ("/", r"\Z"):
            expression += _name(name)
            name = []
    return expression + "".join(name)


def _name(tokens: Sequence[str]) -> str:
    """Join the tokens of a name and its end.

    The last asterisk is greedy, because the text after it must reach the end.
    """
    pieces = [""]
    for token in tokens:
        if token == STAR:
            pieces.append("")
        else:
            pieces[-1] += token
    first, *others = pieces
    if not others:
        return first
    return f"(?>{first}{''.join(f'(?>[^/]*?{piece})' for piece in others[:-1])}[^/]*{others[-1]})"
