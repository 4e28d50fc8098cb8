"""Definitions of the names near the cursor, as the editor's other language servers find them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import chain, groupby

from pellucid.completion.context.chunk_ring import CHARACTERS_PER_TOKEN, MAX_LOCAL_SHARE, distinctive_lines
from pellucid.completion.context.names_near_cursor import NamePlace, names_near
from pellucid.completion.context.uris import document_of
from pellucid.completion.document_cursor import DocumentCursor
from pellucid.completion.settings import ContextSettings
from pellucid.vocabulary.query import Extra

OUTLINES_PER_BUDGET = 4
"""Maximum size of an outline, as a fraction of the budget."""

MAX_DOCUMENTS = 50
"""Maximum number of documents whose names are remembered."""


@dataclass(frozen=True, slots=True)
class Definition:
    """The outline of a definition, in the document ``uri`` at a line from 0; -1: all of the file.

    ``filename`` is the name in the prompt.
    """

    uri: str
    filename: str
    line: int
    outline: str
    lines: frozenset[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "lines", distinctive_lines(self.outline))

    def is_former(self, new: Definition) -> bool:
        """Return whether a newer definition is the same definition after a change."""
        same = self.line == new.line == -1 or self.outline.partition("\n")[0] == new.outline.partition("\n")[0]
        return self.uri == new.uri and same and self.outline != new.outline

    @property
    def size(self) -> float:
        """The estimated number of tokens, with the file name."""
        return (len(self.outline) + len(self.filename)) / CHARACTERS_PER_TOKEN


class Definitions:
    """The definitions known for each document, and the definitions in the prompt.

    New definitions enter the prompt in three steps, so that no keystroke waits: `prepare` chooses,
    the model reads the prepared prompt during a pause, and `adopt` changes the prompts of
    suggestions. Until then suggestions have the former prompt, which is in the KV cache.

    The definitions in the prompt stay, in the same order, while all useful definitions fit: new
    definitions are appended. ``may_send(uri, text)`` is asked before each use.
    """

    def __init__(
        self, settings: ContextSettings, may_send: Callable[[str, str], bool] = lambda uri, text: True
    ) -> None:
        self._budget = settings.definitions_tokens
        self._may_send = may_send
        self._known: dict[str, dict[str, tuple[Definition, ...]]] = {}
        self._defining: set[str] = set()
        self._prepared: tuple[Definition, ...] = ()
        self._sent: tuple[Definition, ...] = ()
        self._version = 0
        self.asked = self.found = 0

    @property
    def most_characters(self) -> int:
        """The maximum length of an outline."""
        return int(self._budget / OUTLINES_PER_BUDGET * CHARACTERS_PER_TOKEN)

    @property
    def version(self) -> int:
        """The number of changes of the definitions in the prompt."""
        return self._version

    def unknown(self, cursor: DocumentCursor) -> list[NamePlace]:
        """Return the names near a cursor that were not looked up yet."""
        known = self._known.get(cursor.uri, {})
        return [place for place in names_near(cursor) if place.name not in known] if self._budget else []

    def note(self, uri: str, found: Mapping[str, Iterable[Definition]]) -> None:
        """Remember the definitions of a document's names; a name without definitions is known."""
        known = self._known.pop(uri, {})
        self._known[uri] = known
        for name, definitions in found.items():
            elsewhere = (one for one in definitions if document_of(one.uri) != document_of(uri) and one.outline)
            known[name] = tuple(dict.fromkeys(elsewhere))
            self._defining.update(document_of(one.uri) for one in known[name])
            self.asked += 1
            self.found += bool(known[name])
        while len(self._known) > MAX_DOCUMENTS:
            del self._known[next(iter(self._known))]

    def prepare(self, cursor: DocumentCursor) -> bool:
        """Choose the definitions for a cursor. Return whether the prompt would change."""
        wanted = self._wanted(cursor)
        sent = [one for one in self._sent if not any(one.is_former(new) for new in wanted)]
        new = [one for one in wanted if one not in sent]
        if new and sum(one.size for one in (*sent, *new)) > self._budget:
            sent, new = [], wanted
        by_file: dict[str, list[Definition]] = {}
        for one in new:
            by_file.setdefault(one.filename, []).insert(0, one)
        self._prepared = (*sent, *chain.from_iterable(reversed(by_file.values())))
        return self._prepared != self._sent

    def adopt(self) -> None:
        """Put the prepared definitions into the prompts of suggestions."""
        if self._sent != self._prepared:
            self._sent = self._prepared
            self._version += 1

    def chunks(self, around: str, exclude: str, *, prepared: bool = False) -> tuple[Extra, ...]:
        """Return the definitions to send, except definitions of ``exclude`` or in ``around``."""
        self.check()
        local = distinctive_lines(around)
        sent = [
            one
            for one in (self._prepared if prepared else self._sent)
            if document_of(one.uri) != document_of(exclude)
            and len(one.lines & local) <= MAX_LOCAL_SHARE * len(one.lines)
        ]
        return tuple(
            Extra(filename, "".join(one.outline for one in many))
            for filename, many in groupby(sent, key=lambda one: one.filename)
        )

    def check(self) -> None:
        """Drop the definitions that must no longer be sent."""
        self._keep(lambda one: self._may_send(one.uri, one.outline))

    def note_edited(self, uri: str) -> None:
        """Have the names looked up again that a document defines for other documents."""
        document = document_of(uri)
        if document in self._defining:
            self._defining.remove(document)
            for known in self._known.values():
                for name, many in list(known.items()):
                    if any(document_of(one.uri) == document for one in many):
                        del known[name]

    def forget(self, uri: str) -> None:
        """Forget the names of a closed document."""
        self._known.pop(uri, None)

    def _keep(self, is_kept: Callable[[Definition], bool]) -> None:
        self._prepared = tuple(filter(is_kept, self._prepared))
        sent = tuple(filter(is_kept, self._sent))
        if sent != self._sent:
            self._sent = sent
            self._version += 1

    def _wanted(self, cursor: DocumentCursor) -> list[Definition]:
        """Return the definitions of the names near a cursor that fit, the most useful first."""
        known = self._known.get(cursor.uri, {})
        found = [one for place in names_near(cursor) for one in known.get(place.name, ())]
        wanted: list[Definition] = []
        room = float(self._budget)
        for one in dict.fromkeys(found):
            if one.size <= room and self._may_send(one.uri, one.outline):
                wanted.append(one)
                room -= one.size
        return wanted
