"""Makes pictures."""

from __future__ import annotations

import struct
import zlib


def png(width: int = 4, height: int = 3, colour: bytes = b"\xd0\x40\x20", rows: bytes | None = None) -> bytes:
    """Return a PNG of a colour, or of ``rows``, each a zero and three bytes per pixel."""
    pixels = (b"\0" + colour * width) * height if rows is None else rows
    head = struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0)
    found = b"\x89PNG\r\n\x1a\n"
    for name, data in ((b"IHDR", head), (b"IDAT", zlib.compress(pixels)), (b"IEND", b"")):
        found += struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    return found
