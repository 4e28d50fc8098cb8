"""Safetensors files written by Pellucid, read tensor by tensor.

What is read whole is read, not mapped. Page faults of a mapped file took twenty times as long on a
virtual machine with two cores (2.1 s instead of 0.1 s for 490 MB in the system's cache). If another
program truncates a mapped file, the process ends with SIGBUS; if the file is changed, verified
tensors change.
"""

from __future__ import annotations

import json
import math
import stat
import struct
import weakref
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from pellucid.engine.check_packed_weights import Spec

UNREADABLE = (SafetensorError, OSError, ValueError, TypeError, KeyError, struct.error)
"""The exceptions for a file that is damaged, truncated or not written by Pellucid."""

_PART = 1 << 20

_DTYPES = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": np.uint16,  # Numpy has no bfloat16, so its bits are written as U16.
    "U16": np.uint16,
    "U8": np.uint8,
    "I8": np.int8,
    "I32": np.int32,
    "I64": np.int64,
}

DTYPE_NAMES = {np.dtype(dtype): name for name, dtype in _DTYPES.items()}
"""The name under which numbers of a numpy dtype are written."""


class UnknownDtypeError(ValueError):
    """A tensor of a dtype that numpy and Pellucid do not read, such as an eight-bit float."""


class TensorFile:
    """An open safetensors file, closed at garbage collection. Opening reads only the header.

    Raises one of UNREADABLE for a malformed file. Tensors must be without gaps.
    """

    def __init__(self, path: Path) -> None:
        if not stat.S_ISREG(path.stat().st_mode):
            raise OSError("it is not a regular file")  # Opening a named pipe would wait for a writer.
        with safe_open(path, framework="np") as opened:  # Checks the header against the file size.
            self.metadata: Mapping[str, str] = opened.metadata() or {}
        self.path = path
        self._file = path.open("rb", buffering=0)
        weakref.finalize(self, self._file.close)
        (length,) = struct.unpack("<Q", self._file.read(8))
        header = json.loads(self._file.read(length))
        header.pop("__metadata__", None)
        self._begins = {name: 8 + length + entry["data_offsets"][0] for name, entry in header.items()}
        names = sorted(header, key=lambda name: self._begins[name])
        self.specs: Mapping[str, Spec] = {
            name: (_dtype(name, header[name]["dtype"]), tuple(header[name]["shape"])) for name in names
        }
        """In file order."""

    def size(self, name: str) -> int:
        dtype, shape = self.specs[name]
        return dtype.itemsize * math.prod(shape)

    def read(self, name: str, memory: NDArray[np.uint8]) -> NDArray[Any]:
        """Read a tensor into ``memory`` (uint8, same size).

        Raises OSError if the file has become shorter.
        """
        self._file.seek(self._begins[name])
        room = memory.data
        while room:
            count = self._file.readinto(room)
            if not count:
                raise OSError("it became shorter while it was read")
            room = room[count:]
        dtype, shape = self.specs[name]
        return memory.view(dtype).reshape(shape)

    def mapped(self, name: str) -> NDArray[Any]:
        """Return a tensor whose pages are read at first use."""
        dtype, shape = self.specs[name]
        return np.memmap(self._file, dtype, "r", self._begins[name], shape)

    def crc32(self, name: str) -> int:
        """Return the checksum of a tensor without keeping the tensor in memory."""
        checksum, at, end = 0, self._begins[name], self._begins[name] + self.size(name)
        with self.path.open("rb", buffering=0) as file:  # Other threads move the position of the open file.
            file.seek(at)
            while at < end and (part := file.read(min(_PART, end - at))):
                checksum, at = zlib.crc32(part, checksum), at + len(part)
        return checksum


def _dtype(name: str, dtype: str) -> np.dtype[Any]:
    if dtype not in _DTYPES:
        raise UnknownDtypeError(f"the tensor {name!r} has the dtype {dtype}")
    return np.dtype(_DTYPES[dtype])
