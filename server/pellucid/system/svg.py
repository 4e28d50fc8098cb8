"""Pictures in SVG: shapes, escaped text, scales and legends, for light and dark pages."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from html import escape
from pathlib import Path

from pellucid.errors import InvalidRequestError
from pellucid.system.atomic_files import write_output

STYLE = """
text { font-family: system-ui, -apple-system, "Segoe UI", sans-serif; font-size: 13px; fill: #1f2328 }
.title { font-size: 18px; font-weight: 600 }
.panel { font-size: 14px; font-weight: 600 }
.small, .number { font-size: 11.5px; fill: #59636e }
.number, .value { font-variant-numeric: tabular-nums }
.paper { fill: #ffffff }
.track { fill: #e6eaef }
.frame { fill: none; stroke: #d0d7de }
.grid { stroke: #e6eaef }
.bar, .dot { fill: #2166ac }
.count { fill: #92c5de }
.other { fill: #d95f02 }
.line { fill: none; stroke: #2166ac; stroke-width: 2 }
.faint { stroke: #92c5de }
.baseline { stroke: #d95f02; stroke-dasharray: 5 4 }
.ideal { stroke: #8c959f; stroke-dasharray: 4 3 }
.interval { stroke: #2166ac; stroke-width: 1.5 }
.spread { stroke: #d95f02; stroke-width: 2 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .small, .number { fill: #9198a1 }
  .paper { fill: #0d1117 }
  .track { fill: #262c36 }
  .frame { stroke: #3d444d }
  .grid { stroke: #262c36 }
  .bar, .dot { fill: #5b9bd5 }
  .count { fill: #2b5578 }
  .other { fill: #fdae61 }
  .line { stroke: #5b9bd5 }
  .faint { stroke: #3d5a80 }
  .baseline { stroke: #fdae61 }
  .ideal { stroke: #6e7681 }
  .interval { stroke: #5b9bd5 }
  .spread { stroke: #fdae61 }
}
"""
"""The stylesheet of a standalone picture. The classes are the values of ``kind``."""

SWATCH_WIDTH = 24


class Anchor(StrEnum):
    START = "start"
    MIDDLE = "middle"
    END = "end"


class Mark(StrEnum):
    LINE = "line"
    DOT = "dot"
    SQUARE = "square"


@dataclass(frozen=True, slots=True)
class Scale:
    """A linear map from values to pixels: ``low`` at ``start``, ``high`` at ``end``."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low) if self.high > self.low else 0.0
        return self.start + (self.end - self.start) * min(max(share, 0.0), 1.0)


class Picture:
    """A picture under construction.

    Coordinates and sizes are pixels, ``kind`` is a class of the stylesheet.

    Attributes:
        height: The height in pixels, which may be set after drawing.
        title: The accessible name.
        description: The content in words, for readers who do not see the picture.
    """

    def __init__(self, width: float, height: float, title: str, description: str = "") -> None:
        self.width = width
        self.height = height
        self.title = title
        self.description = description
        self._shapes: list[str] = []

    def text(
        self,
        x: float,
        y: float,
        content: str,
        kind: str = "",
        anchor: Anchor = Anchor.START,
        *,
        upwards: bool = False,
        **more: str,
    ) -> None:
        """Draw a line of text on the baseline ``y``, or from bottom to top with ``upwards``."""
        place = {"transform": f"translate({_number(x)} {_number(y)}) rotate(-90)"} if upwards else {"x": x, "y": y}
        ends = {} if anchor is Anchor.START else {"text-anchor": str(anchor)}
        self._add("text", {"class": kind, **place, **ends, **more}, escape(content))

    def line(self, x1: float, y1: float, x2: float, y2: float, kind: str = "", **more: str) -> None:
        self._add("line", {"class": kind, "x1": x1, "y1": y1, "x2": x2, "y2": y2, **more})

    def curve(self, points: Iterable[tuple[float, float]], kind: str = "") -> None:
        self._add("polyline", {"class": kind, "points": " ".join(f"{_number(x)},{_number(y)}" for x, y in points)})

    def bar(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        kind: str = "",
        *,
        radius: float = 0,
        tooltip: str = "",
        **more: str,
    ) -> None:
        corners = {"rx": radius} if radius else {}
        content = f"<title>{escape(tooltip)}</title>" if tooltip else ""
        self._add("rect", {"class": kind, "x": x, "y": y, "width": width, "height": height, **corners, **more}, content)

    def dot(self, x: float, y: float, radius: float, kind: str = "", **more: str) -> None:
        self._add("circle", {"class": kind, "cx": x, "cy": y, "r": radius, **more})

    def square(self, x: float, y: float, side: float, kind: str = "") -> None:
        self.bar(x - side / 2, y - side / 2, side, side, kind)

    def legend(self, x: float, y: float, label: str, mark: Mark, kind: str) -> None:
        if mark is Mark.LINE:
            self.line(x, y, x + SWATCH_WIDTH, y, kind)
            self.text(x + SWATCH_WIDTH + 6, y + 4, label, "small")
            return
        if mark is Mark.DOT:
            self.dot(x + 6, y, 4, kind)
        else:
            self.square(x + 6, y, 8, kind)
        self.text(x + 18, y + 4, label, "small")

    def inline(self, **more: str) -> str:
        """Return the picture as an element of an HTML page, coloured by the page's stylesheet.

        Title and description become a label for screen readers: as elements, they would show as a
        tooltip.
        """
        label = f"{self.title}: {self.description}" if self.description else self.title
        return self._document([], {"aria_label": label, **more})

    def file(self) -> str:
        """Return the picture as a standalone file, with stylesheet and background."""
        words = [f"<title>{escape(self.title)}</title>"]
        if self.description:
            words.append(f"<desc>{escape(self.description)}</desc>")
        paper = f'<rect class="paper" width="{_number(self.width)}" height="{_number(self.height)}"/>'
        return (
            self._document([*words, f"<style>{STYLE}</style>", paper], {"xmlns": "http://www.w3.org/2000/svg"}) + "\n"
        )

    def _document(self, before: list[str], more: dict[str, str]) -> str:
        size = {"width": self.width, "height": self.height}
        view = f"0 0 {_number(self.width)} {_number(self.height)}"
        return "\n".join(
            [f"<svg{_attributes({**size, 'viewBox': view, 'role': 'img', **more})}>", *before, *self._shapes, "</svg>"]
        )

    def _add(self, tag: str, attributes: dict[str, str | float], content: str = "") -> None:
        opening = f"{tag}{_attributes(attributes)}"
        self._shapes.append(f"<{opening}>{content}</{tag}>" if content else f"<{opening}/>")


def check_picture_path(path: Path) -> None:
    if path.suffix != ".svg":
        raise InvalidRequestError(f"{path} is not the name of an SVG file: use a name that ends in .svg.")
    if not path.parent.is_dir():
        raise InvalidRequestError(f"{path.parent} is not a folder: create it, or choose another path.")


def write_picture(path: Path, picture: Picture) -> None:
    try:
        write_output(path, picture.file())
    except OSError as error:
        raise InvalidRequestError(
            f"The chart cannot be written to {path} ({error.strerror or error}): choose another path."
        ) from None


def _attributes(values: dict[str, str | float]) -> str:
    shown = {
        name.replace("_", "-"): value if isinstance(value, str) else _number(value) for name, value in values.items()
    }
    return "".join(f' {name}="{escape(value)}"' for name, value in shown.items() if value)


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
