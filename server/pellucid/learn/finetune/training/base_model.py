"""Loads a base model as a frozen transformers model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from pellucid.engine.decoders.decoder_config import DecoderConfig
from pellucid.engine.decoders.torch_packing import multiplies_bfloat16
from pellucid.errors import InvalidRequestError, ModelError, NotSupportedError
from pellucid.models.catalog import InfillFormat, infill_format
from pellucid.models.families.family import Family
from pellucid.models.families.folder_decoder import config_json
from pellucid.models.families.registry import BY_MODEL_TYPE
from pellucid.models.load import find_device, open_checkpoint, split_quant
from pellucid.models.store import Store
from pellucid.models.tokenizers.tokenizer import Tokenizer
from pellucid.system.progress import Progress

CPU = torch.device("cpu")


@dataclass(frozen=True, slots=True)
class Base:
    """A frozen model. ``infill`` is None without infill markers."""

    name: str
    fingerprint: str
    tokenizer: Tokenizer
    infill: InfillFormat | None
    model: PreTrainedModel


def read_base(name_or_path: str, device: str, *, store: Store, progress: Progress) -> Base:
    """Load a base model, in bfloat16 if the device multiplies bfloat16 fast, else in float32."""
    name, quant = split_quant(name_or_path)
    if quant is not None:
        raise InvalidRequestError(f"Training reads the stored weights: remove @{quant} from {name_or_path}.")
    where = torch.device(find_device(device))
    checkpoint = open_checkpoint(name, store=store, progress=progress)
    if checkpoint.config is None:
        raise NotSupportedError(
            f"{name} is of a family that cannot be trained: use a model of {', '.join(BY_MODEL_TYPE)}."
        )
    config_json(checkpoint.family, checkpoint.config, ())  # Raises for a shape that cannot be trained.
    progress.start(f"reading {checkpoint.name}", None)
    dtype = training_dtype(where)
    weights = {
        name: (weight - shift if (shift := checkpoint.family.shift(name)) else weight).to(dtype)
        for name, weight in checkpoint.weights()
    }
    model = build(checkpoint.family, checkpoint.config, weights, where)
    tokenizer = checkpoint.tokenizer(checkpoint.config.vocab_size)
    return Base(
        checkpoint.name, checkpoint.fingerprint, tokenizer, infill_format(tokenizer.special, checkpoint.entry), model
    )


def training_dtype(device: torch.device) -> torch.dtype:
    return torch.bfloat16 if multiplies_bfloat16(device.type) else torch.float32


def build(
    family: Family, config: DecoderConfig, weights: Mapping[str, Tensor], device: torch.device = CPU
) -> PreTrainedModel:
    """Build the frozen model of a folder's weights, under our names."""
    absent: dict[str, Any] = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"))
    shape = AutoConfig.for_model(**config_json(family, config, weights), **absent)
    make: Callable[..., PreTrainedModel] = AutoModelForCausalLM.from_config
    dtype = weights["norm.weight"].dtype
    with torch.device("meta"):
        # For a Gemma 2, with a cap of scores, the library has slow attention alone.
        model = make(shape, attn_implementation="eager" if shape.model_type == "gemma2" else "sdpa", dtype=dtype)
    head = weights.get("lm_head.weight", weights["embed_tokens.weight"])
    body_weights = {name: weight for name, weight in weights.items() if name != "lm_head.weight"}
    named = {f"model.{family.stored_name(name)}": weight for name, weight in body_weights.items()}
    named["lm_head.weight"] = head
    try:
        model.load_state_dict(named, strict=True, assign=True)
    except RuntimeError as error:
        raise ModelError(
            f"The weights are not those of a {shape.model_type} model ({str(error).splitlines()[-1].strip()})."
        ) from None
    body: Any = model.model
    body.rotary_emb = type(body.rotary_emb)(config=shape)  # Computed tables, not weights.
    if family.norms_less_one:
        body.embed_tokens.embed_scale = torch.tensor(body.embed_tokens.scalar_embed_scale)
    model.requires_grad_(requires_grad=False)
    model.train(False)
    placed: Any = model
    placed.to(device)
    return model
