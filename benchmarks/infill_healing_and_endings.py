"""Measure the value of token healing and of ending an infill, by pass@1 on HumanEval.

    python benchmarks/infill_healing_and_endings.py --data HumanEval.jsonl.gz --shape lines

Lines, several lines or spans are removed from solutions. Decoding is greedy, in the model's own
infill format. The plain answer is judged unchanged (up to the model's own end or the token limit)
and cut where the answer begins to repeat the suffix, then also at the margin. The last answer is
Pellucid's: healed, and ended by both rules. For the shape "line" only the first line counts. The
rules were chosen on the half "fit" of the problems. The tests run model-written code, see
pellucid/learn/evaluate/sandbox/sandbox.py.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Coroutine, Iterable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

from common.infill_tasks import Half, Shape, tasks
from common.machine import about
from pellucid.config import load_settings
from pellucid.engine.local_engine import LocalEngine
from pellucid.engine.model_worker import EngineSettings
from pellucid.learn.evaluate.suites.code_gap_base import Task, count_passing
from pellucid.learn.metrics import wilson
from pellucid.models.catalog import DEFAULT_MODEL
from pellucid.models.load import load
from pellucid.models.store import Store
from pellucid.system.progress import Silent
from pellucid.text.answer import Stream
from pellucid.text.assistant import LocalAssistant
from pellucid.text.margin_stop import MarginStop
from pellucid.text.query_ids import prompt_ids
from pellucid.text.stopping import EndingRule
from pellucid.text.suffix_stop import SuffixStop
from pellucid.vocabulary.finish import Finish, FinishReason
from pellucid.vocabulary.query import CompletionQuery, SamplingParams
from pellucid.vocabulary.token import Token

MAX_TOKENS = 160
AT_ONCE = 4
LINE_END = "\n"

Answer = tuple[str, bool]
"""An answer's text, and whether the answer is complete."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="HumanEval, .jsonl or .jsonl.gz")
    parser.add_argument("--model", default=DEFAULT_MODEL, help="a catalog name, a folder or a .gguf")
    parser.add_argument("--shape", type=Shape, choices=list(Shape), default=Shape.LINES)
    parser.add_argument("--half", type=Half, choices=list(Half), default=Half.REPORT, help="the half of the problems")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--quant", default="auto")
    options = parser.parse_args()
    drawn = tasks(options.data, options.shape, options.half)
    loaded = load(
        options.model, device=options.device, quant=options.quant, store=Store(load_settings().cache), progress=Silent()
    )
    engine = LocalEngine({loaded.name: loaded.model}, EngineSettings(slots=AT_ONCE, context=2048))
    print(f"{about()}\n{loaded.name}, {loaded.model.description}: {options.shape}, {options.half}\n")
    try:
        print(asyncio.run(measure(LocalAssistant(engine, [loaded]), drawn, first_line=options.shape is Shape.LINE)))
    finally:
        engine.close()


async def measure(assistant: LocalAssistant, drawn: Sequence[Task], *, first_line: bool) -> str:
    """Return the table."""
    served, turns = assistant.models.find(None), asyncio.Semaphore(AT_ONCE)
    params = SamplingParams(max_tokens=MAX_TOKENS)
    stop = (LINE_END,) if first_line else ()

    async def bare(task: Task) -> Answer:
        async with turns:
            ids = prompt_ids(served, CompletionQuery(task.prefix, task.suffix, params=params, stop=stop))
            return await collect(assistant.complete(CompletionQuery(ids, params=params, stop=stop)))

    async def whole(task: Task) -> Answer:
        async with turns:
            return await collect(
                assistant.complete(CompletionQuery(task.prefix, task.suffix, params=params, stop=stop))
            )

    plain = await with_progress("unchanged", map(bare, drawn), len(drawn))
    at_suffix = [end(SuffixStop(task.prefix, task.suffix), *answer) for task, answer in zip(drawn, plain, strict=True)]
    at_margin = [
        end(MarginStop(task.prefix, task.suffix), *answer) for task, answer in zip(drawn, at_suffix, strict=True)
    ]
    healed = await with_progress("healed and ended", map(whole, drawn), len(drawn))
    table = ["| answer | pass@1 (95 %) | same as the solution | came to an end | tasks |", "|---|---|---|---|---|"]
    rows = {
        "unchanged": plain,
        "ended at the suffix": at_suffix,
        "and at the margin": at_margin,
        "healed and ended": healed,
    }
    for name, answers in rows.items():
        texts = [f"{text.partition(LINE_END)[0]}{LINE_END}" if first_line else text for text, _ in answers]
        passed = wilson(await count_passing(drawn, texts), len(drawn))
        same = sum(text.rstrip() == task.solution.rstrip() for task, text in zip(drawn, texts, strict=True)) / len(
            drawn
        )
        stopped = sum(stopped for _, stopped in answers)
        shares = f"{passed.value:.1%} ({passed.low:.1%} to {passed.high:.1%}) | {same:.1%}"
        table.append(f"| {name} | {shares} | {stopped} | {len(drawn)} |")
    return "\n".join(table)


async def with_progress(label: str, works: Iterable[Coroutine[Any, Any, Answer]], total: int) -> list[Answer]:
    """Return the results of concurrent work in order."""
    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task(label, total=total)

        async def run(work: Coroutine[Any, Any, Answer]) -> Answer:
            answer = await work
            progress.advance(bar)
            return answer

        return await asyncio.gather(*map(run, works))


async def collect(stream: Stream) -> Answer:
    """Return an answer, and whether the answer ended before the token limit."""
    items = [item async for item in stream]
    ended = any(isinstance(item, Finish) and item.reason is FinishReason.STOP for item in items)
    return "".join(item.text for item in items if isinstance(item, Token)), ended


def end(ending: EndingRule, text: str, stopped: bool) -> Answer:
    """Return the kept part of an answer by a rule, and whether the answer ended."""
    kept = ending.feed(text)
    return (kept, True) if ending.ended else (kept + ending.finish(), stopped)


if __name__ == "__main__":
    main()
