"""Splits and letters of byte-level BPE: pieces are bytes as printable letters (GPT-2, 2019)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pellucid.errors import ModelError

_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_LLAMA3 = _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_QWEN2 = _LLAMA3.replace("{1,3}", "")
_QWEN35 = _QWEN2.replace(r"?\p{L}+", r"?[\p{L}\p{M}]+").replace(r"[^\s\p{L}\p{N}]", r"[^\s\p{L}\p{M}\p{N}]")
_SEED_CODER = _QWEN2.replace(r" ?[^\s\p{L}\p{N}]+[\r\n]*", r" ?[^\s\p{L}\p{N}\r\n]+")
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_CASED_TAIL = r" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_TEKKEN = rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*|\p{{N}}|{_CASED_TAIL}"
_GPT4O = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+{_CONTRACTIONS}?|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*{_CONTRACTIONS}?"
    rf"|\p{{N}}{{1,3}}|{_CASED_TAIL}"
)
_CJK = "[一-龥\u0800-\u4e00\uac00-\ud7ff]+"
_DEEPSEEK_CODER = (r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", _CJK, r"\p{N}")
_DEEPSEEK3 = (
    r"\p{N}{1,3}",
    "[一-龥\u3040-\u309f\u30a0-\u30ff]+",
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+"
    r"|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
)
_DIGITS_APART = (r"\p{N}", _GPT2)
_DEFAULT = (r"[\p{P}\$\+<=>\^~\|]+", _GPT2, r"\p{N}+", r"[0-9][0-9][0-9]")

_SPLITS: dict[str, tuple[str, ...]] = {
    "default": _DEFAULT,
    **dict.fromkeys(("gpt-2", "phi-2", "olmo", "mpt", "jais", "trillion", "granite-docling", "mellum"), (_GPT2,)),
    **dict.fromkeys(
        ("llama-bpe", "llama3", "llama-v3", "falcon3", "pixtral", "dbrx", "smaug-bpe", "lfm2", "glm4", "chatglm-bpe"),
        (_LLAMA3,),
    ),
    **dict.fromkeys(("qwen2", "deepseek-r1-qwen", "stablelm2", "hunyuan", "megrez"), (_QWEN2,)),
    **dict.fromkeys(("starcoder", "smollm", "refact", "command-r", "codeshell", "exaone", "minerva-7b"), _DIGITS_APART),
    "deepseek-coder": _DEEPSEEK_CODER,
    "deepseek-v3": _DEEPSEEK3,
    "qwen35": (_QWEN35,),
    "tekken": (_TEKKEN,),
    "seed-coder": (_SEED_CODER,),
    **dict.fromkeys(("gpt-4o", "llama4"), (_GPT4O,)),
}
"""Patterns that split a text before merging, in order, by GGUF's name (``tokenizer.ggml.pre``)."""

PATTERNS = frozenset(pattern for patterns in _SPLITS.values() for pattern in patterns)
"""All patterns. Each pattern reads a character a bounded number of times."""

WHOLE_WORDS = frozenset({"llama-bpe", "llama3", "llama-v3", "falcon3", "pixtral", "tekken", "lfm2", "glm4"})
"""Pre-tokenizers that take a word of the vocabulary whole, regardless of merges."""

BEGINS_WITH_BOS = frozenset({"llama-bpe", "llama3", "llama-v3", "tekken", "lfm2"})
"""Pre-tokenizers with BOS before texts, unless the file disagrees."""


def splits(pre: str) -> tuple[str, ...]:
    """Return the patterns of a pre-tokenizer by GGUF's name. Raises ModelError if unknown."""
    if pre not in _SPLITS:
        raise ModelError(
            f"The GGUF's pre-tokenizer {pre!r} is not supported: use the model's safetensors folder instead."
        )
    return _SPLITS[pre]


def _letters() -> dict[int, str]:
    """Return GPT-2's letter for every byte: the byte if printable, else letters from U+0100."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAC + 1), *range(0xAE, 0xFF + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(0x100 + i) for i, byte in enumerate(others)}


LETTERS = _letters()

_BYTES = str.maketrans({letter: chr(byte) for byte, letter in LETTERS.items()})

_BYTE_OF = np.array([ord(_BYTES.get(code, chr(code))) for code in range(max(_BYTES) + 1)], np.uint8)


def undo_letters(pieces: Sequence[str | None]) -> list[bytes | None]:
    """Return the bytes of pieces; UTF-8 for an added token with other letters."""
    codes = np.frombuffer("".join(filter(None, pieces)).encode("utf-32-le"), "<u4")
    if np.any((codes >= len(_BYTE_OF)) | (codes == ord(" "))):  # An added token has other letters.
        return [None if piece is None else _undo(piece) for piece in pieces]
    together = _BYTE_OF[codes].tobytes()  # All at once takes a third of the time.
    begin = 0
    return [None if piece is None else together[begin : (begin := begin + len(piece))] for piece in pieces]


def _undo(piece: str) -> bytes:
    translated = piece.translate(_BYTES)
    if " " in piece:  # A space is never a letter: an added token.
        return piece.encode()
    try:
        return translated.encode("latin-1")
    except UnicodeEncodeError:
        return piece.encode()
