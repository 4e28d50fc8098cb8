"""Prompts of Zed's Zeta 2: recent changes, and the document with the window in merge markers."""

from __future__ import annotations

from pellucid.completion.edits.edit_history import Edit, joined
from pellucid.completion.edits.next_edit_models.edit_window import EditWindow

CURSOR = "<|user_cursor|>"
END = ">>>>>>> UPDATED"
NO_EDITS = "NO_EDITS"

DIFFS = 6
"""Number of recent changes in the prompt, oldest first."""


def prompt(window: EditWindow) -> list[tuple[str, str]]:
    """Return the prompt's markers, each with the text after the marker.

    The answer is the whole window, and ends with ``END``.
    """
    first, end = window.surroundings()
    changes = "".join(_diff(window.name_of(edit), edit) for edit in window.recent(DIFFS))
    before, after = window.around_cursor()
    return [
        ("<[fim-suffix]>", joined(window.lines[window.end : end]) or "\n"),
        ("<[fim-prefix]>", ""),
        *([("<filename>", f"edit_history\n{changes}")] if changes else []),
        ("<filename>", f"{window.path}\n{joined(window.lines[first : window.first])}"),
        ("<<<<<<< CURRENT\n", before),
        (CURSOR, after),
        ("=======\n<[fim-middle]>", ""),
    ]


def _diff(name: str, edit: Edit) -> str:
    changed = [*(f"-{line}" for line in edit.old), *(f"+{line}" for line in edit.new)]
    return f"--- a/{name}\n+++ b/{name}\n@@ -1,{len(edit.old)} +1,{len(edit.new)} @@\n{joined(changed)}\n"
