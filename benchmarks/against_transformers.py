"""Compare prefill and decode speed with ``transformers.generate`` in bfloat16.

    python benchmarks/against_transformers.py --model qwen2.5-coder-0.5b-instruct --threads 2

Both sides use the same file and number of threads, and run in turns. Pellucid is timed through the
engine, so that sampling, scores and delivery count. Prompts are random tokens, different each time,
so that no prefix is in a cache. Prints a Markdown table; ``--require`` sets the minimum ratios.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM
from transformers.generation.streamers import BaseStreamer

from pellucid.config import load_settings
from pellucid.engine.local_engine import LocalEngine
from pellucid.engine.model_worker import EngineSettings
from pellucid.engine.request import Request
from pellucid.models.catalog import DEFAULT_MODEL
from pellucid.models.load import LoadedModel, load
from pellucid.models.store import Store
from pellucid.system.progress import Silent
from pellucid.vocabulary.query import SamplingParams

Times = tuple[float, float]
"""Seconds to the first token, and from there to the last."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=DEFAULT_MODEL, help="a catalog name, a folder or a .gguf")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--prompt", type=int, default=512, help="tokens of each prompt")
    parser.add_argument("--answer", type=int, default=64, help="tokens of each answer")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--require", nargs=2, type=float, metavar=("PREFILL", "DECODE"), help="smallest ratios that pass"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    loaded = load(arguments.model, device="cpu", store=Store(load_settings().cache), progress=Silent())
    theirs = load_theirs(loaded.path)
    engine = LocalEngine(
        {loaded.name: loaded.model}, EngineSettings(slots=4, context=arguments.prompt + arguments.answer)
    )
    try:
        rows = race(loaded, engine, theirs, arguments)
    finally:
        engine.close()
    report(loaded, rows, arguments)


def load_theirs(path: Path) -> Any:
    """Load the same weights with the transformers library, in bfloat16."""
    folder, file = (path.parent, {"gguf_file": path.name}) if path.is_file() else (path, {})
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16, **file)
    # Every answer has the full length.
    model.generation_config.eos_token_id = None
    return model.eval()


def race(
    loaded: LoadedModel, engine: LocalEngine, theirs: Any, arguments: argparse.Namespace
) -> dict[str, list[Times]]:
    """Return the times of every contestant, measured in turns.

    The first turn warms up and does not count.
    """
    dice = random.Random(0)
    contestants: dict[str, Callable[[Sequence[int]], Times]] = {
        "transformers, bfloat16": lambda ids: time_theirs(theirs, ids, arguments.answer),
        f"Pellucid, {loaded.model.description}": lambda ids: asyncio.run(
            time_ours(engine, loaded.name, ids, arguments.answer)
        ),
    }
    times: dict[str, list[Times]] = {name: [] for name in contestants}
    for turn in range(arguments.rounds + 1):
        for name, run in contestants.items():
            taken = run([dice.randrange(loaded.model.vocab_size // 2) for _ in range(arguments.prompt)])
            if turn:
                times[name].append(taken)
    return times


async def time_ours(engine: LocalEngine, model: str, ids: Sequence[int], answer: int) -> Times:
    """Time an answer of the engine."""
    request = Request(ids, SamplingParams(max_tokens=answer, ignore_eos=True))
    start = time.perf_counter()
    first = 0.0
    async with contextlib.aclosing(engine.generate(model, request)) as items:
        async for _ in items:
            first = first or time.perf_counter()
    return first - start, time.perf_counter() - first


class TokenClock(BaseStreamer):
    """Records the time of each token; ``generate`` passes the prompt first."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def put(self, value: Tensor) -> None:
        self.times.append(time.perf_counter())

    def end(self) -> None:
        """Do nothing."""


@torch.inference_mode()
def time_theirs(model: Any, ids: Sequence[int], answer: int) -> Times:
    """Time an answer of ``generate``."""
    clock = TokenClock()
    prompt = torch.tensor([ids])
    start = time.perf_counter()
    model.generate(
        prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=answer, do_sample=False, streamer=clock
    )
    assert len(clock.times) == answer + 1
    return clock.times[1] - start, clock.times[-1] - clock.times[1]


def report(loaded: LoadedModel, times: dict[str, list[Times]], arguments: argparse.Namespace) -> None:
    """Print the medians and ratios as Markdown."""
    print(f"{loaded.name}, {arguments.threads} threads, medians of {arguments.rounds} turns\n")
    print(f"| | prefill {arguments.prompt}, tok/s | decode {arguments.answer}, tok/s |\n|---|---|---|")
    speeds = []
    for name, taken in times.items():
        prefill = arguments.prompt / statistics.median(first for first, _ in taken)
        decode = (arguments.answer - 1) / statistics.median(rest for _, rest in taken)
        speeds.append((prefill, decode))
        print(f"| {name} | {prefill:.0f} | {decode:.1f} |")
    ratios = [ours / theirs for theirs, ours in zip(*speeds, strict=True)]
    print(f"| ratio | {ratios[0]:.2f} | {ratios[1]:.2f} |")
    if arguments.require and any(ratio < least for ratio, least in zip(ratios, arguments.require, strict=True)):
        raise SystemExit(
            f"Too slow: the ratios must be at least {arguments.require[0]:g} and {arguments.require[1]:g}."
        )


if __name__ == "__main__":
    main()
