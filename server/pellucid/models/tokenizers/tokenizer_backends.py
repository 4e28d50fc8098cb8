"""Text encoding by libraries, in a separate process unless a tokenizer is known to be harmless.

A tokenizer can contain regular expressions that backtrack for hours, maps that make a library
panic, and steps that multiply the text. No test can find all such texts, so such a tokenizer always
stays in a separate process.
"""

from __future__ import annotations

import base64
import contextlib
import importlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Any

from pellucid.errors import ModelError
from pellucid.system.limited_process import LimitedProcess, ProcessFailedError, serve

MAX_IDS = 1 << 22
"""Maximum number of ids: sixteen times the largest published vocabulary."""

_MEMORY = 2 << 30
_LOAD_SECONDS = 9.0
_ENCODE_SECONDS = 2.0
_CHARACTERS_PER_SECOND = 250_000  # A tenth of the speed of the slowest common tokenizer.


@dataclass(frozen=True, slots=True)
class TextEncoder:
    """Encodes text.

    ``pieces`` returns the text of each id in order (None: no text). ``apart`` is true if ``encode``
    waits for another process.
    """

    encode: Callable[[str], list[int]]
    pieces: Callable[[], list[str | None]]
    apart: bool = False


def by_tokenizers(data: str) -> TextEncoder:
    """Read a ``tokenizer.json``. Raises the library's exceptions."""
    from tokenizers import Tokenizer as Backend

    backend = Backend.from_str(data)

    def encode(text: str) -> list[int]:
        ids: list[int] = backend.encode(text, add_special_tokens=False).ids
        return ids

    def pieces() -> list[str | None]:
        ids = backend.get_vocab(with_added_tokens=True)
        count = max(ids.values(), default=-1) + 1
        if count > MAX_IDS:
            raise ValueError(f"an id of {count - 1}")
        out: list[str | None] = [None] * count
        for piece, id in ids.items():
            out[id] = piece
        return out

    return TextEncoder(encode, pieces)


def by_sentencepiece(model: bytes) -> TextEncoder:
    """Read a sentencepiece model, without pieces. Raises the library's exceptions."""
    from sentencepiece import SentencePieceProcessor

    processor = SentencePieceProcessor(model_proto=model)

    def encode(text: str) -> list[int]:
        ids: list[int] = processor.encode(text)
        return ids

    return TextEncoder(encode, list)


def apart(path: Path, *, tokenizer_json: str | None = None, sentencepiece: bytes | None = None) -> TextEncoder:
    """Read a tokenizer from ``path`` in a separate process.

    Raises ModelError if loading fails within the limits. Encoding may raise ModelError, too; the
    next text gets a new process.
    """
    model = None if sentencepiece is None else base64.b64encode(sentencepiece).decode()
    first = {"json": tokenizer_json, "sentencepiece": model}
    process = LimitedProcess(__name__, ["pellucid", "tokenizers", "sentencepiece"], first, _LOAD_SECONDS)
    try:
        pieces = _checked(process.start(), str, NoneType)
    except ProcessFailedError as error:
        raise ModelError(
            f"{path} cannot be read as a tokenizer ({error}): download it again, or use another model."
        ) from None

    def encode(text: str) -> list[int]:
        try:
            return _checked(process.ask({"encode": text}, _ENCODE_SECONDS + len(text) / _CHARACTERS_PER_SECOND), int)
        except ProcessFailedError as error:
            raise ModelError(
                f"The tokenizer {path} failed on a text of {len(text)} characters ({error}): use another model."
            ) from None

    return TextEncoder(encode, lambda: pieces, apart=True)


def _checked(answer: object, *kinds: type) -> list[Any]:
    """Raise ProcessFailedError unless ``answer`` is a list of items of these kinds."""
    if not isinstance(answer, list) or not all(type(item) in kinds for item in answer):
        raise ProcessFailedError("it gave no valid answer")
    return answer


class _Apart:
    def __init__(self) -> None:
        self._encode: Callable[[str], list[int]] = lambda text: []

    def __call__(self, message: dict[str, Any]) -> object:
        if "encode" in message:
            return self._encode(message["encode"])
        model = message["sentencepiece"]
        encoder = by_tokenizers(message["json"]) if model is None else by_sentencepiece(base64.b64decode(model))
        self._encode = encoder.encode
        return encoder.pieces()


def main() -> None:
    """Serve a tokenizer in the process started by :func:`apart`."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # More threads would exceed the memory limit.
    for library in ("tokenizers", "sentencepiece"):
        with contextlib.suppress(ImportError):
            importlib.import_module(library)
    serve(_Apart(), _MEMORY)
