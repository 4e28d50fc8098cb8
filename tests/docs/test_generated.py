"""The page of the settings is what docs/generate.py makes of the code."""

from __future__ import annotations

from pathlib import Path

import pytest

from generate import _cell, settings_page

DOCS = Path(__file__).parents[2] / "docs"


def test_settings() -> None:
    """The committed page is the one that the code gives; where it is not, run ``python docs/generate.py``."""
    assert (DOCS / "settings.md").read_text(encoding="utf-8") == settings_page()


@pytest.mark.parametrize(
    ("text", "cell"), [("the model.", "the model"), ("this one, ...", "this one, ..."), ("a | b", "a \\| b")]
)
def test_cell(text: str, cell: str) -> None:
    """A cell of a table has no final full stop, but keeps an ellipsis."""
    assert _cell(text) == cell
