"""Measure the value of token healing and of ending at the suffix: pass@1 of blocks removed from HumanEval.

    python benchmarks/infill_healing_and_endings.py --data HumanEval.jsonl.gz --limit 48

Decoding is greedy, in the model's own infill format, with the cursor after the indentation of the block. The plain answer is judged as it
is (up to the model's own end or the token limit) and cut where it begins to repeat the suffix. The third answer is Pellucid's: healed and
ended.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from pathlib import Path

from pellucid.config import load_settings
from pellucid.engine.engine import Engine
from pellucid.engine.model_worker import EngineSettings
from pellucid.learn.evaluate.suites.code_gap_base import Task, blocks, count_passing
from pellucid.models.catalog import DEFAULT_MODEL
from pellucid.models.load import load
from pellucid.models.store import Store
from pellucid.system.progress_protocol import Silent
from pellucid.text.assistant import LocalAssistant, Stream
from pellucid.text.suffix_stop import SuffixStop
from pellucid.tokens import CompletionQuery, Finish, FinishReason, SamplingParams, Token

MAX_TOKENS = 160
AT_ONCE = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="HumanEval, .jsonl or .jsonl.gz")
    parser.add_argument("--model", default=DEFAULT_MODEL, help="a catalog name, a folder or a .gguf")
    parser.add_argument("--limit", type=int, default=48, help="number of tasks, chosen with a fixed seed")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--quant", default="auto")
    options = parser.parse_args()
    tasks = blocks(options.data, options.limit)
    loaded = load(options.model, device=options.device, quant=options.quant, store=Store(load_settings().cache), progress=Silent())
    engine = Engine({loaded.name: loaded.model}, EngineSettings(slots=AT_ONCE, context=2048))
    print(f"{loaded.name}, {loaded.model.description}\n")
    try:
        print(asyncio.run(measure(LocalAssistant(engine, [loaded]), tasks)))
    finally:
        engine.close()


async def measure(assistant: LocalAssistant, tasks: Sequence[Task]) -> str:
    """Return the table."""
    turns = asyncio.Semaphore(AT_ONCE)
    params = SamplingParams(max_tokens=MAX_TOKENS)

    async def bare(task: Task) -> tuple[str, bool]:
        async with turns:
            ids = assistant.prompt_ids(CompletionQuery(task.prefix, task.suffix, params=params))
            return await collect(assistant.complete(CompletionQuery(ids, params=params)))

    async def whole(task: Task) -> tuple[str, bool]:
        async with turns:
            return await collect(assistant.complete(CompletionQuery(task.prefix, task.suffix, params=params)))

    plain = await asyncio.gather(*map(bare, tasks))
    ended = [end(task, *answer) for task, answer in zip(tasks, plain, strict=True)]
    healed = await asyncio.gather(*map(whole, tasks))
    table = ["| answer | pass@1 | same as the solution | came to an end | tasks |", "|---|---|---|---|---|"]
    for name, answers in (("unchanged", plain), ("ended at the suffix", ended), ("healed, and ended at the suffix", healed)):
        texts = [text for text, _ in answers]
        passed = 100 * await count_passing(tasks, texts) / len(tasks)
        same = 100 * sum(text == task.solution for task, text in zip(tasks, texts, strict=True)) / len(tasks)
        table.append(f"| {name} | {passed:.1f} | {same:.1f} | {sum(stopped for _, stopped in answers)} | {len(tasks)} |")
    return "\n".join(table)


async def collect(stream: Stream) -> tuple[str, bool]:
    """Return an answer, and if it ended before the token limit."""
    items = [item async for item in stream]
    ended = any(isinstance(item, Finish) and item.reason is FinishReason.STOP for item in items)
    return "".join(item.text for item in items if isinstance(item, Token)), ended


def end(task: Task, text: str, stopped: bool) -> tuple[str, bool]:
    """Return an answer up to where it repeats the suffix, and if it ended."""
    ending = SuffixStop(task.prefix, task.suffix)
    kept = ending.feed(text)
    return (kept, True) if ending.ended else (kept + ending.finish(), stopped)


if __name__ == "__main__":
    main()
