"""Adapter matrices, and the adapted variant of a model."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.engine.decoders.decoder_config import DecoderConfig, DecoderSizes
from pellucid.engine.decoders.lora_matrices import Adapter, LowRank
from pellucid.engine.decoders.quantized_blocks import floats
from pellucid.errors import AdapterError, ModelError, NotSupportedError
from pellucid.models.adapter_folder import CONFIG, WEIGHTS, AdapterCard, is_made_for
from pellucid.models.fingerprint import fingerprint
from pellucid.models.load import LoadedModel, facts_of, split_quant
from pellucid.models.tensor_file import TensorFile
from pellucid.models.untrusted_files import damage_explained, shown

_KEY = re.compile(r"base_model\.model\.(?:model\.)?(?P<module>.+)\.lora_(?P<side>A|B)\.weight")


def read_adapter(card: AdapterCard, config: DecoderConfig) -> Adapter:
    """Read the adapter's matrices for a decoder of this shape."""
    try:
        with damage_explained(card.path / WEIGHTS):
            return _read_adapter(card, config)
    except ModelError as error:
        raise AdapterError(str(error)) from None


def _read_adapter(card: AdapterCard, config: DecoderConfig) -> Adapter:
    sides: dict[str, dict[str, NDArray[Any]]] = {}
    shapes = {
        f"{prefix}{part}": shape
        for prefix, kind in config.layer_prefixes
        for part, shape in config.matrix_shapes(kind).items()
        if config.experts is None or not part.startswith("mlp.")
    }
    for key, tensor in _tensors(card.path / WEIGHTS):
        match = _KEY.fullmatch(key)
        if match is None:
            raise AdapterError(
                f"The adapter {card.name} has a tensor {shown(key)}, which is not part of a LoRA adapter."
            )
        if match["module"] not in shapes:
            module = shown(match["module"])
            raise AdapterError(f"The adapter {card.name} changes {module}, which the model does not have.")
        sides.setdefault(match["module"], {})[match["side"]] = tensor
    if not sides:
        raise AdapterError(f"The adapter {card.name} is empty.")
    return Adapter({module: _low_rank(card, module, tensors, shapes[module]) for module, tensors in sides.items()})


def choose_base(card: AdapterCard, models: Sequence[LoadedModel]) -> LoadedModel:
    """Return the model that an adapter was made for, else the first model."""
    bases = [model for model in models if model.base is None]
    return next((model for model in bases if _is_made_for(card, model)), bases[0])


def adapt(loaded: LoadedModel, card: AdapterCard) -> LoadedModel:
    """Return a model ``model:adapter`` that shares the weights of ``loaded``."""
    if not isinstance(loaded.model, DecoderSizes):
        raise NotSupportedError(
            f"{loaded.name} does not support adapters: use a model that Pellucid's own decoder runs."
        )
    if loaded.base is not None:
        raise AdapterError(f"{loaded.name} already has an adapter: name its base, {loaded.base}.", param="model")
    if card.fingerprint is not None and card.fingerprint != fingerprint(loaded.files):
        made_for = f" ({card.base})" if card.base else ""
        remedy = "train it again" if _is_made_for(card, loaded) else "name its base model, or train it again"
        raise AdapterError(
            f"The adapter {card.name} was made for other weights{made_for} than those of {loaded.name}: {remedy}."
        )
    model = loaded.model.adapted(read_adapter(card, loaded.model.config))
    weights = card.path / WEIGHTS
    made_of = fingerprint((card.path / CONFIG, weights))
    prefixes = None if loaded.prefixes is None else loaded.prefixes.of_variant(card.name, made_of, weights)
    return replace(
        loaded,
        name=f"{loaded.name}:{card.name}",
        facts=facts_of(model),
        model=model,
        path=card.path,
        prefixes=prefixes,
        calibration=None if loaded.calibration is None else loaded.calibration.of_variant(card.name, made_of),
        base=loaded.name,
        adapter=card,
    )


def _is_made_for(card: AdapterCard, loaded: LoadedModel) -> bool:
    return is_made_for(card, split_quant(loaded.name)[0])


def _tensors(path: Path) -> Iterator[tuple[str, NDArray[Any]]]:
    file = TensorFile(path)
    return ((name, file.read(name, np.empty(file.size(name), np.uint8))) for name in file.specs)


def _low_rank(card: AdapterCard, module: str, sides: dict[str, NDArray[Any]], shape: tuple[int, int]) -> LowRank:
    if set(sides) != {"A", "B"}:
        raise AdapterError(f"The adapter {card.name} has only one of the two matrices for {module}: it is damaged.")
    down, up = sides["A"], sides["B"]
    rows, columns = shape
    if down.shape[:1] != (card.rank,) or up.shape[1:] != (card.rank,):
        shapes = f"{tuple(up.shape)} times {tuple(down.shape)}"
        raise AdapterError(
            f"The adapter {card.name} has rank {card.rank} by its {CONFIG}, but adds {shapes} to {module}."
        )
    if tuple(down.shape) != (card.rank, columns) or tuple(up.shape) != (rows, card.rank):
        size = f"{up.shape[0]} x {down.shape[-1]}"
        raise AdapterError(
            f"The adapter {card.name} is for another model: its {module} is {size}, the model's is {rows} x {columns}."
        )
    change = LowRank(floats(down), floats(up) * np.float32(card.scale))
    integer = any(side.dtype in (np.uint8, np.int8, np.int32, np.int64) for side in (down, up))
    if integer or not (np.isfinite(change.down).all() and np.isfinite(change.up).all()):
        raise AdapterError(f"The adapter {card.name} has infinite or invalid numbers in {module}: its training failed.")
    return change
