"""Folders of byte window models: n-gram models and logistic regressions.

config.json names the kind of model; model.safetensors holds the tables.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from pellucid.engine.decoders.logistic_byte_model import LogisticModel, LogisticWeights
from pellucid.engine.decoders.ngram_byte_model import MAX_ORDER, NGramModel, NGramTable
from pellucid.errors import ModelError
from pellucid.models.families.folder_decoder import TABLE_MODELS
from pellucid.models.untrusted_files import damage_explained, read_json

NGRAM, LOGISTIC = TABLE_MODELS

_FIELDS = ("contexts", "begins", "bytes", "shares", "backoffs")


def read_table_model(folder: Path, device: str) -> NGramModel | LogisticModel:
    path = folder / "model.safetensors"
    if not path.is_file():
        raise ModelError(f"{path} is missing or not a regular file: train the model again.")
    with damage_explained(path):
        config = read_json(folder / "config.json")
        tensors = load_file(path, device)
        if config["model_type"] == NGRAM:
            order = int(config["order"])
            if not 1 <= order <= MAX_ORDER:
                raise ValueError(f"an order of {order}")
            return NGramModel(
                [NGramTable(*(tensors[f"{length}.{name}"] for name in _FIELDS)) for length in range(order)],
                torch.device(device),
            )
        weights = LogisticWeights(tensors["weight"], tensors["bias"], tensors["classes"], float(config["unseen"]))
        return LogisticModel(weights, int(config["reach"]), torch.device(device))


def write_ngram(folder: Path, model: NGramModel) -> None:
    """Write into an existing folder. Raises OSError or SafetensorError."""
    tensors = {
        f"{length}.{name}": getattr(table, name) for length, table in enumerate(model.tables) for name in _FIELDS
    }
    save_file(tensors, folder / "model.safetensors")
    _write_config(folder, {"model_type": NGRAM, "order": len(model.tables), "vocab_size": model.vocab_size})


def write_logistic(folder: Path, model: LogisticModel) -> None:
    weights = model.weights
    save_file(
        {"weight": weights.weight, "bias": weights.bias, "classes": weights.classes}, folder / "model.safetensors"
    )
    _write_config(
        folder, {"model_type": LOGISTIC, "reach": model.reach, "unseen": weights.unseen, "vocab_size": model.vocab_size}
    )


def _write_config(folder: Path, config: dict[str, object]) -> None:
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
