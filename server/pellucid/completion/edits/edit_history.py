"""History of edits: keystrokes at one place are a single edit until the user moves elsewhere."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import count

MAX_CHARACTERS = 500_000
"""Longer documents are data or generated, so not followed."""

MAX_DOCUMENTS = 32

MAX_EDITS = 16

NEAR_LINES = 1
"""A change within this many lines of an edit continues the edit."""


@dataclass(frozen=True, slots=True)
class Edit:
    """Replaced lines of a document: ``new`` begins at line ``first`` (from 0) after the edit."""

    uri: str
    first: int
    old: tuple[str, ...]
    new: tuple[str, ...]

    @property
    def end(self) -> int:
        return self.first + len(self.new)


def difference(uri: str, old: Sequence[str], new: Sequence[str]) -> Edit | None:
    """Return the smallest edit of whole lines from ``old`` to ``new``; None if equal."""
    if old == new:
        return None
    most = min(len(old), len(new))
    first = next((index for index in range(most) if old[index] != new[index]), most)
    last = next((index for index in range(most - first) if old[-1 - index] != new[-1 - index]), most - first)
    return Edit(uri, first, tuple(old[first : len(old) - last]), tuple(new[first : len(new) - last]))


def joined(lines: Iterable[str]) -> str:
    return "".join(line + "\n" for line in lines)


@dataclass(slots=True)
class _Followed:
    """A document's lines before the running edit and now, and the last change's number."""

    before: tuple[str, ...]
    now: tuple[str, ...]
    changed: int


class EditHistory:
    """The last edits of all documents, oldest first. Lines must end with a line feed."""

    def __init__(self) -> None:
        self._documents: OrderedDict[str, _Followed] = OrderedDict()
        self._ended: deque[tuple[int, Edit]] = deque(maxlen=MAX_EDITS)
        self._numbers = count()

    def note(self, uri: str, text: str) -> None:
        if len(text) > MAX_CHARACTERS:
            self.forget(uri)
            return
        lines = tuple(text.split("\n"))
        document = self._documents.get(uri)
        if document is None:
            self._documents[uri] = _Followed(lines, lines, next(self._numbers))
            if len(self._documents) > MAX_DOCUMENTS:
                self._documents.popitem(last=False)
            return
        change = difference(uri, document.now, lines)
        if change is not None:
            self._documents.move_to_end(uri)
            self._make(document, change)
            document.now = lines
            document.changed = next(self._numbers)

    def edits(self) -> list[Edit]:
        running = ((one.changed, difference(uri, one.before, one.now)) for uri, one in self._documents.items())
        numbered = [*self._ended, *((number, edit) for number, edit in running if edit is not None)]
        return [edit for _, edit in sorted(numbered, key=lambda pair: pair[0])][-MAX_EDITS:]

    def documents(self) -> dict[str, tuple[str, ...]]:
        return {uri: one.now for uri, one in self._documents.items()}

    def forget(self, uri: str) -> None:
        self._documents.pop(uri, None)
        self._ended = deque((pair for pair in self._ended if pair[1].uri != uri), MAX_EDITS)

    def clear(self) -> None:
        self._documents.clear()
        self._ended.clear()

    def _make(self, document: _Followed, change: Edit) -> None:
        """Make a change: end a distant running edit, and continue an earlier edit at the change."""
        edit = difference(change.uri, document.before, document.now)
        if edit is None or not _touch(edit, change):
            if edit is not None:
                self._ended.append((document.changed, edit))
            document.before = document.now
            touched = next(
                (pair for pair in self._ended if pair[1].uri == change.uri and _touch(pair[1], change)), None
            )
            if touched is not None:
                self._ended.remove(touched)
                earlier = touched[1]
                document.before = (*document.now[: earlier.first], *earlier.old, *document.now[earlier.end :])
        moved = ((number, one if one.uri != change.uri else _moved(one, change)) for number, one in self._ended)
        self._ended = deque(((number, one) for number, one in moved if one is not None), MAX_EDITS)


def _touch(edit: Edit, change: Edit) -> bool:
    """Return whether a change, with old lines from after the edit, is at or next to the edit."""
    return change.first <= edit.end + NEAR_LINES and edit.first <= change.first + len(change.old) + NEAR_LINES


def _moved(edit: Edit, change: Edit) -> Edit | None:
    """Return an edit moved by a change; None if the change covers the edit."""
    if edit.end <= change.first:
        return edit
    if edit.first >= change.first + len(change.old):
        return replace(edit, first=edit.first + len(change.new) - len(change.old))
    return None
