"""What the server keeps of a tab that speaks with it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pellucid.errors import UnavailableError
from pellucid.tokens import ModelCard
from pellucid_webui.chat_view import ChatDesk
from pellucid_webui.conversation import TurnSettings
from pellucid_webui.session import Session
from pellucid_webui.store import Store
from pellucid_webui.turn import Turns
from scripted_speaker import ScriptedSpeaker, tokens


@dataclass
class ShySpeaker(ScriptedSpeaker):
    """Has no model until it is asked for the second time."""

    met: int = 0

    async def cards(self) -> list[ModelCard]:
        self.met += 1
        if self.met == 1:
            raise UnavailableError("No model is there yet.")
        return await super().cards()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty store."""
    found = Store(tmp_path / "conversations.db")
    yield found
    found.close()


async def pictures(desk: ChatDesk, session: Session, **asked: Any) -> list[dict[str, Any]]:
    """All that the tab is shown."""
    return [shown async for shown in desk.act(session, asked, TurnSettings())]


async def test_forgotten(store: Store) -> None:
    """A tab that the server has forgotten is told to load itself anew, and what it asks for is not done as nobody's."""
    desk = ChatDesk(store, ScriptedSpeaker([tokens("yes")]), Turns())
    shown = await pictures(desk, Session(), verb="send", text="Hello", letter="a")
    assert [one["stale"] for one in shown] == [True]
    assert store.list("") == []
    assert not (await pictures(desk, Session("me"), verb="send", text="Hello", letter="a"))[-1]["stale"]


async def test_refused_letter(store: Store) -> None:
    """What could not be said leaves no conversation behind and may be sent again; what was said is not said twice."""
    desk = ChatDesk(store, ShySpeaker([tokens("yes")]), Turns())
    session = Session("me")
    letter = {"verb": "send", "text": "Hello", "letter": "a"}
    assert (await pictures(desk, session, **letter))[-1]["notice"]["text"] == "No model is there yet."
    assert store.list("me") == []
    for _ in range(2):
        assert len((await pictures(desk, session, **letter))[-1]["messages"]) == 2
    assert len(store.list("me")) == 1


async def test_what_is_on_the_screen(store: Store) -> None:
    """What a tab asks for is done in the conversation that it shows, whatever the server thinks that it looks at."""
    desk = ChatDesk(store, ScriptedSpeaker([tokens("yes")]), Turns())
    session = Session("me")
    await pictures(desk, session, verb="send", text="Hello", letter="a")
    first = session.conversation
    session.look_at(None)
    shown = await pictures(desk, session, verb="send", text="And now", letter="b", conversation=first)
    assert shown[-1]["id"] == first
    assert len(shown[-1]["messages"]) == 4
