"""Cuts infill tasks out of HumanEval's solutions in the shapes of Bavarian et al. 2022 (arXiv
2207.14255).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path

from pellucid.learn.evaluate.benchmark_files import Json, json_lines
from pellucid.learn.evaluate.sandbox.judged_program import ProgramTest
from pellucid.learn.evaluate.suites.code_gap_base import FIELDS, Task


class Shape(StrEnum):
    """The removed part of a solution."""

    LINE = "line"
    LINES = "lines"
    """Two or more whole lines."""
    SPAN = "span"
    """Any characters: a span may begin and end inside a word."""


class Half(StrEnum):
    """The problems with even numbers, to choose rules, or with odd numbers, to report."""

    FIT = "fit"
    REPORT = "report"


def tasks(path: Path, shape: Shape, half: Half) -> list[Task]:
    """Return at most a task for each problem of HumanEval, drawn with a fixed seed."""
    draw = random.Random(shape)
    found = [
        (record, SPANS[shape](record["canonical_solution"].rstrip("\n"), draw)) for record in json_lines(path, FIELDS)
    ]
    return [_task(record, *span) for record, span in found[1 if half is Half.REPORT else 0 :: 2] if span]


def _task(record: Json, begin: int, end: int) -> Task:
    before, gap, after = (
        record["canonical_solution"][part] for part in (slice(begin), slice(begin, end), slice(end, None))
    )
    check = ProgramTest(record["entry_point"], f"{record['prompt']}{before}{gap}{after}", record["test"])
    return Task(record["task_id"], record["task_id"], record["prompt"] + before, after, gap, check)


def _lines(solution: str, draw: random.Random, *, several: bool) -> tuple[int, int] | None:
    """Draw whole lines with the last line break, so that the cursor begins a line."""
    lines = solution.split("\n")
    spans = [
        (first, last)
        for first in range(len(lines))
        for last in range(first, len(lines))
        if lines[first].strip() and lines[last].strip() and (first < last) == several
    ]
    if not spans:
        return None
    first, last = draw.choice(spans)
    starts = [sum(len(line) + 1 for line in lines[:number]) for number in range(len(lines) + 1)]
    return starts[first], starts[last + 1]


def _span(solution: str, draw: random.Random) -> tuple[int, int]:
    begin, end = sorted(draw.sample(range(len(solution) + 1), 2))
    return begin, end


SPANS: Mapping[Shape, Callable[[str, random.Random], tuple[int, int] | None]] = {
    Shape.LINE: lambda solution, draw: _lines(solution, draw, several=False),
    Shape.LINES: lambda solution, draw: _lines(solution, draw, several=True),
    Shape.SPAN: _span,
}
