"""Golden cases of the end of an infill in an indented block: cursor (‸), answer and kept part."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid.text.margin_stop import MarginStop

DEFINITION = "def total(items):\n"

CASES = {
    "a function at the end of the file": (
        f"{DEFINITION}    ‸",
        "return sum(items)\n\n# Test\nprint(total([1]))\n",
        "return sum(items)",
    ),
    "a cursor at the margin, in a block": (
        f"{DEFINITION}‸",
        "    return sum(items)\n\ncheck()\n",
        "    return sum(items)",
    ),
    "the end of a line that opens a block": (
        "def total(items):  # all‸",
        "\n    return 0\n\ntotal([])\n",
        "\n    return 0",
    ),
    "below is a function of its own": (f"{DEFINITION}    ‸\n\ndef next_one():\n", "return 0\n\nx = 1\n", "return 0"),
    "the next line begins at the cursor": (
        f"{DEFINITION}‸def next_one():\n",
        "    return 0\n\nx = 1\n",
        "    return 0\n",
    ),
    "the next line begins at the cursor, carriage return": (
        f"{DEFINITION}‸def g():\r\n",
        "    return 0\r\n\r\nx = 1\r\n",
        "    return 0\r\n",
    ),
    "line ends with a carriage return": (f"{DEFINITION}    ‸\r\n", "return 0\r\n\r\nx = 1\r\n", "return 0"),
    "the rest of a line": (f"{DEFINITION}    return sum(‸\n", "items)\n\nx = 1\n", "items)"),
    "a signature of several lines": ("def total(\n    items,\n) -> int:\n    ‸", "return 0\nx = 1\n", "return 0"),
    "the statement continues": ("if x:\n    ‸", "f()\nelse:\n    g()\nh()\n", "f()\nelse:\n    g()"),
    "a bracket is closed": ("x = f(\n    lambda:\n    ‸", "1,\n)\n", None),
    "a word that only begins like another": (f"{DEFINITION}    ‸", "return 0\nelsewhere = 1\n", "return 0"),
    "a mapping of YAML": ("server:\n  ‸", "port: 1\n  host: a\nclient:\n  b: 1\n", "port: 1\n  host: a"),
    "below is more of the block": (f"{DEFINITION}    ‸\n    return n\n", "n = 0\n\nx = 1\n", None),
    "right of the cursor is more of the line": (f"{DEFINITION}    ‸return n\n", "n = 0\nx = 1\n", None),
    "the answer begins at the margin": (f"{DEFINITION}    return 0\n\n‸", "def next_one():\n    pass\nx = 1\n", None),
    "after the last line of a block": (f"{DEFINITION}    return 0‸", "\n\n\nx = 1\ny = 2\n", None),
    "a list of YAML at the margin": ("steps:‸", "\n- name: a\n  run: b\n- name: c\n", None),
    "nothing is indented": ("x = 1\n‸", "y = 2\nz = 3\n", None),
    "a block in brackets": ("int f() {\n    ‸", "return 0;\n}\n\nint main() {\n", None),
    "inside a string": ('def f():\n    return """\n    ‸', 'a\nb\n"""\n', None),
    "a string in the answer": (
        f"{DEFINITION}    ‸",
        'text = """\na\n"""\n    return 0\nx = 1\n',
        'text = """\na\n"""\n    return 0',
    ),
    "inside a fence": ("```python\ndef f():\n    ‸", "return 1\n```\n\nText\n", None),
}


def kept(around: str, pieces: Sequence[str]) -> tuple[str, bool]:
    """Return the kept part of an answer, and whether the answer was ended."""
    prefix, _, suffix = around.partition("‸")
    ending = MarginStop(prefix, suffix)
    text = ""
    for piece in pieces:
        text += ending.feed(piece)
        if ending.ended:
            return text, True
    return text + ending.finish(), ending.ended


@pytest.mark.parametrize("name", CASES)
def test_golden(name: str) -> None:
    """An infill of an indented block ends before the margin, unless the line there continues."""
    around, answer, expected = CASES[name]
    for pieces in (list(answer), [answer], [answer[:7], answer[7:]]):
        assert kept(around, pieces) == (answer if expected is None else expected, expected not in (None, answer))


def test_unfinished_line_at_the_margin() -> None:
    """A single word at the margin is dropped at the end, unless the word continues the block."""
    assert kept("def f():\n    ‸", ["x = 1\nprin"]) == ("x = 1", True)
    assert kept("if x:\n    ‸", ["y\nelse"]) == ("y\nelse", False)


AROUND = st.sampled_from(["if x:\n    ‸", "if x:\n‸", "if x:\n‸y = 1\n", "if x:‸\n", "if x:\r\n‸y = 1\r\n", "x = 1\n‸"])


@settings(derandomize=True, max_examples=500)
@given(AROUND, st.text('a }:\n\r"', max_size=30), st.lists(st.integers(0, 30)))
def test_pieces_do_not_matter(around: str, text: str, cuts: list[int]) -> None:
    """The kept part is a beginning of the answer, however the answer is cut into pieces."""
    ends = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    whole, _ = kept(around, [text])
    assert kept(around, [text[begin:end] for begin, end in pairwise(ends)])[0] == whole
    assert text.startswith(whole)
