"""Loaded models without a file."""

from __future__ import annotations

from pathlib import Path

from pellucid.engine.model import Model
from pellucid.models.calibrations import CalibrationFile
from pellucid.models.catalog import InfillFormat
from pellucid.models.load import LoadedModel, facts_of
from pellucid.models.tokenizers.tokenizer import Tokenizer


def loaded_model(
    name: str,
    model: Model,
    tokenizer: Tokenizer,
    infill: InfillFormat | None = None,
    calibration: CalibrationFile | None = None,
) -> LoadedModel:
    return LoadedModel(name, tokenizer, infill, None, Path(name), facts_of(model), calibration, model=model)
