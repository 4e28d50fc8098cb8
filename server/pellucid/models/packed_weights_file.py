"""Packed weights in a safetensors file, verified while reading.

The checksum in the metadata detects accidental damage: a bad disk, a broken copy, a stray write. An
attacker with write access to the cache could also store a matching checksum.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from pellucid.engine.check_packed_weights import Spec
from pellucid.errors import ModelError
from pellucid.models.tensor_file import UNREADABLE, TensorFile
from pellucid.system.large_pages import large_pages

ALIGNMENT = 64  # Bytes of a cache line, and of the widest vector.


class DamagedFileError(Exception):
    """A damaged packed file, which must not be used. The message is the reason."""


@dataclass(frozen=True, slots=True)
class PackedWeights:
    """Packed tensors by name. Equal tensors have the same ``checksum``."""

    tensors: Mapping[str, Tensor]
    checksum: str


def write_packed(path: Path, tensors: Mapping[str, Tensor], made_of: str) -> None:
    """Write packed tensors; ``made_of`` identifies the model and the form of the weights."""
    specs = {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors.items()}
    checksum = _combined(specs, {name: _crc32(tensor.contiguous()) for name, tensor in tensors.items()})
    save_file(dict(tensors), path, {"made_of": made_of, "checksum": checksum})


def read_packed(path: Path, made_of: str, check: Callable[[Mapping[str, Spec]], None]) -> PackedWeights:
    """Read and verify packed tensors into large pages, aligned to 64 bytes.

    ``check`` raises ModelError for names, dtypes and shapes that do not fit the model, before the
    data is read. Raises FileNotFoundError for a missing file, and DamagedFileError for a file that
    is damaged, truncated, unreadable or made of another model.
    """
    try:
        file = TensorFile(path)
        if file.metadata.get("made_of") != made_of:
            raise ValueError("it was made of another model")
        check(file.specs)
        weights = _read(file)
    except FileNotFoundError:
        raise
    except (*UNREADABLE, ModelError) as error:
        raise DamagedFileError(str(error)) from None
    if file.metadata != {"made_of": made_of, "checksum": weights.checksum}:
        raise DamagedFileError("its checksum is wrong")
    return weights


def _read(file: TensorFile) -> PackedWeights:
    """Read all tensors; a second thread computes checksums during the next read."""
    memory = large_pages(sum(_whole(file.size(name)) for name in file.specs))
    tensors: dict[str, Tensor] = {}
    sums: dict[str, Future[int]] = {}
    at = 0
    with ThreadPoolExecutor(1, thread_name_prefix="checksum") as checker:
        for name in file.specs:
            part = memory[at : at + file.size(name)]
            at += _whole(len(part))
            tensors[name] = file.read(name, part)
            sums[name] = checker.submit(_crc32, part)
    return PackedWeights(tensors, _combined(file.specs, {name: future.result() for name, future in sums.items()}))


def _crc32(tensor: Tensor) -> int:
    return zlib.crc32(tensor.view(-1).view(torch.uint8).numpy().data)


def _combined(specs: Mapping[str, Spec], sums: Mapping[str, int]) -> str:
    parts = sorted((name, str(dtype), list(shape), sums[name]) for name, (dtype, shape) in specs.items())
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _whole(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
