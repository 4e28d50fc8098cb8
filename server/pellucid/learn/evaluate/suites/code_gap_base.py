"""Tasks with a gap in a program, checked by running the program."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pellucid.learn.evaluate.benchmark_files import Json, drawn, json_lines
from pellucid.learn.evaluate.sandbox.judged_program import ProgramTest
from pellucid.learn.evaluate.sandbox.sandbox import ProgramOutcome, run_program

FIELDS = ("task_id", "entry_point", "prompt", "canonical_solution", "test")


@dataclass(frozen=True, slots=True)
class Task:
    """A program with a gap. Tasks may share a ``problem``."""

    id: str
    problem: str
    prefix: str
    suffix: str
    solution: str
    check: ProgramTest

    def program(self, answer: str) -> str:
        return f"{self.prefix}{answer}{self.suffix}"


@dataclass(frozen=True, slots=True)
class TaskQuestion:
    task: Task
    run_code: bool

    @property
    def id(self) -> str:
        return self.task.id

    @property
    def unit(self) -> str:
        """The problem, because tasks of the same problem are not independent."""
        return self.task.problem


def single_lines(path: Path, limit: int | None) -> list[Task]:
    """Read ``limit`` tasks of OpenAI's HumanEval-SingleLineInfilling, drawn with a fixed seed."""
    records = drawn(json_lines(path, (*FIELDS, "suffix")), limit)
    return [
        _task(record, record["prompt"], record["suffix"], record["canonical_solution"].rstrip("\n"))
        for record in records
    ]


def whole(path: Path, limit: int | None) -> list[Task]:
    """Read HumanEval, with function bodies as gaps, or raise InvalidRequestError."""
    return [
        _task(record, record["prompt"], "", record["canonical_solution"])
        for record in drawn(json_lines(path, FIELDS), limit)
    ]


async def judge(task: Task, answer: str) -> ProgramOutcome:
    """Run an answer with the tests, at most one program per processor at a time."""
    async with _turns():
        return await asyncio.to_thread(run_program, task.program(answer), check=task.check)


async def count_passing(tasks: Sequence[Task], answers: Sequence[str]) -> int:
    return sum(outcome.passed for outcome in await asyncio.gather(*map(judge, tasks, answers)))


_WAITING: dict[asyncio.AbstractEventLoop, asyncio.Semaphore] = {}


def _turns() -> asyncio.Semaphore:
    loop = asyncio.get_running_loop()
    for ended in [other for other in _WAITING if other.is_closed()]:
        del _WAITING[ended]
    return _WAITING.setdefault(loop, asyncio.Semaphore(os.cpu_count() or 1))


def _task(record: Json, prefix: str, suffix: str, solution: str) -> Task:
    problem = record["task_id"].removeprefix("SingleLineInfilling/").rpartition("/L")[0] or record["task_id"]
    check = ProgramTest(record["entry_point"], f"{prefix}{solution}\n{suffix}", record["test"])
    return Task(record["task_id"], problem, prefix, suffix, solution, check)
