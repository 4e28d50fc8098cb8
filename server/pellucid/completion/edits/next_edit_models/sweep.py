"""Writes the prompts of Sweep's next-edit models: the file, recent changes, and the window before the last of them, now, and updated."""

from __future__ import annotations

from pellucid.completion.edits.edit_history import Edit, joined
from pellucid.completion.edits.next_edit_models.edit_window import EditWindow

FILE = "<|file_sep|>"
CURSOR = "<|cursor|>"

DIFFS = 3
"""Recent changes that the model reads."""


def answer_begin(window: EditWindow) -> int:
    """Return the line of the document from which the model writes.

    The prompt repeats the window's lines above it.
    """
    edit = window.last_edit
    inserted = edit is not None and not edit.old and window.first < edit.first and edit.end <= window.line
    return (
        window.first + 1 if inserted else window.line
    )  # lines above the cursor may have to follow those that were inserted


def prompt(window: EditWindow) -> list[tuple[str, str]]:
    """Return the markers of the prompt, each with the text after it.

    The answer ends with the marker of a file or of a text's end.
    """
    place = f"{window.path}:{window.first + 1}:{window.end}"
    before, after = window.around_cursor()
    return [
        (FILE, f"{window.path}\n{joined(window.lines[slice(*window.surroundings())])}"),
        *((FILE, f"{window.name_of(edit)}.diff\n{diff(edit)}") for edit in window.recent(DIFFS)),
        (FILE, f"original/{place}\n{joined(window.before_last_edit())}"),
        (FILE, f"current/{place}\n{before}"),
        (CURSOR, after),
        (FILE, f"updated/{place}\n{joined(window.lines[window.first : answer_begin(window)])}"),
    ]


def diff(edit: Edit) -> str:
    """Return an edit as these models read it."""
    return f"original:\n{joined(edit.old)}updated:\n{joined(edit.new)}"
