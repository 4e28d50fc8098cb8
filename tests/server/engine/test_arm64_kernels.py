"""The kernels for ARM64, cross-compiled and emulated: all variants give the same bits."""

from __future__ import annotations

import ctypes
import itertools
import shutil
import subprocess
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from ctypes import Structure, c_int64, c_void_p
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pellucid.engine.decoders.decoder_config import DecoderConfig
from pellucid.engine.model import Logprobs
from pellucid.engine.native import library
from pellucid.engine.native.calls import Kernels
from pellucid.engine.native.kernel_layout import FORMS, Form
from pellucid.engine.native.native_decoder import NativeDecoder
from pellucid.engine.native.native_structs import DecoderParts, MaskParts, NativeBatch, NativeSpan, ScoreParts
from pellucid.engine.weight_packing import pack
from support.models.flat_batches import layers_of, new_storage, states_of
from support.models.tiny_adapters import random_adapter
from support.models.tiny_decoders import (
    CONVOLUTIONS,
    DELTA,
    EXPERTS,
    QWEN2,
    VARIED,
    batch,
    distance,
    in_blocks,
    largest_products,
    random_text,
)

pytestmark = pytest.mark.process

Array = NDArray[Any]

SOURCES, DRIVER = Path(library.__file__).parent, Path(__file__).with_name("kernels_on_file.c")
FLAGS = ("-std=gnu11", "-Og", "-ffp-contract=off", "-fno-math-errno", "-static", "-pthread")
"""The flags of the product, for a static program: the emulator then needs no libraries."""

VARIANTS = {
    "portable": (("-DPORTABLE",), "cortex-a72"),
    "NEON": (("-march=armv8-a",), "cortex-a72"),
    "NEON-dotprod": (("-march=armv8.2-a+dotprod",), "neoverse-n1"),
    "NEON-i8mm": (("-march=armv8.2-a+dotprod+i8mm",), "max"),
}
"""Flags of each variant, and a processor with these instructions, without newer instructions."""

CHUNKS = (1, 2, 3, 4, 5, 6, 7, 8, 13, 16, 21)
"""Numbers of tokens below, at and above the size of every tile."""

PLACE = 0x1000000000
"""The address of the memory in the emulated process, as in kernels_on_file.c."""


class Call(Structure):
    """``call`` of kernels_on_file.c."""

    _fields_ = (*((name, c_void_p) for name in ("decoder", "batch", "hidden", "out")), ("rows", c_int64))


class WorkList(Structure):
    """``work_list`` of kernels_on_file.c."""

    _fields_ = (
        *((name, c_int64) for name in ("calls", "masks", "values")),
        *((name, c_void_p) for name in ("call", "scores", "mask", "value", "half", "loaded")),
    )


class Memory:
    """Copies of memory for another process, in which pointers point to the copies.

    The memory must stay alive until the content is read.
    """

    def __init__(self) -> None:
        self.first = WorkList()
        self._content = bytearray()
        self._places: dict[int, int] = {}
        self._pointers: list[int] = []
        self.copy(ctypes.addressof(self.first), ctypes.sizeof(self.first), has_pointers=True)

    def copy(self, address: int, size: int, *, has_pointers: bool = False) -> int:
        """Copy memory, at most once, and return the address; 0 for empty memory."""
        start = len(self._content)
        if address and self._places.setdefault(address, PLACE + start) == PLACE + start:
            self._content += ctypes.string_at(address, size) + bytes(-size % 64)
            self._pointers += range(start // 8, (start + size) // 8) if has_pointers else ()
        return address

    def add(self, array: Array) -> int:
        return self.copy(array.ctypes.data, array.nbytes)

    def add_pointers(self, structure: Any) -> int:
        return self.copy(ctypes.addressof(structure), ctypes.sizeof(structure), has_pointers=True)

    def content(self) -> bytes:
        first = bytes(self.first)
        words = np.frombuffer(first + self._content[len(first) :], np.int64).copy()
        for index in self._pointers:
            words[index] = self._places.get(int(words[index]), words[index])
        return words.tobytes()

    def read(self, content: bytes, like: Array) -> Array:
        """Return an array's copy in the content left by the other process."""
        start = self._places[like.ctypes.data] - PLACE
        return np.frombuffer(content[start : start + like.nbytes], like.dtype).reshape(like.shape).copy()


class RecordingKernels(Kernels):
    """The portable kernels of this processor; the memory of all calls is copied."""

    def __init__(self, folder: Path) -> None:
        super().__init__("portable", threads=2, folder=folder)
        self.memory = Memory()
        self.calls: list[Call] = []
        self.outputs: list[Array] = []
        self.kept: list[Any] = []

    def forward(self, decoder: DecoderParts, batch: NativeBatch, scratch: int, out: Logprobs) -> bool:
        copy = self.memory.copy
        copy(batch.ids, batch.tokens * 8)
        copy(batch.row, batch.rows * 8)
        copy(ctypes.addressof(batch.span.contents), batch.spans * ctypes.sizeof(NativeSpan))
        for pointers in (batch.keys, batch.values):
            copy(ctypes.addressof(pointers.contents), decoder.layers * 8, has_pointers=True)
        self._record(decoder, self.memory.add_pointers(batch), None, batch.rows, out)
        self.kept.append(batch)
        return super().forward(decoder, batch, scratch, out)

    def logits(self, decoder: DecoderParts, hidden: Logprobs, scratch: int, out: Logprobs) -> None:
        self._record(decoder, None, hidden.ctypes.data, len(hidden), out)
        super().logits(decoder, hidden, scratch, out)

    def _record(self, decoder: DecoderParts, batch: int | None, hidden: int | None, rows: int, out: Logprobs) -> None:
        out[:] = 0
        self.calls.append(Call(ctypes.addressof(decoder), batch, hidden, self.memory.add(out), rows))
        self.outputs.append(out)


def run_decoder(config: DecoderConfig, rank: int, kernels: RecordingKernels, *, int8: bool = False) -> None:
    """Read texts in chunks of all sizes, then several together, and compute logits."""
    model = NativeDecoder(config, pack(config, in_blocks(config).items(), "half-native"), kernels)
    if rank:
        model = model.adapted(random_adapter(config, rank))
    model = model.with_int8_cache() if int8 else model
    kv = new_storage(model, slots=3, capacity=sum(CHUNKS) + 1)
    for array in (*layers_of(kv), states_of(kv)):
        kernels.memory.add(array)
    ends = list(itertools.accumulate(CHUNKS, initial=0))
    text = random_text(config, ends[-1])
    parts = [batch([(1, start, text[start:end])]) for start, end in itertools.pairwise(ends)]
    together = [(0, 0, text[:9]), (1, ends[-1], text[:1]), (2, 0, text[:70])]
    for part in (*parts, batch(together, np.array([3, 9, 9, 79]))):
        model.logits(model.forward(part, kv))
        kernels.kept.append(part)
    kernels.kept.append(kv)
    copy_decoder(model, kernels)


def run_largest_products(form: Form, kernels: RecordingKernels) -> None:
    """Compute logits with the largest sums, for a token and for several tokens."""
    config, tensors, hidden = largest_products(form)
    model = NativeDecoder(config, pack(config, tensors.items(), "int8-native"), kernels)
    for count in (1, 5, 10):
        states = np.concatenate([hidden, hidden])[:count].copy()
        kernels.memory.add(states)
        kernels.kept.append(states)
        model.logits(states)
    copy_decoder(model, kernels)


def copy_decoder(model: NativeDecoder, kernels: RecordingKernels) -> None:
    """Copy the arrays and structures of a decoder after all calls."""
    for arrays in (model._packed, *model._low_rank.values()):
        for array in arrays.values():
            kernels.memory.add(array)
    for table in itertools.chain(*model._memory.tables.values()):
        kernels.memory.add(table)
    structures = model._structs
    for structure in (structures.decoder, structures._layers, *structures._adapters):
        kernels.memory.add_pointers(structure)
    kernels.kept.append(model)


@dataclass(frozen=True, slots=True)
class Work:
    """Calls of decoders, and other input and output of the kernels."""

    kernels: RecordingKernels
    logits: Array
    ids: Array
    logprobs: Array
    allowed: Array
    masked: Array
    values: Array
    halves: Array
    loaded: Array


def hard_values() -> Array:
    """Return halves, numbers between halves, neighbours of both, and values outside of halves."""
    halves = np.arange(0x7C00, dtype=np.uint16).view(np.float16).astype(np.float32)
    edges = np.concatenate([halves, (halves[1:] + halves[:-1]) / 2, np.array([65519, 65520, 1e30, np.inf], np.float32)])
    near = np.concatenate([edges, np.nextafter(edges, np.float32(0)), np.nextafter(edges, np.float32(np.inf))])
    return np.concatenate([near, -near, np.full(16, np.nan, np.float32)])


@pytest.fixture(scope="module")
def work(folder: Path) -> Work:
    kernels = RecordingKernels(folder)
    add, add_pointers, first = kernels.memory.add, kernels.memory.add_pointers, kernels.memory.first
    for config, rank in itertools.product((QWEN2, VARIED, EXPERTS, CONVOLUTIONS, DELTA), (0, 5)):
        run_decoder(config, rank, kernels)
    run_decoder(VARIED, 0, kernels, int8=True)
    for form in FORMS:
        run_largest_products(form, kernels)
    rows, vocab, top = 3, 9001, 20
    draw = np.random.default_rng(1)
    logits, ids = draw.standard_normal((rows, vocab), np.float32) * 6, np.array([5, -1, vocab - 1])
    ranks, top_ids = np.zeros(rows, np.int64), np.zeros((rows, top), np.int64)
    logprobs, entropies, top_logprobs = np.zeros(rows), np.zeros(rows), np.zeros((rows, top))
    arrays = (logits, ids, ranks, logprobs, entropies, top_ids, top_logprobs)
    scores = ScoreParts(rows, vocab, vocab, top, *map(add, arrays))
    allowed = draw.random(vocab) < 0.5
    bits = np.packbits(np.pad(allowed, (0, -vocab % 32)), bitorder="little")
    masked, values = np.zeros(vocab, np.float32), hard_values()
    mask = MaskParts(vocab, logits.ctypes.data, add(bits), add(masked))
    halves, loaded = np.zeros(len(values), np.float16), np.zeros(len(values), np.float32)
    calls = (Call * len(kernels.calls))(*kernels.calls)
    first.calls, first.masks, first.values = len(calls), 1, len(values)
    first.call, first.scores, first.mask = map(add_pointers, (calls, scores, mask))
    first.value, first.half, first.loaded = map(add, (values, halves, loaded))
    kernels.kept += [calls, scores, mask, *arrays, bits]
    return Work(kernels, logits, ids, logprobs, allowed, masked, values, halves, loaded)


def require_cross_compiler() -> tuple[str, str]:
    """Return the compiler and the emulator, or skip the test."""
    compiler, emulator = shutil.which("aarch64-linux-gnu-gcc"), shutil.which("qemu-aarch64")
    if compiler and emulator:
        question = [compiler, "-print-file-name=libc.a"]
        if Path(subprocess.run(question, check=True, capture_output=True, text=True).stdout).is_absolute():
            return compiler, emulator
    pytest.skip("Kernels for ARM64 need the packages gcc-aarch64-linux-gnu, libc6-dev-arm64-cross and qemu-user.")


@pytest.fixture(scope="module")
def results(work: Work, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, bytes]:
    """The memory left by each variant."""
    compiler, emulator = require_cross_compiler()
    folder, content = tmp_path_factory.mktemp("arm64"), work.kernels.memory.content()

    def run(variant: str) -> bytes:
        (flags, processor), program, memory = VARIANTS[variant], folder / variant, folder / f"{variant}.memory"
        memory.write_bytes(content)
        sources = (f"-I{SOURCES}", str(DRIVER), "-lm")
        subprocess.run([compiler, *FLAGS, *flags, *sources, "-o", str(program)], check=True)
        command = [emulator, "-cpu", processor, str(program), str(memory)]
        assert subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip() == variant
        return memory.read_bytes()

    with ThreadPoolExecutor(2) as threads:
        return dict(zip(VARIANTS, threads.map(run, VARIANTS), strict=True))


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_bits_of_the_portable_kernels(results: Mapping[str, bytes], variant: str) -> None:
    """Hidden states, logits, the KV cache, scores, masks and halves have the same bits."""
    assert results[variant] == results["portable"]


def test_decoders_agree_with_this_processor(work: Work, results: Mapping[str, bytes]) -> None:
    """Hidden states and logits agree with this processor's, to the rounding of activations."""
    for expected in work.kernels.outputs:
        assert distance(work.kernels.memory.read(results["portable"], expected), expected) < 0.02


def test_scores_and_masks_are_right(work: Work, results: Mapping[str, bytes]) -> None:
    """Logprobs agree with torch's, and masked logits are equal."""
    ids, logprobs, masked = (
        work.kernels.memory.read(results["portable"], each) for each in (work.ids, work.logprobs, work.masked)
    )
    assert ids.tolist() == [5, int(work.logits[1].argmax()), len(work.masked) - 1]
    expected = torch.from_numpy(work.logits).double().log_softmax(1).numpy()[np.arange(len(ids)), ids]
    assert np.allclose(logprobs, expected, rtol=0, atol=1e-5)
    assert np.array_equal(masked, np.where(work.allowed, work.logits[0], -np.inf))


def test_halves_are_exact(work: Work, results: Mapping[str, bytes]) -> None:
    """Values become the nearest halves, or the largest half; halves are loaded exactly."""
    halves, loaded = (work.kernels.memory.read(results["portable"], each) for each in (work.halves, work.loaded))
    expected = np.clip(np.nan_to_num(work.values, nan=65504), -65504, 65504).astype(np.float16)
    assert np.array_equal(halves.view(np.int16), expected.view(np.int16))
    assert np.array_equal(loaded, expected.astype(np.float32))
