"""Calls the functions of the compiled library: typed methods, and the one instance that a process shares."""

from __future__ import annotations

import functools
import os
import threading
from ctypes import POINTER, Array, c_char_p, c_int, c_int64, c_void_p
from pathlib import Path

import platformdirs
import torch
from torch import Tensor

from pellucid.engine.masked_row import MaskedRow, checked
from pellucid.engine.native.library import KernelsUnavailableError, load_library
from pellucid.engine.native.native_structs import DecoderParts, MaskParts, NativeBatch, ScoreParts, Share
from pellucid.engine.token_mask import TokenMask, fitted
from pellucid.engine.token_scores import RowScores

_folder = platformdirs.user_cache_path("pellucid") / "kernels"


def keep_in(folder: Path) -> None:
    """Keep compiled libraries in this folder.

    A library that this process has already loaded stays where it is.
    """
    global _folder
    _folder = folder


def available() -> bool:
    """Return whether the native kernels can be used here; :func:`reason` says why not.

    The first call compiles them.
    """
    return isinstance(shared_kernels(), Kernels)


def reason() -> str:
    """Explain why the kernels are not available; empty where they are."""
    kernels = shared_kernels()
    return "" if isinstance(kernels, Kernels) else str(kernels)


def warning() -> str:
    """Explain why the available kernels are compiled at every start, with the remedy; empty where they are kept."""
    kernels = shared_kernels()
    return kernels.warning if isinstance(kernels, Kernels) else ""


def variant() -> str:
    """Return the instructions that the kernels use ("AVX512-VNNI", say); empty where they are not available."""
    kernels = shared_kernels()
    return kernels.variant if isinstance(kernels, Kernels) else ""


def build() -> str:
    """Return the compiled library's name, which identifies sources, flags, compiler and processor; empty where there is none."""
    kernels = shared_kernels()
    return kernels.build if isinstance(kernels, Kernels) else ""


@functools.cache
def shared_kernels() -> Kernels | KernelsUnavailableError:
    """Return the kernels that this process shares, or the reason why there are none.

    The first call compiles them.
    """
    try:
        kernels = Kernels()
    except KernelsUnavailableError as error:
        return error
    if kernels.variant == "portable":  # torch's own operations are faster
        return KernelsUnavailableError(
            "This processor has neither AVX2 with FMA and F16C nor AVX512-VNNI nor ARM's dot products, which the native kernels need: "
            "use a newer processor, or let the virtual machine use all of its features (QEMU: -cpu host)."
        )
    return kernels


class Kernels:
    """The compiled library and its threads.

    One call runs at a time; the interpreter's lock is released meanwhile.

    ``target`` picks the instructions: native (what this processor has), or avx2, portable for
    tests. Callers of :meth:`forward` and :meth:`logits` hold ``lock``, because their working memory
    is shared too. Raises KernelsUnavailableError where there is no compiler, or it fails.
    """

    def __init__(
        self,
        target: str = "native",
        *,
        threads: int | None = None,
        folder: Path | None = None,
        compiler: str | None = None,
    ) -> None:
        loaded = load_library(target, folder or _folder, compiler)
        code = loaded.code
        code.pellucid_variant.restype = c_char_p
        code.pellucid_pool.restype = c_void_p
        code.pellucid_pool.argtypes = (c_int,)
        code.pellucid_scratch.restype = c_int64
        code.pellucid_scratch.argtypes = (c_void_p, POINTER(DecoderParts), c_int64)
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
        self.warning = loaded.warning
        self.variant = code.pellucid_variant().decode()
        self.threads = threads or torch.get_num_threads()
        self.lock = threading.Lock()
        self._code = code
        self._pool: int | None = None
        self._process = 0

    @property
    def pool(self) -> int:
        """The address of this process's thread pool.

        Threads do not survive a fork, so each process makes its own.
        """
        if self._pool is None or self._process != os.getpid():
            self._pool, self._process = self._code.pellucid_pool(self.threads), os.getpid()
            if self._pool is None:
                raise MemoryError("There is not enough memory for the native kernels' threads: free some memory.")
        return self._pool

    def scratch_bytes(self, decoder: DecoderParts, tokens: int) -> int:
        """Return the bytes of working memory that a pass over so many tokens needs."""
        return int(self._code.pellucid_scratch(self.pool, decoder, tokens))

    def forward(self, decoder: DecoderParts, batch: NativeBatch, scratch: int, out: Tensor) -> bool:
        """Write the hidden states of the wanted rows to ``out`` (rows, hidden) float32.

        ``scratch`` is an address.

        Return False, with nothing written, if the batch was interrupted.
        """
        return bool(self._code.pellucid_forward(self.pool, decoder, batch, scratch, out.data_ptr()))

    def logits(self, decoder: DecoderParts, hidden: Tensor, scratch: int, out: Tensor) -> None:
        """Write the logits of ``hidden`` (rows, hidden) float32 to ``out`` (rows, padded vocab) float32. ``scratch`` is an address."""
        self._code.pellucid_logits(self.pool, decoder, hidden.data_ptr(), len(hidden), scratch, out.data_ptr())

    def score_rows(self, logits: Tensor, ids: Tensor, top: int) -> RowScores:
        """Score tokens as :func:`pellucid.engine.sampler.score_rows` does, for logits on the CPU."""
        rows, vocab = logits.shape
        assert logits.dtype == torch.float32
        assert logits.stride(1) == 1
        assert ids.dtype == torch.int64
        assert bool((ids < vocab).all())
        kept = max(min(top, vocab), 1)
        chosen, ranks = ids.clone(), torch.empty(rows, dtype=torch.int64)
        logprobs, entropies = torch.empty(rows, dtype=torch.float64), torch.empty(rows, dtype=torch.float64)
        top_ids, top_logprobs = torch.empty(rows, kept, dtype=torch.int64), torch.empty(rows, kept, dtype=torch.float64)
        pointers = (tensor.data_ptr() for tensor in (logits, chosen, ranks, logprobs, entropies, top_ids, top_logprobs))
        scratch = torch.empty(self._code.pellucid_score_scratch(rows, vocab), dtype=torch.uint8)
        with self.lock:
            job = ScoreParts(rows, vocab, logits.stride(0), kept, *pointers)
            self._code.pellucid_score(self.pool, job, scratch.data_ptr())
        return RowScores(
            chosen.tolist(),
            logprobs.tolist(),
            ranks.tolist(),
            entropies.tolist(),
            top_ids[:, :top].tolist(),
            top_logprobs[:, :top].tolist(),
        )

    def mask_row(self, logits: Tensor, mask: TokenMask, *, keep: bool = True) -> MaskedRow:
        """Mask a row as :func:`pellucid.engine.masked_row.mask_row` does, for logits on the CPU."""
        assert logits.dtype == torch.float32
        assert logits.stride(0) == 1
        mask, out = fitted(mask, len(logits)), torch.empty_like(logits) if keep else None
        job = MaskParts(len(logits), logits.data_ptr(), mask.ctypes.data, None if out is None else out.data_ptr())
        self._code.pellucid_mask(job)
        return checked(MaskedRow(out, job.best, job.total, job.count))

    def write_shares(self, shares: Array[Share]) -> None:
        """Write the memory of each thread from that thread, so that the system places it near."""
        self.read_shares(shares, streams=0)

    def read_shares(self, shares: Array[Share], streams: int, ahead: int = 0) -> None:
        """Read all of each share in 1, 2 or 4 streams, ``ahead`` bytes prefetched, and fill in the sums. See memory_reading.h."""
        assert not any(share.bytes % 256 for share in shares)
        with self.lock:
            self._code.pellucid_read(self.pool, shares, len(shares), streams, ahead)
