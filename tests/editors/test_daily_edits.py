"""The judge of the fifty edits: what counts as useful, half right and wrong."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def daily_edits() -> ModuleType:
    path = Path(__file__).with_name("daily_edits.py")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("offer", "verdict", "right"),
    [
        ("", "nothing shown", 0),
        ("self.width * self.height", "useful", 24),
        ("self.width *\n    self.height", "useful", 24),
        ("self.width * self", "useful", 17),
        ("self.width", "half", 10),
        ("self.width + self.height", "half", 11),
        ("self.width * self.height + 1", "half", 24),
        ("height * width", "wrong", 0),
    ],
)
def test_verdict(daily_edits: ModuleType, offer: str, verdict: str, right: int) -> None:
    """A whole text or most of the first line is useful; a right beginning is half right."""
    found = daily_edits.judge(offer, ["self.width * self.height"])
    assert (found.verdict, found.right) == (verdict, right)


def test_open_end(daily_edits: ModuleType) -> None:
    """A wanted text with an open end may go further, and the best wanted text counts."""
    assert daily_edits.judge('raise ValueError("empty")', ["return 0", "raise ValueError(…"]).verdict == "useful"


def test_fifty_edits(daily_edits: ModuleType) -> None:
    """There are fifty edits with different names, each with a cursor and a wanted text."""
    found = daily_edits.edits()
    assert len({edit.name for edit in found}) == 50
    assert all(edit.text.count(daily_edits.CURSOR) == 1 and edit.wanted for edit in found)
