"""Tests of the request for a commit message."""

from __future__ import annotations

from pathlib import Path

import pytest
from pygls.exceptions import JsonRpcException

from support.editors.lsp_client import Connect
from support.servers.http_servers import ScriptedAssistant, spoken
from support.staged_repository import repository, stage


@pytest.fixture
def folder(tmp_path: Path, assistant: ScriptedAssistant) -> Path:
    """A repository with a staged and a private change, and a model that adds a total."""
    assistant.script = [spoken(text) for text in ("Add", " a total")]
    folder = repository(tmp_path / "of a cart", {"a.py": "x = 1\n"}, "first")
    stage(folder, {"a.py": "x = 2\n", ".env": "PASSWORD = 1\n", "notes.py": "y = 1\n"})
    return folder


@pytest.fixture(autouse=True)
def _make_folder(tmp_path: Path) -> None:
    (tmp_path / "of a cart").mkdir()


async def test_a_message(connect: Connect, assistant: ScriptedAssistant, folder: Path) -> None:
    """The message has tokens and notes; private and excluded files are neither sent nor named."""
    editor = await connect(options={"context": {"exclude": ["notes.py"]}})
    made = await editor.request("pellucid/commitMessage", {"uri": (folder / "a.py").as_uri()})
    (message,) = made.messages
    assert message.text == "Add a total"
    assert [token.token for token in message.tokens] == ["Add", " a total"]
    assert 0 < message.probability < 1
    assert [note.partition(" is never")[0] for note in made.notes] == [".env", "notes.py"]
    sent = str(assistant.calls[0]["messages"])
    assert "x = 2" in sent
    assert "PASSWORD" not in sent
    assert "notes.py" not in sent


@pytest.mark.parametrize(
    ("params", "sentence"),
    [
        ({}, "pellucid/commitMessage needs uri."),
        ({"uri": "file:///", "alternatives": 0}, "alternatives should be between 1 and 9"),
        ({"uri": "untitled:a"}, "untitled:a is not on this machine"),
        ({"uri": "file:///"}, "/ is not in a git repository"),
    ],
)
async def test_refusals(connect: Connect, params: dict[str, object], sentence: str) -> None:
    """Wrong parameters and a folder outside of repositories are a sentence each."""
    editor = await connect()
    with pytest.raises(JsonRpcException, match=sentence):
        await editor.request("pellucid/commitMessage", params)


async def test_nothing_is_sent_while_off(connect: Connect, assistant: ScriptedAssistant, folder: Path) -> None:
    """With suggestions switched off, no message is written."""
    editor = await connect(options={"enabled": False})
    with pytest.raises(JsonRpcException, match=r"pellucid\.enabled is false"):
        await editor.request("pellucid/commitMessage", {"uri": folder.as_uri()})
    assert assistant.calls == []
