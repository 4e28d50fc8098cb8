"""A suggestion, and its steps: prompt and trimmed answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pellucid.completion.document_cursor import DocumentCursor
from pellucid.completion.settings import SuggestionShape
from pellucid.vocabulary.query import Extra
from pellucid.vocabulary.token import Token


@dataclass(frozen=True, slots=True)
class Prompt:
    """The text for the model. ``extra`` are chunks of other files."""

    prefix: str
    suffix: str
    extra: tuple[Extra, ...] = ()


@dataclass(frozen=True, slots=True)
class TrimmedAnswer:
    """The suggested part of an answer.

    The texts of ``tokens`` join to ``text``. ``ending`` is the reason for the end.
    """

    text: str
    tokens: tuple[Token, ...]
    ending: str


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A text suggested at a cursor.

    The texts of ``tokens`` join to ``text``; the first and the last token may be cut. ``doubtful``
    is the length of the doubtful rest: editors show the rest fainter, and the key for the beginning
    does not accept the rest. ``partial``: more text is being generated, and the next request at the
    same cursor gets the whole suggestion.
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
        length = len(self.text) - self.doubtful
        return replace(self, text=self.text[:length], tokens=truncate(self.tokens, length), doubtful=0)


def truncate(tokens: Sequence[Token], length: int) -> tuple[Token, ...]:
    """Return the tokens of the first ``length`` characters; the last text may be cut."""
    kept: list[Token] = []
    for token in tokens:
        if length <= 0:
            break
        kept.append(token if len(token.text) <= length else replace(token, text=token.text[:length]))
        length -= len(token.text)
    return tuple(kept)


def drop_typed(tokens: Sequence[Token], length: int) -> tuple[Token, ...]:
    """Return the tokens after the first ``length`` characters; the first text may be cut."""
    left = list(tokens)
    while left and length > 0 and length >= len(left[0].text):
        length -= len(left.pop(0).text)
    if left and length:
        left[0] = replace(left[0], text=left[0].text[length:])
    return tuple(left)


def join_texts(tokens: Sequence[Token]) -> str:
    return "".join(token.text for token in tokens)
