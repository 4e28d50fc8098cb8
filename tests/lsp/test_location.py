"""An accepted suggestion is found again in its document."""

from __future__ import annotations

import pytest

from pellucid_lsp.location import locate, token_at
from pellucid_lsp.settings import Shape
from pellucid_lsp.suggestion import Place, Suggestion
from said import say

HERE = Place("file:///a.py", "def f():\n    return ", "\n", position=(1, 11))
ACCEPTED = Suggestion("1", HERE, "a + b", say("a", " +", " b"), "m", Shape.LINE)


@pytest.mark.parametrize(
    "marked",
    [
        "def f():\n    return ▶a + b\n",
        "# more\n\ndef f():\n    return ▶a + b\n",
        "x = a + b\ndef f():\n    return ▶a + b\ny = a + b\n",
        "def g():\n    return a + b\n\ndef f():\n    return ▶a + b\n",
        "y = ▶a + b\n",
        "def f():\n    return a - b\n",
    ],
)
def test_locate(marked: str) -> None:
    """The text before it tells it from others like it; where that has changed the nearest one counts; edited it is gone."""
    wanted = marked.find("▶")

    assert locate(marked.replace("▶", ""), ACCEPTED) == (None if wanted < 0 else wanted)


@pytest.mark.parametrize(("offset", "index"), [(-1, None), (0, 0), (1, 1), (2, 1), (3, 2), (4, 2), (5, None)])
def test_token_at(offset: int, index: int | None) -> None:
    """Every character belongs to the token that brought it, and none outside belongs to any."""
    assert token_at(ACCEPTED, offset) == index
