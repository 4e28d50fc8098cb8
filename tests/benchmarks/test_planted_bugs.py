"""Tests of planted bugs for the benchmark of marks on surprising code."""

from __future__ import annotations

import ast
import random

import pytest

from common.planted_bugs import KINDS, PlantedBug, plant

TEXT = '''\
def clamp(value, low, high):
    """Return value + 1 - 2, or not."""
    if value < low and low != high:
        return max(low, value)
    return [value + 1, low][0]
'''


def planted(count: int = 60) -> list[PlantedBug]:
    bugs = [plant("package", "file.py", TEXT, random.Random(seed)) for seed in range(count)]
    return [bug for bug in bugs if bug is not None]


def test_one_change_outside_of_strings() -> None:
    """Each bug changes the code only at the stated lines, not in docstrings; each kind occurs."""
    bugs = planted()
    assert {bug.kind for bug in bugs} == set(KINDS)
    for bug in bugs:
        assert ast.dump(ast.parse(bug.text)) != ast.dump(ast.parse(TEXT))
        changed = {
            line
            for line, (old, new) in enumerate(zip(TEXT.split("\n"), bug.text.split("\n"), strict=True), 1)
            if old != new
        }
        assert changed == bug.lines != {2}


@pytest.mark.parametrize("kind", KINDS)
def test_places(kind: str) -> None:
    """The spans cover the new tokens: two for swapped arguments, otherwise one."""
    for bug in planted():
        if bug.kind == kind:
            words = [bug.text[begin:end] for begin, end in bug.spans]
            assert len(words) == (2 if kind == "arguments" else 1)
            assert all(word.strip() == word != "" for word in words)
            assert len(bug.text) - len(bug.original) == 0 or len(words) == 1


def test_nothing_to_change() -> None:
    """A file without a place for a bug gets no bug."""
    assert plant("package", "file.py", "import os\n", random.Random(0)) is None
