"""Size checks of a folder, before transformers allocates memory or opens a file."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import nn

from pellucid.errors import ModelError
from pellucid.models.formats.safetensors_folder import weight_files
from pellucid.models.untrusted_files import damage_explained, read_json, require_memory, shown

_LAYERS = re.compile(r"(?!max_window_).*(layers?|depth)")  # No layer is created by max_window_layers.
_EXPERTS = re.compile(r".*experts?")
_MAX_EXPERTS = 1 << 12
_LARGEST_NUMBER = 1 << 40
_SPARE_BUFFERS = 1 << 30


def check(folder: Path) -> None:
    """Raise ModelError for special files, and for a model larger than the folder's weights."""
    check_numbers(folder)
    check_size(folder, lambda: _causal(folder))


def check_numbers(folder: Path) -> None:
    """Raise ModelError for special files, and for numbers that no model with these weights has."""
    for path in folder.iterdir():
        if path.suffix in (".json", ".safetensors", ".jinja") and not path.is_file():
            raise ModelError(f"{path} is not a regular file; only regular files are read.")
    if (folder / "adapter_config.json").exists():
        raise ModelError(
            f"{folder} is also the folder of an adapter, which may name another model: "
            "move its adapter_config.json elsewhere."
        )
    path = folder / "config.json"
    config = read_json(path)
    tensors = _count(weight_files(folder))
    for key, value in _numbers(config):
        # Transformers creates an object for each layer, and each layer has at least one tensor.
        most = tensors if _LAYERS.fullmatch(key) else _MAX_EXPERTS if _EXPERTS.fullmatch(key) else _LARGEST_NUMBER
        if not -most <= value <= most:  # Refuse NaN, too.
            raise ModelError(f"{path} has {shown(value)} for {shown(key)}; it must be at most {most}.")


def check_size(folder: Path, build: Callable[[], nn.Module]) -> None:
    """Raise ModelError if the model is larger than the folder's weights, without allocation."""
    weights = sum(file.stat().st_size for file in weight_files(folder))
    with torch.device("meta"):
        model = build()
    parameters, buffers = (sum(one.numel() for one in part) for part in (model.parameters(), model.buffers()))
    if parameters > weights or buffers > weights + _SPARE_BUFFERS:  # A number takes at least a byte.
        raise ModelError(
            f"{folder / 'config.json'} describes a model of {parameters + buffers} weights, "
            f"but its files have {weights} bytes: download it again."
        )
    require_memory(folder, parameters)


def _count(files: Sequence[Path]) -> int:
    count = 0
    for path in files:
        with damage_explained(path), safe_open(path, framework="pt") as file:
            count += len(file.keys())
    return count


def _numbers(value: object, key: str = "") -> Iterator[tuple[str, int | float]]:
    if isinstance(value, dict):
        for inner, item in value.items():
            yield from _numbers(item, inner)
    elif isinstance(value, list):
        for item in value:
            yield from _numbers(item, key)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield key, value


def _causal(folder: Path) -> nn.Module:
    from transformers import AutoConfig, AutoModelForCausalLM

    from pellucid.engine.decoders.hf_model import check_folder

    check_folder(folder)
    config: Any = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    build: Callable[..., nn.Module] = AutoModelForCausalLM.from_config
    return build(config, trust_remote_code=False)
