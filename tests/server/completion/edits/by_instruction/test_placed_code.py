"""Tests the places of code blocks of a chat in a document."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from pellucid.completion.edits.by_instruction.edit_query import Hunk
from pellucid.completion.edits.by_instruction.placed_code import placed_code

STATS = '''"""Statistics."""

import math


def mean(values):
    """The arithmetic mean."""
    return sum(values) / len(values)


class Box:
    # The area.
    def area(self):
        return self.w * self.h

    def double(self):
        return 2 * self.area()


def variance(values):
    centre = mean(values)
    return sum((v - centre) ** 2 for v in values)
'''

SHOP = """const rate = 0.2;

export function total(items) {
  return items.reduce((sum, item) => sum + item.price, 0);
}

const tax = (price) => {
  return price * rate;
};
"""


def made(document: str, hunks: Sequence[Hunk]) -> str:
    """Return the document after all changes. The old lines must be there."""
    lines = document.split("\n")
    for hunk in reversed(hunks):
        end = hunk.first + len(hunk.old)
        assert tuple(lines[hunk.first : end]) == hunk.old
        lines[hunk.first : end] = hunk.new
    return "\n".join(lines)


MEAN = '    """The arithmetic mean."""\n    return sum(values) / len(values)\n'


@pytest.mark.parametrize(
    ("document", "code", "old", "new"),
    [
        pytest.param(
            STATS,
            f"def mean(values: list[float]) -> float:\n{MEAN}",
            "def mean(values):",
            "def mean(values: list[float]) -> float:",
            id="a function with another signature",
        ),
        pytest.param(
            STATS,
            "def double(self):\n    return self.area() * 2",
            "2 * self.area()",
            "self.area() * 2",
            id="a method without its class",
        ),
        pytest.param(
            STATS,
            "import math\nimport statistics\n\n\ndef mean(values):\n    return statistics.mean(values)\n\n\n"
            "print(mean([1]))\n",
            f"import math\n\n\ndef mean(values):\n{MEAN}",
            "import math\nimport statistics\n\n\ndef mean(values):\n    return statistics.mean(values)\n",
            id="a missing import, and no example of use",
        ),
        pytest.param(
            STATS,
            f"def mean(values):\n{MEAN}\n\ndef median(values):\n    return sorted(values)[len(values) // 2]\n",
            f"{MEAN}\n\n",
            f"{MEAN}\n\ndef median(values):\n    return sorted(values)[len(values) // 2]\n\n\n",
            id="a new function after a known one",
        ),
        pytest.param(
            STATS,
            "def median(values):\n    return sorted(values)[0]\n\n\ndef variance(values):\n    return 0.0\n",
            "def variance(values):\n    centre = mean(values)\n    return sum((v - centre) ** 2 for v in values)\n",
            "def median(values):\n    return sorted(values)[0]\n\n\ndef variance(values):\n    return 0.0\n",
            id="a new function before a known one",
        ),
        pytest.param(
            STATS,
            "# Width times height.\ndef area(self):\n    return self.w * self.h",
            "# The area.",
            "# Width times height.",
            id="a comment above a definition",
        ),
        pytest.param(
            STATS,
            "centre = mean(values)\nreturn sum((v - centre) ** 2 for v in values) / len(values)",
            "for v in values)\n",
            "for v in values) / len(values)\n",
            id="lines of a function, of which the last has changed",
        ),
        pytest.param(
            SHOP,
            "const tax = (price) => {\n  return price * (1 + rate);\n};",
            "price * rate",
            "price * (1 + rate)",
            id="a function in a variable",
        ),
        pytest.param(
            SHOP,
            "export function total(items) {\n  if (!items) {\n    return 0;\n  }\n"
            "  return items.reduce((sum, item) => sum + item.price, 0);\n}",
            "total(items) {\n",
            "total(items) {\n  if (!items) {\n    return 0;\n  }\n",
            id="a function in braces",
        ),
    ],
)
def test_where_code_belongs(document: str, code: str, old: str, new: str) -> None:
    """Code replaces its older version, with the indentation there, and nothing else."""
    assert made(document, placed_code(document, code)) == document.replace(old, new, 1)


@pytest.mark.parametrize("code", ["", "\n", "x = 1", "def other():\n    return 1\n"])
def test_code_of_another_file(code: str) -> None:
    """Code without any line or name of the document has no place."""
    assert placed_code(STATS, code) == []


def test_names_that_are_defined_twice() -> None:
    """A function that the document has twice has no place by its name."""
    twice = "class A:\n    def run(self):\n        return 1\n\n\nclass B:\n    def run(self):\n        return 2\n"
    assert placed_code(twice, "def run(self):\n    return 3\n") == []


def test_a_selection() -> None:
    """Selected lines are replaced by any code."""
    hunks = placed_code(STATS, "x = 1", (5, 8))
    assert made(STATS, hunks) == STATS.replace(f"def mean(values):\n{MEAN}", "x = 1\n")
