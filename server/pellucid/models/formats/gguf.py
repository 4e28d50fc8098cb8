"""GGUF files of versions 2 and 3: metadata, and tensors in the mapped file."""

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

from pellucid.errors import ModelError
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

# These limits bound the memory for a header: a mapped file of zeros may be large without disk
# space.
_MAX_STRINGS = 1 << 22
_MAX_STRING_BYTES = 1 << 28  # For all strings together, with their lengths.
_DEEPEST = 4  # Nested lists.
_MAX_PAIRS = 1 << 16
_MAX_TENSORS = 1 << 17
_WEIGHTS_AT_ONCE = 1 << 20  # Weights converted to floats at once by a thread.


class _FormatError(Exception):
    """A wrong file format. The message continues a sentence that begins with the file's name."""


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """A tensor's shape (rows first), ggml type, and offset in bytes from the start of the file."""

    shape: tuple[int, ...]
    type: int
    offset: int


class GGUF:
    """An open GGUF file, with the other files of a split model after the first file.

    Opening reads only headers; tensors are read on demand.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._parts: list[GGUF] = []
        self._read_header()
        if self.get("split.no", 0) == 0:
            self._open_parts(self.get("split.count", 1))

    @property
    def paths(self) -> list[Path]:
        return [self.path, *(part.path for part in self._parts)]

    def _read_header(self) -> None:
        path = self.path
        try:
            with path.open("rb") as file:
                self._data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:  # An empty file cannot be mapped.
            raise ModelError(f"{path} cannot be read as a GGUF file: {error}.") from None
        try:
            self.metadata, self.tensors = _Header(self._data).read()
        except (struct.error, UnicodeDecodeError, OverflowError, RecursionError):
            raise ModelError(f"{path} is damaged or truncated ({len(self._data)} bytes): download it again.") from None
        except _FormatError as error:
            raise ModelError(f"{path} {error}") from None

    def _open_parts(self, count: int) -> None:
        """Open the other files of a split model, named as llama.cpp's gguf-split names files."""
        name, first, ending = self.path.name.rpartition("-00001-of-")
        if count > 1 and (not first or ending != f"{count:05}.gguf"):
            raise ModelError(
                f"{self.path} is the first of {count} files of a model, "
                f"and must be named like model-00001-of-{count:05}.gguf: rename all files."
            )
        for number in range(2, count + 1):
            part = GGUF(self.path.with_name(f"{name}-{number:05}-of-{count:05}.gguf"))
            if part.get("split.no", 0) != number - 1 or not part.tensors.keys().isdisjoint(self.tensors):
                raise ModelError(f"{part.path} does not belong to {self.path}: download both again.")
            self._parts.append(part)
            self.tensors |= part.tensors

    def _holder(self, name: str) -> GGUF:
        """Return the file with a tensor."""
        return next((part for part in self._parts if name in part.tensors), self)

    def get(self, key: str, default: T) -> T:
        """Return the metadata under a key, or the default."""
        value = self.metadata.get(key, default)
        if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if type(value) is not type(default):
            raise ModelError(
                f"{self.path} has a {type(value).__name__} under {key}; it must be a {type(default).__name__}."
            )
        return value

    def require(self, key: str, kind: type[T]) -> T:
        if key not in self.metadata:
            raise ModelError(f"{self.path} has no {key} in its metadata.")
        return self.get(key, kind())

    def list_of(self, key: str, kind: type[T]) -> list[T]:
        """Return the list under a key, or []."""
        value = self.metadata.get(key, [])
        if isinstance(value, np.ndarray):
            if len(value) > _MAX_STRINGS or value.dtype.kind not in _KINDS.get(kind, ""):
                raise ModelError(
                    f"{self.path} has a list of {len(value)} {value.dtype} under {key}; "
                    f"it must be up to {_MAX_STRINGS} {kind.__name__}."
                )
            items: list[T] = value.tolist()
            return items
        if not isinstance(value, list):
            raise ModelError(f"{self.path} has no list under {key}.")
        texts = [item for item in value if isinstance(item, kind)]
        if len(texts) != len(value):
            raise ModelError(f"{self.path} has a list under {key} whose items are not all {kind.__name__}.")
        return texts

    def bytes_of(self, key: str) -> bytes:
        """Return the list of bytes under a key, or b""."""
        value = self.metadata.get(key, [])
        if isinstance(value, np.ndarray) and value.dtype.itemsize == 1:
            return value.tobytes()
        if isinstance(value, list) and not value:
            return b""
        raise ModelError(f"{self.path} has no list of bytes under {key}.")

    def id_under(self, key: str, count: int) -> int | None:
        """Return the token id under a key; see :func:`pellucid.models.untrusted_files.token_id`."""
        return token_id(self.path, key, self.metadata.get(key), count)

    def check_complete(self) -> None:
        """Raise ModelError if the file is truncated, or if a tensor has an unknown type."""
        for name in self.tensors:
            self._rows(name)

    def stored_rows(self, name: str) -> tuple[npt.NDArray[np.uint8], str]:
        """Return stored rows (rows, bytes) and ggml type."""
        rows, kind = self._rows(name)
        return rows, kind.name

    def stored_bytes(self, name: str) -> int:
        """Return the stored size of a tensor."""
        return self._stored_bytes(name, self.tensors[name])

    def floats(self, name: str) -> npt.NDArray[np.float32]:
        """Return a tensor as float32."""
        from gguf.quants import dequantize

        rows, kind = self._rows(name)
        info = self.tensors[name]
        values = np.empty((len(rows), info.shape[-1]), np.float32)
        step = max(1, _WEIGHTS_AT_ONCE // info.shape[-1])

        def fill(begin: int) -> None:
            part = rows[begin : begin + step]
            values[begin : begin + step] = (
                part.view(_FLOATS[kind.name]) if kind.name in _FLOATS else dequantize(part, kind)
            )

        try:
            with ThreadPoolExecutor(os.cpu_count()) as pool:  # Numpy releases the interpreter's lock while computing.
                list(pool.map(fill, range(0, len(rows), step)))
        except NotImplementedError:
            raise ModelError(
                f"{self.path} stores {shown(name)} as {kind.name}, which is not supported: use another quantization."
            ) from None
        return values.reshape(info.shape)

    def _rows(self, name: str) -> tuple[npt.NDArray[np.uint8], GGMLQuantizationType]:
        from gguf.constants import GGMLQuantizationType

        if name not in self.tensors:
            raise ModelError(f"{self.path} has no tensor {shown(name)}.")
        info, holder = self.tensors[name], self._holder(name)
        size, data = self._stored_bytes(name, info), holder._data
        if info.offset + size > len(data):
            raise ModelError(
                f"{holder.path} is truncated ({len(data)} bytes, tensor {shown(name)} is missing): download it again."
            )
        rows = np.frombuffer(data, np.uint8, size, info.offset).reshape(math.prod(info.shape[:-1]), -1)
        return rows, GGMLQuantizationType(info.type)

    def _stored_bytes(self, name: str, info: TensorInfo) -> int:
        from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType  # The import takes 0.1 s.

        try:
            block, size = GGML_QUANT_SIZES[GGMLQuantizationType(info.type)]
        except (ValueError, KeyError):
            raise ModelError(
                f"{self.path} stores {shown(name)} as the unknown ggml type {info.type}: use another file."
            ) from None
        if not math.prod(info.shape) or not info.shape or info.shape[-1] % block:
            raise ModelError(
                f"{self.path} is damaged: tensor {shown(name)} has shape {info.shape}, not whole blocks of {block}."
            )
        return math.prod(info.shape) // block * size


class _Header:
    def __init__(self, data: mmap.mmap) -> None:
        self._data = data
        self._at = 0
        self._strings = _MAX_STRINGS
        self._string_bytes = _MAX_STRING_BYTES

    def read(self) -> tuple[dict[str, Value], dict[str, TensorInfo]]:
        if self._data[:4] != b"GGUF":
            raise _FormatError("is not a GGUF file: its first four bytes are not GGUF; use a .gguf file.")
        self._at = 4
        version = self._scalar("I")
        if version not in (2, 3):
            raise _FormatError(
                f"is GGUF of version {version}, but only versions 2 and 3, little-endian, are supported: "
                "convert it again."
            )
        tensors, pairs = self._scalar("Q"), self._scalar("Q")
        if int(tensors) > _MAX_TENSORS or int(pairs) > _MAX_PAIRS:
            raise _FormatError(
                f"is damaged: it claims {pairs} metadata entries and {tensors} tensors, which no model has; "
                "download it again."
            )
        metadata = {self._string(): self._value(int(self._scalar("I"))) for _ in range(int(pairs))}
        infos = [self._info() for _ in range(int(tensors))]
        alignment = metadata.get("general.alignment", 32)
        if not isinstance(alignment, int) or alignment < 1:
            raise _FormatError(f"is damaged: its alignment is {shown(alignment)}; download it again.")
        begin = -(-self._at // alignment) * alignment
        return metadata, {name: TensorInfo(info.shape, info.type, begin + info.offset) for name, info in infos}

    def _scalar(self, code: str) -> int | float | bool:
        kind = struct.Struct("<" + code)
        value: int | float | bool = kind.unpack_from(self._data, self._at)[0]
        self._at += kind.size
        return value

    def _string(self) -> str:
        (text,) = self._texts(1)
        return text

    def _texts(self, count: int) -> list[str]:
        """Read strings, in a loop without calls: a tokenizer has 300,000 strings."""
        texts: list[str] = []
        data, unpack, size, at = self._data, _LENGTH.unpack_from, _LENGTH.size, self._at
        last = at + self._string_bytes if count <= self._strings else at
        for _ in range(count):
            begin = at + size
            at = begin + unpack(data, at)[0]
            if at > last:
                raise _FormatError(
                    f"has more text than {_MAX_STRINGS} strings or {_MAX_STRING_BYTES} bytes, which no model has: "
                    "use another file."
                )
            texts.append(data[begin:at].decode())
        if at > len(data):
            raise struct.error
        self._strings -= count
        self._string_bytes -= at - self._at
        self._at = at
        return texts

    def _value(self, kind: int, depth: int = 0) -> Value:
        if kind == _STRING:
            return self._string()
        if kind == _ARRAY:
            return self._list(int(self._scalar("I")), int(self._scalar("Q")), depth + 1)
        if kind not in _SCALARS:
            raise _FormatError(f"is damaged: its metadata has a value of the unknown type {kind}; download it again.")
        return self._scalar(_SCALARS[kind])

    def _list(self, kind: int, count: int, depth: int) -> Array | list[Value]:
        """Read a list of strings or lists, or map an array of numbers without using memory."""
        if count > len(self._data) or depth > _DEEPEST:  # Checked before memory is allocated.
            raise struct.error
        if kind == _ARRAY:
            self._strings -= count
        if kind == _STRING:
            return list[Value](self._texts(count))
        if kind == _ARRAY and self._strings >= 0:
            return [self._value(kind, depth) for _ in range(count)]
        if kind not in _SCALARS:
            raise _FormatError(
                f"is damaged: its metadata has a list of values of the unknown type {kind}; download it again."
            )
        dtype = np.dtype("<" + _SCALARS[kind])
        begin, self._at = self._at, self._at + count * dtype.itemsize
        if self._at > len(self._data):
            raise struct.error
        return np.frombuffer(self._data, dtype, count, begin) if count else np.empty(0, dtype)

    def _info(self) -> tuple[str, TensorInfo]:
        name = self._string()
        dimensions = int(self._scalar("I"))
        if dimensions > 8:  # The limit of ggml is 4.
            raise _FormatError(f"is damaged: tensor {shown(name)} has {dimensions} dimensions; download it again.")
        shape = tuple(int(self._scalar("Q")) for _ in range(dimensions))
        return name, TensorInfo(shape[::-1], int(self._scalar("I")), int(self._scalar("Q")))
