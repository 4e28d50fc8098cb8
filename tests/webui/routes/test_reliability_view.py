"""Tests that the page shows the reliability of a model's suggestions, or the reason for none."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

from pellucid.completion.settings import GateLevel
from pellucid.completion.trust.calibration import Calibration, CalibrationKind
from pellucid.vocabulary.model_card import ModelCard
from pellucid_webui.routes.infill import _reliability
from pellucid_webui.routes.reliability_view import reliability_html
from support.page.scripted_assistant import MODEL, ScriptedPageAssistant

CARD = ModelCard("<coder>", 64)


def bar(count: int, confidence: float, accuracy: float) -> dict[str, Any]:
    return {
        "count": count,
        "confidence": confidence,
        "accuracy": {"value": accuracy, "low": accuracy - 0.1, "high": accuracy + 0.1},
    }


WIDTH = {"width": {"value": 0.21, "low": 0.15, "high": 0.3}}
ABOUT = {
    "folder": "src",
    "date": "2026-11-25T20:00:00+00:00",
    "figures": {
        "measured on": {"suggestions": 400, "files": 12},
        "ways": {"raw": WIDTH, "platt": {"width": {"value": 0.03, "low": 0.02, "high": 0.06}}},
        "reliability": {"raw": [bar(123, 0.9, 0.6)], "platt": [bar(77, 0.2, 0.25), bar(323, 0.6, 0.61)]},
    },
}
KNOWN = Calibration(CalibrationKind.PLATT, (0.0, 1.0), dict.fromkeys(GateLevel, 1.0), ABOUT).record


def test_known() -> None:
    """Both diagrams have counts, the errors have intervals, and the model's name is escaped."""
    found = reliability_html(replace(CARD, calibration=KNOWN))
    root = ElementTree.fromstring(f"<div>{found}</div>")
    counts = {element.text for element in root.iter("text")}
    assert {"123", "77", "323"} <= counts
    assert "Calibration error: 0.210 (0.150 to 0.300) before, 0.030 (0.020 to 0.060) after." in found
    assert "&lt;coder&gt;, calibrated on src (2026-11-25), measured on 400 suggestions in 12 files" in found
    assert len(list(root.iter("tr"))) == 4


def test_unknown() -> None:
    """Without a calibration the page shows the reason and the replacement."""
    assert "was made for &lt;others&gt;. Until it is calibrated, fixed thresholds" in reliability_html(
        replace(CARD, calibration_note="It was made for <others>.")
    )
    assert "This model is not calibrated." in reliability_html(CARD)
    assert "has no valid figures" in reliability_html(replace(CARD, calibration=KNOWN | {"about": {}}))


def test_builtin_in_the_place_of_a_damaged_one() -> None:
    """A built-in calibration in place of a damaged calibration has a notice above."""
    found = reliability_html(
        replace(CARD, calibration=KNOWN, calibration_note="The calibration in <a>.json cannot be read.")
    )
    assert found.startswith(
        "<p>The calibration in &lt;a&gt;.json cannot be read.</p><p>&lt;coder&gt;, calibrated on src"
    )


def test_one_that_editors_do_not_use() -> None:
    """A damaged or outdated calibration is not used, and the page shows the reason."""
    older = KNOWN | {"features": KNOWN["features"] | {"version": 0}}
    assert "another version of Pellucid: run pellucid calibrate again. Until it is calibrated" in reliability_html(
        replace(CARD, calibration=older)
    )
    assert "The calibration is damaged" in reliability_html(replace(CARD, calibration={"kind": "platt"}))


async def test_of_the_model_that_is_chosen() -> None:
    """The calibration of the chosen model is shown, or by default of the first model."""
    assistant = ScriptedPageAssistant()
    assert await _reliability(assistant, MODEL) == await _reliability(assistant, "")
    assert "This model is not calibrated." in await _reliability(assistant, MODEL)
