"""Messages between two processes: Python values as JSON, so that no code is exchanged.

Exact types are preserved, except for subclasses (decoded as the base type) and unknown iterables
(decoded as iterators). Unknown objects are rejected: a custom ``__eq__`` never reaches the
comparison.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from fractions import Fraction
from itertools import islice
from typing import Any, Final

LARGEST_MESSAGE: Final = 16 << 20
MAX_ITEMS: Final = 100_000
"""Iterators may be endless."""

COLLECTIONS: Final[Mapping[str, Callable[[list[Any]], Any]]] = {
    "list": list,
    "tuple": tuple,
    "set": set,
    "frozenset": frozenset,
    "iterator": iter,
}

SMALL: Final = 1 << 62
HEADER: Final = struct.Struct(">I")


class MessageError(Exception):
    """The data received is not a message of this protocol."""


def encode(value: object) -> Any:
    """Return a value in JSON types. Raises TypeError for unsupported types."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        number = int(value)
        return number if -SMALL < number < SMALL else {"int": hex(number)}
    if isinstance(value, str):
        return str.__str__(value)
    kind, content = _encode_tagged(value)
    return {kind: content}


def _encode_tagged(value: object) -> tuple[str, Any]:
    match value:
        case float():
            return "float", float.hex(value)
        case complex():
            return "complex", [float.hex(value.real), float.hex(value.imag)]
        case bytes() | bytearray():
            return type(value).__name__ if type(value) in (bytes, bytearray) else "bytes", value.hex()
        case Fraction():
            return "fraction", [encode(value.numerator), encode(value.denominator)]
        case Decimal():
            return "decimal", Decimal.__str__(value)
        case range():
            return "range", [encode(value.start), encode(value.stop), encode(value.step)]
        case dict():
            return "dict", [[encode(key), encode(item)] for key, item in dict.items(value)]
        case list() | tuple() | set() | frozenset():
            kind = next(kind for kind in (list, tuple, set, frozenset) if isinstance(value, kind))
            return kind.__name__, [encode(item) for item in value]
        case Iterable():
            return "iterator", [encode(item) for item in islice(value, MAX_ITEMS)]
    raise TypeError(f"a value of type {type(value).__name__} cannot be passed to the test")


def decode(value: Any) -> Any:
    """Invert ``encode``. Raises MessageError for any other data."""
    if value is None or type(value) in (bool, int, str):
        return value
    try:
        [(kind, content)] = value.items()
        return _decode_tagged(kind, content)
    except (AttributeError, LookupError, TypeError, ValueError, ArithmeticError) as error:
        raise MessageError("a value in a message has no known form") from error


def _decode_tagged(kind: str, content: Any) -> Any:
    match kind:
        case "int":
            return int(content, 16)
        case "float":
            return float.fromhex(content)
        case "complex":
            return complex(*map(float.fromhex, content))
        case "bytes":
            return bytes.fromhex(content)
        case "bytearray":
            return bytearray.fromhex(content)
        case "fraction":
            return Fraction(*map(decode, content))
        case "decimal":
            return Decimal(content)
        case "range":
            return range(*map(decode, content))
        case "dict":
            return {decode(key): decode(item) for key, item in content}
    return COLLECTIONS[kind]([decode(item) for item in content])


def send(descriptor: int, message: dict[str, Any]) -> None:
    """Write a message. Raises ValueError if the message is too large."""
    body = json.dumps(message).encode()
    if len(body) > LARGEST_MESSAGE:
        raise ValueError(f"more than {LARGEST_MESSAGE >> 20} MiB cannot be passed to the test")
    rest = memoryview(HEADER.pack(len(body)) + body)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def receive(descriptor: int) -> dict[str, Any] | None:
    """Read a message; None at the end of the stream. Raises MessageError for invalid data."""
    header = _read(descriptor, HEADER.size)
    if len(header) < HEADER.size:
        return None
    (length,) = HEADER.unpack(header)
    if length > LARGEST_MESSAGE:
        raise MessageError("a message is too large")
    body = _read(descriptor, length)
    if len(body) < length:
        return None
    try:
        message = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise MessageError("a message is not JSON") from error
    if not isinstance(message, dict):
        raise MessageError("a message is not an object")
    return message


def _read(descriptor: int, length: int) -> bytes:
    parts, left = [], length
    while left and (part := os.read(descriptor, min(left, 1 << 16))):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)
