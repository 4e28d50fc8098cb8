"""Prompts of Sweep's next-edit models.

The file, recent changes, and the window: before the last change, now, and updated.
"""

from __future__ import annotations

from pellucid.completion.edits.edit_history import Edit, joined
from pellucid.completion.edits.next_edit_models.edit_window import EditWindow

FILE = "<|file_sep|>"
CURSOR = "<|cursor|>"

DIFFS = 3
"""Number of recent changes in the prompt."""


def answer_begin(window: EditWindow) -> int:
    """Return the document line where the model's text begins.

    The prompt repeats the window's lines above.
    """
    edit = window.last_edit
    inserted = edit is not None and not edit.old and window.first < edit.first and edit.end <= window.line
    # Lines above the cursor may have to follow inserted lines.
    return window.first + 1 if inserted else window.line


def prompt(window: EditWindow) -> list[tuple[str, str]]:
    """Return the prompt's markers, each with the text after the marker.

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
    return f"original:\n{joined(edit.old)}updated:\n{joined(edit.new)}"
