"""Seeded damage to safetensors files: flipped bits, lost and moved ranges, changed headers."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable, Iterator
from typing import Any

Mutation = Callable[[bytes, random.Random], bytes]


def mutations(data: bytes, count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """Yield ``count`` damaged versions of a file with descriptions, of each kind in turn."""
    dice = random.Random(seed)
    for number in range(count):
        mutate = KINDS[number % len(KINDS)]
        changed = data
        while changed == data:
            changed = mutate(data, dice)
        yield f"{number}: {mutate.__name__}", changed


def flip_bit(data: bytes, dice: random.Random) -> bytes:
    """Flip a bit anywhere."""
    changed = bytearray(data)
    changed[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
    return bytes(changed)


def flip_header_bit(data: bytes, dice: random.Random) -> bytes:
    """Flip a bit of the header or of the header's length."""
    changed = bytearray(data)
    changed[dice.randrange(8 + _length(data))] ^= 1 << dice.randrange(8)
    return bytes(changed)


def zero_run(data: bytes, dice: random.Random) -> bytes:
    """Zero a run of bytes, as a disk with a lost block does."""
    begin, end = _range(data, dice)
    return data[:begin] + bytes(end - begin) + data[end:]


def overwrite_run(data: bytes, dice: random.Random) -> bytes:
    """Overwrite a run with random bytes."""
    begin, end = _range(data, dice)
    return data[:begin] + dice.randbytes(end - begin) + data[end:]


def truncate(data: bytes, dice: random.Random) -> bytes:
    """Cut off the end."""
    return data[: dice.randrange(len(data))]


def append(data: bytes, dice: random.Random) -> bytes:
    """Add bytes after the end."""
    return data + dice.randbytes(dice.randint(1, 5000))


def remove_run(data: bytes, dice: random.Random) -> bytes:
    """Remove a run of bytes."""
    begin, end = _range(data, dice)
    return data[:begin] + data[end:]


def swap_runs(data: bytes, dice: random.Random) -> bytes:
    """Exchange two runs of the same length."""
    size = dice.randint(1, len(data) // 4)
    first = dice.randrange(len(data) // 2 - size + 1)
    second = dice.randrange(len(data) // 2, len(data) - size + 1)
    a, b = data[first : first + size], data[second : second + size]
    return data[:first] + b + data[first + size : second] + a + data[second + size :]


def repeat_run(data: bytes, dice: random.Random) -> bytes:
    """Write the file's beginning again over a later part, as a broken copy does."""
    size = dice.randint(1, len(data) // 2)
    return data[: len(data) - size] + data[:size]


def change_length(data: bytes, dice: random.Random) -> bytes:
    """Change the stated length of the header."""
    length = dice.choice([0, 1, _length(data) - 1, _length(data) + 1, len(data), 1 << 32, (1 << 63) + 1, (1 << 64) - 1])
    return struct.pack("<Q", length) + data[8:]


def change_shape(data: bytes, dice: random.Random) -> bytes:
    """Change a shape; the number of elements may stay the same."""

    def change(header: dict[str, Any]) -> None:
        shape = _tensor(header, dice)["shape"]
        match dice.randrange(3):
            case 0:
                shape.reverse()
            case 1:
                shape.append(1)
            case 2:
                shape[dice.randrange(len(shape))] = dice.choice([0, 1, -1, 1 << 62, 7])

    return _with_header(data, change)


def change_dtype(data: bytes, dice: random.Random) -> bytes:
    """Change a dtype; the size of an element may stay the same."""

    def change(header: dict[str, Any]) -> None:
        _tensor(header, dice)["dtype"] = dice.choice(
            ["F16", "BF16", "U8", "I8", "F8_E4M3", "F32", "I32", "I64", "BOOL", "X9", 4]
        )

    return _with_header(data, change)


def change_offsets(data: bytes, dice: random.Random) -> bytes:
    """Move a tensor's offsets: over a different tensor, beyond the file, or backwards."""

    def change(header: dict[str, Any]) -> None:
        tensor, other = _tensor(header, dice), _tensor(header, dice)
        begin, end = tensor["data_offsets"]
        choices = [
            [end, begin],
            [begin + 1, end + 1],
            [begin, end + 64],
            [-1, end],
            [1 << 62, (1 << 62) + end - begin],
            other["data_offsets"],
        ]
        tensor["data_offsets"] = dice.choice(choices)

    return _with_header(data, change)


def exchange_tensors(data: bytes, dice: random.Random) -> bytes:
    """Exchange the places of two tensors, with their names or without their shapes."""

    def change(header: dict[str, Any]) -> None:
        first, second = dice.sample([name for name in header if name != "__metadata__"], 2)
        if dice.random() < 0.5:
            header[first], header[second] = header[second], header[first]
        else:
            a, b = header[first], header[second]
            a["data_offsets"], b["data_offsets"] = b["data_offsets"], a["data_offsets"]

    return _with_header(data, change)


def change_names(data: bytes, dice: random.Random) -> bytes:
    """Rename, remove or duplicate a tensor."""

    def change(header: dict[str, Any]) -> None:
        name = dice.choice([name for name in header if name != "__metadata__"])
        match dice.randrange(3):
            case 0:
                header[f"{name}x"] = header.pop(name)
            case 1:
                del header[name]
            case 2:
                header[f"{name}x"] = header[name]

    return _with_header(data, change)


def change_metadata(data: bytes, dice: random.Random) -> bytes:
    """Change, remove or exchange metadata."""

    def change(header: dict[str, Any]) -> None:
        metadata = header["__metadata__"]
        key = dice.choice(sorted(metadata))
        match dice.randrange(4):
            case 0:
                at = dice.randrange(len(metadata[key]))
                metadata[key] = metadata[key][:at] + dice.choice("0af7]") + metadata[key][at + 1 :]
            case 1:
                del metadata[key]
            case 2:
                metadata[key] = dice.choice(["", "[]", "null", "\x00", "9" * 5000, 7])
            case 3:
                del header["__metadata__"]

    return _with_header(data, change)


KINDS: tuple[Mutation, ...] = (
    flip_bit,
    flip_header_bit,
    zero_run,
    overwrite_run,
    truncate,
    append,
    remove_run,
    swap_runs,
    repeat_run,
    change_length,
    change_shape,
    change_dtype,
    change_offsets,
    exchange_tensors,
    change_names,
    change_metadata,
)


def _length(data: bytes) -> int:
    (length,) = struct.unpack("<Q", data[:8])
    return int(length)


def _range(data: bytes, dice: random.Random) -> tuple[int, int]:
    begin = dice.randrange(len(data))
    return begin, min(len(data), begin + dice.choice([1, 4, 16, 64, 512, 4096]))


def _tensor(header: dict[str, Any], dice: random.Random) -> dict[str, Any]:
    tensor: dict[str, Any] = header[dice.choice([name for name in header if name != "__metadata__"])]
    return tensor


def _with_header(data: bytes, change: Callable[[dict[str, Any]], None]) -> bytes:
    """Return the file with a changed header and the right length."""
    length = _length(data)
    header = json.loads(data[8 : 8 + length])
    unchanged = json.dumps(header)
    change(header)
    if json.dumps(header) == unchanged:
        return data
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data[8 + length :]
