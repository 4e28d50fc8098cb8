"""The editor receives the deciding gate's name, and logs reactions only with the setting on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pellucid.completion.model_choice import CALIBRATED
from pellucid.completion.trust.suggestion_log import FILE, Reaction, SuggestionLog
from pellucid.models.calibrations import NOT_CALIBRATED
from pellucid.vocabulary.model_card import ModelCard
from support.editors import lsp_client
from support.editors.known_calibrations import as_sent, doubtful
from support.editors.lsp_client import Connect, id_of
from support.servers.http_servers import TINY, ScriptedAssistant, spoken

URI = "file:///a.py"
TEXT = "def f(a):\n    ret\n\n\nx = 1\n"
AT = (1, 7)
NOTE = "The calibration in coder.json was made for other weights: run pellucid calibrate again."


class CalibratedAssistant(ScriptedAssistant):
    def scripted_cards(self) -> list[ModelCard]:
        calibration = as_sent(replace(doubtful(-10.0), about={"folder": "src", "date": "2026-11-27T10:00:00+00:00"}))
        return [
            ModelCard(
                TINY, 64, True, True, 1, "scripted", None, files=True, calibration=calibration, calibration_note=NOTE
            )
        ]


def log_of(folder: Path) -> SuggestionLog:
    return SuggestionLog(Path(lsp_client.homes(folder)["XDG_DATA_HOME"]) / "pellucid" / FILE)


class TestCalibrated:
    @pytest.fixture
    def assistant(self) -> ScriptedAssistant:
        return CalibratedAssistant(
            [spoken(text, 4 + index, 7 + 2 * index) for index, text in enumerate(["urn", " a", "\n", "x"])]
        )

    async def test_told(self, connect: Connect) -> None:
        """The server's calibration decides in the editor, as the explanation and status report."""
        editor = await connect()
        editor.open(URI, TEXT)

        assert await editor.texts(URI, *AT) == []

        gate = (await editor.request("pellucid/explain", {"textDocument": {"uri": URI}})).gate
        assert (gate.by, gate.level) == ("calibration", "normal")
        assert gate.values.gain < gate.thresholds.gain
        status = (await editor.request("pellucid/status")).gate
        assert (status.by, status.reason) == ("calibration", f"{CALIBRATED.format(' on src (2026-11-27)')} {NOTE}")
        assert editor.client.messages == []


async def test_not_calibrated(connect: Connect, assistant: ScriptedAssistant) -> None:
    """Without a calibration, thresholds decide, and the status gives the reason."""
    assistant.script = [spoken(text, 4 + index, 7 + 2 * index) for index, text in enumerate(["urn", " a", "\n", "x"])]
    editor = await connect()
    editor.open(URI, TEXT)
    before = (await editor.request("pellucid/status")).gate

    assert await editor.texts(URI, *AT) == ["urn a"]

    after = (await editor.request("pellucid/status")).gate
    assert (before.by, before.reason) == ("thresholds", "No model server has been asked yet.")
    assert (after.by, after.reason) == ("thresholds", NOT_CALIBRATED)
    assert (await editor.request("pellucid/explain", {"textDocument": {"uri": URI}})).gate.by == "thresholds"


async def test_offer(connect: Connect, assistant: ScriptedAssistant) -> None:
    """A calibration is offered once per model, in the first editor that asks the model."""
    assistant.script = [spoken(" a", 4, 7)]
    first, second = await connect(), await connect()
    for editor in (first, first, second):
        editor.open(URI, TEXT)
        await editor.texts(URI, *AT)

    assert [[message.message for message in editor.client.messages] for editor in (first, second)] == [
        [f"Pellucid: {NOT_CALIBRATED}"],
        [],
    ]


async def take(connect: Connect, assistant: ScriptedAssistant, **completion: Any) -> None:
    """Accept a suggestion, accept a part of the next suggestion, and dismiss the third."""
    assistant.script = [spoken(text, 4 + index, 7 + 2 * index) for index, text in enumerate(["urn", " a", "\n", "x"])]
    editor = await connect(**completion)
    for number in range(3):
        uri = f"file:///{number}.py"
        editor.open(uri, TEXT)
        (item,) = await editor.inline(uri, *AT)
        if number == 0:
            await editor.command("pellucid.accepted", id_of(item))
        elif number == 1:
            editor.notify("pellucid/didPartiallyAccept", {"id": id_of(item), "acceptedLength": 3})
        else:
            editor.notify("pellucid/didDismiss", {"id": id_of(item)})
    assert (await editor.request("pellucid/status")).log is None


async def test_logged(connect: Connect, assistant: ScriptedAssistant, tmp_path: Path) -> None:
    """With the setting on, each reaction is logged with the deciding gate."""
    await take(connect, assistant, log=True)

    entries = log_of(tmp_path).entries(TINY)

    assert [entry.outcome for entry in entries] == [Reaction.ACCEPTED, Reaction.SHORTENED, Reaction.DISMISSED]
    assert [(entry.length, entry.accepted) for entry in entries] == [(5, 5), (5, 3), (5, 0)]
    assert {(entry.language, entry.level, entry.gate) for entry in entries} == {("python", "normal", "thresholds")}


async def test_not_logged(connect: Connect, assistant: ScriptedAssistant, tmp_path: Path) -> None:
    """With the setting off, nothing is logged."""
    await take(connect, assistant)

    assert not log_of(tmp_path).path.exists()
