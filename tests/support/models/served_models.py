"""Models with a tokenizer and an engine but without weights. Imports no torch."""

from __future__ import annotations

from pathlib import Path

from pellucid.models.catalog import InfillFormat
from pellucid.models.served_model import ModelFacts, ServedModel
from pellucid.models.tokenizers.tokenizer import Tokenizer


def served_model(name: str, tokenizer: Tokenizer, infill: InfillFormat | None = None) -> ServedModel:
    """Return a model for a scripted engine, or for a test's engine."""
    return ServedModel(name, tokenizer, infill, None, Path(name), ModelFacts(tokenizer.vocab_size, 512, 0, "scripted"))
