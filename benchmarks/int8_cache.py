"""Measure what a KV cache in int8 costs in quality, and what a token costs behind a long text.

    python benchmarks/int8_cache.py --llama-bin llama/bin

Both caches read the same texts: files of the standard library, and prose of this repository's
documentation. Every token of a window but the first is scored, in a long window the last ones.
Tokens are timed in milliseconds, in turns, behind random keys and values; the best median counts.
llama-bench computes its own text first, which takes minutes at 32,768 tokens.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.machine import about
from common.markdown_tables import table
from common.speed_reporters import LlamaBench
from common.stdlib_cursors import STDLIB, python_files, source
from pellucid.config import load_settings
from pellucid.engine.kv_cache.host_storage import HostStorage
from pellucid.engine.model import Batch, BatchSpan, CacheShape, Model
from pellucid.engine.token_scores import MOST_PROBABLE
from pellucid.models.catalog import DEFAULT_MODEL
from pellucid.models.load import load, with_int8_cache
from pellucid.models.store import Store
from pellucid.system.processors import use_threads
from pellucid.system.progress import Silent

DOCS = Path(__file__).parent.parent / "docs"

CHUNK = 256
WINDOW, LONG, SCORED = 2048, (8192, 32768), 2048
"""Tokens of a window, of the long windows, and of their scored end."""

DEPTHS = (512, 8192, 32768)

STEPS_OF_PEER = 16


class Reader:
    """A model with a cache for one text."""

    def __init__(self, model: Model, capacity: int) -> None:
        self.model, self.storage = model, model.new_storage(1, capacity)

    def step(self, ids: Sequence[int], start: int) -> Any:
        """Return the hidden states of all tokens."""
        rows = np.arange(len(ids))
        return self.model.forward(
            Batch(np.array(ids), start + rows, (BatchSpan(0, start, len(ids), 0),), rows), self.storage
        )

    def scores(self, ids: Sequence[int], scored: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return the logprobs of the last ``scored`` tokens, and the most probable tokens."""
        logprobs: list[float] = []
        best: list[int] = []
        for start in range(0, len(ids) - 1, CHUNK):
            part = ids[start : min(start + CHUNK, len(ids) - 1)]
            hidden = self.step(part, start)
            if start + len(part) < len(ids) - scored:
                continue
            logits, rows = self.model.logits(hidden), range(len(part))
            logprobs += logits.score(rows, ids[start + 1 : start + 1 + len(part)], 0).logprobs
            best += logits.score(rows, [MOST_PROBABLE] * len(part), 0).ids
        return np.array(logprobs[-scored:]), np.array(best[-scored:])


def quality(name: str, models: Sequence[Model], windows: Sequence[Sequence[int]], scored: int) -> list[str]:
    """Return a row of the table of quality."""
    found = [[Reader(model, len(window)).scores(window, scored) for window in windows] for model in models]
    (exact, exact_best), (int8, int8_best) = (map(np.concatenate, zip(*one, strict=True)) for one in found)
    difference = np.abs(exact - int8)
    return [
        name,
        f"{len(exact)}",
        f"{difference.mean():.4f}",
        f"{np.quantile(difference, 0.99):.3f}",
        f"{difference.max():.2f}",
        f"{(exact_best == int8_best).mean():.2%}",
        f"{np.exp(-exact.mean()):.3f}, {np.exp(-int8.mean()):.3f}",
    ]


def fill_at_random(storage: HostStorage, shape: CacheShape) -> None:
    draw = np.random.default_rng(0)
    for layer in (*storage.keys, *storage.values):
        numbers = draw.standard_normal(layer.shape[1:], np.float32)
        if shape.dtype == "int8":
            layer[0] = numbers * 30
            layer[0, ..., shape.head_dim :].view(np.float32)[:] = 0.03
        else:
            layer[0] = numbers


def milliseconds(models: Sequence[Model], depth: int, steps: int) -> list[float]:
    """Return the median time of a token of each model, in turns."""
    readers = [Reader(model, depth) for model in models]
    for reader in readers:
        assert isinstance(reader.storage, HostStorage)
        fill_at_random(reader.storage, reader.model.cache_shape)
    times: list[list[float]] = [[] for _ in models]
    for turn in range(steps + 2):
        for reader, found in zip(readers, times, strict=True):
            begin = time.perf_counter()
            reader.model.logits(reader.step([turn], depth - 1))
            found.append(1000 * (time.perf_counter() - begin))
    return [statistics.median(found[2:]) for found in times]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=DEFAULT_MODEL, help="a catalog name, a folder or a .gguf")
    parser.add_argument("--llama-bin", type=Path, metavar="FOLDER", help="folder of llama.cpp's llama-bench")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--windows", type=int, default=8, help="windows of code and of prose; 0: only speed")
    parser.add_argument("--depths", type=int, nargs="+", default=DEPTHS, help="tokens before a timed token")
    parser.add_argument("--steps", type=int, default=40, help="timed tokens")
    options = parser.parse_args()
    use_threads(options.threads)
    loaded = load(options.model, device="cpu", store=Store(load_settings().cache), progress=Silent())
    models = (loaded.model, with_int8_cache(loaded).model)
    print(about(), "\n")
    if options.windows:
        files = python_files(STDLIB)
        random.Random(0).shuffle(files)
        texts = {
            "code": "".join(map(source, files[:200])),
            "prose": "".join(path.read_text(encoding="utf-8") for path in sorted(DOCS.glob("*.md"))),
        }
        rows = []
        for name, text in texts.items():
            ids = loaded.tokenizer.encode(text[:400_000])
            windows = [ids[at * WINDOW : (at + 1) * WINDOW] for at in range(options.windows)]
            rows.append(quality(f"{name}, windows of {WINDOW}", models, windows, WINDOW - 1))
            if name == "code":
                rows += [quality(f"{name}, the end of {long}", models, [ids[:long]], SCORED) for long in LONG]
        titles = ("text", "tokens", "mean", "99 %", "largest", "same first token", "perplexity: exact, int8")
        print(table(titles, rows), "\n", flush=True)
    rows = []
    for depth in options.depths:
        turns = [milliseconds(models, depth, options.steps)]
        cells = []
        for dtype in ("f16", "q8_0") if options.llama_bin else ():
            flags = ("-fa", "1", "-ctk", dtype, "-ctv", dtype)
            peer = LlamaBench(options.llama_bin, loaded.files[0], options.threads, *flags)
            cells.append(f"{1000 / peer.decode(STEPS_OF_PEER, depth):.1f}")
            turns.append(milliseconds(models, depth, options.steps))
        ours = (f"{min(found):.1f}" for found in zip(*turns, strict=True))
        rows.append([str(depth), *ours, *cells])
    print(table(("tokens before", "exact", "int8", "llama.cpp, f16", "llama.cpp, q8_0")[: len(rows[0])], rows))


if __name__ == "__main__":
    main()
