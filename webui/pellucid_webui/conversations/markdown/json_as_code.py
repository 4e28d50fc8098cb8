"""JSON answers as code: Markdown would interpret some characters."""

from __future__ import annotations


def json_as_code(text: str) -> str:
    """Return JSON as a Markdown code block, which a line of JSON cannot close."""
    return f"```json\n{text}"
