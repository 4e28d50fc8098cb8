"""The native CPU path: C compiled once by the system's compiler, and the decoder that runs on it.

The sources lie in ``native/``: no header of torch's, so that they compile in two seconds and outlive torch's ABI. The
library is kept in a cache folder under the hash of sources, flags, compiler and processor.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Mapping
from ctypes import POINTER, Structure, c_char_p, c_float, c_int, c_int64, c_void_p
from pathlib import Path

import platformdirs
import torch
from filelock import FileLock
from torch import Tensor

from pellucid.engine.decoder import DecoderConfig, rotary_tables
from pellucid.engine.linear import quantize_int8
from pellucid.engine.model import Batch, CacheShape, KVStorage, TokenCost

BLOCK = 16  # rows of a matrix that are interleaved
DEPTH = 4  # columns that one dot product instruction takes
GROUP = 64  # activations that share a scale

_SOURCES = Path(__file__).parent / "native"
# Sums are taken in the order they are written in: a result must not depend on how a loop was compiled.
_FLAGS = ("-std=gnu11", "-O3", "-ffp-contract=off", "-fno-math-errno", "-shared", "-fPIC", "-pthread")
_TARGETS = {"native": (), "avx2": ("-march=x86-64-v3",), "portable": ()}


class KernelsUnavailableError(Exception):
    """Says in one sentence why there are no native kernels here."""


_folder = platformdirs.user_cache_path("pellucid") / "kernels"


def keep_in(folder: Path) -> None:
    """Keep compiled libraries in this folder. One that this process has loaded already stays where it is."""
    global _folder
    _folder = folder


def available() -> bool:
    """Whether the native kernels can be used here; :func:`reason` says why not. The first call compiles them."""
    return isinstance(_native(), Kernels)


def reason() -> str:
    """Why the kernels are not available; empty where they are."""
    found = _native()
    return "" if isinstance(found, Kernels) else str(found)


def variant() -> str:
    """The instructions that the kernels use ("AVX512-VNNI", say); empty where they are not available."""
    found = _native()
    return found.variant if isinstance(found, Kernels) else ""


def supports(config: DecoderConfig) -> bool:
    """Whether the kernels can run a decoder of this shape."""
    columns = (config.hidden_size, config.intermediate_size, config.heads * config.head_dim)
    return config.sliding_window is None and config.head_dim % BLOCK == 0 and not any(width % GROUP for width in columns)


@functools.cache
def _native() -> Kernels | KernelsUnavailableError:
    try:
        kernels = Kernels()
    except KernelsUnavailableError as error:
        return error
    if kernels.variant == "portable":  # which torch's own operations outrun
        return KernelsUnavailableError("The kernels want AVX2, AVX512-VNNI or ARM's dot products, which this processor lacks.")
    return kernels


def pack_matrix(*parts: Tensor, interleaved: bool = False) -> tuple[Tensor, Tensor]:
    """Matrices (out, in) that read the same input, as one: uint8 (out / 16, in / 4, 16, 4) and scales (out,) in float32.

    Each sixteen rows of each part lie in turn when ``interleaved``, so that a gate is computed beside what it gates.
    The last block is filled with zeros. 128 is added to every weight: the dot product instruction wants one factor unsigned.
    """
    quantized = [quantize_int8(part) for part in parts]
    join = interleave if interleaved else lambda *tensors: torch.cat(tensors)
    weight, scale = join(*(q for q, _ in quantized)), join(*(s for _, s in quantized))
    missing = -len(weight) % BLOCK
    if missing:
        weight = torch.cat((weight, weight.new_zeros(missing, weight.shape[1])))
        scale = torch.cat((scale, scale.new_ones(missing)))
    rows, columns = weight.shape
    blocks = weight.view(torch.uint8).bitwise_xor(128).view(rows // BLOCK, BLOCK, columns // DEPTH, DEPTH)
    return blocks.transpose(1, 2).contiguous(), scale


def interleave(*parts: Tensor) -> Tensor:
    """Parts of equal shape (out, ...), sixteen rows of each in turn."""
    return torch.stack([part.reshape(-1, BLOCK, *part.shape[1:]) for part in parts], dim=1).flatten(0, 2)


class _Matrix(Structure):
    _fields_ = (("weight", c_void_p), ("scale", c_void_p), ("bias", c_void_p), ("blocks", c_int64), ("columns", c_int64))


class _Layer(Structure):
    _fields_ = (
        *((name, _Matrix) for name in ("qkv", "o", "gate_up", "down")),
        *((name, c_void_p) for name in ("input_norm", "post_norm", "q_norm", "k_norm")),
    )


class _Decoder(Structure):
    _fields_ = (
        *((name, c_int64) for name in ("layers", "hidden", "intermediate", "heads", "kv_heads", "head_dim", "vocab")),
        ("eps", c_float),
        *((name, c_void_p) for name in ("cosine", "sine", "norm")),
        ("embedding", _Matrix),
        ("head", _Matrix),
        ("layer", POINTER(_Layer)),
    )


class _Span(Structure):
    _fields_ = tuple((name, c_int64) for name in ("slot", "start", "count", "offset"))


class _Batch(Structure):
    _fields_ = (
        *((name, c_int64) for name in ("tokens", "spans", "rows")),
        ("ids", c_void_p),
        ("span", POINTER(_Span)),
        ("row", c_void_p),
        ("keys", POINTER(c_void_p)),
        ("values", POINTER(c_void_p)),
        *((name, c_int64) for name in ("slot_stride", "head_stride", "token_stride")),
    )


class Kernels:
    """The compiled library and its threads. One call runs at a time; the interpreter's lock is released meanwhile.

    ``target`` picks the instructions: native (what this processor has), or avx2, portable for tests.
    Raises KernelsUnavailableError where there is no compiler, or it fails.
    """

    def __init__(
        self, target: str = "native", *, threads: int | None = None, folder: Path | None = None, compiler: str | None = None
    ) -> None:
        path = _compile(target, folder or _folder, compiler)
        try:
            library = ctypes.CDLL(str(path))
        except OSError as error:  # a folder from which nothing may be executed, say
            raise KernelsUnavailableError(f"The compiled kernels cannot be loaded: {error}.") from error
        library.pellucid_variant.restype = c_char_p
        library.pellucid_pool.restype = c_void_p
        library.pellucid_pool.argtypes = (c_int,)
        library.pellucid_scratch.restype = c_int64
        library.pellucid_scratch.argtypes = (c_void_p, POINTER(_Decoder), c_int64)
        library.pellucid_forward.restype = None
        library.pellucid_forward.argtypes = (c_void_p, POINTER(_Decoder), POINTER(_Batch), c_void_p, c_void_p)
        library.pellucid_logits.restype = None
        library.pellucid_logits.argtypes = (c_void_p, POINTER(_Decoder), c_void_p, c_int64, c_void_p, c_void_p)
        self.library = library
        self.variant = library.pellucid_variant().decode()
        self.threads = threads or torch.get_num_threads()
        self.lock = threading.Lock()
        self._pool: int | None = None
        self._process = 0

    @property
    def pool(self) -> int:
        """The address of the thread pool of this process: threads do not survive a fork, so each process makes its own."""
        if self._pool is None or self._process != os.getpid():
            self._pool, self._process = self.library.pellucid_pool(self.threads), os.getpid()
            if self._pool is None:
                raise MemoryError("There is no memory for the native kernels' threads.")
        return self._pool


class NativeDecoder:
    """The decoder on the native kernels: what a token gets does not depend, in any bit, on batch, chunks or threads."""

    brings_threads = True

    def __init__(self, config: DecoderConfig, packed: Mapping[str, Tensor], kernels: Kernels | None = None) -> None:
        found = kernels or _native()
        if isinstance(found, KernelsUnavailableError):
            raise found
        assert supports(config), "packing.choose_scheme gives other shapes to torch"
        self.config = config
        self.kernels = found
        self.description = f"int8 weights and activations, native {found.variant} kernels on cpu ({found.threads} threads)"
        self._packed = dict(packed)  # the structures below point into these
        self._tables = rotary_tables(config)
        self._layers = (_Layer * config.layers)(*(self._layer(f"layers.{i}.") for i in range(config.layers)))
        head = self._matrix("head") if "head.weight" in packed else self._matrix("embedding")
        self._width = head.blocks * BLOCK  # of logits before the padding is cut off
        self._decoder = _Decoder(
            layers=config.layers,
            hidden=config.hidden_size,
            intermediate=config.intermediate_size,
            heads=config.heads,
            kv_heads=config.kv_heads,
            head_dim=config.head_dim,
            vocab=self._width,
            eps=config.rms_norm_eps,
            cosine=self._tables[0].data_ptr(),
            sine=self._tables[1].data_ptr(),
            norm=self._pointer("norm.weight"),
            embedding=self._matrix("embedding"),
            head=head,
            layer=self._layers,
        )
        self._scratch = torch.empty(0, dtype=torch.uint8)

    @property
    def vocab_size(self) -> int:
        return self.config.vocab_size

    @property
    def context(self) -> int:
        return self.config.context

    @property
    def cache_shape(self) -> CacheShape:
        c = self.config
        return CacheShape(c.layers, c.kv_heads, c.head_dim, torch.float16, torch.device("cpu"))

    @property
    def weight_bytes(self) -> int:
        return sum(tensor.nbytes for tensor in self._packed.values())

    @property
    def cost(self) -> TokenCost:
        looked_up = "head.weight" in self._packed  # else the embedding is the head
        embedding = sum(tensor.nbytes for name, tensor in self._packed.items() if name.startswith("embedding."))
        read = self.weight_bytes - (embedding if looked_up else 0)
        return TokenCost(read, self.config.body_parameters, self.config.head_parameters, torch.int8)

    def forward(self, batch: Batch, kv: KVStorage) -> Tensor:
        """See :meth:`pellucid.engine.model.Model.forward`."""
        self._check(batch, kv)
        ids, rows = batch.ids.contiguous(), batch.rows.contiguous()
        out = torch.empty(len(rows), self.config.hidden_size)
        layers = self.config.layers
        slot, head, token, _ = kv.keys[0].stride()
        native = _Batch(
            tokens=len(ids),
            spans=len(batch.spans),
            rows=len(rows),
            ids=ids.data_ptr(),
            span=(_Span * len(batch.spans))(*(_Span(s.slot, s.start, s.count, s.offset) for s in batch.spans)),
            row=rows.data_ptr(),
            keys=(c_void_p * layers)(*(keys.data_ptr() for keys in kv.keys)),
            values=(c_void_p * layers)(*(values.data_ptr() for values in kv.values)),
            slot_stride=slot,
            head_stride=head,
            token_stride=token,
        )
        with self.kernels.lock:
            pool, scratch = self.kernels.pool, self._memory(max(len(ids), len(rows)))
            self.kernels.library.pellucid_forward(pool, self._decoder, native, scratch, out.data_ptr())
        return out

    def logits(self, hidden: Tensor) -> Tensor:
        """See :meth:`pellucid.engine.model.Model.logits`."""
        hidden = hidden.contiguous()
        out = torch.empty(len(hidden), self._width)
        with self.kernels.lock:
            pool, scratch = self.kernels.pool, self._memory(len(hidden))
            self.kernels.library.pellucid_logits(pool, self._decoder, hidden.data_ptr(), len(hidden), scratch, out.data_ptr())
        return out[:, : self.vocab_size]

    def _check(self, batch: Batch, kv: KVStorage) -> None:
        """Refuse what would be read or written out of bounds: C would not notice."""
        slots, _, capacity, _ = kv.keys[0].shape
        if any(not (0 <= s.slot < slots and 0 <= s.start <= s.end <= min(capacity, self.context)) for s in batch.spans):
            raise IndexError(f"A span of {batch.spans} lies outside the cache of {slots} slots of {capacity} tokens.")
        if len(batch.ids) and not 0 <= int(batch.ids.min()) <= int(batch.ids.max()) < self.vocab_size:
            raise IndexError(f"A token id lies outside the vocabulary of {self.vocab_size}.")
        strides = {(tensor.stride(), tensor.dtype) for tensor in (*kv.keys, *kv.values)}
        assert len(strides) == 1, strides
        assert kv.keys[0].stride(3) == 1
        assert kv.keys[0].dtype == torch.float16

    def _memory(self, tokens: int) -> int:
        """The address of working memory for that many tokens. It grows, and stays."""
        needed = self.kernels.library.pellucid_scratch(self.kernels.pool, self._decoder, tokens) + 64
        if len(self._scratch) < needed:
            self._scratch = torch.empty(needed, dtype=torch.uint8)
        return (self._scratch.data_ptr() + 63) // 64 * 64

    def _layer(self, prefix: str) -> _Layer:
        matrices = {name: self._matrix(prefix + name) for name in ("qkv", "o", "gate_up", "down")}
        norms = {name: self._pointer(f"{prefix}{name}.weight") for name in ("input_norm", "post_norm", "q_norm", "k_norm")}
        return _Layer(**matrices, **norms)

    def _matrix(self, name: str) -> _Matrix:
        blocks, columns = self._packed[f"{name}.weight"].shape[:2]
        return _Matrix(
            self._pointer(f"{name}.weight"), self._pointer(f"{name}.scale"), self._pointer(f"{name}.bias"), blocks, columns * DEPTH
        )

    def _pointer(self, name: str) -> int | None:
        tensor = self._packed.get(name)
        if tensor is None:
            return None
        assert tensor.is_contiguous(), name
        assert tensor.dtype in (torch.uint8, torch.float32), name
        return tensor.data_ptr()


def _compile(target: str, folder: Path, compiler: str | None) -> Path:
    """The library for a target, compiled unless it lies in the folder already."""
    command = [*_compiler(compiler), *_FLAGS, *_TARGETS[target]]
    if target == "native":
        command.append("-mcpu=native" if platform.machine().lower() in ("arm64", "aarch64") else "-march=native")
    sources = sorted(path for path in _SOURCES.iterdir() if path.suffix in (".c", ".h"))
    # The predefined macros tell the compiler's version and the instructions that "native" means here.
    macros = _run([*command, "-dM", "-E", "-x", "c", os.devnull])
    key = hashlib.sha256("\0".join([*command, macros, *(path.read_text() for path in sources)]).encode()).hexdigest()[:20]
    library = folder / f"kernels-{target}-{key}.so"
    if library.exists():
        return library
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / "kernels.lock"), tempfile.TemporaryDirectory(dir=folder) as workspace:
            if not library.exists():
                built = Path(workspace) / library.name
                _run([*command, str(_SOURCES / "kernels.c"), "-o", str(built)])
                built.replace(library)  # under its name there is a whole library or none
    except OSError as error:
        raise KernelsUnavailableError(f"The kernels cannot be kept in {folder}: {error.strerror or error}.") from error
    return library


def _compiler(compiler: str | None) -> list[str]:
    named = compiler or os.environ.get("CC")
    if named is not None:
        return shlex.split(named)
    for name in ("cc", "gcc", "clang"):
        if shutil.which(name):
            return [name]
    raise KernelsUnavailableError("There is no C compiler here: install gcc or clang, or name one in the variable CC.")


def _run(command: list[str]) -> str:
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603 (the user's own compiler)
    except OSError as error:
        raise KernelsUnavailableError(f"The C compiler {command[0]!r} cannot be run: {error.strerror or error}.") from error
    except subprocess.CalledProcessError as error:
        said = next((line for line in error.stderr.splitlines() if "error" in line), error.stderr.strip()[-200:])
        raise KernelsUnavailableError(f"The C compiler {command[0]!r} fails on the kernels: {said}") from error
