"""Event handlers of the chat tab and the header."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from pellucid_webui.conversations.served_models import ServedModels
from pellucid_webui.conversations.tab_state import TabState
from pellucid_webui.views.chat.chat_view import ChatView, Payload
from pellucid_webui.views.chat.conversation_list import ConversationList
from pellucid_webui.views.controls import Controls, model_menu
from pellucid_webui.views.header import Header, header_payload
from pellucid_webui.views.page_owner import OwnerOf

EVENT_OPTIONS: dict[str, Any] = {
    "show_progress": "hidden",
    "api_visibility": "private",
    "concurrency_limit": None,
    "trigger_mode": "multiple",
    "postprocess": False,  # Gradio postprocesses each output in a thread, which could reorder the outputs of two calls.
}


SETTINGS_REPEATS = 5
"""If all outputs had settings, a user could not change settings meanwhile."""


@dataclass(frozen=True, slots=True)
class ChatTab:
    state: gr.State
    header: Header
    list_panel: gr.HTML
    chat: gr.HTML
    controls: Controls


def connect(parts: ChatTab, page: gr.Blocks, conversations: ConversationList, owner_of: OwnerOf) -> None:
    events = ChatEvents(parts, conversations, owner_of)
    state, shown_parts = parts.state, [parts.list_panel, parts.chat, parts.header.panel, *parts.controls.parts]
    latest = EVENT_OPTIONS | {"trigger_mode": "always_last"}
    page.load(events.load, [state], shown_parts, **EVENT_OPTIONS)
    parts.chat.act(events.act_on_chat, [state, *parts.controls.parts], [parts.list_panel, parts.chat], **EVENT_OPTIONS)
    parts.list_panel.act(events.act_on_list, [state, parts.header.model], shown_parts, **EVENT_OPTIONS)
    parts.header.panel.act(
        events.act_on_header, [state, *parts.controls.parts], [parts.header.panel, parts.header.model], **EVENT_OPTIONS
    )
    parts.header.model.input(events.show_model, [parts.header.model], [parts.header.panel], **latest)
    gr.on(parts.controls.inputs, events.save_settings, [state, *parts.controls.parts], None, **latest)


@dataclass(frozen=True, slots=True)
class ChatEvents:
    """Event handlers of the chat tab.

    The browser may skip all but the last of several outputs. Therefore each output has the whole
    list and chat; only changes are sent. No output replaces a newer output, not even the last
    output, which Gradio repeats. Every stream has an output: otherwise Gradio sets all its
    components to null.
    """

    parts: ChatTab
    conversations: ConversationList
    owner_of: OwnerOf

    @property
    def _chats(self) -> ChatView:
        return self.conversations.chats

    @property
    def _controls(self) -> Controls:
        return self.parts.controls

    async def load(self, tab: TabState, request: gr.Request) -> AsyncIterator[Sequence[Any]]:
        """Show the conversation of the page's address."""
        tab.owner = self.owner_of(request)
        tab.show_conversation(request.query_params.get("c") or None)
        async for shown in self._open(tab, await self.conversations.payload(tab)):
            yield shown

    async def act_on_chat(
        self, event: gr.EventData, request: gr.Request, tab: TabState, *values: Any
    ) -> AsyncIterator[Sequence[Any]]:
        """Run an action of the chat, and update the list if necessary."""
        tab = self._owned(tab, request)
        before, listed = None, Payload()
        async for shown in self._chats.act(tab, event._data or {}, lambda: self._controls.settings(values)):
            now = (tab.conversation, shown["title"], shown["live"] is None)
            if now != before:
                before, listed = now, await self.conversations.payload(tab)
            yield [_newest_list(tab, listed), _newest_chat(tab, shown)]

    async def act_on_list(
        self, event: gr.EventData, request: gr.Request, tab: TabState, model: str | None
    ) -> AsyncIterator[Sequence[Any]]:
        """Run an action of the list, and show an opened conversation with settings."""
        tab = self._owned(tab, request)
        if not tab.owner:
            async for stale in self._chats.follow(tab):
                yield [gr.skip(), stale, *self._unchanged()]
            return
        listed, opened = await self.conversations.act(tab, event._data or {})
        if not opened:  # The user may be editing settings.
            yield [_newest_list(tab, listed), gr.skip(), *self._unchanged()]
            return
        async for shown in self._open(tab, listed, model or ""):
            yield shown

    async def act_on_header(
        self, event: gr.EventData, request: gr.Request, tab: TabState, *values: Any
    ) -> Sequence[Any]:
        """Choose the named model; without a name, only refresh the list of models."""
        owner = self.owner_of(request)
        chosen = str((event._data or {}).get("model") or values[0] or "")
        await self._chats.save_settings(
            self._owned(tab, request), lambda: self._controls.settings([chosen, *values[1:]])
        )
        served = await ServedModels.ask(self._chats.assistant_for(owner))
        return [header_payload(served, owner, chosen), model_menu(served, chosen=chosen)]

    async def show_model(self, request: gr.Request, model: str | None) -> Any:
        owner = self.owner_of(request)
        return header_payload(await ServedModels.ask(self._chats.assistant_for(owner)), owner, model or "")

    async def save_settings(self, request: gr.Request, tab: TabState, *values: Any) -> None:
        await self._chats.save_settings(self._owned(tab, request), lambda: self._controls.settings(values))

    async def _open(self, tab: TabState, listed: Payload, model: str = "") -> AsyncIterator[Sequence[Any]]:
        """Yield the tab's content, at first with settings unless the user edits."""
        opened, settings = tab.conversation, await self._settings_shown(tab, model)
        while tab.conversation != opened:  # The conversation was closed or replaced.
            opened, settings = tab.conversation, await self._settings_shown(tab, model)
        repeats, edits = SETTINGS_REPEATS, tab.edits
        async for shown in self._chats.follow(tab):
            has_settings = repeats > 0 and tab.conversation == opened and tab.edits == edits
            yield [
                _newest_list(tab, listed),
                _newest_chat(tab, shown),
                *(settings if has_settings else self._unchanged()),
            ]
            repeats -= 1

    async def _settings_shown(self, tab: TabState, model: str = "") -> list[Any]:
        """Return updates for the conversation's settings; a new chat changes nothing."""
        served, settings = await ServedModels.ask(self._chats.assistant_for(tab.owner)), await self._chats.settings(tab)
        if settings is None:
            kept = model if model in served.names or served.problem else ""
            return [
                header_payload(served, tab.owner, kept),
                model_menu(served, chosen=kept),
                *self._controls.unchanged()[1:],
            ]
        header = header_payload(served, tab.owner, settings.model)
        return [header, model_menu(served, chosen=settings.model), *self._controls.values(settings)[1:]]

    def _unchanged(self) -> list[Any]:
        return [gr.skip(), *self._controls.unchanged()]

    def _owned(self, tab: TabState, request: gr.Request) -> TabState:
        """Return the state; after another login, a state without owner, which reloads the page."""
        return tab if tab.owner == self.owner_of(request) else TabState()


def _newest_list(tab: TabState, listed: Payload) -> Payload:
    """Return the list, or a skip if the tab has a newer list. Order 0 is always sent."""
    is_old = 0 < listed["order"] < tab.listed
    tab.listed = max(tab.listed, listed["order"])
    return gr.skip() if is_old else listed


def _newest_chat(tab: TabState, shown: Payload) -> Payload:
    """Return the content, or a skip if the tab has newer content."""
    is_old = shown["order"] < tab.sent
    tab.sent = max(tab.sent, shown["order"])
    return gr.skip() if is_old else shown
