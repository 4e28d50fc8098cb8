"""Tasks with a gap in a program, and whether the program works with an answer in the gap.

The tests run model-written code in a process of its own with limits on time, memory and files, which is no sandbox: use
models that you trust.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TEST_SECONDS = 10
TEST_MEMORY = 2 * 1024**3
TEST_PROCESSES = os.cpu_count() or 1


@dataclass(frozen=True)
class Task:
    prefix: str
    suffix: str
    solution: str
    test: str


def single_lines(path: Path, limit: int) -> list[Task]:
    """OpenAI's HumanEval-SingleLineInfilling, ``limit`` of it drawn with a fixed seed."""
    records = _read(path)
    drawn = random.Random(0).sample(records, min(limit, len(records)))
    return [Task(record["prompt"], record["suffix"], record["canonical_solution"].rstrip("\n"), _test(record)) for record in drawn]


def blocks(path: Path, limit: int) -> list[Task]:
    """HumanEval with two to four lines taken out of a solution; the cursor stands in the indentation of the first."""
    draw = random.Random(0)
    tasks = []
    for record in draw.sample(records := _read(path), len(records)):
        lines = record["canonical_solution"].rstrip("\n").split("\n")
        count = draw.randint(2, 4)
        starts = [at for at in range(len(lines) - count) if lines[at].strip() and lines[at + count - 1].strip()]
        if not starts:
            continue
        at = draw.choice(starts)
        gap = "\n".join(lines[at : at + count])
        solution = gap.lstrip(" ")
        before = record["prompt"] + "".join(f"{line}\n" for line in lines[:at]) + gap[: len(gap) - len(solution)]
        tasks.append(Task(before, "\n" + "\n".join(lines[at + count :]) + "\n", solution, _test(record)))
    return tasks[:limit]


async def count_passing(tasks: Sequence[Task], answers: Sequence[str]) -> int:
    """How many of the tasks' tests pass."""
    turns = asyncio.Semaphore(TEST_PROCESSES)

    async def judge(task: Task, answer: str) -> bool:
        async with turns:
            return await asyncio.to_thread(passes, task, answer)

    return sum(await asyncio.gather(*map(judge, tasks, answers)))


def passes(task: Task, answer: str) -> bool:
    """Whether the task's tests pass with this answer."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            done = subprocess.run(
                [sys.executable, "-I", "-c", f"{task.prefix}{answer}{task.suffix}{task.test}"],
                cwd=folder,
                env={},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=TEST_SECONDS,
                preexec_fn=_limit_resources,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return False
    return done.returncode == 0


def _read(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def _test(record: dict[str, Any]) -> str:
    return f"\n{record['test']}\ncheck({record['entry_point']})\n"


def _limit_resources() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (TEST_SECONDS, TEST_SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (TEST_MEMORY, TEST_MEMORY))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
