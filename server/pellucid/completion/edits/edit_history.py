"""Follows the edits of documents: keystrokes at one place are one edit, which ends when the user continues elsewhere."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

MAX_CHARACTERS = 500_000
"""Longer documents are not followed: they are generated, or data."""

MAX_DOCUMENTS = 32
"""Documents that are followed, those that were edited last."""

MAX_EDITS = 16
"""Edits that are kept, the last ones."""

NEAR_LINES = 1
"""A change so many lines from an edit, or fewer, belongs to it."""


@dataclass(frozen=True, slots=True)
class Edit:
    """Lines of a document that were replaced: ``old`` by ``new``, which begins at line ``first`` (from 0) of the present document."""

    uri: str
    first: int
    old: tuple[str, ...]
    new: tuple[str, ...]

    @property
    def end(self) -> int:
        """The line after the last new one."""
        return self.first + len(self.new)


def difference(uri: str, old: Sequence[str], new: Sequence[str]) -> Edit | None:
    """Return the smallest edit of whole lines that makes ``new`` of ``old``; None if they are equal."""
    if old == new:
        return None
    most = min(len(old), len(new))
    first = next((index for index in range(most) if old[index] != new[index]), most)
    last = next((index for index in range(most - first) if old[-1 - index] != new[-1 - index]), most - first)
    return Edit(uri, first, tuple(old[first : len(old) - last]), tuple(new[first : len(new) - last]))


@dataclass(slots=True)
class _Followed:
    """A document: its lines before the edit that is being made, and now."""

    before: tuple[str, ...]
    now: tuple[str, ...]


class EditHistory:
    """The last edits of all documents, oldest first. Texts have their lines ended by a line feed."""

    def __init__(self) -> None:
        self._documents: OrderedDict[str, _Followed] = OrderedDict()
        self._ended: deque[Edit] = deque(maxlen=MAX_EDITS)

    def open(self, uri: str, text: str) -> None:
        """Begin to follow a document."""
        self.forget(uri)
        if len(text) <= MAX_CHARACTERS:
            lines = tuple(text.split("\n"))
            self._documents[uri] = _Followed(lines, lines)
            while len(self._documents) > MAX_DOCUMENTS:
                self._documents.popitem(last=False)

    def change(self, uri: str, text: str) -> None:
        """Note the text of a document after a change."""
        document = self._documents.get(uri)
        if document is None or len(text) > MAX_CHARACTERS:
            self.open(uri, text)
            return
        self._documents.move_to_end(uri)
        lines = tuple(text.split("\n"))
        change = difference(uri, document.now, lines)
        if change is None:
            return
        edit = difference(uri, document.before, document.now)
        if edit is not None and not _touch(edit, change):
            self._ended.append(edit)
            document.before = document.now
        touched = next((one for one in self._ended if one.uri == uri and _touch(one, change)), None)
        if touched is not None and document.before is document.now:  # the user continues it, or undoes it
            self._ended.remove(touched)
            document.before = (*document.before[: touched.first], *touched.old, *document.before[touched.end :])
        self._shift(change)
        document.now = lines

    def latest(self, uri: str) -> Edit | None:
        """Return the last edit of a document; None if there is none, or if it was undone."""
        document = self._documents.get(uri)
        current = None if document is None else difference(uri, document.before, document.now)
        return current or next((edit for edit in reversed(self._ended) if edit.uri == uri), None)

    def edits(self) -> list[Edit]:
        """Return the last edits, those that are being made included."""
        running = (difference(uri, document.before, document.now) for uri, document in self._documents.items())
        return [*self._ended, *(edit for edit in running if edit is not None)][-MAX_EDITS:]

    def forget(self, uri: str) -> None:
        """Forget a document and its edits."""
        self._documents.pop(uri, None)
        self._ended = deque((edit for edit in self._ended if edit.uri != uri), MAX_EDITS)

    def _shift(self, change: Edit) -> None:
        """Move the ended edits below a change, and drop those that it covers: they are no longer in the document."""
        moved = (edit if edit.uri != change.uri else _moved(edit, change) for edit in self._ended)
        self._ended = deque((edit for edit in moved if edit is not None), MAX_EDITS)


def _touch(edit: Edit, change: Edit) -> bool:
    """Return whether a change, whose old lines are those after the edit, is at or next to it."""
    return change.first <= edit.end + NEAR_LINES and edit.first <= change.first + len(change.old) + NEAR_LINES


def _moved(edit: Edit, change: Edit) -> Edit | None:
    if edit.end <= change.first:
        return edit
    if edit.first >= change.first + len(change.old):
        return replace(edit, first=edit.first + len(change.new) - len(change.old))
    return None
