"""The nouns of the language server: where a completion is asked for, and what is suggested there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from pellucid.completion.settings import SuggestionShape
from pellucid.tokens import Extra, Token


@dataclass(frozen=True, slots=True)
class DocumentCursor:
    """A cursor in a document: all the text before it and all the text after it.

    Lines end with a line feed, whatever the document has. ``path`` is None for what is not a file (an unsaved buffer).
    ``position`` is the cursor's line and character as the client counts them; it does not make a place another place.
    ``selected`` is what ``before`` ends with and the document has not yet: the text of an item selected in the menu.
    """

    uri: str
    before: str
    after: str
    language: str = ""
    path: str | None = None
    position: tuple[int, int] = field(default=(0, 0), compare=False)
    selected: str = field(default="", compare=False)

    @property
    def left(self) -> str:
        """What is left of the cursor on its line."""
        return self.before[_line_start(self.before) :]

    @property
    def right(self) -> str:
        """What is right of the cursor on its line."""
        return self.after[: _line_end(self.after)]


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the model gets to read: ``extra`` are pieces of other files."""

    prefix: str
    suffix: str
    extra: tuple[Extra, ...] = ()


@dataclass(frozen=True, slots=True)
class TrimmedAnswer:
    """What of an answer is suggested. The texts of ``tokens`` join to ``text``; ``ending`` says why it ends there."""

    text: str
    tokens: tuple[Token, ...]
    ending: str


@dataclass(frozen=True, slots=True)
class Suggestion:
    """What is suggested at a place. The texts of ``tokens`` join to ``text``; the first and the last may be cut."""

    id: str
    cursor: DocumentCursor
    text: str
    tokens: tuple[Token, ...]
    model: str
    shape: SuggestionShape


def truncate(tokens: Sequence[Token], length: int) -> tuple[Token, ...]:
    """The tokens of the first ``length`` characters; the last one's text is cut where they end."""
    kept: list[Token] = []
    for token in tokens:
        if length <= 0:
            break
        kept.append(token if len(token.text) <= length else replace(token, text=token.text[:length]))
        length -= len(token.text)
    return tuple(kept)


def normalize_newlines(text: str) -> str:
    """The text with line feeds at the ends of its lines."""
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def _line_start(text: str) -> int:
    return max(text.rfind("\n"), text.rfind("\r")) + 1


def _line_end(text: str) -> int:
    ends = [index for index in (text.find("\n"), text.find("\r")) if index >= 0]
    return min(ends, default=len(text))
