"""Tests of HumanEval: canonical solutions are right, and empty answers wrong."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from pellucid.errors import InvalidRequestError
from pellucid.learn.evaluate.sandbox.sandbox import ProgramEnd
from pellucid.learn.evaluate.suites.code_gap_base import count_passing, judge, single_lines, whole
from support.learn.evaluation_files import LINES, PROBLEMS, write_benchmarks
from support.trial_counts import trial_count

pytestmark = pytest.mark.usefixtures("sandbox_alone")

HUMANEVAL = Path(__file__).parent / "humaneval" / "HumanEval.jsonl.gz"


@pytest.mark.process
async def test_canonical_solutions() -> None:
    """Canonical solutions pass, and no empty answer passes."""
    tasks = whole(HUMANEVAL, None)
    assert len(tasks) == 164
    tried = random.Random(1).sample(tasks, trial_count(len(tasks)))

    assert await count_passing(tried, [task.solution for task in tried]) == len(tried)
    assert await count_passing(tried, [""] * len(tried)) == 0


@pytest.mark.process
async def test_leaving_is_not_passing() -> None:
    """An answer that exits before the tests fails, whatever the exit status."""
    task = whole(HUMANEVAL, 1)[0]

    assert (await judge(task, "    import sys\n    sys.exit(0)\n")).end is not ProgramEnd.PASSED
    assert (await judge(task, "    import os\n    os._exit(0)\n")).end is not ProgramEnd.PASSED
    assert (await judge(task, "    pass\nimport os\nos._exit(0)\n")).end is ProgramEnd.LEFT


@pytest.mark.process
async def test_single_lines(tmp_path: Path) -> None:
    """Only the right line in a gap passes, and lines of a problem share a unit."""
    tasks = single_lines(write_benchmarks(tmp_path) / "HumanEval-SingleLineInfilling.jsonl", None)

    assert len(tasks) == len(LINES)
    assert {task.problem for task in tasks} == {problem["task_id"] for problem in PROBLEMS}
    assert await count_passing(tasks, [f"{task.solution}\n" for task in tasks]) == len(tasks)
    assert await count_passing(tasks, ["    pass\n"] * len(tasks)) == 0


def test_larger_limits_extend(tmp_path: Path) -> None:
    """A larger limit extends a smaller limit, so a run can be resumed with the larger limit."""
    path = write_benchmarks(tmp_path) / "HumanEval.jsonl"
    assert whole(path, 2) == whole(path, 3)[:2]
    assert whole(path, None) == whole(path, 1000)


def test_damaged_data(tmp_path: Path) -> None:
    """The error names the invalid line."""
    path = tmp_path / "HumanEval.jsonl"
    path.write_text('{"task_id": "a"}\n')
    with pytest.raises(
        InvalidRequestError,
        match=r"^Line 1 of .* has no text 'entry_point', so the file is damaged "
        r"or belongs to another benchmark: download it again\.$",
    ):
        whole(path, None)
