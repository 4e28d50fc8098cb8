"""A model as seen by the layers above the engine. Importing this module does not import torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pellucid.models.adapter_folder import AdapterCard
from pellucid.models.calibrations import CalibrationFile
from pellucid.models.catalog import CatalogEntry, InfillFormat
from pellucid.models.tokenizers.tokenizer import Tokenizer
from pellucid.models.vision.encoded_image import ImageEncoder


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """The facts of a model: number of logits, maximum number of tokens, size in bytes.

    ``description`` says how the model is computed, for people. ``device`` is torch's name of this
    process's device ("cuda:0"), or "cpu" if no device here is used. ``experts`` says whether the
    engine reports the experts of tokens.
    """

    vocab_size: int
    context: int
    weight_bytes: int
    description: str
    device: str = "cpu"
    experts: bool = False


@dataclass(frozen=True, slots=True)
class EngineAdapter:
    """An adapter of a remote engine; only the name is known here."""

    name: str


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model with a tokenizer.

    ``infill`` is None without infill markers; ``path`` is the model's file or folder. ``next_edit``
    is the form of a next-edit model. An adapted model has the name of the ``base``, and the
    ``adapter``. ``vision`` is None for a model that reads no images.
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
    vision: ImageEncoder | None = None
