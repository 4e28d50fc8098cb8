"""The image part of a transformers model, without the language model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoConfig, AutoImageProcessor, AutoModel
from transformers.utils import logging as transformers_logging

from pellucid.engine.decoders.hf_model import LOADING_ERRORS, LOCAL_DATA, reason_of
from pellucid.errors import ModelError

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_GRID_TOKENS = 1280
"""A model with a grid of tokens would make 15,000 of a photo, and take minutes."""

_INPUTS = ("pixel_values", "pixel_attention_mask", "image_grid_thw")


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """``rows`` (n, hidden) float32; ``tiles`` and ``grid`` are (height, width), or None.

    ``tiles`` are the parts of a large image that precede the whole image.
    """

    rows: NDArray[np.float32]
    tiles: tuple[int, int] | None
    grid: tuple[int, int] | None


class ImageFeatures:
    """Loads the image part of a folder. Raises ModelError for an unreadable folder."""

    def __init__(self, folder: Path, device: str) -> None:
        dtype = torch.float32 if device == "cpu" else torch.bfloat16
        try:
            self._model = _without_text(folder, dtype).to(device)
            read: Callable[..., Any] = AutoImageProcessor.from_pretrained
            self._processor = read(folder, backend="pil", **LOCAL_DATA)
        except LOADING_ERRORS as error:
            raise ModelError(
                f"{folder} has an unreadable image part ({reason_of(error)}): download it again."
            ) from error
        self._folder = folder
        self._device = device
        merge = getattr(self._processor, "merge_size", None)
        self._merge = merge if isinstance(merge, int) else None

    def of(self, picture: Image) -> Features:
        """Compute a picture. Raises ModelError if the settings of the folder fit no picture."""
        try:
            return self._of(picture)
        except LOADING_ERRORS as error:
            raise ModelError(
                f"The image part of {self._folder} cannot compute an image ({reason_of(error)}): download it again."
            ) from error

    @torch.inference_mode()
    def _of(self, picture: Image) -> Features:
        given = self._processor(images=[picture], return_tensors="pt", **self._options())
        inputs = {name: given[name].to(self._device) for name in _INPUTS if name in given}
        found = self._model.get_image_features(**inputs).pooler_output
        rows = torch.cat([part.reshape(-1, part.shape[-1]) for part in found]).float().cpu().numpy()
        tiles = (given["rows"][0][0], given["cols"][0][0]) if "rows" in given else None
        grid = None
        if self._merge is not None:
            _, height, width = given["image_grid_thw"][0].tolist()
            grid = (height // self._merge, width // self._merge)
        return Features(rows, tiles, grid)

    def _options(self) -> dict[str, Any]:
        if self._merge is not None:
            size, pixels = dict(self._processor.size), MAX_GRID_TOKENS * (self._processor.patch_size * self._merge) ** 2
            return {"size": {**size, "longest_edge": min(size["longest_edge"], pixels)}}
        return {"return_row_col_info": True} if hasattr(self._processor, "do_image_splitting") else {}


def _without_text(folder: Path, dtype: torch.dtype) -> Any:
    """Return the model with no layer, and one word, of the language model: the rest is not read."""
    config = AutoConfig.from_pretrained(folder, **LOCAL_DATA)
    text = config.get_text_config()
    text.num_hidden_layers, text.layer_types, text.vocab_size, text.pad_token_id = 0, [], 1, None
    load: Callable[..., Any] = AutoModel.from_pretrained  # With output_loading_info: a pair.
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]  # The report lists the language model.
    try:
        model, report = load(
            folder,
            config=config,
            dtype=dtype,
            ignore_mismatched_sizes=True,
            use_safetensors=True,
            output_loading_info=True,
            **LOCAL_DATA,
        )
    finally:
        transformers_logging.set_verbosity(verbosity)
    shapes = [name for name, *_ in report["mismatched_keys"] if not name.endswith("embed_tokens.weight")]
    absent = sorted(report["missing_keys"]) + shapes
    if absent:
        raise ValueError(f"{len(absent)} weights are missing, for example {absent[0]}")
    return model.eval()
