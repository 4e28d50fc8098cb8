"""Draws mutations of a valid request body with a seed."""

from __future__ import annotations

import copy
import gc
import json
from collections.abc import Iterator
from random import Random
from typing import Any

Json = Any

VALUES: tuple[Json, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**63, -(2**63), 10**30, 0.5, 1e308, -1e308, 5e-324, "", "x", "x" * 5000),
    *("\x00", "\ud800", "\udfff\ud800", "\u202e\ufeff\u2028", "é" * 300, "nan", "../../etc/passwd", "<|im_start|>"),
    *("{{ 1 }}", [], [None], [[]], [0] * 300, ["x"] * 50, {}, {"x": 1}, {"": None}, {"__class__": "x"}),
)

RAW = (
    *(b"", b"null", b"[]", b'"x"', b"{", b"{}", b"\xff\xfe", b"\xef\xbb\xbf{}", b"NaN", b"[" * 5000, b'{"a":' * 3000),
    *(b"9" * 5000, b"1e999"),
)
"""Bodies without an object, without JSON or without text."""


def mutations(valid: Json, random: Random, count: int) -> Iterator[bytes]:
    """Yield mutated bodies: most differ in a few values, the rest in bytes."""
    gc.collect()  # Deep bodies end at the limit of recursion, where the finalizers of garbage would fail.
    for _ in range(count):
        kind = random.random()
        if kind < 0.05:
            yield random.choice(RAW)
            continue
        body = copy.deepcopy(valid)
        for _ in range(random.choice((1, 1, 1, 2, 3))):
            body = _changed(body, random)
        text = json.dumps(body).encode()
        yield damaged(text, random) if kind < 0.2 else text


def _changed(value: Json, random: Random) -> Json:
    """Change a place in a value."""
    if isinstance(value, dict | list) and value and random.random() < 0.85:
        key = random.choice(list(value)) if isinstance(value, dict) else random.randrange(len(value))
        choice = random.random()
        if choice < 0.1:
            del value[key]
        elif choice < 0.2 and isinstance(value, dict):
            value[random.choice(("unknown", "model", "prompt", "stream", "\ud800", ""))] = random.choice(VALUES)
        else:
            value[key] = _changed(value[key], random)
        return value
    return [value] if random.random() < 0.1 else copy.deepcopy(random.choice(VALUES))


def damaged(text: bytes, random: Random) -> bytes:
    """Change some bytes, or cut the text off."""
    data = bytearray(text)
    for _ in range(random.randint(1, 4)):
        if data:
            data[random.randrange(len(data))] = random.randrange(256)
    return bytes(data[: random.randrange(len(data) + 1)] if random.random() < 0.3 else data)
