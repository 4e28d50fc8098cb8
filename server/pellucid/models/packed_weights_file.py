"""Packed weights in a safetensors file, verified while reading.

The checksum in the metadata detects accidental damage: a bad disk, a broken copy, a stray write. An
attacker with write access to the cache could also store a matching checksum.
"""

from __future__ import annotations

import hashlib
import json
import struct
import zlib
from collections.abc import Callable, Container, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.engine.check_packed_weights import Spec
from pellucid.errors import ModelError
from pellucid.models.tensor_file import DTYPE_NAMES, UNREADABLE, TensorFile
from pellucid.system.large_pages import large_pages
from pellucid.system.memory import available_memory

ALIGNMENT = 64  # Bytes of a cache line, and of the widest vector.
_HEADER_BYTES = (1 << 20) - 8
"""Enough for the header of two hundred layers; with the length of the header, a multiple of 64."""


class DamagedFileError(Exception):
    """A damaged packed file, which must not be used. The message is the reason."""


@dataclass(frozen=True, slots=True)
class PackedWeights:
    """Packed arrays by name. Equal arrays have the same ``checksum``."""

    tensors: Mapping[str, NDArray[Any]]
    checksum: str


def write_packed(path: Path, tensors: Iterable[tuple[str, NDArray[Any]]], made_of: str) -> None:
    """Write packed tensors; ``made_of`` identifies the model and the form of the weights.

    Each tensor is written when it comes, because all tensors together may exceed the memory. The
    header, which is the beginning of the file, is written last.
    """
    specs: dict[str, Spec] = {}
    sums, entries, at = {}, {}, 0
    with path.open("wb") as file:
        file.seek(8 + _HEADER_BYTES)
        for name, array in tensors:
            content = np.ascontiguousarray(array)
            file.write(content.reshape(-1).view(np.uint8).data)
            specs[name], sums[name], end = (content.dtype, content.shape), _crc32(content), at + content.nbytes
            entries[name] = {
                "dtype": DTYPE_NAMES[content.dtype],
                "shape": content.shape,
                "data_offsets": (at, end),
            }
            at = end
        metadata = {"made_of": made_of, "checksum": _combined(specs, sums)}
        header = json.dumps({"__metadata__": metadata, **entries}).encode()
        if len(header) > _HEADER_BYTES:
            raise ModelError(f"{path.name} has too many tensors to be packed ({len(entries)}): use a smaller model.")
        file.seek(0)
        file.write(struct.pack("<Q", _HEADER_BYTES) + header.ljust(_HEADER_BYTES))


def read_packed(path: Path, made_of: str, check: Callable[[Mapping[str, Spec]], None]) -> PackedWeights:
    """Read and verify packed tensors into large pages, aligned to 64 bytes; see _read.

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
    except MemoryError as error:
        raise ModelError(f"There is not enough memory for the weights of {path.name}: {error}") from error
    except (*UNREADABLE, ModelError) as error:
        raise DamagedFileError(str(error)) from None
    if file.metadata != {"made_of": made_of, "checksum": weights.checksum}:
        raise DamagedFileError("its checksum is wrong")
    return weights


def _read(file: TensorFile) -> PackedWeights:
    """Read all tensors; a second thread computes checksums during the next read.

    If the head is separate, the embedding is mapped: only a few rows are ever read. Experts are
    mapped if they do not fit into the free memory: a token reads only some of them.
    """
    mapped = [name for name in file.specs if name.startswith("embedding.") and "head.0.number" in file.specs]
    free = available_memory("cpu")
    if free is not None and sum(map(file.size, file.specs)) > free:
        mapped += [name for name in file.specs if _is_of_experts(name, file.specs)]
    memory = large_pages(sum(_whole(file.size(name)) for name in file.specs if name not in mapped))
    tensors: dict[str, NDArray[Any]] = {}
    sums: dict[str, Future[int]] = {}
    at = 0
    with ThreadPoolExecutor(1, thread_name_prefix="checksum") as checker:
        for name in mapped:
            tensors[name] = file.mapped(name)
            sums[name] = checker.submit(file.crc32, name)
        for name in [name for name in file.specs if name not in mapped]:
            part = memory[at : at + file.size(name)]
            at += _whole(len(part))
            tensors[name] = file.read(name, part)
            sums[name] = checker.submit(_crc32, part)
    return PackedWeights(tensors, _combined(file.specs, {name: future.result() for name, future in sums.items()}))


def _is_of_experts(name: str, names: Container[str]) -> bool:
    layer, _, matrix = name.partition(".gate_up.") if ".gate_up." in name else name.partition(".down.")
    return bool(matrix) and f"{layer}.router.weight" in names


def _crc32(array: NDArray[Any]) -> int:
    return zlib.crc32(array.reshape(-1).view(np.uint8).data)


def _combined(specs: Mapping[str, Spec], sums: Mapping[str, int]) -> str:
    parts = sorted((name, str(dtype), list(shape), sums[name]) for name, (dtype, shape) in specs.items())
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _whole(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
