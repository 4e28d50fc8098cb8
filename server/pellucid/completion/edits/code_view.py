"""A document's code without strings and comments, and the blocks of functions and classes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from enum import StrEnum
from functools import cached_property
from pathlib import PurePosixPath

from pellucid.code.blocks import block_end, headers_around
from pellucid.code.language_syntax import find_syntax, with_masked_text

STRING, COMMENT = "\0", "\1"
"""The characters that stand for those of strings and comments."""

_EMBEDDED = re.compile(r"(?<=\{)[^{}\n]+(?=\})")
"""Code in a template string, or in the messages of Rust's macros."""

_CONTROL = re.compile(
    r"\W*(?:(?:async|else)\s+)?(?:if|for|while|elif|else|try|except|finally|with|switch|case|catch|do|match|loop|unsafe)\b"
)
_CLASS = re.compile(
    r"\s*(?:\w+\s+|\([^)]*\)\s*)*?(?:class|struct|interface|enum|trait|impl|union|record|object|namespace|module|mod|type"
    r"|extension|protocol|CREATE\s+TABLE)\b(?!\s*[=(])",
    re.IGNORECASE,
)


class Role(StrEnum):
    CODE = "code"
    STRING = "string"
    COMMENT = "comment"


class CodeView:
    """The lines of a document in the language of its name."""

    def __init__(self, lines: Sequence[str], uri: str) -> None:
        self.lines = lines
        self.language = PurePosixPath(uri).suffix.removeprefix(".").lower()

    @cached_property
    def code(self) -> list[str]:
        """The lines with ``STRING`` and ``COMMENT`` instead of the characters in these."""
        syntax = find_syntax(self.language)
        marks = (*syntax.comments, *(begin for begin, _ in syntax.spans if begin in ("/*", "<!--", "--[[")))
        text = "\n".join(self.lines)

        def mask(begin: int, end: int) -> str:
            sign = COMMENT if text.startswith(marks, begin) else STRING
            return _masked(text[begin:end], sign, self.language, text[begin - 1 : begin])

        return with_masked_text(text, syntax, mask).split("\n")

    @cached_property
    def _bare_code(self) -> list[str]:
        return [line.replace(STRING, " ").replace(COMMENT, " ") for line in self.code]

    def role(self, line: int, column: int) -> Role:
        return role_of(self.code[line][column : column + 1])

    def block(self, header: int) -> range:
        """Return the lines of a header and of the block below."""
        return range(header, block_end(self.lines, header))

    def enclosing(self, line: int) -> int | None:
        """Return the header of the function or class around a line; None at the top of the file."""
        headers = headers_around(self.lines, self._bare_code, line)
        return next((index for index in headers if not _CONTROL.match(self.code[index])), None)

    def is_class(self, header: int) -> bool:
        return _CLASS.match(self.code[header]) is not None

    def occurrences(self, name: str) -> Iterator[tuple[int, int]]:
        """Yield the lines and columns of a whole word, in strings and comments, too."""
        pattern = re.compile(rf"(?<!\w){re.escape(name)}(?!\w)")
        for index, line in enumerate(self.lines):
            if name in line:
                yield from ((index, match.start()) for match in pattern.finditer(line))


def role_of(sign: str) -> Role:
    """Return the role of a character of ``CodeView.code``."""
    return {STRING: Role.STRING, COMMENT: Role.COMMENT}.get(sign, Role.CODE)


def _masked(text: str, sign: str, language: str, before: str) -> str:
    """Return a string or comment masked, except for the code embedded in a template string."""
    masked = re.sub(r"[^\n]", sign, text)
    if sign == STRING and (text.startswith("`") or before in ("f", "F", "$") or language == "rs"):
        for match in _EMBEDDED.finditer(text):
            masked = masked[: match.start()] + match[0] + masked[match.end() :]
    return masked
