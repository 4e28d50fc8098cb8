"""Small LoRA adapters with random numbers: in memory, in peft's layout, and merged."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import PreTrainedModel

from pellucid.engine.decoders.decoder_config import DecoderConfig
from pellucid.engine.decoders.lora_matrices import Adapter, LowRank

EVERYTHING = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
ATTENTION = ("q_proj", "v_proj")
"""The default of peft."""


def random_adapter(
    config: DecoderConfig, rank: int = 4, targets: Sequence[str] = EVERYTHING, seed: int = 0, size: float = 0.5
) -> Adapter:
    """Return an adapter with products about ``size`` times as large as a tiny model's matrices.

    Experts are not changed.
    """
    generator = torch.Generator().manual_seed(seed)
    changes = {}
    for prefix, kind in config.layer_prefixes:
        for part, (rows, columns) in config.matrix_shapes(kind).items():
            if part.rpartition(".")[2] in targets and (config.experts is None or not part.startswith("mlp.")):
                down = torch.randn(rank, columns, generator=generator) / columns**0.5
                up = torch.randn(rows, rank, generator=generator) * size / rank**0.5
                changes[f"{prefix}{part}"] = LowRank(down.numpy(), up.numpy())
    return Adapter(changes)


def write_adapter(
    folder: Path, adapter: Adapter, alpha: float | None = None, origin: dict[str, Any] | None = None, **config: Any
) -> Path:
    """Write the adapter in peft's layout, with numbers divided by the scale from ``alpha``."""
    rank = adapter.rank
    alpha = 2 * rank if alpha is None else alpha
    scale = alpha / (rank**0.5 if config.get("use_rslora") else rank)
    tensors = {}
    for name, change in adapter.changes.items():
        tensors[f"base_model.model.model.{name}.lora_A.weight"] = torch.from_numpy(change.down).contiguous()
        tensors[f"base_model.model.model.{name}.lora_B.weight"] = torch.from_numpy(
            change.up / np.float32(scale)
        ).contiguous()
    described = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": rank,
        "lora_alpha": alpha,
        "lora_dropout": 0.05,
        "target_modules": sorted(adapter.targets),
        "bias": "none",
        "base_model_name_or_path": None,
        "inference_mode": True,
        **config,
    }
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "adapter_model.safetensors", {"format": "pt"})
    (folder / "adapter_config.json").write_text(json.dumps(described))
    if origin is not None:
        (folder / "pellucid.json").write_text(json.dumps(origin))
    return folder


def merged_into(model: PreTrainedModel, adapter: Adapter) -> PreTrainedModel:
    """Return a copy of the model with the adapter's products added to the weights."""
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for name, change in adapter.changes.items():
            twin.get_parameter(f"model.{name}.weight").add_(torch.from_numpy(change.product))
    return twin
