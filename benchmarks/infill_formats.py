"""Compare a model's infill formats by pass@1 on HumanEval's single lines.

    python benchmarks/infill_formats.py --data HumanEval-SingleLineInfilling.jsonl.gz --limit 60

Every order is measured with and without token healing. The data is OpenAI's human-eval-infilling:
JSON lines with task_id, entry_point, prompt, suffix, canonical_solution and test. Decoding is
greedy, and the first line of the answer is judged by the task's tests.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

from pellucid.config import load_settings
from pellucid.engine.local_engine import LocalEngine
from pellucid.engine.model_worker import EngineSettings
from pellucid.learn.evaluate.suites.code_gap_base import Task, count_passing, single_lines
from pellucid.models.catalog import DEFAULT_MODEL, InfillFormat, Order
from pellucid.models.load import LoadedModel, load
from pellucid.models.store import Store
from pellucid.system.progress import Silent
from pellucid.text.assistant import LocalAssistant
from pellucid.vocabulary.query import CompletionQuery, SamplingParams
from pellucid.vocabulary.token import Token

MAX_TOKENS = 64
AT_ONCE = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="the tasks, .jsonl or .jsonl.gz")
    parser.add_argument("--model", default=DEFAULT_MODEL, help="a catalog name, a folder or a .gguf")
    parser.add_argument("--limit", type=int, default=60, help="number of tasks, chosen with a fixed seed")
    parser.add_argument("--orders", nargs="+", choices=get_args(Order), default=list(get_args(Order)))
    parser.add_argument("--device", default="auto")
    parser.add_argument("--quant", default="auto")
    options = parser.parse_args()
    tasks = single_lines(options.data, options.limit)
    loaded = load(
        options.model, device=options.device, quant=options.quant, store=Store(load_settings().cache), progress=Silent()
    )
    if loaded.infill is None:
        raise SystemExit(f"{options.model} has no infill markers, so there are no formats to compare.")
    engine = LocalEngine({loaded.name: loaded.model}, EngineSettings(slots=AT_ONCE, context=2048))
    print(f"{loaded.name}, {loaded.model.description}\n")
    print("| order | healing | pass@1 | same as the solution | tasks | seconds a task |\n|---|---|---|---|---|---|")
    try:
        for order in options.orders:
            for heal in (False, True):
                print(
                    asyncio.run(measure(engine, loaded, replace(loaded.infill, order=order), heal, tasks)), flush=True
                )
    finally:
        engine.close()


async def measure(
    engine: LocalEngine, loaded: LoadedModel, format: InfillFormat, heal: bool, tasks: Sequence[Task]
) -> str:
    """Return a row of the table."""
    assistant = LocalAssistant(engine, [replace(loaded, infill=format)])
    turns = asyncio.Semaphore(AT_ONCE)

    async def answer(task: Task) -> str:
        async with turns:
            params = SamplingParams(max_tokens=MAX_TOKENS)
            items = assistant.complete(CompletionQuery(task.prefix, task.suffix, params=params, stop=["\n"], heal=heal))
            return "".join([item.text async for item in items if isinstance(item, Token)])

    begun = time.perf_counter()
    lines = [line + "\n" for line in await asyncio.gather(*map(answer, tasks))]
    seconds = (time.perf_counter() - begun) / len(tasks)
    passed = await count_passing(tasks, lines) / len(tasks)
    same = sum(line.rstrip() == task.solution.rstrip() for task, line in zip(tasks, lines, strict=True)) / len(tasks)
    return (
        f"| {format.order} | {'on' if heal else 'off'} | {100 * passed:.1f} | {100 * same:.1f} | {len(tasks)} "
        f"| {seconds:.2f} |"
    )


if __name__ == "__main__":
    main()
