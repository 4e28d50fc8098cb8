"""Connects the events of the chat tab and the header to their handlers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from pellucid_webui.conversations.tab_state import TabState
from pellucid_webui.conversations.turn_settings import TurnSettings
from pellucid_webui.views.chat.conversation_list import ConversationList
from pellucid_webui.views.controls import Controls, model_menu
from pellucid_webui.views.header import Header, header_payload
from pellucid_webui.views.served_models import ServedModels

OwnerOf = Callable[[gr.Request], str]
"""Returns the user whose conversations a request may see."""

QUIET: dict[str, Any] = {
    "show_progress": "hidden",
    "api_visibility": "private",
    "concurrency_limit": None,
    "trigger_mode": "multiple",
}


REPEATS = 5
"""Outputs of a stream that have the settings: with all of them, a user could not change any while an answer is generated."""


@dataclass(frozen=True, slots=True)
class ChatTab:
    """The components of the chat tab."""

    state: gr.State
    header: Header
    list_panel: gr.HTML
    chat: gr.HTML
    controls: Controls


def connect(parts: ChatTab, page: gr.Blocks, conversations: ConversationList, owner_of: OwnerOf) -> None:
    """Connect the events to their handlers, which only pass them to ``ChatView`` and ``ConversationList``.

    The browser may skip all but the last of several outputs that come at once. So each has the whole list and chat, which costs
    little: only what has changed is sent.
    """
    chats, controls, header = conversations.chats, parts.controls, parts.header
    unchanged = [gr.skip(), *controls.unchanged()]

    async def settings_shown(tab: TabState, owner: str, model: str = "") -> list[Any]:
        """Return updates of the header and the controls that show the tab's conversation; a new chat keeps what they show."""
        served, settings = await ServedModels.ask(chats.assistant), await chats.settings(tab)
        if settings is None:
            kept = model if model in served.names or served.problem else ""
            return [header_payload(served, owner, kept), model_menu(served, chosen=kept), *controls.unchanged()[1:]]
        return [header_payload(served, owner, settings.model), model_menu(served, chosen=settings.model), *controls.values(settings)[1:]]

    async def on_load(tab: TabState, request: gr.Request) -> AsyncIterator[Sequence[Any]]:
        tab.owner = owner_of(request)
        tab.look_at(request.query_params.get("c") or None)
        settings, listed = await settings_shown(tab, tab.owner), await conversations.payload(tab)
        repeats = REPEATS
        async for shown in chats.follow(tab):
            yield [listed, shown, *(settings if repeats else unchanged)]
            repeats = max(0, repeats - 1)

    def owned(tab: TabState, request: gr.Request) -> TabState:
        """Return the tab's state, or one without an owner, which reloads the page, if another user has logged in since."""
        return tab if tab.owner == owner_of(request) else TabState()

    async def on_chat(event: gr.EventData, request: gr.Request, tab: TabState, *values: Any) -> AsyncIterator[Sequence[Any]]:
        tab = owned(tab, request)
        before, listed = None, {}
        async for shown in chats.act(tab, event._data or {}, lambda: controls.settings(values)):
            now = (tab.conversation, shown["title"], shown["live"] is None)
            if now != before:
                before, listed = now, await conversations.payload(tab)
            yield [listed, shown]

    async def on_list(event: gr.EventData, request: gr.Request, tab: TabState, model: str | None) -> AsyncIterator[Sequence[Any]]:
        tab = owned(tab, request)
        if not tab.owner:
            async for shown in chats.follow(tab):
                yield [gr.skip(), shown, *unchanged]
            return
        epoch = tab.epoch
        listed = await conversations.act(tab, event._data or {})
        if tab.epoch == epoch:
            yield [listed, gr.skip(), *unchanged]
            return
        settings = await settings_shown(tab, tab.owner, model or "")
        repeats = REPEATS
        async for shown in chats.follow(tab):
            yield [listed, shown, *(settings if repeats else unchanged)]
            repeats = max(0, repeats - 1)

    async def on_control(request: gr.Request, tab: TabState, *values: Any) -> None:
        await chats.save_settings(owned(tab, request), lambda: controls.settings(values))

    async def on_model(request: gr.Request, model: str | None) -> Any:
        return header_payload(await ServedModels.ask(chats.assistant), owner_of(request), model or "")

    async def on_header(event: gr.EventData, request: gr.Request, tab: TabState, *values: Any) -> Sequence[Any]:
        """Choose the model that the event names; without one, ask again which models are served."""
        chosen = str((event._data or {}).get("model") or values[0] or "")

        def settings() -> TurnSettings:
            return controls.settings([chosen, *values[1:]])

        await chats.save_settings(owned(tab, request), settings)
        served = await ServedModels.ask(chats.assistant)
        return [header_payload(served, owner_of(request), chosen), model_menu(served, chosen=chosen)]

    state, shown_parts = parts.state, [parts.list_panel, parts.chat, header.panel, *controls.parts]
    latest = QUIET | {"trigger_mode": "always_last"}
    page.load(on_load, [state], shown_parts, **QUIET)
    parts.chat.act(on_chat, [state, *controls.parts], [parts.list_panel, parts.chat], **QUIET)
    gr.on(controls.inputs, on_control, [state, *controls.parts], None, **latest)
    header.model.input(on_model, [header.model], [header.panel], **latest)
    header.panel.act(on_header, [state, *controls.parts], [header.panel, header.model], **QUIET)
    parts.list_panel.act(on_list, [state, header.model], shown_parts, **QUIET)
