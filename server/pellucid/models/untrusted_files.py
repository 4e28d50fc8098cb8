"""Files of unknown origin: bounded sizes and numbers, and one sentence for any damage."""

from __future__ import annotations

import json
import logging
import math
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from pellucid.errors import ModelError, PellucidError
from pellucid.system import regular_files
from pellucid.system.atomic_files import human
from pellucid.system.memory import total_memory

logger = logging.getLogger(__name__)

Json = dict[str, Any]
"""A JSON object; values are unchecked."""

LARGEST_TEXT = 64 << 20
"""Maximum bytes of a JSON file, template or tokenizer.

The limit is twice the largest published file, and small enough for parsing in memory.
"""

_DAMAGE = (
    *(LookupError, ValueError, TypeError, AttributeError, AssertionError, ArithmeticError, BufferError, EOFError),
    *(
        MemoryError,
        RuntimeError,
        OSError,
        struct.error,
        SafetensorError,
    ),  # RuntimeError covers RecursionError and torch's errors.
)
_MAX_REASON = 200
_MAX_NAME = 500


@contextmanager
def damage_explained(path: Path) -> Iterator[None]:
    """Turn exceptions caused by a file's contents into a ModelError that names the file.

    The original exception is logged at level debug, because the cause may also be a bug in
    Pellucid.
    """
    try:
        yield
    except PellucidError:
        raise
    except _DAMAGE as error:
        raise damaged(path, error) from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # From a Rust library: not an Exception, and not importable.
            raise
        raise damaged(path, error) from error


def damaged(path: Path, error: BaseException) -> ModelError:
    logger.debug("%s could not be read", path, exc_info=error)
    if isinstance(error, MemoryError) or "OutOfMemory" in type(error).__name__ or "not enough memory" in str(error):
        return ModelError(
            f"{path} needs more memory than is available: it is damaged, malicious or too large for this machine."
        )
    return ModelError(
        f"{path} is damaged, truncated or malicious ({reason(error)}): download it again, or use another model."
    )


def reason(error: BaseException) -> str:
    """Return the short first line of an error message, with the error's name if unclear alone."""
    message = next(iter(str(error).splitlines()), "").strip().rstrip(".:")
    kind = type(error).__name__
    if not message:
        return kind
    return (
        f"{kind}: {message}"[:_MAX_REASON]
        if isinstance(error, (LookupError, TypeError, MemoryError))
        else message[:_MAX_REASON]
    )


def read_bytes(path: Path, largest: int = LARGEST_TEXT) -> bytes:
    """Read a regular file.

    Raises ModelError for a special or larger file, and FileNotFoundError for a missing file.
    """
    return regular_files.read_bytes(path, largest, ModelError)


def read_text(path: Path, largest: int = LARGEST_TEXT) -> str:
    """Read a regular UTF-8 file. Raises the errors of ``read_bytes``, also for invalid UTF-8."""
    return regular_files.read_text(path, largest, ModelError)


def read_json(path: Path) -> Json:
    """Return the object in a JSON file; {} for a missing file. Raises ModelError if invalid."""
    try:
        value = json.loads(read_text(path))
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path} cannot be read: {reason(error)}.") from None
    if not isinstance(value, dict):
        raise ModelError(f"{path} has a {type(value).__name__}; it must be an object.")
    return value


def whole(path: Path, fields: Mapping[str, Any], key: str, low: int, high: int, default: int | None = None) -> int:
    """Return the integer under a key, or the default if absent or null."""
    value = fields.get(key)
    if value is None and default is not None:
        return default
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ModelError(f"{path} has {shown(value)} for {key}; it must be a whole number from {low} to {high}.")
    return value


def real(
    path: Path, fields: Mapping[str, Any], key: str, low: float, high: float, default: float | None = None
) -> float:
    """Return the finite number under a key, or the default; see ``whole``."""
    value = fields.get(key)
    if value is None and default is not None:
        return default
    if (
        not isinstance(value, (int, float))
        or isinstance(value, bool)
        or not math.isfinite(value)
        or not low <= value <= high
    ):
        raise ModelError(f"{path} has {shown(value)} for {key}; it must be a number from {low:g} to {high:g}.")
    return float(value)


def token_id(path: Path, key: str, value: object, count: int) -> int | None:
    """Return the id of a special token; None for null, -1, and an id outside of the vocabulary.

    An id outside is logged and ignored, as in transformers and llama.cpp: configurations often keep
    a larger model's defaults. Raises ModelError for any other type.
    """
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool):
        raise ModelError(f"{path} has {shown(value)} for {key}; it must be the id of a token.")
    if 0 <= value < count:
        return value
    if value not in (-1, (1 << 32) - 1):  # Two notations for a missing id.
        logger.warning(
            "%s has %d for %s, but its tokens go from 0 to %d; the value is ignored", path, value, key, count - 1
        )
    return None


def printable(text: str) -> str:
    """Return a text for display: short, on one line and without lone surrogates."""
    whole_characters = text[:_MAX_NAME].encode("utf-8", "replace").decode()
    return "".join(character if character.isprintable() else "?" for character in whole_characters)


def shown(value: object) -> str:
    """Return a value from a file for a sentence: short, on one line."""
    if value is None:
        return "nothing"
    text = ascii(value) if isinstance(value, (str, int, float)) else f"a {type(value).__name__}"
    return text if len(text) <= 80 else f"{text[:80]}…"


def require_memory(path: Path, needed: int) -> None:
    """Raise ModelError if the weights cannot fit into memory, before any allocation."""
    total = total_memory("cpu")
    if needed > total:
        raise ModelError(
            f"{path} describes {human(needed)} of weights, but this machine has {human(total)} of memory: "
            "use a smaller model."
        )
