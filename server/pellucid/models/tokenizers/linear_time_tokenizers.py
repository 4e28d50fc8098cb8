"""Tokenizers of the tokenizers library with work linear in the length of the text."""

from __future__ import annotations

from typing import Any

from pellucid.models.tokenizers.tokenizer_backends import MAX_IDS


def is_harmless(data: dict[str, Any], patterns: frozenset[str]) -> bool:
    """Return whether a ``tokenizer.json`` takes linear time and memory on any text and cannot fail.

    Such tokenizers merge byte pairs after splits by ``patterns``, like most models.
    """
    model = data["model"]
    added = data.get("added_tokens") or []
    steps = [*_steps(data.get("normalizer"), "normalizers"), *_steps(data.get("pre_tokenizer"), "pretokenizers")]
    return bool(
        model.get("type") == "BPE"
        and not model.get("dropout")
        and not model.get("continuing_subword_prefix")
        and not model.get("end_of_word_suffix")
        and all(type(id) is int and 0 <= id < MAX_IDS for id in model["vocab"].values())
        and all(0 <= token["id"] < MAX_IDS and not token.get("lstrip") and not token.get("rstrip") for token in added)
        and len(steps) <= 16
        and all(_is_harmless_step(step, patterns) for step in steps)
    )


def _steps(step: Any, inner: str) -> list[dict[str, Any]]:
    if not step:
        return []
    return [leaf for part in step[inner] for leaf in _steps(part, inner)] if step["type"] == "Sequence" else [step]


def _is_harmless_step(step: dict[str, Any], patterns: frozenset[str]) -> bool:
    match step["type"]:
        case "Replace":
            return bool(step["pattern"] == {"String": " "} and step["content"] == "▁")
        case "Split":
            return step["pattern"].get("Regex") in patterns
        case kind:
            return kind in ("ByteLevel", "Digits", "Metaspace")
