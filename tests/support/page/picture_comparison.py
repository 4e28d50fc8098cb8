"""Compares a picture of the page with a reference, tolerant of fonts but not of moved elements.

Both pictures are blurred, so that a line between two rows of pixels looks like a line in a row. A
pixel differs if the colour is outside the range of the other picture's colours within a pixel
around, by more than a tolerance. Antialiasing and shifts by a pixel never differ, and lines moved
by three pixels do. A block of pixels differs if more than a few of the block's pixels differ.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

BLOCK = 16
"""Width and height of a block in pixels."""

COLOUR_TOLERANCE = 28
"""Of 255, for each channel. The references' colours are off by half of the tolerance."""

MOST_PIXELS = 8
"""Maximum number of differing pixels in a block: fewer than in a stroke of an icon."""

COLOUR_STEP = 32
"""Steps of a reference's colours."""

MOST_COLOURS = 256
"""Maximum number of a reference's colours, for a PNG file with a byte per pixel."""

Pixels = NDArray[np.float32]


@dataclass(frozen=True)
class Difference:
    """The differing blocks of two pictures, as (left, top), and both sizes if the sizes differ."""

    blocks: tuple[tuple[int, int], ...] = ()
    sizes: tuple[tuple[int, int], tuple[int, int]] | None = None

    def __bool__(self) -> bool:
        return bool(self.blocks) or self.sizes is not None

    def __str__(self) -> str:
        if self.sizes is not None:
            return f"it has {self.sizes[0]} pixels, and the reference {self.sizes[1]}"
        left, top = (min(block[at] for block in self.blocks) for at in (0, 1))
        right, bottom = (max(block[at] for block in self.blocks) + BLOCK for at in (0, 1))
        return f"{len(self.blocks)} blocks between ({left}, {top}) and ({right}, {bottom})"


def difference(actual: Image.Image, reference: Image.Image) -> Difference:
    """Return the differences of a picture from the reference; falsy for equal pictures."""
    if actual.size != reference.size:
        return Difference(sizes=(actual.size, reference.size))
    one, other = _blurred(actual), _blurred(reference)
    differs = _outside(one, other) | _outside(other, one)
    height, width = differs.shape
    padded = np.pad(differs, ((0, -height % BLOCK), (0, -width % BLOCK)))
    counts = padded.reshape(padded.shape[0] // BLOCK, BLOCK, padded.shape[1] // BLOCK, BLOCK).sum(axis=(1, 3))
    found = [(int(x) * BLOCK, int(y) * BLOCK) for y, x in np.argwhere(counts > MOST_PIXELS)]
    return Difference(tuple(found))


def _blurred(picture: Image.Image) -> Pixels:
    """Return the mean of each pixel and the surrounding pixels."""
    around = _around(np.asarray(picture.convert("RGB"), dtype=np.float32))
    mean: Pixels = np.add.reduce(around) / np.float32(len(around))
    return mean


def _around(pixels: Pixels) -> list[Pixels]:
    """Return the picture nine times, shifted by at most a pixel."""
    height, width, _ = pixels.shape
    padded = np.pad(pixels, ((1, 1), (1, 1), (0, 0)), mode="edge")
    return [padded[y : y + height, x : x + width] for y in range(3) for x in range(3)]


def _outside(picture: Pixels, other: Pixels) -> NDArray[np.bool_]:
    """Return a mask of pixels outside the range of the other picture's surrounding colours."""
    around = _around(other)
    low, high = np.minimum.reduce(around), np.maximum.reduce(around)
    found: NDArray[np.bool_] = ((picture < low - COLOUR_TOLERANCE) | (picture > high + COLOUR_TOLERANCE)).any(axis=2)
    return found


def marked(actual: Image.Image, found: Difference) -> Image.Image:
    """Return the faded picture, with differing blocks framed and in full colour."""
    shown = Image.blend(actual.convert("RGB"), Image.new("RGB", actual.size, "grey"), 0.7)
    pen = ImageDraw.Draw(shown)
    for left, top in found.blocks:
        box = (left, top, min(left + BLOCK, actual.width), min(top + BLOCK, actual.height))
        shown.paste(actual.convert("RGB").crop(box), (left, top))
        pen.rectangle((left, top, box[2] - 1, box[3] - 1), outline="red")
    return shown


def as_reference(picture: Image.Image) -> Image.Image:
    """Return a picture with few colours for a small file, off by at most half a step."""
    pixels = np.asarray(picture.convert("RGB"), dtype=np.int32)
    coarse = np.minimum((pixels + COLOUR_STEP // 2) // COLOUR_STEP * COLOUR_STEP, 255)
    colours, index, counts = np.unique(coarse.reshape(-1, 3), axis=0, return_inverse=True, return_counts=True)
    kept = np.sort(np.argsort(-counts, kind="stable")[:MOST_COLOURS])
    nearest = np.abs(colours[:, None] - colours[None, kept]).max(axis=2).argmin(axis=1)
    found = Image.fromarray(nearest[index].reshape(pixels.shape[:2]).astype(np.uint8), mode="P")
    found.putpalette(colours[kept].astype(np.uint8).tobytes())
    return found
