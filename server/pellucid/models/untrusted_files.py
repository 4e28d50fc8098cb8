"""Reading files that a stranger wrote: regular files of bounded size, numbers in a range, and one sentence for all damage."""

from __future__ import annotations

import logging
import math
import os
import stat
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from pellucid.errors import ModelError, PellucidError
from pellucid.system.atomic_files import human

logger = logging.getLogger(__name__)

LARGEST_TEXT = 64 << 20
"""Bytes of a JSON file, template or tokenizer: twice the largest that is published, and little enough to be parsed in memory."""

_DAMAGE = (
    *(LookupError, ValueError, TypeError, AttributeError, AssertionError, ArithmeticError, BufferError, EOFError),
    *(MemoryError, RuntimeError, OSError, struct.error, SafetensorError),  # RuntimeError holds RecursionError and torch's own errors
)
_LONGEST_REASON = 200
_LONGEST_NAME = 500


@contextmanager
def damage_explained(path: Path) -> Iterator[None]:
    """Turn what the contents of a file make our code raise into ModelError, one sentence that names the file.

    The original goes to the log at level debug, with its traceback: it may as well be a mistake of ours.
    """
    try:
        yield
    except PellucidError:
        raise
    except _DAMAGE as error:
        raise damaged(path, error) from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # of a library in Rust: no subclass of Exception, and nowhere to import it from
            raise
        raise damaged(path, error) from error


def damaged(path: Path, error: BaseException) -> ModelError:
    """The sentence for an error that the contents of a file caused."""
    logger.debug("%s could not be read", path, exc_info=error)
    if isinstance(error, MemoryError) or "OutOfMemory" in type(error).__name__ or "not enough memory" in str(error):
        return ModelError(f"{path} asks for more memory than there is: it is damaged or hostile, or else too large for this machine.")
    return ModelError(f"{path} is damaged or cut short, or hostile ({reason(error)}): fetch it again, or use another model.")


def reason(error: BaseException) -> str:
    """The first line of what an error says, shortened, with the error's name where that says more."""
    said = next(iter(str(error).splitlines()), "").strip().rstrip(".:")
    kind = type(error).__name__
    if not said:
        return kind
    return f"{kind}: {said}"[:_LONGEST_REASON] if isinstance(error, (LookupError, TypeError, MemoryError)) else said[:_LONGEST_REASON]


def read_bytes(path: Path, largest: int = LARGEST_TEXT) -> bytes:
    """The contents of a regular file. Raises ModelError for any other file or a larger one, FileNotFoundError where there is none.

    A FIFO or a device is refused before it is read: opening the one waits for ever, and the other never ends.
    """
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a name that holds NUL
        raise ModelError(f"{path} cannot be read: {reason(error)}.") from None
    state = os.fstat(handle)
    if not stat.S_ISREG(state.st_mode):
        os.close(handle)
        raise ModelError(f"{path} is no regular file, and nothing else is read.")
    with os.fdopen(handle, "rb") as file:
        if state.st_size > largest:
            raise ModelError(f"{path} is {state.st_size} bytes long, and at most {largest} are read: it is not what its name says.")
        return file.read(largest)


def read_text(path: Path, largest: int = LARGEST_TEXT) -> str:
    """The same as UTF-8 text. Raises ModelError for what is none, FileNotFoundError where there is no file."""
    try:
        return read_bytes(path, largest).decode("utf-8")
    except UnicodeDecodeError as error:
        raise ModelError(f"{path} cannot be read: {error}.") from None


def whole(path: Path, fields: Mapping[str, Any], key: str, low: int, high: int, default: int | None = None) -> int:
    """The whole number under a key, or the default for one that is absent or null. Raises ModelError for anything else."""
    value = fields.get(key)
    if value is None and default is not None:
        return default
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ModelError(f"{path} has {shown(value)} for {key}, where a whole number from {low} to {high} belongs.")
    return value


def real(path: Path, fields: Mapping[str, Any], key: str, low: float, high: float, default: float | None = None) -> float:
    """The same for any finite number."""
    value = fields.get(key)
    if value is None and default is not None:
        return default
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value) or not low <= value <= high:
        raise ModelError(f"{path} has {shown(value)} for {key}, where a number from {low:g} to {high:g} belongs.")
    return float(value)


def token_id(path: Path, key: str, value: object, count: int) -> int | None:
    """The id of a special token under a key, or None where there is none: for null, -1, and an id that the vocabulary does not have.

    The last is logged, and ignored as transformers and llama.cpp do: configurations are often left at a larger model's defaults.
    Raises ModelError for what is no whole number.
    """
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool):
        raise ModelError(f"{path} has {shown(value)} for {key}, where the id of a token belongs.")
    if 0 <= value < count:
        return value
    if value not in (-1, (1 << 32) - 1):  # two ways to write none
        logger.warning("%s has %d for %s, and its tokens go from 0 to %d: there is no such token", path, value, key, count - 1)
    return None


def printable(text: str) -> str:
    """A text that can be listed and sent: not too long, on one line and without half a surrogate pair, which JSON can spell."""
    whole_characters = text[:_LONGEST_NAME].encode("utf-8", "replace").decode()
    return "".join(character if character.isprintable() else "?" for character in whole_characters)


def shown(value: object) -> str:
    """A value from a file as part of a sentence: on one line, and not too long."""
    if value is None:
        return "nothing"
    text = ascii(value) if isinstance(value, (str, int, float)) else f"a {type(value).__name__}"
    return text if len(text) <= 80 else f"{text[:80]}…"


def require_memory(path: Path, needed: int) -> None:
    """Raise ModelError where a model's weights cannot fit into this machine's memory, before any is taken for them."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else needed
    if needed > total:
        raise ModelError(
            f"{path} describes {human(needed)} of weights, and this machine has {human(total)} of memory: use a smaller model."
        )
