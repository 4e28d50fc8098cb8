"""Simulates colour vision, and measures distances and contrasts of colours."""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import atan2, cos, degrees, exp, hypot, radians, sin, sqrt

Matrix = tuple[tuple[float, float, float], ...]
Lab = tuple[float, float, float]

SIGHTS: dict[str, Matrix] = {
    "all colours": ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)),
    "no red": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "no green": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
    "no blue": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)),
    "no colour": ((0.2126, 0.7152, 0.0722),) * 3,
}
"""Matrices for protanopia, deuteranopia and tritanopia on linear red, green and blue (Machado,
Oliveira and Fernandes 2009, IEEE TVCG 15(6), severity 1.0). "no colour" keeps only luminance.
"""

XYZ: Matrix = ((0.4124, 0.3576, 0.1805), (0.2126, 0.7152, 0.0722), (0.0193, 0.1192, 0.9505))


def lab(sight: Matrix, colour: str) -> Lab:
    """Convert a seen CSS colour (``rgb(...)`` or ``#rrggbb``) to CIE L*a*b*."""
    seen = [min(max(value, 0.0), 1.0) for value in _times(sight, linear(colour))]
    x, y, z = (value / white for value, white in zip(_times(XYZ, seen), (0.9505, 1.0, 1.089), strict=True))
    fx, fy, fz = (value ** (1 / 3) if value > 0.008856 else 7.787 * value + 16 / 116 for value in (x, y, z))
    return 116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)


def linear(colour: str) -> list[float]:
    """Return red, green and blue of a CSS colour in linear light."""
    hexadecimal = re.fullmatch(r"#(..)(..)(..)", colour)
    numbers = (
        [int(part, 16) for part in hexadecimal.groups()]
        if hexadecimal
        else [int(part) for part in re.findall(r"\d+", colour)[:3]]
    )
    return [((value / 255 + 0.055) / 1.055) ** 2.4 if value > 10 else value / 255 / 12.92 for value in numbers]


def contrast(one: str, other: str) -> float:
    """Return the contrast of two CSS colours, from 1 to 21, as defined by WCAG."""
    low, high = sorted(sum(_times((XYZ[1],), linear(colour))) for colour in (one, other))
    return (high + 0.05) / (low + 0.05)


def ciede2000(one: Lab, other: Lab) -> float:
    """Return the distance of two colours; 1 is just noticeable.

    Sharma, Wu and Dalal 2005, Color Research and Application 30(1).
    """
    (l1, a1, b1), (l2, a2, b2) = one, other
    mean7 = ((hypot(a1, b1) + hypot(a2, b2)) / 2) ** 7
    stretch = 1.5 - 0.5 * sqrt(mean7 / (mean7 + 25**7))
    (a1, a2) = (a1 * stretch, a2 * stretch)
    c1, c2 = hypot(a1, b1), hypot(a2, b2)
    h1, h2 = degrees(atan2(b1, a1)) % 360, degrees(atan2(b2, a2)) % 360
    turn = 0.0 if c1 * c2 == 0 else (h2 - h1 + 180) % 360 - 180
    hue = h1 + h2 if c1 * c2 == 0 else (h1 + turn / 2) % 360
    lightness, chroma = (l1 + l2) / 2, (c1 + c2) / 2
    weight = 1 - 0.17 * _cos(hue - 30) + 0.24 * _cos(2 * hue) + 0.32 * _cos(3 * hue + 6) - 0.2 * _cos(4 * hue - 63)
    of_lightness = (l2 - l1) / (1 + 0.015 * (lightness - 50) ** 2 / sqrt(20 + (lightness - 50) ** 2))
    of_chroma = (c2 - c1) / (1 + 0.045 * chroma)
    of_hue = 2 * sqrt(c1 * c2) * sin(radians(turn / 2)) / (1 + 0.015 * chroma * weight)
    rotation = -2 * sqrt(chroma**7 / (chroma**7 + 25**7)) * sin(radians(60 * exp(-(((hue - 275) / 25) ** 2))))
    return sqrt(of_lightness**2 + of_chroma**2 + of_hue**2 + rotation * of_chroma * of_hue)


def _cos(angle: float) -> float:
    return cos(radians(angle))


def _times(matrix: Matrix, vector: Sequence[float]) -> list[float]:
    return [sum(one * other for one, other in zip(row, vector, strict=True)) for row in matrix]
