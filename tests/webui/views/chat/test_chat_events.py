"""Tests the outputs of the chat tab's handlers while calls overtake each other."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from pellucid.client.assistant_protocol import shared
from pellucid.vocabulary.model_card import ModelCard
from pellucid_webui.conversations.storage.store import ConversationStore
from pellucid_webui.conversations.tab_state import TabState
from pellucid_webui.conversations.turn import Turns
from pellucid_webui.conversations.turn_settings import TurnSettings
from pellucid_webui.views.chat.chat_events import ChatEvents, ChatTab, connect
from pellucid_webui.views.chat.chat_view import ChatView, chat_panel
from pellucid_webui.views.chat.conversation_list import ConversationList, conversation_list_panel
from pellucid_webui.views.controls import chat_controls
from pellucid_webui.views.header import header_row
from support.page.scripted_assistant import ScriptedPageAssistant, tokens

ME = "me"
REQUEST = gr.Request()


@dataclass
class InterruptedAssistant(ScriptedPageAssistant):
    """Calls ``interrupt`` at the ``at``-th list of models."""

    at: int = 0
    interrupt: Callable[[], None] = field(default=lambda: None)
    asked: int = 0

    async def cards(self) -> list[ModelCard]:
        self.asked += 1
        if self.asked == self.at:
            self.interrupt()
        return await super().cards()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ConversationStore]:
    with closing(ConversationStore(tmp_path / "conversations.db")) as found:
        yield found


def chat_tab() -> ChatTab:
    """Add the components of a chat tab to the current page."""
    header = header_row()
    return ChatTab(gr.State(TabState()), header, conversation_list_panel(), chat_panel(), chat_controls(header.model))


def events_over(store: ConversationStore, assistant: ScriptedPageAssistant) -> ChatEvents:
    """Return the handlers of a chat tab with real components."""
    with gr.Blocks(analytics_enabled=False):
        parts = chat_tab()
    return ChatEvents(parts, ConversationList(ChatView(store, shared(assistant), Turns())), lambda _: ME)


def event(**data: Any) -> gr.EventData:
    return gr.EventData(None, data)


async def every(outputs: AsyncIterator[Sequence[Any]]) -> list[Sequence[Any]]:
    return [one async for one in outputs]


def temperature(outputs: Sequence[Any]) -> Any:
    """Return the sixth output: the temperature slider's."""
    return outputs[5]


async def test_a_refresh_overtakes_an_opening(store: ConversationStore) -> None:
    """A conversation's settings are shown even after a refresh during the opening."""
    tab = TabState(ME)
    id = store.create(ME, TurnSettings(temperature=0.25))
    refreshed = []

    def refresh() -> None:
        tab.epoch += 1
        refreshed.append(tab.epoch)

    events = events_over(store, InterruptedAssistant(at=2, interrupt=refresh))
    (shown,) = await every(events.act_on_list(event(verb="open", id=id), REQUEST, tab, ""))
    assert refreshed == [tab.epoch]
    assert (shown[1]["id"], temperature(shown)) == (id, 0.25)


async def test_another_opening_overtakes_an_opening(store: ConversationStore) -> None:
    """An overtaken opening does not replace the settings of a later opening."""
    tab = TabState(ME)
    first, second = (store.create(ME, TurnSettings(temperature=one)) for one in (0.25, 0.5))
    events = events_over(store, InterruptedAssistant(at=2, interrupt=lambda: tab.show_conversation(second)))
    (shown,) = await every(events.act_on_list(event(verb="open", id=first), REQUEST, tab, ""))
    assert (shown[1]["id"], temperature(shown)) == (second, gr.skip())
    events = events_over(store, InterruptedAssistant(at=1, interrupt=lambda: tab.show_conversation(first)))
    (shown,) = await every(events.act_on_list(event(verb="open", id=second), REQUEST, tab, ""))
    assert (shown[1]["id"], temperature(shown)) == (first, 0.25)


async def test_an_action_is_overtaken(store: ConversationStore) -> None:
    """An action in a conversation closed meanwhile yields only the current state of the tab."""
    tab = TabState(ME, store.create(ME, TurnSettings()))
    events = events_over(store, InterruptedAssistant(at=1, interrupt=lambda: tab.show_conversation(None)))
    ((_, shown),) = await every(events.act_on_chat(event(verb="refresh"), REQUEST, tab, *shown_values(events)))
    assert shown["id"] is None


async def test_overtaken_while_the_list_is_read(store: ConversationStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """An overtaken call shows neither an old conversation nor an old list."""
    tab = TabState(ME, store.create(ME, TurnSettings()))
    events = events_over(store, ScriptedPageAssistant())
    read = ConversationList.payload

    async def read_and_open(conversations: ConversationList, tab: TabState) -> dict[str, Any]:
        monkeypatch.setattr(ConversationList, "payload", read)
        found = await read(conversations, tab)
        for listed, shown, *_ in await every(events.act_on_list(event(verb="new"), REQUEST, tab, "")):
            assert (listed["open"], shown["id"]) == (None, None)
        return found

    monkeypatch.setattr(ConversationList, "payload", read_and_open)
    outputs = await every(events.act_on_chat(event(verb="refresh"), REQUEST, tab, *shown_values(events)))
    assert outputs[0] == [gr.skip(), gr.skip()]
    assert [(listed["open"], shown["id"]) for listed, shown in outputs[1:]] == [(None, None)]


@pytest.mark.parametrize("changed", [0.75, None], ids=["another", "emptied"])
async def test_settings_that_the_user_has_changed(store: ConversationStore, changed: float | None) -> None:
    """A setting changed or emptied by the user is not overwritten by an opening."""
    tab = TabState(ME)
    id = store.create(ME, TurnSettings(temperature=0.25))
    events = events_over(store, ScriptedPageAssistant([[*tokens("yes"), None]]))
    chats = events.conversations.chats
    turn = await chats.actions(TabState(ME)).send(id, "Hello", TurnSettings(temperature=0.25))
    opening = events.act_on_list(event(verb="open", id=id), REQUEST, tab, "")
    assert temperature(await anext(opening)) == 0.25
    assert temperature(await anext(opening)) == 0.25
    values = events.parts.controls.values(TurnSettings())
    await events.save_settings(REQUEST, tab, *values[:2], changed, *values[3:])
    await turn.stop()
    assert {temperature(shown) == gr.skip() async for shown in opening} == {True}


async def test_ended_while_an_overtaken_call_reads(store: ConversationStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """An overtaken call does not show an ended answer as running."""
    tab = TabState(ME)
    events = events_over(store, ScriptedPageAssistant([[*tokens("yes"), None]]))
    values = shown_values(events)
    sending = events.act_on_chat(event(verb="send", text="Hello", messageId="a"), REQUEST, tab, *values)
    assert (await anext(sending))[1]["live"] is not None
    tab.epoch += 1  # A refresh begins.
    reading, chats = ChatView._read, events.conversations.chats

    async def read_and_end(view: ChatView, tab: TabState) -> Any:
        monkeypatch.setattr(ChatView, "_read", reading)
        found = await reading(view, tab)
        await chats.turns.aclose()
        refreshing = events.act_on_chat(event(verb="refresh"), REQUEST, tab, *values)
        assert [shown["live"] async for _, shown in refreshing] == [None]
        return found

    monkeypatch.setattr(ChatView, "_read", read_and_end)
    assert [shown async for _, shown in sending] == [gr.skip()]


async def test_outputs_keep_their_order(store: ConversationStore) -> None:
    """Outputs are not processed in threads, because threads could reorder two calls' outputs."""
    with gr.Blocks(analytics_enabled=False) as page:
        chats = ChatView(store, shared(ScriptedPageAssistant()), Turns())
        connect(chat_tab(), page, ConversationList(chats), lambda _: ME)
    assert {function.postprocess for function in page.fns.values()} == {False}


def shown_values(events: ChatEvents) -> list[Any]:
    return events.parts.controls.values(TurnSettings())
