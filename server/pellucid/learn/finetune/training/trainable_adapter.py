"""Low-rank adapters on the attention of a frozen base, in peft's layout on disk."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from pellucid.learn.finetune.training.base_model import Base
from pellucid.learn.finetune.training.low_rank_linear import LowRankLinear
from pellucid.models.adapter_folder import CONFIG, WEIGHTS
from pellucid.system import atomic_files

TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj")


class TrainableAdapter:
    """A base with a new adapter, in float32, without effect before training."""

    def __init__(self, base: Base, rank: int, seed: int) -> None:
        self.model: nn.Module = base.model  # Includes the adapter.
        self._base = base.name
        self._rank, self._alpha = rank, 2 * rank  # Without dropout, each step is reproducible.
        generator = torch.Generator().manual_seed(seed)
        # In all layers: the upper half alone would save a third of a step's time, but learns less.
        self._modules = {
            name: LowRankLinear(module, rank, self._alpha, generator)
            for name, module in base.model.named_modules()
            if name.rpartition(".")[2] in TARGETS and isinstance(module, nn.Linear)
        }
        for name, module in self._modules.items():
            base.model.set_submodule(name, module)

    @property
    def parameters(self) -> dict[str, nn.Parameter]:
        return {name: parameter for name, parameter in self.model.named_parameters() if parameter.requires_grad}

    @contextmanager
    def off(self) -> Iterator[None]:
        try:
            self._switch(on=False)
            yield
        finally:
            self._switch(on=True)

    def _switch(self, *, on: bool) -> None:
        for module in self._modules.values():
            module.on = on

    @torch.no_grad()
    def put(self, weights: Mapping[str, Tensor]) -> None:
        for name, parameter in self.parameters.items():
            parameter.copy_(weights[name])

    def weights(self) -> dict[str, Tensor]:
        return {name: parameter.detach().cpu().clone() for name, parameter in self.parameters.items()}

    def save(self, folder: Path) -> None:
        config = {
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "base_model_name_or_path": self._base,
            "r": self._rank,
            "lora_alpha": self._alpha,
            "lora_dropout": 0.0,
            "target_modules": sorted({name.rpartition(".")[2] for name in self._modules}),
            "bias": "none",
            "inference_mode": True,
        }
        tensors = {
            f"base_model.model.{name}.{matrix}.weight": parameter.detach().cpu().contiguous()
            for name, module in self._modules.items()
            for matrix, parameter in (("lora_A", module.down), ("lora_B", module.up))
        }
        with atomic_files.errors_explained(folder):
            with atomic_files.written_whole(folder / WEIGHTS) as part:
                save_file(tensors, part, {"format": "pt"})
            atomic_files.write_text(folder / CONFIG, json.dumps(config, indent=2) + "\n")
