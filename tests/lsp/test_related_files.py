"""During a pause, related parts of the workspace's files become context, if permitted."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from pellucid.completion import idle_prefill
from pellucid.completion.answers import Answer
from pellucid.completion.document_cursor import DocumentCursor
from pellucid.completion.settings import ContextSettings, SuggestionShape
from pellucid.errors import PellucidError
from pellucid_lsp.editor_settings import EditorSettings, ServerSettings
from pellucid_lsp.session import EditorSession
from support.editors.token_factory import make_tokens

ORDERS = "class OrderBook:\n    def add_order(self, order, price_limit):\n        self.open_orders.append(order)\n"
SETTINGS = EditorSettings(server=ServerSettings(url="http://127.0.0.1:9", start=False))


@pytest.fixture(autouse=True)
def without_pauses(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(idle_prefill, "IDLE_SECONDS", 0.0)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


async def context_after_a_pause(folder: Path, settings: EditorSettings, *, types: bool = True) -> list[str]:
    """Return the files sent as context after a pause in a file that imports ``orders.py``.

    Without ``types``, the file is only opened.
    """
    workspace = folder / "workspace"
    workspace.mkdir()
    (workspace / "orders.py").write_text(ORDERS)
    session = EditorSession(settings, [workspace], lambda: None)
    cursor = DocumentCursor(
        (workspace / "main.py").as_uri(), "from orders import OrderBook\n\nOrderBook().", "", "python"
    )
    if types:
        with suppress(PellucidError):  # Without a server the suggestion fails, but the pause continues.
            await session.suggest(cursor, 1)
    else:
        session.prefill_opened(cursor)
    for _ in range(200):
        await asyncio.sleep(0.01)
        if session.ring.version:
            break
    found = [chunk.filename for chunk in session.ring.chunks(cursor.before, cursor.uri)]
    await session.aclose()
    return found


async def test_related_file(tmp_path: Path) -> None:
    """An unopened file is context if the file defines names near the cursor."""
    assert await context_after_a_pause(tmp_path, SETTINGS) == ["orders.py"]


async def test_related_file_of_an_opened_file(tmp_path: Path) -> None:
    """Before the first key in a file, the files that define the file's names are context."""
    assert await context_after_a_pause(tmp_path, SETTINGS, types=False) == ["orders.py"]


async def test_an_opened_file_without_suggestions(tmp_path: Path) -> None:
    """An opened file of a language without suggestions is not read."""
    settings = replace(SETTINGS, completion=replace(SETTINGS.completion, languages_off=("python",)))
    assert await context_after_a_pause(tmp_path, settings, types=False) == []


@pytest.mark.parametrize(
    "settings",
    [
        replace(SETTINGS, context=ContextSettings(files_tokens=0)),
        replace(SETTINGS, context=ContextSettings(exclude=("orders.py",))),
    ],
)
async def test_switched_off(tmp_path: Path, settings: EditorSettings) -> None:
    """Without a budget for files, or with the file excluded, no part of the file is sent."""
    assert await context_after_a_pause(tmp_path, settings) == []


async def test_closed_folder(tmp_path: Path) -> None:
    """Chunks of a closed folder are not sent with documents of a new folder, nor answers shown."""
    session = EditorSession(SETTINGS, [tmp_path / "one"], lambda: None)
    session.note_opened((tmp_path / "one/orders.py").as_uri(), ORDERS)
    assert session.ring.promote("file:///new.py")
    cursor = DocumentCursor((tmp_path / "one/main.py").as_uri(), "a", "", "python")
    session.answers.keep(Answer(cursor, make_tokens("b"), SuggestionShape.LINE, complete=True, model="m"))
    assert session.answers.at(cursor) is not None
    await session.set_folders([tmp_path / "other"])
    assert session.answers.at(cursor) is None
    assert session.ring.chunks("", (tmp_path / "other/main.py").as_uri()) == ()
    await session.aclose()
