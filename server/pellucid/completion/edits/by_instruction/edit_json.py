"""JSON of edits by instruction, for the API and ``pellucid edit --json``."""

from __future__ import annotations

from typing import Any

from pellucid.client.token_json import record_of
from pellucid.completion.edits.by_instruction.edit_query import Hunk, InstructedEdit


def edit_record(edit: InstructedEdit) -> dict[str, Any]:
    return {
        "first": edit.first,
        "old": edit.old,
        "text": edit.text,
        "reason": edit.reason,
        "note": edit.note,
        "hunks": [hunk_record(hunk) for hunk in edit.hunks],
    }


def hunk_record(hunk: Hunk) -> dict[str, Any]:
    return {
        "first": hunk.first,
        "old": list(hunk.old),
        "new": list(hunk.new),
        "breaks_syntax": hunk.breaks_syntax,
        "tokens": [record_of(token) for token in hunk.tokens],
    }
