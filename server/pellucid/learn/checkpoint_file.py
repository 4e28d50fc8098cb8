"""Stores tensors and a JSON state of a training in one safetensors file, written atomically."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from pellucid.system import atomic_files


def write_checkpoint(path: Path, state: Mapping[str, Any], tensors: Mapping[str, Tensor], elsewhere: str) -> None:
    """Replace the checkpoint, or keep the previous checkpoint and raise ModelError.

    ``elsewhere`` is the error's remedy: a different folder.
    """
    whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
    with atomic_files.errors_explained(path.parent, elsewhere), atomic_files.written_whole(path) as part:
        save_file(whole, part, {"state": json.dumps(state)})


def read_checkpoint(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read state and tensors. Raise OSError or, if the file is damaged, ValueError."""
    try:
        with safe_open(path, framework="pt") as file:
            state = json.loads((file.metadata() or {})["state"])
            return dict(state), {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, KeyError, TypeError) as error:
        raise ValueError(error) from None
