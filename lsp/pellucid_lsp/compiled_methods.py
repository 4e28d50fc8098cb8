"""A cache of the code that attrs compiles while a module with attrs classes is imported.

attrs writes the methods' source of each class, and compiles the source in every process. For the
550 classes of lsprotocol, compiling takes half of the import. A file next to this module's .pyc
keeps the code objects. Keys are the sources themselves, so that no entry can be out of date.
"""

from __future__ import annotations

import builtins
import marshal
import os
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import MAGIC_NUMBER, cache_from_source
from pathlib import Path
from typing import Any

HEADER = MAGIC_NUMBER + bytes([sys.flags.optimize])
"""The version of the byte code. A checksum of the entries and the entries follow."""


def file_for(protocol: str) -> Path:
    """Return the file of a language server's protocol: protocols import different classes."""
    return Path(cache_from_source(__file__, optimization=protocol))


@contextmanager
def cached(path: Path) -> Iterator[None]:
    """Take code from a file while the body runs, and write the file again if code was missing.

    ``compile`` is replaced in the whole process, so no other thread should run yet.
    """
    known, used, compile = _read(path), {}, builtins.compile

    def compile_once(source: Any, filename: Any, mode: str, *further: Any, **options: Any) -> Any:
        # Each process has other __hash__ methods: attrs writes a random number into the source.
        ours = type(source) is str and str(filename).startswith("<attrs generated") and "__hash__" not in source
        if not ours or further or options:
            return compile(source, filename, mode, *further, **options)
        key = (source, filename, mode)
        used[key] = known[key] if key in known else compile(*key)
        return used[key]

    builtins.compile = compile_once
    try:
        yield
    finally:
        builtins.compile = compile
    if not used.keys() <= known.keys() and not sys.dont_write_bytecode:
        entries, part = marshal.dumps(used), path.with_name(f"{path.name}.{os.getpid()}")
        with suppress(OSError):  # In a folder of another user, each start compiles.
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                part.write_bytes(HEADER + zlib.crc32(entries).to_bytes(4) + entries)
                part.replace(path)
            finally:
                part.unlink(missing_ok=True)


def _read(path: Path) -> dict[tuple[str, str, str], Any]:
    with suppress(OSError):
        written, begin = path.read_bytes(), len(HEADER) + 4
        if written[:begin] == HEADER + zlib.crc32(written[begin:]).to_bytes(4):
            known: dict[tuple[str, str, str], Any] = marshal.loads(written[begin:])  # noqa: S302 -- trusted as .pyc
            return known
    return {}
