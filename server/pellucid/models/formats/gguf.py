"""The GGUF file format, versions 2 and 3: metadata, and tensors read straight from the mapped file."""

from __future__ import annotations

import math
import mmap
import os
import struct
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pellucid.engine.decoders.quantized_blocks import Blocks
from pellucid.errors import ModelError
from pellucid.models.formats.gguf_blocks import as_blocks
from pellucid.models.untrusted_files import shown, token_id

if TYPE_CHECKING:
    from gguf.constants import GGMLQuantizationType

Array = npt.NDArray[Any]
Value = int | float | bool | str | Array | list["Value"]
T = TypeVar("T", int, float, bool, str)

_STRING, _ARRAY = 8, 9
_SCALARS: dict[int, str] = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_LENGTH = struct.Struct("<Q")
_FLOATS = {"F32": np.float32, "F16": np.float16, "F64": np.float64}
_KINDS = {int: "iu", float: "f", bool: "b"}
"""By type of an item, the kinds of numpy's dtypes that hold such."""

# A header is mapped, and what is made of it is bounded by these: a file of zeros may be large and take no room on the disk.
_MOST_STRINGS = 1 << 22
_MOST_LETTERS = 1 << 28  # bytes of all strings
_DEEPEST = 4  # lists within lists
_MOST_PAIRS = 1 << 16
_MOST_TENSORS = 1 << 17
_AT_ONCE = 1 << 20  # weights that one thread turns into floats at a time


class _FormatError(Exception):
    """What is wrong with a file, as the end of a sentence that begins with its name."""


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """Where a tensor lies: its shape (rows first), ggml type, and offset in bytes from the beginning of the file."""

    shape: tuple[int, ...]
    type: int
    offset: int


class GGUF:
    """An open GGUF file. Opening reads the header only; tensors are read when they are asked for.

    Raises ModelError for a file that is no GGUF, is cut short, or holds what its own header contradicts.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with path.open("rb") as file:
                self._data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:  # an empty file cannot be mapped
            raise ModelError(f"{path} cannot be read as a GGUF file: {error}.") from None
        try:
            self.metadata, self.tensors = _Header(self._data).read()
        except (struct.error, UnicodeDecodeError, OverflowError, RecursionError):
            raise ModelError(f"{path} is damaged or cut short ({len(self._data)} bytes): fetch it again.") from None
        except _FormatError as error:
            raise ModelError(f"{path} {error}") from None

    def get(self, key: str, default: T) -> T:
        """The metadata under a key, as the type of the default. Raises ModelError where the file has another type there."""
        value = self.metadata.get(key, default)
        if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if type(value) is not type(default):
            raise ModelError(f"{self.path} has a {type(value).__name__} under {key}, where a {type(default).__name__} belongs.")
        return value

    def require(self, key: str, kind: type[T]) -> T:
        """As :meth:`get`, for a key that must be there."""
        if key not in self.metadata:
            raise ModelError(f"{self.path} has no {key} in its metadata.")
        return self.get(key, kind())

    def list_of(self, key: str, kind: type[T]) -> list[T]:
        """The list under a key (empty where there is none). Raises ModelError where it holds something else."""
        value = self.metadata.get(key, [])
        if isinstance(value, np.ndarray):
            if len(value) > _MOST_STRINGS or value.dtype.kind not in _KINDS.get(kind, ""):
                raise ModelError(
                    f"{self.path} has a list of {len(value)} {value.dtype} under {key}, where up to {_MOST_STRINGS} {kind.__name__} belong."
                )
            items: list[T] = value.tolist()
            return items
        if not isinstance(value, list):
            raise ModelError(f"{self.path} has no list under {key}.")
        texts = [item for item in value if isinstance(item, kind)]
        if len(texts) != len(value):
            raise ModelError(f"{self.path} has a list under {key} that is not all {kind.__name__}.")
        return texts

    def bytes_of(self, key: str) -> bytes:
        """The list of bytes under a key; empty where there is none. Raises ModelError where it holds something else."""
        value = self.metadata.get(key, [])
        if isinstance(value, np.ndarray) and value.dtype.itemsize == 1:
            return value.tobytes()
        if isinstance(value, list) and not value:
            return b""
        raise ModelError(f"{self.path} has no list of bytes under {key}.")

    def id_under(self, key: str, count: int) -> int | None:
        """The id of one of ``count`` tokens under a key; None where there is none. Raises ModelError where the file has no number there."""
        return token_id(self.path, key, self.metadata.get(key), count)

    def check_complete(self) -> None:
        """Raise ModelError where the file ends before its tensors do, or stores one in a way that is not known here."""
        for name, info in self.tensors.items():
            if info.offset + self._stored_bytes(name, info) > len(self._data):
                raise ModelError(f"{self.path} is cut short ({len(self._data)} bytes, tensor {shown(name)} is missing): fetch it again.")

    def blocks(self, name: str) -> Blocks | None:
        """A tensor's blocks as they are stored; None where it is stored otherwise. Raises ModelError as :meth:`tensor` does."""
        rows, kind = self._rows(name)
        return as_blocks(rows, kind.name)

    def tensor(self, name: str) -> Tensor:
        """A tensor as float32, however it is stored. Raises ModelError for a missing one or one that cannot be read."""
        from gguf.quants import dequantize

        rows, kind = self._rows(name)
        info = self.tensors[name]
        values = np.empty((len(rows), info.shape[-1]), np.float32)
        step = max(1, _AT_ONCE // info.shape[-1])

        def fill(begin: int) -> None:
            part = rows[begin : begin + step]
            values[begin : begin + step] = part.view(_FLOATS[kind.name]) if kind.name in _FLOATS else dequantize(part, kind)

        try:
            with ThreadPoolExecutor(os.cpu_count()) as pool:  # numpy computes outside of the interpreter's lock
                list(pool.map(fill, range(0, len(rows), step)))
        except NotImplementedError:
            raise ModelError(
                f"{self.path} stores {shown(name)} as {kind.name}, which cannot be read here: use another quantisation."
            ) from None
        return torch.from_numpy(values.reshape(info.shape))

    def _rows(self, name: str) -> tuple[npt.NDArray[np.uint8], GGMLQuantizationType]:
        """A tensor's rows as they are stored (rows, bytes), and how that is."""
        from gguf.constants import GGMLQuantizationType

        if name not in self.tensors:
            raise ModelError(f"{self.path} has no tensor {shown(name)}.")
        info = self.tensors[name]
        size = self._stored_bytes(name, info)
        if info.offset + size > len(self._data):
            raise ModelError(f"{self.path} is cut short ({len(self._data)} bytes, tensor {shown(name)} is missing): fetch it again.")
        rows = np.frombuffer(self._data, np.uint8, size, info.offset).reshape(math.prod(info.shape[:-1]), -1)
        return rows, GGMLQuantizationType(info.type)

    def _stored_bytes(self, name: str, info: TensorInfo) -> int:
        from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType  # 0.1 s that only packing needs

        try:
            block, size = GGML_QUANT_SIZES[GGMLQuantizationType(info.type)]
        except (ValueError, KeyError):
            raise ModelError(f"{self.path} stores {shown(name)} as ggml type {info.type}, which is not known here.") from None
        if not math.prod(info.shape) or not info.shape or info.shape[-1] % block:
            raise ModelError(f"{self.path} is damaged: tensor {shown(name)} has shape {info.shape}, which is not whole blocks of {block}.")
        return math.prod(info.shape) // block * size


class _Header:
    """Reads the header of a mapped file from front to back."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data = data
        self._at = 0
        self._strings = _MOST_STRINGS  # that may still come
        self._letters = _MOST_LETTERS

    def read(self) -> tuple[dict[str, Value], dict[str, TensorInfo]]:
        if self._data[:4] != b"GGUF":
            raise _FormatError("is no GGUF file: its first four bytes are not GGUF.")
        self._at = 4
        version = self._scalar("I")
        if version not in (2, 3):
            raise _FormatError(f"is GGUF of version {version}; versions 2 and 3, little-endian, can be read: convert it again.")
        tensors, pairs = self._scalar("Q"), self._scalar("Q")
        if int(tensors) > _MOST_TENSORS or int(pairs) > _MOST_PAIRS:
            raise _FormatError(f"is damaged: it claims {pairs} metadata and {tensors} tensors, and no model has so many.")
        metadata = {self._string(): self._value(int(self._scalar("I"))) for _ in range(int(pairs))}
        infos = [self._info() for _ in range(int(tensors))]
        alignment = metadata.get("general.alignment", 32)
        if not isinstance(alignment, int) or alignment < 1:
            raise _FormatError(f"is damaged: its alignment is {shown(alignment)}.")
        begin = -(-self._at // alignment) * alignment
        return metadata, {name: TensorInfo(info.shape, info.type, begin + info.offset) for name, info in infos}

    def _scalar(self, code: str) -> int | float | bool:
        kind = struct.Struct("<" + code)
        value: int | float | bool = kind.unpack_from(self._data, self._at)[0]
        self._at += kind.size
        return value

    def _string(self) -> str:
        (length,) = _LENGTH.unpack_from(self._data, self._at)
        begin = self._at + _LENGTH.size
        self._strings -= 1
        self._letters -= length
        if self._strings < 0 or self._letters < 0:
            raise _FormatError(f"holds more text than {_MOST_STRINGS} strings or {_MOST_LETTERS} bytes, and no model has so much.")
        raw = self._data[begin : begin + length]
        if len(raw) != length:
            raise struct.error
        self._at = begin + length
        return raw.decode()

    def _value(self, kind: int, depth: int = 0) -> Value:
        if kind == _STRING:
            return self._string()
        if kind == _ARRAY:
            return self._list(int(self._scalar("I")), int(self._scalar("Q")), depth + 1)
        if kind not in _SCALARS:
            raise _FormatError(f"is damaged: its metadata holds a value of type {kind}.")
        return self._scalar(_SCALARS[kind])

    def _list(self, kind: int, count: int, depth: int) -> Array | list[Value]:
        """A list of strings or of lists, or an array of numbers over the mapped file, which takes no memory."""
        if count > len(self._data) or depth > _DEEPEST:  # before memory is taken for what cannot be there
            raise struct.error
        if kind == _ARRAY:
            self._strings -= count
        if kind in (_STRING, _ARRAY) and self._strings >= 0:
            return [self._value(kind, depth) for _ in range(count)]
        if kind not in _SCALARS:
            raise _FormatError(f"is damaged: its metadata hold a list of values of type {kind}.")
        dtype = np.dtype("<" + _SCALARS[kind])
        begin, self._at = self._at, self._at + count * dtype.itemsize
        if self._at > len(self._data):
            raise struct.error
        return np.frombuffer(self._data, dtype, count, begin) if count else np.empty(0, dtype)

    def _info(self) -> tuple[str, TensorInfo]:
        name = self._string()
        dimensions = int(self._scalar("I"))
        if dimensions > 8:  # ggml's own limit is 4
            raise _FormatError(f"is damaged: tensor {shown(name)} has {dimensions} dimensions.")
        shape = tuple(int(self._scalar("Q")) for _ in range(dimensions))
        return name, TensorInfo(shape[::-1], int(self._scalar("I")), int(self._scalar("Q")))
