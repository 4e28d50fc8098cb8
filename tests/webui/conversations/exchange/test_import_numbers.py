"""Tests numbers in imported files: invalid numbers are refused, all others can be shown."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from pellucid.errors import InvalidRequestError
from pellucid_webui.conversations.exchange import import_export
from pellucid_webui.conversations.storage.store import ConversationStore
from pellucid_webui.conversations.turn_settings import LARGEST, TurnSettings
from pellucid_webui.routes.conversation_display import RenderedMessages, state_of
from support.page.import_text import import_text

SETTINGS = TurnSettings(model="m", seed=1).record()

QUESTION: dict[str, Any] = {
    "id": 1,
    "parent": None,
    "role": "user",
    "text": "Hello",
    "created": 1.0,
    "settings": None,
    "model": "",
    "end": None,
    "usage": None,
    "error": None,
    "origin": None,
    "branched": None,
    "chosen": 3,
    "tokens": [],
}

ANSWER = QUESTION | {
    "id": 2,
    "parent": 1,
    "role": "assistant",
    "text": "Hi",
    "settings": SETTINGS,
    "model": "m",
    "end": "stop",
    "usage": {"cached": 1, "computed": 1, "generated": 1, "queued": 0.5, "prefill": 0.5, "decode": 0.5},
    "chosen": None,
    "tokens": [{"i": 1, "t": "Hi", "l": -0.5, "r": 1, "e": 0.5, "s": 0.5, "o": 0.25, "a": [[2, "x", -1.5]]}],
}

FILE = {
    "format": "pellucid-conversation",
    "version": 1,
    "title": "title",
    "created": 1.0,
    "updated": 2.0,
    "settings": SETTINGS,
    "leaf": 3,
    "messages": [QUESTION, ANSWER, ANSWER | {"id": 3, "origin": 2, "branched": 0}],
}

NEVER = [
    "NaN",
    "Infinity",
    "-Infinity",
    "1e308",
    "1e999",
    "-1e30",
    "1" + "0" * 30,
    "1" + "0" * 5000,
    "true",
    "false",
    str(2**63),
    "[]",
]
"""JSON values that are not valid numbers in a conversation."""

Place = tuple[str | int, ...]


def numbers(value: Any, place: Place = ()) -> Iterator[Place]:
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in parts:
        yield from numbers(part, (*place, key))
    if isinstance(value, int | float):
        yield place


PLACES = list(numbers(FILE))


def changed(place: Place, number: str) -> str:
    """Return the file with ``number`` at a place."""
    file: Any = copy.deepcopy(FILE)
    part = file
    for key in place[:-1]:
        part = part[key]
    part[place[-1]] = "the number"
    return json.dumps(file).replace('"the number"', number)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ConversationStore]:
    found = ConversationStore(tmp_path / "conversations.db")
    yield found
    found.close()


def shown(store: ConversationStore, id: str) -> None:
    """Show a conversation and its settings in Gradio's form, and export the conversation again."""
    conversation = store.conversation("me", id)
    orjson.dumps(conversation.settings.record())
    orjson.dumps(state_of(RenderedMessages(), conversation, None))
    assert import_export.as_json(store, "me", id)


@pytest.mark.parametrize("number", NEVER, ids=lambda text: text[:32])
def test_impossible_numbers(store: ConversationStore, number: str) -> None:
    """An invalid number anywhere is refused with the file's name, and nothing is saved."""
    assert len(PLACES) > 40
    for place in PLACES:
        with pytest.raises(InvalidRequestError, match=r"^talk\.json cannot be imported: "):
            import_text(store, "me", changed(place, number), "talk.json")
    assert store.list("me") == []


@pytest.mark.parametrize(
    "number", ["0", "1", "2", "3", "-1", "0.5", "1.5", "null", "1e-300", str(LARGEST), str(LARGEST + 1), str(2**63 - 1)]
)
def test_what_is_imported_can_be_shown(store: ConversationStore, number: str) -> None:
    """Every number in a file is refused, or the conversation can be shown and exported."""
    for place in PLACES:
        try:
            id = import_text(store, "me", changed(place, number), "talk.json")
        except InvalidRequestError:
            continue
        shown(store, id)


@pytest.mark.parametrize("name", ["max_tokens", "top_k"])
def test_settings_that_are_too_large(name: str) -> None:
    """A setting above the bound is refused by name."""
    TurnSettings.read({name: LARGEST}).sampling()
    with pytest.raises(InvalidRequestError, match=f"^{name} must be at most 9007199254740991.$"):
        TurnSettings.read({name: 10**30}).sampling()
