"""Tests of the search for an accepted suggestion in its document."""

from __future__ import annotations

from typing import Any

import pytest

from pellucid.completion.find_accepted_suggestion import locate, token_at
from pellucid.completion.settings import SuggestionShape
from pellucid.completion.suggestion import DocumentCursor, Suggestion
from support.editors.token_factory import make_tokens

HERE = DocumentCursor("file:///a.py", "def f():\n    return ", "\n", position=(1, 11))
ACCEPTED = Suggestion("1", HERE, "a + b", make_tokens("a", " +", " b"), "m", SuggestionShape.LINE)


@pytest.mark.parametrize(
    "marked",
    [
        "def f():\n    return ▶a + b\n",
        "# more\n\ndef f():\n    return ▶a + b\n",
        "x = a + b\ndef f():\n    return ▶a + b\ny = a + b\n",
        "def g():\n    return a + b\n\ndef f():\n    return ▶a + b\n",
        "def f():\n    if x:\n        return ▶a + b\n",
        "y = a + b\n",
        "def f():\n    return a - b\n",
    ],
)
def test_locate(marked: str) -> None:
    """An unedited suggestion is found by the text before the suggestion, in any indentation."""
    wanted = marked.find("▶")

    assert locate(marked.replace("▶", ""), ACCEPTED) == (None if wanted < 0 else wanted)


@pytest.mark.parametrize(
    ("before", "text", "marked"),
    [
        ("value = ", "1", "# the value line was deleted\nx = [3, 1]\n"),
        ("value = ", "1", "x = 1\nvalue = ▶1\nother_value = 1\n"),
        ("x = compute_all(", "y)", "renamed = compute_all(▶y)\n"),
        ("f(", "y)", "gf(y)\n"),
        ("if a {\n    b\n", "}", "if a {\n    b\n▶}\n\nif c {\n    d\n}\n"),
        ("if a {\n    b\n", "}", "if c {\n    d\n}\n"),
        ("", "import os", "▶import os\n"),
        ("", "import os", "\n▶import os\n"),
        ("", "import os", "import sys\nimport os\n"),
        ("x = ", "compute_all(first, second)", "y = 3 * ▶compute_all(first, second)\n"),
        ("x = ", "compute_all(first, second)", "y = compute_all(first, second)\nz = compute_all(first, second)\n"),
        ("x = ", "-" * 30, "y = " + "-" * 30),
    ],
)
def test_what_tells_it(before: str, text: str, marked: str) -> None:
    """A suggestion is found by its line's beginning, by text before, or by a unique long text."""
    suggestion = Suggestion(
        "1", DocumentCursor("file:///a.py", before, ""), text, make_tokens(text), "m", SuggestionShape.LINE
    )

    assert locate(marked.replace("▶", ""), suggestion) == (marked.index("▶") if "▶" in marked else None)


@pytest.mark.parametrize("before", ["    foo(bar(baz", "", "nowhere", "a\n" * 20 + "    foo(bar(baz"])
def test_a_long_document_is_read_a_few_times(before: str) -> None:
    """The search for a short text takes time proportional to the document."""
    suggestion = Suggestion(
        "1", DocumentCursor("file:///a.py", before, ""), ")", make_tokens(")"), "m", SuggestionShape.LINE
    )
    short, long = (_Counted("    foo(bar(baz), qux[1])\n" * lines) for lines in (300, 3_000))

    assert (locate(long, suggestion) is None) == (locate(short, suggestion) is None)
    assert long.read <= 12 * short.read


class _Counted(str):
    """A text with a count of the characters read."""

    read = 0

    def find(self, *args: Any) -> int:
        found = super().find(*args)
        start = args[1] if len(args) > 1 else 0
        self.read += (len(self) if found < 0 else found + len(args[0])) - start
        return found

    def count(self, *args: Any) -> int:
        self.read += (args[2] if len(args) > 2 else len(self)) - (args[1] if len(args) > 1 else 0)
        return super().count(*args)

    def rfind(self, *args: Any) -> int:
        found = super().rfind(*args)
        self.read += (args[2] if len(args) > 2 else len(self)) - max(found, 0)
        return found

    def __getitem__(self, key: Any) -> str:
        found = super().__getitem__(key)
        self.read += len(found)
        return found


@pytest.mark.parametrize(("offset", "index"), [(-1, None), (0, 0), (1, 1), (2, 1), (3, 2), (4, 2), (5, None)])
def test_token_at(offset: int, index: int | None) -> None:
    """A character within a suggestion belongs to the token with the character."""
    assert token_at(ACCEPTED, offset) == index
