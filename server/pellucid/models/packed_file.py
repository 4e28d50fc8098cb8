"""Packed weights read from their safetensors file into memory.

They are read rather than mapped: a page of a mapped file has to be looked up when it is first touched, which on a virtual
machine of two cores took twenty times as long as reading the file did (2.1 s for 490 MB out of the system's cache, and 0.1).
"""

from __future__ import annotations

import json
import struct
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from pellucid.engine.large_pages import large_pages

ALIGNMENT = 64  # bytes of a cache line, and of the widest vector

_DTYPES = {
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "U8": torch.uint8,
    "I8": torch.int8,
    "I32": torch.int32,
}


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a file, one behind another in large pages, each at a multiple of 64 bytes.

    Raises SafetensorError for a file that is damaged or cut short, OSError for one that cannot be read.
    """
    with safe_open(path, framework="pt"):
        pass  # looks through the header, and at the file's size
    with path.open("rb", buffering=0) as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        entries = sorted((entry["data_offsets"], name) for name, entry in header.items() if name != "__metadata__")
        memory = large_pages(sum(_whole(end - begin) for (begin, end), _ in entries))
        tensors = {}
        at = 0
        for (begin, end), name in entries:
            part = memory[at : at + end - begin]
            at += _whole(end - begin)
            file.seek(8 + length + begin)
            room = part.numpy().data
            while room:
                count = file.readinto(room)
                if not count:
                    raise OSError(f"{path} became shorter while it was read")
                room = room[count:]
            tensors[name] = part.view(_DTYPES[header[name]["dtype"]]).view(header[name]["shape"])
    return tensors


def _whole(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
