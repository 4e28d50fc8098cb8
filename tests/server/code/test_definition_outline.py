"""Outlines of definitions in several languages."""

from __future__ import annotations

import pytest

from pellucid.code.definition_outline import outline
from pellucid.code.language_syntax import find_syntax

PYTHON = '''\
import os

LIMIT = 3


class Order(Base):  # an order
    """An order.

    def not_a_member(self): ...
    """

    number: int = 0
    items: list[str] = field(
        default_factory=list,
    )

    def __init__(
        self,
        name: str,
    ) -> None:
        self.name = name
        self._cost: float = 0.0
        if self.name == "x":
            self.flag = True

    @property
    def total(self) -> float:
        """The total."""
        return sum(1 for one in self.items)

    async def _send(self): pass


def place(order: Order, *, late: bool = False) -> None:
    order.total
'''
TYPESCRIPT = """\
export interface Item {
  readonly name: string; // what
  price?: number;
}

export class Cart<T extends Item> implements Iterable<T> {
  private items: T[] = [];

  constructor(
    private readonly owner: string,
  ) {
    this.created = Date.now();
  }

  /* add(nothing) */
  add(item: T): void {
    if (item) {
      this.items.push(item);
    }
  }

  get total(): number {
    return 0;
  }
}

export const Kind = {
  small: 1,
  large: 2,
} as const;

export function makeCart(
  owner: string,
): Cart<Item> {
  return new Cart(owner);
}
"""
C = """\
struct order {
    int number;
    char *name;
};

static int place_order(struct order *one,
                       int late)
{
    return 0;
}
"""

CASES = [
    ("python", PYTHON, "LIMIT", "LIMIT = 3\n"),
    (
        "python",
        PYTHON,
        "class Order",
        "class Order(Base):\n    number: int = 0\n    items: list[str] = field(default_factory=list)\n"
        "    def __init__(self, name: str) -> None:\n    self.name\n    self._cost: float\n    self.flag\n"
        "    def total(self) -> float:\n    async def _send(self): pass\n",
    ),
    ("python", PYTHON, "def place", "def place(order: Order, *, late: bool = False) -> None:\n"),
    ("ts", TYPESCRIPT, "Item {", "export interface Item {\n  readonly name: string;\n  price?: number;\n"),
    (
        "ts",
        TYPESCRIPT,
        "class Cart",
        "export class Cart<T extends Item> implements Iterable<T> {\n  private items: T[] = [];\n"
        "  constructor(private readonly owner: string) {\n  this.created\n  add(item: T): void {\n"
        "  get total(): number {\n",
    ),
    ("ts", TYPESCRIPT, "const Kind", "export const Kind = {\n  small: 1,\n  large: 2,\n"),
    ("ts", TYPESCRIPT, "function makeCart", "export function makeCart(owner: string): Cart<Item> {\n"),
    ("c", C, "struct order {", "struct order {\n    int number;\n    char *name;\n"),
    ("c", C, "static int", "static int place_order(struct order *one, int late)\n"),
]


@pytest.mark.parametrize(("language", "text", "at", "wanted"), CASES)
def test_outlines(language: str, text: str, at: str, wanted: str) -> None:
    """An outline has the header, and for a type the headers and attributes of the members."""
    line = text[: text.index(at)].count("\n")
    assert outline(text.split("\n"), line, find_syntax(language), 1000) == wanted


def test_a_module() -> None:
    """The outline of a file has the headers of the definitions at the top."""
    assert outline(PYTHON.split("\n"), -1, find_syntax("python"), 1000) == (
        "LIMIT = 3\nclass Order(Base):\ndef place(order: Order, *, late: bool = False) -> None:\n"
    )
    assert outline(TYPESCRIPT.split("\n"), -1, find_syntax("ts"), 1000).count("\n") == 4


def test_little_room() -> None:
    """Hidden members are left out first; then the last members have only names."""
    lines, syntax = PYTHON.split("\n"), find_syntax("python")
    line = lines.index("class Order(Base):  # an order")
    assert outline(lines, line, syntax, 120) == (
        "class Order(Base):\n    number: int = 0\n    items: list[str] = field(default_factory=list)\n"
        "# also: name, flag, total\n"
    )
    for room in range(200):
        assert len(outline(lines, line, syntax, room)) <= max(room, 1)


@pytest.mark.parametrize("line", [99, 3])
def test_nothing_there(line: int) -> None:
    """A line that is blank, or not in the text, defines nothing: the file has changed."""
    assert outline(PYTHON.split("\n"), line, find_syntax("python"), 1000) == ""
