"""Tests what the chat tab's handlers pass to Gradio, which sets every output to nothing after a stream without outputs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from pellucid.client.assistant_protocol import shared
from pellucid.tokens import ModelCard
from pellucid_webui.conversations.storage.store import ConversationStore
from pellucid_webui.conversations.tab_state import TabState
from pellucid_webui.conversations.turn import Turns
from pellucid_webui.conversations.turn_settings import TurnSettings
from pellucid_webui.views.chat.chat_events import ChatEvents, ChatTab
from pellucid_webui.views.chat.chat_view import ChatView, chat_panel
from pellucid_webui.views.chat.conversation_list import ConversationList, conversation_list_panel
from pellucid_webui.views.controls import chat_controls
from pellucid_webui.views.header import header_row
from support.page.scripted_assistant import ScriptedPageAssistant

ME = "me"
REQUEST = gr.Request()


@dataclass
class InterruptedAssistant(ScriptedPageAssistant):
    """Calls ``interrupt`` while it lists its models for the time ``at``."""

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


def events_over(store: ConversationStore, assistant: ScriptedPageAssistant) -> ChatEvents:
    """Return the handlers of a chat tab with real components."""
    with gr.Blocks(analytics_enabled=False):
        header = header_row()
        parts = ChatTab(gr.State(TabState()), header, conversation_list_panel(), chat_panel(), chat_controls(header.model))
    return ChatEvents(parts, ConversationList(ChatView(store, shared(assistant), Turns())), lambda _: ME)


def event(**data: Any) -> gr.EventData:
    return gr.EventData(None, data)


async def every(outputs: AsyncIterator[Sequence[Any]]) -> list[Sequence[Any]]:
    return [one async for one in outputs]


def temperature(outputs: Sequence[Any]) -> Any:
    """Return the output for the slider of the temperature, which follows those for list, chat, header, model and system prompt."""
    return outputs[5]


async def test_a_refresh_overtakes_an_opening(store: ConversationStore) -> None:
    """A conversation's settings are shown even if another call begins to show the conversation before its opening has."""
    tab = TabState(ME)
    id = store.create(ME, TurnSettings(temperature=0.25))

    def refresh() -> None:
        tab.epoch += 1

    events = events_over(store, InterruptedAssistant(at=2, interrupt=refresh))
    (shown,) = await every(events.act_on_list(event(verb="open", id=id), REQUEST, tab, ""))
    assert shown[1] == gr.skip()
    assert temperature(shown) == 0.25


async def test_another_opening_overtakes_an_opening(store: ConversationStore) -> None:
    """The settings of a conversation do not replace those of another one that was opened since."""
    tab = TabState(ME)
    first, second = (store.create(ME, TurnSettings(temperature=one)) for one in (0.25, 0.5))
    events = events_over(store, InterruptedAssistant(at=2, interrupt=lambda: tab.show_conversation(second)))
    (shown,) = await every(events.act_on_list(event(verb="open", id=first), REQUEST, tab, ""))
    assert list(shown) == [gr.skip()] * len(shown)

    events = events_over(store, InterruptedAssistant(at=1, interrupt=lambda: tab.show_conversation(first)))
    shown = (await every(events.act_on_list(event(verb="open", id=second), REQUEST, tab, "")))[-1]
    assert (shown[1]["id"], temperature(shown)) == (first, 0.25)


async def test_an_action_is_overtaken(store: ConversationStore) -> None:
    """An action whose conversation is no longer shown changes nothing on the page."""
    tab = TabState(ME)
    events = events_over(store, InterruptedAssistant(at=1, interrupt=lambda: tab.show_conversation(None)))
    values = events.parts.controls.values(TurnSettings())
    assert await every(events.act_on_chat(event(verb="refresh"), REQUEST, tab, *values)) == [[gr.skip(), gr.skip()]]
