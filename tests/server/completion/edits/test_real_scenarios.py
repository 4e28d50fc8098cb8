"""Next edits of the default model in scenarios of daily work."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pellucid.completion.settings import GateLevel
from pellucid.config import load_settings
from pellucid.serving.assemble import assemble
from pellucid.system.progress import Silent
from pellucid.text.assistant import LocalAssistant
from support.editors.next_edit_scenarios import Scenario, scenarios, suggested
from support.servers.real_model_server import CODER

pytestmark = pytest.mark.model

EVERY = [one for name in ("daily", "more", "last") for one in scenarios(name)]

MISSED = {
    "HTML: a class",
    "HTML: an element",
    "JavaScript: a prefix of calls",
    "Rust: the end of a call",
}
"""Right edits that are hidden, or not found."""

NARROW = {"Python: a type of parameters"}
"""Right edits that are shown with a probability near to the required one."""


@pytest.fixture(scope="module")
def assistant() -> Iterator[LocalAssistant]:
    engine, assistant = assemble(load_settings(), [CODER], Silent())
    yield assistant
    engine.close()


@pytest.mark.parametrize("scenario", EVERY, ids=lambda one: one.name)
async def test_scenarios(scenario: Scenario, assistant: LocalAssistant) -> None:
    """At the normal level no wrong edit is suggested, and a right edit unless known as missed."""
    edits = await suggested(scenario, assistant, GateLevel.NORMAL)
    explanation = edits.memory.explanation(scenario.uri)
    assert explanation is not None
    shown = [one.change for one in explanation.changes if one.outcome == "shown"]
    assert [one for one in shown if not scenario.is_right(one)] == []
    if not scenario.is_quiet and scenario.name not in MISSED | NARROW:
        assert shown


def test_the_scenarios() -> None:
    """Of 40 scenarios with an edit, 36 are not missed; 15 scenarios are quiet."""
    assert {one.name for one in EVERY if not one.is_quiet} >= MISSED | NARROW
    assert [sum(one.is_quiet for one in scenarios(name)) for name in ("daily", "more", "last")] == [5, 5, 5]
    assert sum(not one.is_quiet for one in EVERY) == 40
