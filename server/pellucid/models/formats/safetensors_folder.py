"""The weight files of a Hugging Face folder."""

from __future__ import annotations

import re
from pathlib import Path

from pellucid.errors import ModelError
from pellucid.models.untrusted_files import read_json, shown

_SHARD = re.compile(r"[\w.+-]{1,200}\.safetensors")


def weight_files(folder: Path) -> list[Path]:
    """Return the safetensors files of a folder."""
    index = read_json(folder / "model.safetensors.index.json")
    if index:
        shards = index.get("weight_map")
        if not isinstance(shards, dict) or not all(isinstance(name, str) for name in shards.values()):
            raise ModelError(
                f"{folder / 'model.safetensors.index.json'} has no weight_map from tensors to files: download it again."
            )
        names = sorted(set(shards.values()))
        outside = next((name for name in names if not _SHARD.fullmatch(name)), None)
        if outside is not None:
            raise ModelError(
                f"{folder / 'model.safetensors.index.json'} names {shown(outside)}, "
                "which is not a *.safetensors file of its folder."
            )
        paths = [folder / name for name in names]
    else:
        paths = sorted(folder.glob("*.safetensors"))
    missing = next((path for path in paths if not path.is_file()), None)
    if missing is not None:
        raise ModelError(f"{missing} is missing or not a regular file: download the model again.")
    if not paths:
        raise ModelError(
            f"{folder} has no *.safetensors file, and weights in other formats can contain code: "
            "convert them to safetensors."
        )
    return paths
