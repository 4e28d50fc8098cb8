"""Tests encodable texts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pellucid_webui.conversations.encodable_text import encodable


@given(st.text(st.characters(exclude_categories=())))
def test_encodable(text: str) -> None:
    """Every text becomes encodable, and an encodable text is unchanged."""
    found = encodable(text)
    found.encode()
    if not any("\ud800" <= character <= "\udfff" for character in text):
        assert found == text
