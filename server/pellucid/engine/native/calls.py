"""Typed calls of the compiled library, and the instance shared by the process."""

from __future__ import annotations

import functools
import os
import threading
from ctypes import POINTER, Array, c_char_p, c_int, c_int64, c_void_p
from pathlib import Path

import numpy as np
import platformdirs

from pellucid.engine.masked_row import MaskedRow, checked
from pellucid.engine.model import Indices, Logprobs
from pellucid.engine.native.kernel_compiler import KernelsUnavailableError
from pellucid.engine.native.kernel_variants import PORTABLE, forced_variant, runnable_variant, runnable_variants
from pellucid.engine.native.library import load_library
from pellucid.engine.native.native_structs import DecoderParts, MaskParts, NativeBatch, ScoreParts, Share
from pellucid.engine.token_mask import TokenMask, fitted
from pellucid.engine.token_scores import RowScores
from pellucid.system.processors import compute_threads

_folder = platformdirs.user_cache_path("pellucid") / "kernels"


def keep_in(folder: Path) -> None:
    """Keep compiled libraries in this folder. An already loaded library stays in place."""
    global _folder
    _folder = folder


def available() -> bool:
    """Return whether the native kernels can be used. The first call may compile the kernels."""
    return isinstance(shared_kernels(), Kernels)


def reason() -> str:
    """Return why the kernels are not available, else ""."""
    kernels = shared_kernels()
    return "" if isinstance(kernels, Kernels) else str(kernels)


def warning() -> str:
    """Return why the kernels are compiled at every start, with the remedy, else ""."""
    kernels = shared_kernels()
    return kernels.warning if isinstance(kernels, Kernels) else ""


def variant() -> str:
    """Return the kernels' instructions, such as "AVX512-VNNI"; "" if not available."""
    kernels = shared_kernels()
    return kernels.variant if isinstance(kernels, Kernels) else ""


def origin() -> str:
    """Return where the library came from, such as "from the wheel"; "" if not available."""
    kernels = shared_kernels()
    return kernels.origin if isinstance(kernels, Kernels) else ""


def build() -> str:
    """Return the build's name with a hash of sources and flags, or ""."""
    kernels = shared_kernels()
    return kernels.build if isinstance(kernels, Kernels) else ""


@functools.cache
def shared_kernels() -> Kernels | KernelsUnavailableError:
    """Return the process's kernels, or the reason why not available. The first call may compile.

    The variant is the fastest that this processor runs, or the forced variant. Raise ConfigError if
    this processor does not run the forced variant.
    """
    forced = forced_variant()
    if forced is None and runnable_variants()[-1] == PORTABLE:  # Torch's own operations are faster.
        return KernelsUnavailableError(
            "This processor has neither AVX2 with FMA, F16C and BMI2 nor ARM's NEON, which the native kernels need: "
            "use a newer processor, or let the virtual machine use all of its features (QEMU: -cpu host)."
        )
    try:
        return Kernels(forced)
    except KernelsUnavailableError as error:
        return error


class Kernels:
    """The compiled library and its threads.

    Only one call runs at a time; the interpreter's lock is released during a call. The default
    variant is the fastest that this processor runs. Callers of :meth:`forward` and :meth:`logits`
    must hold ``lock``, because working memory is shared.
    """

    def __init__(
        self,
        variant: str | None = None,
        *,
        threads: int | None = None,
        folder: Path | None = None,
        compiler: str | None = None,
    ) -> None:
        chosen = runnable_variant(variant) if variant else runnable_variants()[-1]
        loaded = load_library(chosen, folder or _folder, compiler)
        code = loaded.code
        code.pellucid_variant.restype = c_char_p
        code.pellucid_pool.restype = c_void_p
        code.pellucid_pool.argtypes = (c_int,)
        code.pellucid_scratch.restype = c_int64
        code.pellucid_scratch.argtypes = (c_void_p, POINTER(DecoderParts), c_int64, c_int64)
        code.pellucid_forward.restype = c_int
        code.pellucid_forward.argtypes = (c_void_p, POINTER(DecoderParts), POINTER(NativeBatch), c_void_p, c_void_p)
        code.pellucid_logits.restype = None
        code.pellucid_logits.argtypes = (c_void_p, POINTER(DecoderParts), c_void_p, c_int64, c_void_p, c_void_p)
        code.pellucid_score_scratch.restype = c_int64
        code.pellucid_score_scratch.argtypes = (c_int64, c_int64)
        code.pellucid_score.restype = None
        code.pellucid_score.argtypes = (c_void_p, POINTER(ScoreParts), c_void_p)
        code.pellucid_mask.restype = None
        code.pellucid_mask.argtypes = (POINTER(MaskParts),)
        code.pellucid_read.restype = None
        code.pellucid_read.argtypes = (c_void_p, POINTER(Share), c_int64, c_int64, c_int64)
        self.build = loaded.build
        self.origin = loaded.origin
        self.warning = loaded.warning
        self.variant = code.pellucid_variant().decode()
        self.threads = threads or compute_threads()
        self.lock = threading.Lock()
        self._code = code
        self._pool: int | None = None
        self._process = 0

    @property
    def pool(self) -> int:
        """Address of this process's thread pool. Threads do not survive a fork."""
        if self._pool is None or self._process != os.getpid():
            self._pool, self._process = self._code.pellucid_pool(self.threads), os.getpid()
            if self._pool is None:
                raise MemoryError("There is not enough memory for the native kernels' threads: free some memory.")
        return self._pool

    def scratch_bytes(self, decoder: DecoderParts, tokens: int, end: int) -> int:
        return int(self._code.pellucid_scratch(self.pool, decoder, tokens, end))

    def forward(self, decoder: DecoderParts, batch: NativeBatch, scratch: int, out: Logprobs) -> bool:
        """Write the hidden states of the batch's rows to ``out`` (rows, hidden) float32.

        ``scratch`` is an address. Return False, with nothing written, if the batch was interrupted.
        """
        return bool(self._code.pellucid_forward(self.pool, decoder, batch, scratch, out.ctypes.data))

    def logits(self, decoder: DecoderParts, hidden: Logprobs, scratch: int, out: Logprobs) -> None:
        """Write float32 logits of ``hidden`` (rows, hidden) to ``out`` (rows, padded vocab)."""
        self._code.pellucid_logits(self.pool, decoder, hidden.ctypes.data, len(hidden), scratch, out.ctypes.data)

    def score_rows(self, logits: Logprobs, ids: Indices, top: int) -> RowScores:
        """Score token ``ids``, possibly MOST_PROBABLE, by float32 ``logits`` (rows, vocab)."""
        rows, vocab = logits.shape
        assert logits.dtype == np.float32
        assert logits.strides[1] == 4
        assert bool((ids < vocab).all())
        kept = max(min(top, vocab), 1)
        chosen, ranks = ids.astype(np.int64), np.empty(rows, np.int64)
        logprobs, entropies = np.empty(rows), np.empty(rows)
        top_ids, top_logprobs = np.empty((rows, kept), np.int64), np.empty((rows, kept))
        pointers = (array.ctypes.data for array in (logits, chosen, ranks, logprobs, entropies, top_ids, top_logprobs))
        scratch = np.empty(self._code.pellucid_score_scratch(rows, vocab), np.uint8)
        with self.lock:
            job = ScoreParts(rows, vocab, logits.strides[0] // 4, kept, *pointers)
            self._code.pellucid_score(self.pool, job, scratch.ctypes.data)
        return RowScores(
            chosen.tolist(),
            logprobs.tolist(),
            ranks.tolist(),
            entropies.tolist(),
            top_ids[:, :top].tolist(),
            top_logprobs[:, :top].tolist(),
        )

    def mask_row(self, logits: Logprobs, mask: TokenMask, *, keep: bool = True) -> MaskedRow:
        """Mask a row like :func:`pellucid.engine.masked_row.mask_row`."""
        assert logits.dtype == np.float32
        assert logits.strides[0] == 4
        mask, out = fitted(mask, len(logits)), np.empty_like(logits) if keep else None
        job = MaskParts(len(logits), logits.ctypes.data, mask.ctypes.data, None if out is None else out.ctypes.data)
        self._code.pellucid_mask(job)
        return checked(MaskedRow(out, job.best, job.total, job.count))

    def write_shares(self, shares: Array[Share]) -> None:
        """Write each thread's memory from the thread, so the system places the memory nearby."""
        self.read_shares(shares, streams=0)

    def read_shares(self, shares: Array[Share], streams: int, ahead: int = 0) -> None:
        """Read each share in 1, 2 or 4 streams, prefetching ``ahead`` bytes, and fill in the sums.

        See memory_reading.h.
        """
        assert not any(share.bytes % 256 for share in shares)
        with self.lock:
            self._code.pellucid_read(self.pool, shares, len(shares), streams, ahead)
