"""Measure the cost of each quantization in quality, and its memory and speed.

    python benchmarks/quantization.py --prose tinyshakespeare.txt --tokens 50000 --json
    quantization.json

Every quant that Pellucid knows is compared with bfloat16 (``none``). Texts are read in windows of
``--window`` tokens that do not overlap: every token but the first of a window is scored once, with
the window's earlier tokens as context. Code is whole files of ``--code``, prose is pieces of one
file, both in a random order with a fixed seed. All models read a window before the next one, so
that no distributions are stored.

Infilling is the rest of a line at cursors in the standard library, greedy, and right if it equals
the file. It is compared with the reference cursor by cursor. Speeds are of random tokens, through
the engine, in turns. Memory is that of a separate server at rest after one answer.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import sys
import time
from collections.abc import Sequence
from contextlib import aclosing, closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn
from torch import Tensor

from common.divergence import Divergence
from common.http_asker import Asker
from common.machine import about
from common.markdown_tables import table
from common.paired_answers import Paired
from common.replayed_suggestions import is_right
from common.servers import pellucid_server
from common.stdlib_cursors import STDLIB, Cursor, draw, python_files, source
from common.text_windows import windows
from pellucid.config import load_settings
from pellucid.engine import weight_packing
from pellucid.engine.local_engine import LocalEngine
from pellucid.engine.model import Batch, BatchSpan, Hidden, Model
from pellucid.engine.model_worker import EngineSettings
from pellucid.engine.request import Request
from pellucid.errors import ConfigError
from pellucid.models.catalog import DEFAULT_MODEL
from pellucid.models.load import LoadedModel, load
from pellucid.models.store import Store
from pellucid.system.processors import use_threads
from pellucid.system.progress import Silent
from pellucid.text.assistant import LocalAssistant
from pellucid.vocabulary.query import CompletionQuery, SamplingParams
from pellucid.vocabulary.token import Token
from soak import resident_megabytes

Times = tuple[float, float]
"""Seconds to the first token, and from there to the last."""

REFERENCE = "none"

ROWS = 128
"""Positions with distributions in memory: 78 MB per model with a vocabulary of 152,000."""

ABOVE, BELOW = 64, 32
"""Lines before and after the cursor in a prompt."""

ANSWER_TOKENS = 32
"""Maximum tokens of the rest of a line."""

PREFILL, DECODE = 512, 64
"""Tokens of a prompt and of an answer for speeds."""

CONTEXT_TOKENS = 2048

FIGURES = ("perplexity", f"relative to {REFERENCE}", "KL, nats", "same first")
"""Quality figures for each text."""

MIB = 2**20


@dataclass
class StoredWeights:
    """A way to store the weights: the quants with the same weights, and the figures."""

    quants: list[str]
    loaded: LoadedModel
    texts: dict[str, Divergence] = field(default_factory=dict)
    right: list[bool] = field(default_factory=list)
    times: list[Times] = field(default_factory=list)
    resident: float = 0.0

    @property
    def name(self) -> str:
        return ", ".join(self.quants)


class Reader:
    """A model with a cache for a window."""

    def __init__(self, model: Model, window: int) -> None:
        self._model = model
        self._storage = model.new_storage(1, window)

    def hidden(self, ids: Sequence[int]) -> Hidden:
        """Return the hidden states that predict the tokens from the second on."""
        positions = np.arange(len(ids))
        batch = Batch(np.array(ids), positions, (BatchSpan(0, 0, len(ids), 0),), positions[:-1])
        return self._model.forward(batch, self._storage)

    def logprobs(self, hidden: Hidden) -> Tensor:
        logits = self._model.logits(hidden)
        return torch.stack([torch.from_numpy(logits.row(index)) for index in range(len(logits))]).log_softmax(-1)


@torch.inference_mode()
def compare(readers: Sequence[Reader], sums: Sequence[Divergence], window: Sequence[int]) -> None:
    """Add the figures of all models for a window; the first model is the reference."""
    ids = torch.tensor(window)
    hidden = [reader.hidden(window) for reader in readers]
    for first in range(0, len(ids) - 1, ROWS):
        rows, targets = slice(first, first + ROWS), ids[first + 1 : first + 1 + ROWS]
        reference = readers[0].logprobs(hidden[0][rows])
        for reader, states, found in zip(readers, hidden, sums, strict=True):
            found.add(reference, reference if reader is readers[0] else reader.logprobs(states[rows]), targets)


class Study:
    """All ways to store a model's weights; the first of ``held`` is the reference."""

    def __init__(self, held: Sequence[StoredWeights], options: argparse.Namespace) -> None:
        self.held = held
        self._options = options
        self._dice = random.Random(options.seed)

    def read(self, progress: Progress) -> None:
        """Measure perplexity and divergence, text by text."""
        options, tokenizer = self._options, self.held[0].loaded.tokenizer
        readers = [Reader(one.loaded.model, options.window) for one in self.held]
        files = python_files(options.code)
        self._dice.shuffle(files)
        prose = tokenizer.encode(options.prose.read_text(encoding="utf-8"))
        pieces = [prose[first : first + options.window] for first in range(0, len(prose), options.window)]
        self._dice.shuffle(pieces)
        for name, texts in (("code", (tokenizer.encode(source(path)) for path in files)), ("prose", iter(pieces))):
            sums = [one.texts.setdefault(name, Divergence()) for one in self.held]
            task = progress.add_task(f"tokens of {name}", total=options.tokens)
            for window in windows(texts, options.window, options.tokens):
                compare(readers, sums, window)
                progress.advance(task, len(window))

    async def fill(self, assistant: LocalAssistant, progress: Progress) -> None:
        """Measure infilling, cursor by cursor."""
        cursors = draw("report", self._options.cursors, self._options.seed)
        for cursor in progress.track(cursors, description="cursors"):
            for one in self.held:
                one.right.append(is_right(await filled(assistant, one.loaded.name, cursor), cursor.truth))

    async def race(self, engine: LocalEngine, progress: Progress) -> None:
        """Measure speeds, in turns. The first turn warms up and does not count."""
        for turn in progress.track(range(self._options.turns + 1), description="speeds"):
            for one in self.held:
                ids = [self._dice.randrange(one.loaded.model.vocab_size // 2) for _ in range(PREFILL)]
                times = await time_ours(engine, one.loaded.name, ids, DECODE)
                if turn:
                    one.times.append(times)

    def weigh(self, progress: Progress) -> None:
        """Measure the memory of a server at rest."""
        options = self._options
        for one in progress.track(self.held, description="servers"):
            flags = ("--model", one.loaded.name, "--threads", str(options.threads), "--no-page")
            with pellucid_server(*flags) as server, closing(Asker(server.url)) as asker:
                asker.complete("def add(a, b):\n    return ", 8)
                one.resident = resident_megabytes(server.process)


async def filled(assistant: LocalAssistant, model: str, cursor: Cursor) -> str:
    """Return the generated rest of a line."""
    before = "\n".join(cursor.before.split("\n")[-ABOVE:])
    below = "\n".join(cursor.below.split("\n")[: BELOW + 1])
    stream = assistant.complete(
        CompletionQuery(before, below, params=SamplingParams(max_tokens=ANSWER_TOKENS), model=model, stop=["\n"])
    )
    async with aclosing(stream) as items:
        return "".join([item.text async for item in items if isinstance(item, Token)])


async def time_ours(engine: LocalEngine, model: str, ids: Sequence[int], answer: int) -> Times:
    """Time an answer of the engine."""
    request = Request(ids, SamplingParams(max_tokens=answer, ignore_eos=True))
    start = time.perf_counter()
    first = 0.0
    async with aclosing(engine.generate(model, request)) as items:
        async for _ in items:
            first = first or time.perf_counter()
    return first - start, time.perf_counter() - first


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prose", type=Path, required=True, metavar="FILE", help="file of prose")
    parser.add_argument(
        "--code", type=Path, default=STDLIB, metavar="FOLDER", help="Python files; default: the standard library"
    )
    parser.add_argument("--model", default=DEFAULT_MODEL, help="a catalog name, a folder or a .gguf")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=50_000, help="tokens of code and of prose to read")
    parser.add_argument("--window", type=int, default=1024, help="tokens of a window")
    parser.add_argument("--cursors", type=int, default=400)
    parser.add_argument("--turns", type=int, default=3, help="rounds of speed measurements")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, metavar="FILE", help="file to write every figure to")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    use_threads(options.threads)
    study = Study(ways(options.model), options)
    with Progress(
        *Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn(), console=Console(stderr=True)
    ) as progress:
        study.read(progress)
        models = [one.loaded for one in study.held]
        with closing(
            LocalEngine({one.name: one.model for one in models}, EngineSettings(slots=2, context=CONTEXT_TOKENS))
        ) as engine:
            asyncio.run(study.fill(LocalAssistant(engine, models), progress))
            asyncio.run(study.race(engine, progress))
        study.weigh(progress)
    print(about())
    print(
        f"{options.model}, {options.threads} threads, windows of {options.window} tokens, {options.cursors} cursors\n"
    )
    print(quality(study.held), infilling(study.held), costs(study.held), sep="\n\n")
    if options.json:
        options.json.write_text(json.dumps([record(one) for one in study.held], indent=1), encoding="utf-8")


def ways(model: str) -> list[StoredWeights]:
    """Return every way to store a model's weights, the reference first, without duplicates.

    Quants without support by the model or machine are reported and skipped.
    """
    store, held = Store(load_settings().cache), dict[str, StoredWeights]()
    for quant in (REFERENCE, *(quant for quant in weight_packing.QUANTS if quant != REFERENCE)):
        try:
            loaded = load(f"{model}@{quant}", device="cpu", store=store, progress=Silent())
        except ConfigError as error:
            print(error, file=sys.stderr)
            continue
        held.setdefault(loaded.model.description, StoredWeights([], loaded)).quants.append(quant)
    return list(held.values())


def quality(held: Sequence[StoredWeights]) -> str:
    """Return perplexity and divergence."""
    texts = list(held[0].texts)
    titles = ["quant", *(f"{text}: {figure}" for text in texts for figure in FIGURES)]
    return table(titles, [[one.name, *_quality(held[0], one, texts)] for one in held])


def _quality(reference: StoredWeights, one: StoredWeights, texts: Sequence[str]) -> list[str]:
    """Return the FIGURES of each text."""
    cells = []
    for text in texts:
        found = one.texts[text]
        change = found.perplexity / reference.texts[text].perplexity - 1
        cells += [f"{found.perplexity:.3f}", f"{change:+.2%}", f"{found.kl:.4f}", f"{found.same_first:.1%}"]
    return cells


def infilling(held: Sequence[StoredWeights]) -> str:
    """Return the right lines, and the significance of the difference from the reference."""
    titles = (
        "quant",
        "right",
        f"difference to {REFERENCE}, 95 %",
        f"only {REFERENCE} right",
        "only this one right",
        "p (McNemar)",
    )
    return table(titles, [_infilling(held[0], one) for one in held])


def _infilling(reference: StoredWeights, one: StoredWeights) -> list[str]:
    paired = Paired.of(reference.right, one.right)
    low, high = paired.interval
    right = f"{sum(one.right) / len(one.right):.1%}"
    if one is reference:
        return [one.name, right]
    difference = f"{paired.difference:+.1%} ({low:+.1%} to {high:+.1%})"
    return [one.name, right, difference, str(paired.only_reference), str(paired.only_candidate), f"{paired.p:.2f}"]


def costs(held: Sequence[StoredWeights]) -> str:
    """Return memory and speed."""
    titles = (
        "quant",
        "computed as",
        "weights, MiB",
        "server at rest, MiB",
        f"prefill {PREFILL}, tok/s",
        f"decode {DECODE}, tok/s",
    )
    return table(titles, [_costs(one) for one in held])


def _costs(one: StoredWeights) -> list[str]:
    prefill = PREFILL / statistics.median(first for first, _ in one.times)
    decode = (DECODE - 1) / statistics.median(rest for _, rest in one.times)
    model = one.loaded.model
    return [
        one.name,
        model.description,
        f"{model.weight_bytes / MIB:.0f}",
        f"{one.resident:.0f}",
        f"{prefill:.0f}",
        f"{decode:.1f}",
    ]


def record(one: StoredWeights) -> dict[str, Any]:
    """Return every figure, for a file."""
    return {
        "quants": one.quants,
        "description": one.loaded.model.description,
        "weight_bytes": one.loaded.model.weight_bytes,
        "resident_megabytes": one.resident,
        "texts": {name: asdict(found) for name, found in one.texts.items()},
        "right": one.right,
        "times": one.times,
    }


if __name__ == "__main__":
    main()
