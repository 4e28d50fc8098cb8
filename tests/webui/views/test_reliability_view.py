"""The page shows how far a model's suggestions can be trusted, or why that is not known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

from pellucid.completion.settings import GateLevel
from pellucid.completion.trust.calibration import Calibration, CalibrationKind
from pellucid.tokens import ModelCard
from pellucid_webui.views.infill import _trusted
from pellucid_webui.views.reliability_view import trust
from support.page.scripted_assistant import MODEL, ScriptedPageAssistant

CARD = ModelCard("<coder>", 64, infill=True, chat=True, weight_bytes=1, description="", licence=None)


def bar(count: int, said: float, right: float) -> dict[str, Any]:
    return {"count": count, "confidence": said, "accuracy": {"value": right, "low": right - 0.1, "high": right + 0.1}}


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
    """Both diagrams have their counts, the errors their intervals, and the model's name is text."""
    found = trust(replace(CARD, calibration=KNOWN))

    root = ElementTree.fromstring(f"<div>{found}</div>")
    counts = {element.text for element in root.iter("text")}
    assert {"123", "77", "323"} <= counts
    assert "Calibration error before 0.210 (0.150 to 0.300), after 0.030 (0.020 to 0.060)." in found
    assert "&lt;coder&gt;, calibrated on src (2026-11-25): measured on 400 suggestions in 12 files" in found
    assert len(list(root.iter("tr"))) == 4


def test_unknown() -> None:
    """Where there is none, it is said why, and what decides."""
    assert "was made for &lt;others&gt;. Until then fixed thresholds" in trust(replace(CARD, calibration_note="It was made for <others>."))
    assert "tells of no calibration" in trust(CARD)
    assert "has no figures to show" in trust(replace(CARD, calibration=KNOWN | {"about": {}}))


def test_one_that_editors_do_not_use() -> None:
    """What was made by another version, or is damaged, is not shown as if it held: the page says what editors say."""
    older = KNOWN | {"features": KNOWN["features"] | {"version": 0}}
    assert "another version of Pellucid: run pellucid calibrate again. Until then" in trust(replace(CARD, calibration=older))
    assert "The calibration is damaged" in trust(replace(CARD, calibration={"kind": "platt"}))


async def test_of_the_model_that_is_chosen() -> None:
    """It is of the model that is chosen, or of the first one."""
    assistant = ScriptedPageAssistant()

    assert await _trusted(assistant, MODEL) == await _trusted(assistant, "")
    assert "tells of no calibration" in await _trusted(assistant, MODEL)
