"""The image part of a transformers model, without the language model."""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoConfig, AutoImageProcessor, AutoModel
from transformers.utils import logging as transformers_logging

from pellucid.engine.decoders.hf_model import LOCAL_DATA
from pellucid.errors import ModelError, PellucidError
from pellucid.models.formats import transformers_folder_check
from pellucid.models.untrusted_files import reason

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_GRID_TOKENS = 1280
"""A model with a grid of tokens would make 15,000 of a photo, and take minutes."""

MAX_TILES_ACROSS = 8
"""Published models cut a picture into at most 4 x 4 tiles; each tile takes a second."""

MAX_WINDOW = 1024
"""Maximum pixels of an attention window's edge: small pictures are padded to a window."""

_PROCESSORS = ("SmolVLM", "Idefics3", "Gemma3", "Qwen2VL")
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
        self._folder = folder
        self._device = device
        with _explained(folder, "cannot be read"):
            self._model = _without_text(folder, dtype).to(device)
            read: Callable[..., Any] = AutoImageProcessor.from_pretrained
            self._processor = read(folder, backend="pil", **LOCAL_DATA)
            _check_edges(self._processor, self._model.config.vision_config)
        self._merge: int | None = getattr(self._processor, "merge_size", None)
        self._left: Event | None = None
        for module in self._model.modules():
            module.register_forward_pre_hook(self._stop)

    def of(self, picture: Image, left: Event | None = None) -> Features:
        """Compute a picture; see ImageEncoder for ``left``.

        Raises ModelError if the settings of the folder fit no picture.
        """
        self._left = left
        with _explained(self._folder, "cannot compute an image"):
            return self._of(picture)

    def _stop(self, *_: object) -> None:
        if self._left is not None and self._left.is_set():
            raise CancelledError

    @torch.inference_mode()
    def _of(self, picture: Image) -> Features:
        given = self._processor(images=[picture], return_tensors="pt", **self._options())
        inputs = {name: given[name].to(self._device) for name in _INPUTS if name in given}
        found = self._model.get_image_features(**inputs).pooler_output
        rows = torch.cat([part.reshape(-1, part.shape[-1]) for part in found]).float().cpu().numpy()
        if rows.shape[1] != (width := self._model.config.get_text_config().hidden_size):
            raise ValueError(f"a row has {rows.shape[1]} numbers, and an embedding of the text model has {width}")
        tiles = (given["rows"][0][0], given["cols"][0][0]) if "rows" in given else None
        grid = None
        if self._merge is not None:
            _, height, width = given["image_grid_thw"][0].tolist()
            grid = (height // self._merge, width // self._merge)
        return Features(rows, tiles, grid)

    def _options(self) -> dict[str, Any]:
        options: dict[str, Any] = {"do_resize": True}  # A large picture in its own size would take minutes.
        if self._merge is not None:
            pixels = MAX_GRID_TOKENS * (self._processor.patch_size * self._merge) ** 2
            return options | {"size": {edge: min(size, pixels) for edge, size in dict(self._processor.size).items()}}
        return options | ({"return_row_col_info": True} if hasattr(self._processor, "do_image_splitting") else {})


@contextmanager
def _explained(folder: Path, failure: str) -> Iterator[None]:
    try:
        yield
    except PellucidError:
        raise
    except Exception as error:  # For bad settings, the library may raise any exception.
        raise ModelError(f"The image part of {folder} {failure} ({reason(error)}): download it again.") from error


def _check_edges(processor: Any, vision: Any) -> None:
    """Raise ValueError for settings with which a small picture takes gigabytes or minutes."""
    kind, size = type(processor).__name__.removesuffix("ImageProcessorPil"), dict(processor.size)
    if kind not in _PROCESSORS:
        raise ValueError(f"{type(processor).__name__} is not supported")
    if kind == "Qwen2VL":
        edges = [(processor.patch_size, vision.patch_size), (processor.merge_size, vision.spatial_merge_size)]
        edges += [(processor.temporal_patch_size, vision.temporal_patch_size)]
        edges += [(getattr(vision, "window_size", MAX_WINDOW), MAX_WINDOW)]
    elif kind == "Gemma3":
        edges = [(size[edge], vision.image_size) for edge in ("height", "width")]
    else:
        tile = processor.max_image_size["longest_edge"]
        edges = [(tile, vision.image_size), (size["longest_edge"], MAX_TILES_ACROSS * tile)]
    for edge, most in edges:
        if not 0 < edge <= most:
            raise ValueError(f"an edge of {edge} is not between 1 and {most}")


def _without_text(folder: Path, dtype: torch.dtype) -> Any:
    """Return the model with no layer, and one word, of the language model: the rest is not read."""
    transformers_folder_check.check_numbers(folder)
    config = AutoConfig.from_pretrained(folder, **LOCAL_DATA)
    text = config.get_text_config()
    text.num_hidden_layers, text.layer_types, text.vocab_size, text.pad_token_id = 0, [], 1, None
    build: Callable[..., Any] = AutoModel.from_config
    transformers_folder_check.check_size(folder, lambda: build(config))
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
