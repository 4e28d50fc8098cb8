"""Next edits with the default model: all markers, but no training as a next-edit model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from pellucid.completion.edits.edit_history import EditHistory
from pellucid.completion.edits.next_edits import NextEdits
from pellucid.completion.model_choice import ModelChoice
from pellucid.completion.model_provider_protocol import FixedProvider
from pellucid.config import load_settings
from pellucid.engine.local_engine import LocalEngine
from pellucid.engine.model_worker import EngineSettings
from pellucid.models.catalog import DEFAULT_MODEL
from pellucid.models.load import load
from pellucid.models.store import Store
from pellucid.system.progress import Silent
from pellucid.text.assistant import LocalAssistant

pytestmark = pytest.mark.model

URI = "file:///project/shapes.py"
OLD = """class Rectangle:
    def __init__(self, width):
        self.width = width

    def area(self):
        return self.width * self.width


print(Rectangle(2).area())
"""
NEW = OLD.replace("self, width", "self, width, height").replace(
    "self.width = width\n", "self.width = width\n        self.height = height\n"
)


@pytest.fixture(scope="module")
def assistant() -> Iterator[LocalAssistant]:
    """The default model, served like a next-edit model."""
    served = replace(load(DEFAULT_MODEL, store=Store(load_settings().cache), progress=Silent()), next_edit="sweep")
    engine = LocalEngine({served.name: served.model}, EngineSettings(slots=2, context=4096))
    yield LocalAssistant(engine, [served])
    engine.close()


async def test_proposals_of_the_default_model(assistant: LocalAssistant) -> None:
    """The default model answers the prompt, and an answer edits existing lines without markers."""
    history = EditHistory()
    history.note(URI, OLD)
    history.note(URI, NEW)
    made = NextEdits(history, ModelChoice(FixedProvider(assistant)))
    lines = NEW.split("\n")
    for edit in await made.suggest(URI, NEW, cursor=(6, 0)):
        change = edit.change
        assert tuple(lines[change.first : change.first + len(change.old)]) == change.old != change.new
        assert "<|" not in "\n".join(change.new)
