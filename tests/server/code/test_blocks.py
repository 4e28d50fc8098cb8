"""Blocks of code by indentation."""

from __future__ import annotations

import pytest

from pellucid.code.blocks import block_end, headers_around
from pellucid.completion.edits.code_view import CodeView

PYTHON = '''\
class Shop:
    """Sells.

    Closed on Sunday.
    """

    def sell(
        self,
    ) -> int:
        if self.open:
            return 1

    def buy(self): ...
'''
CSHARP = """\
class Shop
{
    int Sell()
    {
        return 1;
    }
}
"""


@pytest.mark.parametrize(
    ("text", "line", "headers"), [(PYTHON, 10, [9, 6, 0]), (PYTHON, 6, [0]), (PYTHON, 0, []), (CSHARP, 4, [2, 0])]
)
def test_headers_around(text: str, line: int, headers: list[int]) -> None:
    """Headers are found above docstrings, headers of several lines and braces on their own line."""
    lines = text.split("\n")
    code = [part.replace("\0", " ") for part in CodeView(lines, "file:///shop.py").code]

    assert list(headers_around(lines, code, line)) == headers


@pytest.mark.parametrize(
    ("text", "header", "end"), [(PYTHON, 6, 11), (PYTHON, 12, 13), (PYTHON, 0, 13), (CSHARP, 2, 6), (CSHARP, 0, 7)]
)
def test_block_end(text: str, header: int, end: int) -> None:
    """A block has the rest of the header and the closing bracket, but no blank lines below."""
    assert block_end(text.split("\n"), header) == end


def test_members_below_a_docstring() -> None:
    """A method is in the class, although a docstring of several lines is between the two."""
    view = CodeView(PYTHON.split("\n"), "file:///shop.py")

    assert view.enclosing(12) == 0
    assert view.is_class(0)
    assert view.enclosing(10) == 6
