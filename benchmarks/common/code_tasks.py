"""Programming tasks made of standard library files: code to continue, and files to change."""

from __future__ import annotations

import ast
import collections
import random
from collections.abc import Sequence
from dataclasses import dataclass

from common.stdlib_cursors import STDLIB, draw, modules, source

LINES = range(60, 101)
"""Lines of a file to change."""

CHARACTERS = range(1600, 2700)
"""Characters of a file to change: about as much as an answer of 600 tokens."""

MIN_FUNCTIONS = 3
"""Minimum number of functions in a file to change."""


@dataclass(frozen=True, slots=True)
class Code:
    """A text that ends within a line, and the rest of the line."""

    text: str
    rest: str


@dataclass(frozen=True, slots=True)
class Edit:
    """A file and the change to make."""

    file: str
    text: str
    instruction: str

    @property
    def question(self) -> str:
        return f"Here is a file:\n\n```python\n{self.text}```\n\n{self.instruction} Answer with the whole file."


def pieces(count: int, characters: int, seed: int) -> list[Code]:
    """Return the last lines before ``count`` cursors, up to ``characters`` characters each."""
    fitting: list[Code] = []
    seen = 0
    while len(fitting) < count:
        cursors = draw("report", seen + count, seed)[seen:]
        seen += len(cursors)
        fitting += [Code(tail(one.before, characters), one.truth) for one in cursors if len(one.before) > characters]
    return fitting[:count]


def tail(text: str, characters: int) -> str:
    """Return the whole lines at the end of a text, at most ``characters`` long."""
    if len(text) <= characters:
        return text
    return text[-characters - 1 :].partition("\n")[2]


def edits(seed: int) -> list[Edit]:
    """Return a change for each fitting file, in a seeded order: a name and type hints in turn."""
    files = [path for path in modules("report") if _fits(source(path))]
    random.Random(seed).shuffle(files)
    return [
        Edit(path.relative_to(STDLIB).as_posix(), source(path), _instruction(source(path), number))
        for number, path in enumerate(files)
    ]


def _instruction(text: str, number: int) -> str:
    if number % 2:
        return "Add type hints to all functions."
    name = most_named(text, functions(text))
    return f"Rename {name} to new_{name.lstrip('_')} everywhere."


def functions(text: str) -> list[str]:
    """Return the names of a program's functions, without special methods, or an empty list for text
    that is not a program of this Python version.
    """
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return []
    names = [node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return [name for name in names if not name.startswith("__")]


def most_named(text: str, names: Sequence[str]) -> str:
    """Return a program's most frequent name, the first of equally frequent names."""
    counts = collections.Counter(node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name))
    return max(names, key=lambda name: counts[name])


def _fits(text: str) -> bool:
    return (
        text.count("\n") in LINES
        and len(text) in CHARACTERS
        and text.isascii()
        and len(functions(text)) >= MIN_FUNCTIONS
    )
