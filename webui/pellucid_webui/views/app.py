"""The page: its tabs, what they share, and which handler each event has."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from pellucid.client.protocol import Assistant
from pellucid_webui.conversations.blind_reviews import REVIEWS, Reviews
from pellucid_webui.conversations.markdown import styles
from pellucid_webui.conversations.store import ConversationStore
from pellucid_webui.conversations.tab_state import TabState
from pellucid_webui.conversations.turn import Turns
from pellucid_webui.views.chat import ChatView, chat_panel
from pellucid_webui.views.compare import compare_tab
from pellucid_webui.views.controls import Controls, turn_controls
from pellucid_webui.views.conversation_list import ConversationList, shelf_panel
from pellucid_webui.views.infill import infill_tab
from pellucid_webui.views.read import read_tab
from pellucid_webui.views.review import review_tab

ASSETS = Path(__file__).parents[1] / "assets"

SCRIPTS = (
    "dom",
    "colours",
    "whatif",
    "visible",
    "cells",
    "card",
    "sparkline",
    "sliders",
    "toolbar",
    "heatmap",
    "chat",
    "conversations",
    "compare",
    "read",
    "infill",
    "review",
    "page",
)
"""In the order in which they need each other."""

STYLES = ("style", "heatmap")

THEME = gr.themes.Base(
    primary_hue="blue", neutral_hue="slate", font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]
).set(
    body_text_color_subdued="*neutral_600",
    body_text_color_subdued_dark="*neutral_300",
    block_info_text_color="*neutral_600",
    block_info_text_color_dark="*neutral_300",
    block_title_text_color="*neutral_700",
    block_label_text_color="*neutral_700",
    button_primary_background_fill="*primary_700",
    button_primary_background_fill_dark="*primary_700",
    button_primary_background_fill_hover="*primary_800",
    button_primary_background_fill_hover_dark="*primary_800",
    button_transition="none",
    input_placeholder_color="*neutral_600",
    input_placeholder_color_dark="*neutral_300",
)
"""With fonts that are on the machine, as nothing is loaded from elsewhere, and hints dark enough to be read."""

OwnerOf = Callable[[gr.Request], str]


def head() -> str:
    """All scripts, within the page itself."""
    parts = [(ASSETS / f"{name}.js").read_text(encoding="utf-8") for name in SCRIPTS]
    return "\n".join(f"<script>\n{part}\n</script>" for part in parts)


def css() -> str:
    """All styles, with those of coloured code."""
    parts = [(ASSETS / f"{name}.css").read_text(encoding="utf-8") for name in STYLES]
    return "\n".join([*parts, styles(".pl-code", "xcode"), styles(".dark .pl-code", "github-dark")])


def create_page(speaker: Assistant, store: ConversationStore, turns: Turns, owner_of: OwnerOf) -> gr.Blocks:
    """The page over a speaker and a store; ``owner_of`` says whose conversations a request may see."""
    desk = ChatView(store, speaker, turns)
    shelf = ConversationList(desk)
    page = gr.Blocks(title="Pellucid", analytics_enabled=False, fill_width=True)
    with page:
        session = gr.State(TabState())
        with gr.Tab("Chat", id="chat"), gr.Row(elem_id="pl-desk"):
            with gr.Column(scale=1, min_width=240, elem_id="pl-side"):
                shelf_view = shelf_panel()
                controls = turn_controls()
            with gr.Column(scale=4, min_width=320):
                chat_view = chat_panel()
        read_tab(page, speaker)
        compare_tab(page, speaker)
        infill_tab(page, speaker)
        review_tab(page, Reviews(store.folder / REVIEWS), owner_of)
        _wire(page, session, shelf_view, chat_view, controls, shelf, desk, owner_of)
    return page


def _wire(
    page: gr.Blocks,
    session: gr.State,
    shelf_view: gr.HTML,
    chat_view: gr.HTML,
    controls: Controls,
    shelf: ConversationList,
    desk: ChatView,
    owner_of: OwnerOf,
) -> None:
    """Which event goes where. Handlers only pass on: what they do is in the desk and the shelf."""

    async def load(looking: TabState, request: gr.Request) -> AsyncIterator[Sequence[Any]]:
        looking.owner = owner_of(request)
        wanted = request.query_params.get("c")
        looking.look_at(wanted or None)
        yield [gr.skip(), gr.skip(), *await controls.showing(desk.speaker, await desk.settings(looking))]
        listed: Any = await shelf.picture(looking)
        async for shown in desk.follow(looking):
            yield [listed, shown, *controls.unchanged()]
            listed = gr.skip()

    def known(looking: TabState, request: gr.Request) -> TabState:
        """The tab's session; one without an owner, which loads the page anew, where somebody else has logged in since."""
        return looking if looking.owner == owner_of(request) else TabState()

    async def act(event: gr.EventData, request: gr.Request, tab: TabState, *given: Any) -> AsyncIterator[Sequence[Any]]:
        looking, asked = known(tab, request), event._data or {}
        before = None
        async for shown in desk.act(looking, asked, lambda: controls.settings(given)):
            now = (looking.conversation, shown["title"], shown["live"] is None)
            yield [gr.skip() if now == before else await shelf.picture(looking), shown]
            before = now

    async def act_on_shelf(event: gr.EventData, request: gr.Request, tab: TabState) -> AsyncIterator[Sequence[Any]]:
        looking = known(tab, request)
        if not looking.owner:
            async for shown in desk.follow(looking):
                yield [gr.skip(), shown, *controls.unchanged()]
            return
        epoch = looking.epoch
        listed = await shelf.act(looking, event._data or {})
        yield [listed, gr.skip(), *controls.unchanged()]
        if looking.epoch != epoch:
            yield [gr.skip(), gr.skip(), *await controls.showing(desk.speaker, await desk.settings(looking))]
            async for shown in desk.follow(looking):
                yield [gr.skip(), shown, *controls.unchanged()]

    async def keep(request: gr.Request, tab: TabState, *given: Any) -> None:
        await desk.keep(known(tab, request), lambda: controls.settings(given))

    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "concurrency_limit": None, "trigger_mode": "multiple"}
    page.load(load, [session], [shelf_view, chat_view, *controls.parts], **quiet)
    chat_view.act(act, [session, *controls.parts], [shelf_view, chat_view], **quiet)
    gr.on(controls.inputs, keep, [session, *controls.parts], None, **quiet | {"trigger_mode": "always_last"})
    shelf_view.act(act_on_shelf, [session], [shelf_view, chat_view, *controls.parts], **quiet)
