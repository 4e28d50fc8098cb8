"""JSON about next edits for clients: replaced ranges and new texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lsprotocol import types

from pellucid_lsp.documents import Documents
from pellucid_lsp.inspection_json import range_json

if TYPE_CHECKING:
    from pellucid.completion.edits.candidate import Candidate
    from pellucid.completion.edits.edit_memory import NextEdit
    from pellucid.completion.edits.edits_explanation import EditsExplanation

EDIT_ACCEPTED = "pellucid.editAccepted"
"""The command that an editor runs after an edit."""


@dataclass(frozen=True, slots=True)
class EditItem:
    """An edit for a client: ``text`` replaces a range in a version of a document."""

    edit: NextEdit
    version: int | None
    range: types.Range
    text: str

    def as_copilot_edit(self) -> dict[str, Any]:
        """Return the edit for ``textDocument/copilotInlineEdit``."""
        return {
            "text": self.text,
            "textDocument": {"uri": self.edit.change.uri, "version": self.version},
            "range": range_json(self.range),
            "command": {"title": "Pellucid: edit accepted", "command": EDIT_ACCEPTED, "arguments": [self.edit.id]},
        }

    def as_own_edit(self) -> dict[str, Any]:
        """Return the edit for ``pellucid/nextEdits``."""
        return {
            "id": self.edit.id,
            "range": range_json(self.range),
            "text": self.text,
            "probability": self.edit.probability,
            "logOdds": self.edit.log_odds,
        }


def place_json(edit: NextEdit) -> dict[str, Any]:
    """Return an edit with lines, not a range, because the document may not be open."""
    return {"id": edit.id, **_change_json(edit.change), "probability": edit.probability, "logOdds": edit.log_odds}


def _change_json(change: Candidate) -> dict[str, Any]:
    return {"uri": change.uri, "line": change.first, "old": list(change.old), "new": list(change.new)}


def explanation_json(
    explanation: EditsExplanation, elsewhere: EditsExplanation | None, note: str | None
) -> dict[str, Any]:
    """Return the result of ``pellucid/explainEdits``, with other files last."""
    return {
        "reason": explanation.reason if elsewhere is None else f"{explanation.reason} Other files: {elsewhere.reason}",
        "calibrationNote": note,
        "required": explanation.least,
        "changes": [
            {
                **_change_json(one.change),
                "outcome": one.outcome,
                "reason": one.reason,
                "probability": one.probability,
                "logOdds": one.log_odds,
            }
            for one in (*explanation.changes, *(() if elsewhere is None else elsewhere.changes))
        ],
    }


def edit_item(edit: NextEdit, documents: Documents, line_end: str) -> EditItem:
    change = edit.change
    where, text = line_change(documents, change.uri, change.first, change.old, change.new, line_end)
    return EditItem(edit, documents.get_text_document(change.uri).version, where, text)


def line_change(
    documents: Documents, uri: str, first: int, old: Sequence[str], new: Sequence[str], line_end: str
) -> tuple[types.Range, str]:
    """Return the range and the new text of a replacement of lines.

    Inserted and deleted lines include line endings.
    """
    lines = [line.rstrip("\r\n") for line in documents.get_text_document(uri).lines]

    def place(line: int, *, at_end: bool = False) -> types.Position:
        if line >= len(lines):
            line, at_end = len(lines) - 1, True
        return types.Position(line, documents.position_codec.client_num_units(lines[line]) if at_end else 0)

    begin, end = first, first + len(old)
    if old and new:
        where, text = types.Range(place(begin), place(end - 1, at_end=True)), "\n".join(new)
    elif end < len(lines):
        where, text = types.Range(place(begin), place(end)), "".join(line + "\n" for line in new)
    else:  # At the end of the document, where the last line has no line ending.
        where, text = (
            types.Range(place(max(begin - 1, 0), at_end=begin > 0), place(end)),
            "".join("\n" + line for line in new),
        )
    return where, text.replace("\n", line_end)
