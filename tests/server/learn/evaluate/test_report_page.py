"""Tests of the report in a browser: nothing loaded, light and dark colours, texts as text."""

from __future__ import annotations

from pathlib import Path

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Page

from pellucid.learn.evaluate.html_report import html
from pellucid.learn.evaluate.results import (
    Bar,
    Circumstances,
    EvaluationResults,
    MetricFigure,
    ModelResult,
    Reliability,
    SuiteResult,
)
from pellucid.learn.evaluate.suite_protocol import Better, FigureFormat
from support.page.page_fixtures import watched
from support.page.page_tabs import LOOKS, SERIOUS, WIDTHS

WHEN = Circumstances(date="2026-01-01T00:00:00+00:00", versions={"pellucid": "1"}, machine={"memory": 8 * 10**9})
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'&"


def figure(
    name: str, value: float | None, form: FigureFormat, *, group: str = "", detail: bool = False
) -> MetricFigure:
    low, high = (None, None) if value is None else (value * 0.9, value * 1.1)
    return MetricFigure(
        name=name,
        group=group,
        form=form,
        better=Better.HIGHER,
        value=value,
        low=low,
        high=high,
        records=1234,
        units=56,
        detail=detail,
    )


@pytest.fixture
def results() -> EvaluationResults:
    """Return three models, the third with a skipped suite; names and notes contain HTML."""
    bins = tuple(
        Bar(count=10 * n, confidence=n / 10, accuracy=n / 11, low=n / 12, high=min(n / 9, 1.0)) for n in range(1, 10)
    )
    asked = SuiteResult(
        suite="winogender",
        circumstances=WHEN,
        asked=3,
        figures=(
            figure("prefers he to she", 0.5, FigureFormat.SHARE, group=HOSTILE),
            figure("gap", -2.5, FigureFormat.NUMBER),
            figure("speed", 31.4, FigureFormat.RATE),
            figure("undefined", None, FigureFormat.NUMBER),
            figure("each", 0.1, FigureFormat.NUMBER, group="baker", detail=True),
        ),
        diagrams=(Reliability(title=f"Calibration {HOSTILE}", bins=bins),),
        notes=(HOSTILE, "A note."),
        cost={"requests": 3, "computed": 1000, "cached": 1, "generated": 5, "flops": 10**12},
    )
    left_out = SuiteResult(suite="winogender", left_out=f"It needs more {HOSTILE}.")
    models = [
        ModelResult(name=name, description=HOSTILE, folder="x", identity={}, suites=(suite,))
        for name, suite in ((HOSTILE, asked), ("plain", asked), ("poor", left_out))
    ]
    return EvaluationResults(models=tuple(models))


@pytest.mark.parametrize("browser_page", LOOKS, indirect=True, ids=["light", "dark"])
async def test_in_a_browser(
    browser_page: Page, request: pytest.FixtureRequest, results: EvaluationResults, tmp_path: Path
) -> None:
    """The report makes no request, escapes all text, is accessible, and fits a phone."""
    path = tmp_path / "report.html"
    path.write_text(html(results))
    tab = watched(browser_page, path.as_uri())
    await browser_page.goto(path.as_uri())
    assert tab.requested == [path.as_uri()]
    assert await browser_page.locator("script, img").count() == 0
    # The bars, and a diagram for each of two models
    assert await browser_page.get_by_role("img").count() == 1 + 2
    assert HOSTILE in await browser_page.locator("h1").inner_text()
    paper = await browser_page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(255, 255, 255)") == ("light" in request.node.name)
    found = await Axe().run(browser_page)
    serious = [one for one in found.response["violations"] if one["impact"] in SERIOUS]
    assert not serious, serious
    for width in WIDTHS:
        await browser_page.set_viewport_size({"width": width, "height": 900})
        assert await browser_page.evaluate("document.documentElement.scrollWidth") <= width
    assert not tab.problems
