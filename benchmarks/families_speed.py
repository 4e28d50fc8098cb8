"""Compare the speed of each family's kernels with llama-bench: a random model, in Q4_K_M.

    python benchmarks/families_speed.py --llama-bin FOLDER [--rounds 3] [family ...]

``--llama-bin`` is the folder of llama-bench and llama-quantize. A model has the family's kinds of
layers, eight of them, 1,024 wide, and few words, so that the head costs nothing. Both programs take
turns with two threads and without HTTP. A cell is the median speed in tokens a second.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

sys.path.append(str(Path(__file__).parents[1] / "tests"))

from common.machine import about, llama_version
from common.markdown_tables import table
from common.speed_reporters import LlamaBench
from families_and_llama_cpp import CASES, SIZES, Case, add_words
from pellucid.engine import weight_packing
from pellucid.engine.model import Batch, BatchSpan, Model
from pellucid.models.families import gguf_decoder
from pellucid.models.formats.gguf import GGUF
from support.models.model_files import write_gguf

PROMPT, ANSWER, CHUNK = 512, 48, 256
SHAPE: Mapping[str, Any] = {
    **SIZES,
    "hidden_size": 1024,
    "intermediate_size": 3072,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 64,
    "max_position_embeddings": 4096,
}
OWN: Mapping[str, Mapping[str, Any]] = {
    "Phi 3": {"num_attention_heads": 64, "num_key_value_heads": 32, "original_max_position_embeddings": 4096},
    "OLMoE": {"num_key_value_heads": 16},
    "LFM2": {"intermediate_size": 4608},
    "Qwen3.5": {"linear_key_head_dim": 64, "linear_value_head_dim": 64},
}
EXPERTS_WIDTH = 1024
"""The width of an expert, of which four compute a token."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--llama-bin", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("families", nargs="*", default=list(CASES))
    options = parser.parse_args()
    rows = []
    for name in options.families:
        with tempfile.TemporaryDirectory() as folder:
            path = quantized(name, CASES[name], options.llama_bin, Path(folder))
            rows.append([name, *compared(path, options.llama_bin, options.rounds)])
        Console(stderr=True).print(", ".join(rows[-1]))
    print(about(llama_version(options.llama_bin)), end="\n\n")
    columns = [f"{kind}, {who}" for kind in ("prefill", "decode") for who in ("ours", "llama-bench", "ratio")]
    print(table(["family", *columns], rows))


def quantized(name: str, case: Case, programs: Path, folder: Path) -> Path:
    """Return the GGUF file of a random model."""
    sizes = {**SHAPE, **case.sizes, **OWN.get(name, {})}
    sizes = {key: size for key, size in sizes.items() if key in SIZES or key not in SHAPE}
    if case.architecture in ("qwen2", "phi3", "granitemoe"):
        del sizes["head_dim"]
    if "num_experts" in sizes and case.architecture != "gpt-oss":
        sizes["moe_intermediate_size"] = EXPERTS_WIDTH
    write_gguf(folder / "floats.gguf", case.make(5, **sizes), case.architecture, add_tokenizer=add_words)
    command = [programs / "llama-quantize", folder / "floats.gguf", folder / "model.gguf", "Q4_K_M"]
    subprocess.run(list(map(str, command)), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return folder / "model.gguf"


def compared(path: Path, programs: Path, rounds: int) -> list[str]:
    file = GGUF(path)
    config = gguf_decoder.read_config(file)
    scheme = "int8-native"
    packed = weight_packing.pack(config, gguf_decoder.read_weights(file, blocks=True), scheme)
    model, peer = weight_packing.build(config, packed, scheme, "cpu"), LlamaBench(programs, path, 2)
    ours, theirs = [], []
    for _ in range(rounds):
        ours.append(speeds(model))
        theirs.append((peer.prefills([PROMPT])[PROMPT], peer.decode(ANSWER, PROMPT)))
    cells = []
    for mine, its in zip(zip(*ours, strict=True), zip(*theirs, strict=True), strict=True):
        here, there = statistics.median(mine), statistics.median(its)
        cells += [f"{here:.0f}", f"{there:.0f}", f"{here / there:.1f}"]
    return cells


def speeds(model: Model) -> tuple[float, float]:
    """Return the tokens a second of a prompt and of an answer behind the prompt."""
    cache = model.new_storage(1, PROMPT + ANSWER, 2)
    ids = np.random.default_rng(0).integers(0, model.vocab_size, PROMPT + ANSWER)

    def run(start: int, count: int, number: int) -> None:
        span = BatchSpan(0, start, count, 0, (number - 1) % 2 if number else -1, number % 2)
        batch = Batch(ids[start : start + count], np.arange(start, start + count), (span,), np.array([count - 1]))
        model.logits(model.forward(batch, cache))

    begin = time.perf_counter()
    for number in range(PROMPT // CHUNK):
        run(number * CHUNK, CHUNK, number)
    middle = time.perf_counter()
    for number in range(ANSWER):
        run(PROMPT + number, 1, PROMPT // CHUNK + number)
    return PROMPT / (middle - begin), ANSWER / (time.perf_counter() - middle)


if __name__ == "__main__":
    main()
