"""A cursor in a document."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class DocumentCursor:
    r"""A cursor in a document: all text before and after the cursor.

    Lines end with ``\n``, whatever the document uses. ``path`` is None for an unsaved document.
    ``position`` is the line and character in the client's units, and is not compared. ``selected``
    is the item selected in the completion menu: ``before`` ends with the item, while the document
    still has the text ``replaced``.
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
        return self.before[max(self.before.rfind("\n"), self.before.rfind("\r")) + 1 :]

    @property
    def right(self) -> str:
        ends = [index for index in (self.after.find("\n"), self.after.find("\r")) if index >= 0]
        return self.after[: min(ends, default=len(self.after))]


def normalize_newlines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text
