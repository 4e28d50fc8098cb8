"""The image encoder of a Hugging Face folder. Torch is imported with the first image."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, NamedTuple

from pellucid.errors import ModelError
from pellucid.models.tokenizers.tokenizer import Tokenizer
from pellucid.models.untrusted_files import Json, read_json, shown
from pellucid.models.vision.encoded_image import EncodedImage, digest_of
from pellucid.models.vision.picture_file import open_picture
from pellucid.system.torch_extra import require_torch

if TYPE_CHECKING:
    from pellucid.models.vision.image_features import Features, ImageFeatures

KEPT_IMAGES = 16
"""Every turn of a conversation sends its images again. An image has up to 10 MB of rows."""

Tokens = Mapping[str, str]
"""The texts of a family's tokens: ``image`` is the placeholder."""


class Layout(NamedTuple):
    """A family's way to write an image into a prompt.

    ``tokens`` are the fields of config.json with the ids of the tokens; ``marker`` is the token
    that the chat template writes. ``write`` returns the text of an image.
    """

    tokens: Mapping[str, str]
    marker: str
    write: Callable[[Tokens, Features], str]
    whole: bool = False


def _tiled(tokens: Tokens, features: Features) -> str:
    """Return the rows of tiles, then the whole image (Idefics3, arXiv 2408.12637)."""
    height, width = features.tiles or (0, 0)
    around, placeholders = "<fake_token_around_image>", tokens["image"] * (len(features.rows) // (height * width + 1))
    lines = [
        "".join(f"{around}<row_{row + 1}_col_{column + 1}>{placeholders}" for column in range(width))
        for row in range(height)
    ]
    return "\n".join([*lines, "", ""] if lines else [""]) + f"{around}<global-img>{placeholders}{around}"


def _enclosed(tokens: Tokens, features: Features) -> str:
    """Return the text of Gemma 3 (arXiv 2503.19786)."""
    return f"\n\n{tokens['begin']}{tokens['image'] * len(features.rows)}{tokens['end']}\n\n"


def _plain(tokens: Tokens, features: Features) -> str:
    return tokens["image"] * len(features.rows)


_TILED = Layout({"image": "image_token_id"}, "image", _tiled)
_GRID = Layout({"image": "image_token_id"}, "image", _plain)
LAYOUTS = {
    "smolvlm": _TILED,
    "idefics3": _TILED,
    "gemma3": Layout(
        {"image": "image_token_index", "begin": "boi_token_index", "end": "eoi_token_index"},
        "begin",
        _enclosed,
        whole=True,
    ),
    "qwen2_vl": _GRID,
    "qwen2_5_vl": _GRID,
    "qwen3_5": _GRID,
}
"""By the ``model_type`` of config.json."""


class FolderEncoder:
    """See ImageEncoder. Raises ModelError for a folder without the family's tokens."""

    def __init__(self, folder: Path, layout: Layout, config: Json, tokenizer: Tokenizer, device: str) -> None:
        texts = {id: text for text, id in tokenizer.special.items()}
        self._tokens: dict[str, str] = {}
        for name, key in layout.tokens.items():
            id = config.get(key, _USUAL_IDS.get(key))
            if not isinstance(id, int) or id not in texts:
                raise ModelError(f"{folder} has {shown(id)} for {key}, which is no special token: download it again.")
            self._tokens[name] = texts[id]
        self._folder = folder
        self._layout = layout
        self._device = device
        self.marker: str = self._tokens[layout.marker]
        self.placeholder: int = tokenizer.special[self._tokens["image"]]
        self._features: ImageFeatures | None = None
        self._kept: OrderedDict[bytes, EncodedImage] = OrderedDict()

    def encode(self, picture: bytes, left: Event | None = None) -> EncodedImage:
        """See ImageEncoder."""
        digest = digest_of(picture)
        if digest not in self._kept:
            self._kept[digest] = self._encoded(picture, digest, left)
        self._kept.move_to_end(digest)
        while len(self._kept) > KEPT_IMAGES:
            self._kept.popitem(last=False)
        return self._kept[digest]

    def _encoded(self, picture: bytes, digest: bytes, left: Event | None) -> EncodedImage:
        opened = open_picture(picture)
        if self._features is None:
            require_torch("Reading images")
            from pellucid.models.vision.image_features import ImageFeatures

            self._features = ImageFeatures(self._folder, self._device)
        features = self._features.of(opened, left)
        text = self._layout.write(self._tokens, features)
        if text.count(self._tokens["image"]) != len(features.rows):  # The library leaves out tiles that are all 0.
            raise ModelError(f"The image part of {self._folder} computes no row for some tiles: download it again.")
        return EncodedImage(text, features.rows, digest, self._layout.whole, features.grid)


_USUAL_IDS = {"image_token_index": 262144, "boi_token_index": 255999, "eoi_token_index": 256000}
"""Fields that the folders of Gemma 3 may leave to the transformers library."""


def read_encoder(folder: Path, tokenizer: Tokenizer, device: str) -> FolderEncoder | None:
    """Return the folder's image encoder; None without an image part that is supported.

    Raises ModelError for a damaged folder.
    """
    config = read_json(folder / "config.json")
    layout = LAYOUTS.get(str(config.get("model_type")))
    names = ("preprocessor_config.json", "processor_config.json")
    if layout is None or not any((folder / name).is_file() for name in names):
        return None
    return FolderEncoder(folder, layout, config, tokenizer, device)
