"""Compares a picture of the page with a reference, so that fonts drawn a little differently pass and a moved element fails.

Both are blurred a little, so that a line between two rows of pixels is like one in a row. Then a
pixel differs if its colour lies outside the range of colours of the reference within one pixel
around it, by more than a tolerance, or the reference's outside that of the picture. So antialiasing
and shifts by one pixel never differ, and lines that are moved by three pixels do. A block of pixels
differs if it has more than a few such pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

BLOCK = 16
"""Width and height of a block in pixels."""

COLOUR_TOLERANCE = 28
"""Of 255, for each channel. The colours of the references are off by half of this."""

MOST_PIXELS = 8
"""Pixels of a block that may differ: fewer than a stroke of an icon has there."""

COLOUR_STEP = 32
"""Steps of the colours of a reference."""

MOST_COLOURS = 256
"""Of a reference: what a PNG file of one byte a pixel can hold."""

Pixels = NDArray[np.float32]


@dataclass(frozen=True)
class Difference:
    """The blocks in which two pictures differ, as (left, top), and the size of both if it is not the same."""

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
    """Return where a picture differs from its reference; false if nowhere."""
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
    """Return the mean of each pixel and those around it."""
    around = _around(np.asarray(picture.convert("RGB"), dtype=np.float32))
    mean: Pixels = np.add.reduce(around) / np.float32(len(around))
    return mean


def _around(pixels: Pixels) -> list[Pixels]:
    """Return the picture nine times, shifted by at most one pixel."""
    height, width, _ = pixels.shape
    padded = np.pad(pixels, ((1, 1), (1, 1), (0, 0)), mode="edge")
    return [padded[y : y + height, x : x + width] for y in range(3) for x in range(3)]


def _outside(picture: Pixels, other: Pixels) -> NDArray[np.bool_]:
    """Return which pixels lie outside the range of the other picture's colours around them."""
    around = _around(other)
    low, high = np.minimum.reduce(around), np.maximum.reduce(around)
    found: NDArray[np.bool_] = ((picture < low - COLOUR_TOLERANCE) | (picture > high + COLOUR_TOLERANCE)).any(axis=2)
    return found


def marked(actual: Image.Image, found: Difference) -> Image.Image:
    """Return the picture, faded, with the blocks that differ in full colour and framed."""
    shown = Image.blend(actual.convert("RGB"), Image.new("RGB", actual.size, "grey"), 0.7)
    pen = ImageDraw.Draw(shown)
    for left, top in found.blocks:
        box = (left, top, min(left + BLOCK, actual.width), min(top + BLOCK, actual.height))
        shown.paste(actual.convert("RGB").crop(box), (left, top))
        pen.rectangle((left, top, box[2] - 1, box[3] - 1), outline="red")
    return shown


def as_reference(picture: Image.Image) -> Image.Image:
    """Return a picture as it is kept, with few colours, so that its file is small: none is off by more than half a step, or is rare."""
    pixels = np.asarray(picture.convert("RGB"), dtype=np.int32)
    coarse = np.minimum((pixels + COLOUR_STEP // 2) // COLOUR_STEP * COLOUR_STEP, 255)
    colours, index, counts = np.unique(coarse.reshape(-1, 3), axis=0, return_inverse=True, return_counts=True)
    kept = np.sort(np.argsort(-counts, kind="stable")[:MOST_COLOURS])
    nearest = np.abs(colours[:, None] - colours[None, kept]).max(axis=2).argmin(axis=1)
    found = Image.fromarray(nearest[index].reshape(pixels.shape[:2]).astype(np.uint8), mode="P")
    found.putpalette(colours[kept].astype(np.uint8).tobytes())
    return found
