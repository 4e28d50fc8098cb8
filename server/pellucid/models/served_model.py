"""A model as the layers above the engine know it, wherever its weights are: its tokenizer, its infill format and its facts.

Importing this file is cheap: it needs no torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pellucid.models.adapter_folder import AdapterCard
from pellucid.models.calibrations import CalibrationFile
from pellucid.models.catalog import CatalogEntry, InfillFormat
from pellucid.models.tokenizers.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """The facts of the model that computes: the number of its logits, the most tokens that it was made for, and its size in bytes.

    ``description`` says how it is computed, for people. ``device`` is the device of this process
    that computes it, as torch names it ("cuda:0", say); "cpu" if none does.
    """

    vocab_size: int
    context: int
    weight_bytes: int
    description: str
    device: str = "cpu"


@dataclass(frozen=True, slots=True)
class EngineAdapter:
    """An adapter that engines elsewhere have, and of which only the name is known here."""

    name: str


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model with its tokenizer.

    ``infill`` is None if the model has no infill markers; ``path`` is its file or folder.

    ``next_edit`` is the form in which it was trained to propose next edits, if it was.
    ``calibration`` is the file of its calibration. An adapted model has the name of its ``base``,
    and its ``adapter``.
    """

    name: str
    tokenizer: Tokenizer
    infill: InfillFormat | None
    entry: CatalogEntry | None
    path: Path
    facts: ModelFacts
    calibration: CalibrationFile | None = None
    base: str | None = None
    adapter: AdapterCard | EngineAdapter | None = None
    next_edit: str | None = None
