"""Golden cases of where the infill of an indented block ends: the text around the cursor (‸), the model's answer, and the kept part."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid.text.margin_stop import MarginStop

DEFINITION = "def total(items):\n"

CASES = {
    "a function at the end of the file": (f"{DEFINITION}    ‸", "return sum(items)\n\n# Test\nprint(total([1]))\n", "return sum(items)"),
    "a cursor at the margin, in a block": (f"{DEFINITION}‸", "    return sum(items)\n\ncheck()\n", "    return sum(items)"),
    "the end of a line that opens a block": ("def total(items):‸", "\n    return 0\n\ntotal([])\n", "\n    return 0"),
    "below is a function of its own": (f"{DEFINITION}    ‸\n\ndef next_one():\n", "return 0\n\nx = 1\n", "return 0"),
    "below is the line itself": (f"{DEFINITION}‸def next_one():\n", "    return 0\n\nx = 1\n", "    return 0\n"),
    "below is more of the block": (f"{DEFINITION}    ‸\n    return n\n", "n = 0\n\nx = 1\n", "n = 0\n\nx = 1\n"),
    "right of the cursor is more of the line": (f"{DEFINITION}    ‸return n\n", "n = 0\nx = 1\n", "n = 0\nx = 1\n"),
    "the answer begins at the margin": (f"{DEFINITION}    return 0\n\n‸", "def next_one():\n    pass\nx = 1\n", None),
    "nothing is indented": ("x = 1\n‸", "y = 2\nz = 3\n", None),
    "a bracket closes the block": ("int f() {\n    ‸", "return 0;\n}\n\nint main() {\n", "return 0;\n}"),
    "a bracket and more close it": ("on(() => {\n    ‸", "go()\n})\n\nlet x\n", "go()\n})"),
    "the block goes on": ("if x:\n    ‸", "f()\nelse:\n    g()\nh()\n", "f()\nelse:\n    g()"),
    "a word closes the block": ("def f\n  ‸", "g\nend\n\nputs 1\n", "g\nend"),
    "a label": ("int f() {\n    ‸", "goto out;\nout:\n    return 1;\n}\nint x;\n", "goto out;\nout:\n    return 1;\n}"),
    "a name with a type is no label": (f"{DEFINITION}    ‸", "return 0\nx: int = 1\n", "return 0"),
    "a word that only begins like another": (f"{DEFINITION}    ‸", "return 0\nelsewhere = 1\n", "return 0"),
    "a condition of the preprocessor": ("int f() {\n    ‸", "#ifdef A\n    a();\n#endif\n}\nint x;\n", "#ifdef A\n    a();\n#endif\n}"),
    "line ends with a carriage return": (f"{DEFINITION}    ‸\r\n", "return 0\r\n\r\nx = 1\r\n", "return 0"),
}


def kept(around: str, pieces: Sequence[str]) -> tuple[str, bool]:
    """Return the part of an answer that is kept, and whether it was ended."""
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
    """An infill of an indented block ends before a line at the margin, unless that line closes or continues the block."""
    around, answer, expected = CASES[name]
    for pieces in (list(answer), [answer], [answer[:7], answer[7:]]):
        assert kept(around, pieces) == (answer if expected is None else expected, expected not in (None, answer))


def test_unfinished_line_at_the_margin() -> None:
    """A line at the margin of which only a word is there is dropped when the answer ends, unless the word closes a block."""
    assert kept("def f():\n    ‸", ["x = 1\nprin"]) == ("x = 1", True)
    assert kept("if x\n    ‸", ["y\nend"]) == ("y\nend", False)


@settings(derandomize=True, max_examples=500)
@given(st.text("a }:\n\r#<", max_size=30), st.lists(st.integers(0, 30)))
def test_pieces_do_not_matter(text: str, cuts: list[int]) -> None:
    """The kept part does not depend on how the answer is cut into pieces, and it is the beginning of the answer."""
    ends = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    pieces = [text[begin:end] for begin, end in pairwise(ends)]
    whole, _ = kept("if x:\n    ‸", [text])
    assert kept("if x:\n    ‸", pieces)[0] == whole
    assert text.startswith(whole)
