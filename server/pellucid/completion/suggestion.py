"""Defines the nouns of completion: a cursor in a document, a prompt, a trimmed answer and a suggestion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from pellucid.completion.settings import SuggestionShape
from pellucid.tokens import Extra, Token


@dataclass(frozen=True, slots=True)
class DocumentCursor:
    r"""A cursor in a document: all the text before it and all the text after it.

    Lines end with ``\n``, whatever the document uses. ``path`` is None if the document is not a
    file, as an unsaved buffer. ``position`` is the line and character as the client counts them; it
    is not compared. ``selected`` is the text of an item selected in the completion menu: ``before``
    ends with it, while the document still has the text ``replaced`` there.
    """

    uri: str
    before: str
    after: str
    language: str = ""
    path: str | None = None
    position: tuple[int, int] = field(default=(0, 0), compare=False)
    selected: str = field(default="", compare=False)
    replaced: str = field(default="", compare=False)

    @property
    def left(self) -> str:
        """The text left of the cursor on its line."""
        return self.before[_line_start(self.before) :]

    @property
    def right(self) -> str:
        """The text right of the cursor on its line."""
        return self.after[: _line_end(self.after)]


@dataclass(frozen=True, slots=True)
class Prompt:
    """The text that the model reads. ``extra`` are chunks of other files."""

    prefix: str
    suffix: str
    extra: tuple[Extra, ...] = ()


@dataclass(frozen=True, slots=True)
class TrimmedAnswer:
    """The part of an answer that is suggested.

    The texts of ``tokens`` join to ``text``; ``ending`` is why it ends there.
    """

    text: str
    tokens: tuple[Token, ...]
    ending: str


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A text suggested at a cursor.

    The texts of ``tokens`` join to ``text``; the first and the last may be cut.

    ``doubtful`` is the length of its doubtful rest, which an editor shows fainter, and which its
    key does not accept with the beginning. ``partial``: more of it is being generated, and the next
    request at the same cursor gets the whole.
    """

    id: str
    cursor: DocumentCursor
    text: str
    tokens: tuple[Token, ...]
    model: str
    shape: SuggestionShape
    partial: bool = False
    doubtful: int = 0

    @property
    def sure(self) -> Suggestion:
        """The suggestion without its doubtful rest."""
        length = len(self.text) - self.doubtful
        return replace(self, text=self.text[:length], tokens=truncate(self.tokens, length), doubtful=0)


def truncate(tokens: Sequence[Token], length: int) -> tuple[Token, ...]:
    """Return the tokens of the first ``length`` characters; the text of the last one is cut there."""
    kept: list[Token] = []
    for token in tokens:
        if length <= 0:
            break
        kept.append(token if len(token.text) <= length else replace(token, text=token.text[:length]))
        length -= len(token.text)
    return tuple(kept)


def drop_typed(tokens: Sequence[Token], length: int) -> tuple[Token, ...]:
    """Return the tokens without their first ``length`` characters; a token in the middle keeps the rest of its text."""
    left = list(tokens)
    while left and length > 0 and length >= len(left[0].text):
        length -= len(left.pop(0).text)
    if left and length:
        left[0] = replace(left[0], text=left[0].text[length:])
    return tuple(left)


def join_texts(tokens: Sequence[Token]) -> str:
    """Return the text of tokens."""
    return "".join(token.text for token in tokens)


def normalize_newlines(text: str) -> str:
    r"""Return the text with ``\n`` at the end of each line."""
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def _line_start(text: str) -> int:
    return max(text.rfind("\n"), text.rfind("\r")) + 1


def _line_end(text: str) -> int:
    ends = [index for index in (text.find("\n"), text.find("\r")) if index >= 0]
    return min(ends, default=len(text))
