"""What a folder may ask of the transformers library, checked before the library takes memory or opens a file."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from pellucid.errors import ModelError
from pellucid.models.folder_decoder import weight_files
from pellucid.models.folder_tokenizer import read_json
from pellucid.models.untrusted import require_memory, shown

_COUNT = re.compile(r".*(layer|block|expert|group|depth).*")
_MOST_PARTS = 1 << 12
"""Of layers, experts and whatever else the library makes one object for each of."""
_LARGEST = 1 << 40
_SPARE_BUFFERS = 1 << 30


def check(folder: Path) -> None:
    """Raise ModelError for files that are no regular files, and for a model that is larger than the folder's weights."""
    for path in folder.iterdir():
        if path.suffix in (".json", ".safetensors", ".jinja") and not path.is_file():
            raise ModelError(f"{path} is no regular file, and nothing else is read.")
    if (folder / "adapter_config.json").exists():
        raise ModelError(f"{folder} is the folder of an adapter too, which may name another model: move its adapter_config.json away.")
    path = folder / "config.json"
    config = read_json(path)
    for key, value in _numbers(config):
        most = _MOST_PARTS if _COUNT.fullmatch(key) else _LARGEST
        if not -most <= value <= most:  # NaN is refused too
            raise ModelError(f"{path} has {shown(value)} for {shown(key)}, where at most {most} belongs.")
    weights = sum(file.stat().st_size for file in weight_files(folder))
    parameters, buffers = _size(folder)
    if parameters > weights or buffers > weights + _SPARE_BUFFERS:  # a number takes a byte at least
        raise ModelError(f"{path} describes a model of {parameters + buffers} numbers, and its files hold {weights} bytes: fetch it again.")
    require_memory(folder, parameters)


def _numbers(value: object, key: str = "") -> Iterator[tuple[str, int | float]]:
    """All numbers within a JSON value, with the keys that they are under."""
    if isinstance(value, dict):
        for inner, item in value.items():
            yield from _numbers(item, inner)
    elif isinstance(value, list):
        for item in value:
            yield from _numbers(item, key)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield key, value


def _size(folder: Path) -> tuple[int, int]:
    """How many numbers the model's parameters and buffers are, found without memory for them."""
    from transformers import AutoConfig, AutoModelForCausalLM

    from pellucid.engine.hf_model import check_folder

    check_folder(folder)
    config: Any = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    build: Callable[..., Any] = AutoModelForCausalLM.from_config
    with torch.device("meta"):
        model = build(config, trust_remote_code=False)
    return sum(one.numel() for one in model.parameters()), sum(one.numel() for one in model.buffers())
