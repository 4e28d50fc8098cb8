"""Tests colours of columns, rendered text and lines: visible and readable, for all colour vision.

``test_heatmap.py`` measures the colours of tokens.
"""

from __future__ import annotations

import re
from itertools import combinations
from math import dist

import pytest

from support.page.colour_vision import SIGHTS, ciede2000, contrast, lab
from support.page.heat_page import asset

THEMES = ("light", "dark")
STEPS = range(1, 9)

COLUMNS_APART = 20.0
"""CIE76 distance easily seen side by side; the smallest visible distance is about 2.3."""

READABLE = 4.5
"""Minimum contrast of text (WCAG 1.4.3)."""

VISIBLE = 3.0
"""Minimum contrast of a line (WCAG 1.4.11)."""


def variables(theme: str) -> dict[str, str]:
    css = asset("heatmap.css") + asset("colours.css")
    selector = ".dark .pl-heat" if theme == "dark" else ".pl-heat"
    blocks = re.findall(rf"^{re.escape(selector)} {{\n(.*?)^}}", css, re.DOTALL | re.MULTILINE)
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", "".join(blocks)))


def highlights(theme: str) -> dict[str, str]:
    prefix = r"\.dark " if theme == "dark" else ""
    return dict(re.findall(rf"^{prefix}::highlight\((pl-[\w-]+)\) {{ (.*?) }}", asset("inspector.css"), re.MULTILINE))


@pytest.mark.parametrize(
    ("one", "other", "distance"),
    [
        ((50.0, 2.6772, -79.7751), (50.0, 0.0, -82.7485), 2.0425),
        ((50.0, 2.5, 0.0), (73.0, 25.0, -18.0), 27.1492),
        ((50.0, -1.0, 2.0), (50.0, 0.0, 0.0), 2.3669),
        ((2.0776, 0.0795, -1.1350), (0.9033, -0.0636, -0.5514), 0.9082),
    ],
)
def test_the_distance(one: tuple[float, float, float], other: tuple[float, float, float], distance: float) -> None:
    """The distance function gives the values published by its authors."""
    assert ciede2000(one, other) == pytest.approx(distance, abs=1e-4)


@pytest.mark.parametrize("theme", [0, 1])
def test_columns_are_apart(theme: int) -> None:
    """The colours of compared columns are distinct under every kind of colour blindness."""
    found = re.findall(r"--column-[a-d]: (#[0-9a-f]{6});", asset("compare.css"))
    assert len(found) == 8
    for name, sight in SIGHTS.items():
        if name != "no colour":
            seen = [lab(sight, colour) for colour in found[4 * theme : 4 * theme + 4]]
            assert min(dist(one, other) for one, other in combinations(seen, 2)) > COLUMNS_APART, name


@pytest.mark.parametrize("theme", THEMES)
def test_rendered_text_has_the_same_scale(theme: str) -> None:
    """Rendered text and formulas have the fills of the maps, and readable text."""
    found, colours, marks = highlights(theme), variables(theme), asset("marks.css")
    prefix = ".dark " if theme == "dark" else ""
    for step in STEPS:
        fill = f"background-color: {colours[f'warm-{step}']};"
        assert found[f"pl-step-{step}"] == f"{fill} color: {colours['heat-ink']};"
        assert f"\n{prefix}.pl-formula.pl-step-{step} {{ {fill} color: {colours['heat-ink']}; }}" in marks
        assert (
            f"\n{prefix}.pl-drawn > .pl-step-{step} {{ {fill} mix-blend-mode: {'lighten' if prefix else 'multiply'}; }}"
            in marks
        )
    fill, text = re.findall(r"#[0-9a-f]{3,6}", found["pl-here"])
    assert contrast(fill, text.replace("#fff", "#ffffff") if len(text) == 4 else text) >= READABLE


@pytest.mark.parametrize(
    ("theme", "paper"), [("light", "#ffffff"), ("light", "#f8fafc"), ("dark", "#020617"), ("dark", "#1e293b")]
)
def test_lines_are_visible(theme: str, paper: str) -> None:
    """Lines that mark tokens are visible on the page and on code blocks."""
    for name in ("pl-unsure", "pl-branch", "pl-out"):
        (line,) = re.findall(r"#[0-9a-f]{6}", highlights(theme)[name])
        assert contrast(line, paper) >= VISIBLE, name
