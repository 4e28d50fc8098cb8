"""Low-rank adapters (Hu et al. 2021) on a frozen base, in peft's layout on disk."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
from safetensors.torch import save_file
from torch import Tensor, nn

from pellucid.learn.finetune.training.base_model import Base
from pellucid.models.adapter_folder import WEIGHTS
from pellucid.system import atomic_files

TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj")


class TrainableAdapter:
    """A base with a new adapter, in float32, without effect before training."""

    def __init__(self, base: Base, rank: int, seed: int) -> None:
        base.model.name_or_path = base.name
        config = LoraConfig(
            r=rank,
            lora_alpha=2 * rank,
            # Early stopping prevents overfitting; without dropout, each step is reproducible.
            lora_dropout=0.0,
            target_modules=list(TARGETS),
            task_type="CAUSAL_LM",
            base_model_name_or_path=base.name,
        )
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            # Peft uses an attribute that transformers has renamed.
            warnings.simplefilter("ignore", FutureWarning)
            torch.manual_seed(seed)
            self._tuned: Any = get_peft_model(base.model, config)
        self.model: nn.Module = base.model  # Includes the adapter.
        self._config = config

    @property
    def parameters(self) -> dict[str, nn.Parameter]:
        return {name: parameter for name, parameter in self.model.named_parameters() if parameter.requires_grad}

    @contextmanager
    def off(self) -> Iterator[None]:
        with self._tuned.disable_adapter():
            yield

    @torch.no_grad()
    def put(self, weights: Mapping[str, Tensor]) -> None:
        for name, parameter in self.parameters.items():
            parameter.copy_(weights[name])

    def weights(self) -> dict[str, Tensor]:
        return {name: parameter.detach().cpu().clone() for name, parameter in self.parameters.items()}

    def save(self, folder: Path) -> None:
        config = self._tuned.peft_config["default"]
        # Without the argument, peft asks the hub for the base's vocabulary.
        state = get_peft_model_state_dict(self._tuned, save_embedding_layers=False)
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
        config.inference_mode = True
        with atomic_files.errors_explained(folder):
            with atomic_files.written_whole(folder / WEIGHTS) as part:
                save_file(tensors, part, {"format": "pt"})
            config.save_pretrained(str(folder))
