"""Shows an answer that is JSON as code, as Markdown would take some of its characters for marks."""

from __future__ import annotations

import json


def json_as_code(text: str) -> str:
    """Return a JSON text, or the beginning of one, as a Markdown block of code.

    No line of it can end that block.
    """
    return f"```json\n{text}"


def is_json(text: str) -> bool:
    """Return whether a text is a whole JSON value."""
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
