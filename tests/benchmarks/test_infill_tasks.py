"""Infill tasks are whole solutions without a part of the named shape."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.infill_tasks import Half, Shape, tasks
from pellucid.learn.evaluate.suites.code_gap_base import count_passing

HUMANEVAL = Path(__file__).parents[1] / "server/learn/evaluate/humaneval/HumanEval.jsonl.gz"


@pytest.mark.process
@pytest.mark.usefixtures("sandbox_alone")
@pytest.mark.parametrize("shape", list(Shape))
async def test_solutions_pass(shape: Shape) -> None:
    """The removed text passes."""
    drawn = tasks(HUMANEVAL, shape, Half.FIT)[:12]
    assert await count_passing(drawn, [task.solution for task in drawn]) == len(drawn)


def test_shapes() -> None:
    """A line is whole with its break, several lines are at least two, and spans begin anywhere."""
    by_shape = {shape: tasks(HUMANEVAL, shape, Half.REPORT) for shape in Shape}
    for shape in (Shape.LINE, Shape.LINES):
        assert all(task.prefix.endswith("\n") and task.solution.endswith("\n") for task in by_shape[shape])
    assert {task.solution.count("\n") for task in by_shape[Shape.LINE]} == {1}
    assert min(task.solution.count("\n") for task in by_shape[Shape.LINES]) == 2
    assert any(task.prefix[-1].isalnum() and task.solution[:1].isalnum() for task in by_shape[Shape.SPAN])


def test_halves_share_no_problem() -> None:
    """Rules are chosen and reported on disjoint problems."""
    fit, report = ({task.problem for task in tasks(HUMANEVAL, Shape.SPAN, half)} for half in Half)
    assert len(fit) == len(report) == 82
    assert not fit & report
