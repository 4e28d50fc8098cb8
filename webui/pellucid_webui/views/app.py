"""Creates the page: its tabs, theme, scripts and styles, and the handlers of the chat tab's events."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from pellucid.client.assistant_protocol import Assistant
from pellucid_webui.conversations.blind_reviews import REVIEWS, Reviews
from pellucid_webui.conversations.markdown_to_html import styles
from pellucid_webui.conversations.store import ConversationStore
from pellucid_webui.conversations.tab_state import TabState
from pellucid_webui.conversations.turn import Turns
from pellucid_webui.views.chat import ChatView, chat_panel
from pellucid_webui.views.compare import compare_tab
from pellucid_webui.views.controls import Controls, turn_controls
from pellucid_webui.views.conversation_list import ConversationList, conversation_list_panel
from pellucid_webui.views.infill import infill_tab
from pellucid_webui.views.read import read_tab
from pellucid_webui.views.review import review_tab

ASSETS = Path(__file__).parents[1] / "assets"

SCRIPTS = (
    "dom",
    "colours",
    "sampler_whatif",
    "token_text",
    "token_elements",
    "token_card",
    "surprisal_bars",
    "whatif_sliders",
    "heatmap_toolbar",
    "heatmap",
    "inspector",
    "rendered_tokens",
    "rendered_answer",
    "inspection",
    "answer_tree",
    "chat_message",
    "chat_tab",
    "conversation_list",
    "compare_tab",
    "read_tab",
    "infill_tab",
    "review_tab",
    "server_connection",
)
"""Scripts in dependency order."""

STYLES = ("page", "heatmap", "inspector", "answer_tree")

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
"""Uses local fonts, since the page loads nothing from other sites, and darker hints, since Gradio's own fail the contrast check."""

OwnerOf = Callable[[gr.Request], str]


def head() -> str:
    """Return all scripts as inline ``<script>`` elements."""
    parts = [(ASSETS / f"{name}.js").read_text(encoding="utf-8") for name in SCRIPTS]
    return "\n".join(f"<script>\n{part}\n</script>" for part in parts)


def css() -> str:
    """Return all styles, including those of highlighted code."""
    parts = [(ASSETS / f"{name}.css").read_text(encoding="utf-8") for name in STYLES]
    return "\n".join([*parts, styles(".pl-code", "xcode"), styles(".dark .pl-code", "github-dark")])


def create_page(assistant: Assistant, store: ConversationStore, turns: Turns, owner_of: OwnerOf) -> gr.Blocks:
    """Create the page over an assistant and a store; ``owner_of`` returns the user whose conversations a request may see."""
    chats = ChatView(store, assistant, turns)
    conversations = ConversationList(chats)
    page = gr.Blocks(title="Pellucid", analytics_enabled=False, fill_width=True)
    with page:
        state = gr.State(TabState())
        with gr.Tab("Chat", id="chat"), gr.Row(elem_id="pl-desk"):
            with gr.Column(scale=1, min_width=240, elem_id="pl-side"):
                list_panel = conversation_list_panel()
                controls = turn_controls(with_format=True)
            with gr.Column(scale=4, min_width=320):
                chat = chat_panel()
        read_tab(page, assistant)
        compare_tab(page, assistant)
        infill_tab(page, assistant)
        review_tab(page, Reviews(store.folder / REVIEWS), owner_of)
        _connect(page, state, list_panel, chat, controls, conversations, chats, owner_of)
    return page


def _connect(
    page: gr.Blocks,
    state: gr.State,
    list_panel: gr.HTML,
    chat: gr.HTML,
    controls: Controls,
    conversations: ConversationList,
    chats: ChatView,
    owner_of: OwnerOf,
) -> None:
    """Connect the events of the chat tab to their handlers, which only pass them to ``ChatView`` and ``ConversationList``."""

    async def on_load(tab: TabState, request: gr.Request) -> AsyncIterator[Sequence[Any]]:
        tab.owner = owner_of(request)
        tab.look_at(request.query_params.get("c") or None)
        yield [gr.skip(), gr.skip(), *await controls.showing(chats.assistant, await chats.settings(tab))]
        listed: Any = await conversations.payload(tab)
        async for shown in chats.follow(tab):
            yield [listed, shown, *controls.unchanged()]
            listed = gr.skip()

    def owned(tab: TabState, request: gr.Request) -> TabState:
        """Return the tab's state, or one without an owner, which reloads the page, if another user has logged in since."""
        return tab if tab.owner == owner_of(request) else TabState()

    async def on_chat(event: gr.EventData, request: gr.Request, tab: TabState, *values: Any) -> AsyncIterator[Sequence[Any]]:
        tab = owned(tab, request)
        before = None
        async for shown in chats.act(tab, event._data or {}, lambda: controls.settings(values)):
            now = (tab.conversation, shown["title"], shown["live"] is None)
            yield [gr.skip() if now == before else await conversations.payload(tab), shown]
            before = now

    async def on_list(event: gr.EventData, request: gr.Request, tab: TabState) -> AsyncIterator[Sequence[Any]]:
        tab = owned(tab, request)
        if not tab.owner:
            async for shown in chats.follow(tab):
                yield [gr.skip(), shown, *controls.unchanged()]
            return
        epoch = tab.epoch
        listed = await conversations.act(tab, event._data or {})
        yield [listed, gr.skip(), *controls.unchanged()]
        if tab.epoch != epoch:
            yield [gr.skip(), gr.skip(), *await controls.showing(chats.assistant, await chats.settings(tab))]
            async for shown in chats.follow(tab):
                yield [gr.skip(), shown, *controls.unchanged()]

    async def on_control(request: gr.Request, tab: TabState, *values: Any) -> None:
        await chats.save_settings(owned(tab, request), lambda: controls.settings(values))

    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "concurrency_limit": None, "trigger_mode": "multiple"}
    page.load(on_load, [state], [list_panel, chat, *controls.parts], **quiet)
    chat.act(on_chat, [state, *controls.parts], [list_panel, chat], **quiet)
    gr.on(controls.inputs, on_control, [state, *controls.parts], None, **quiet | {"trigger_mode": "always_last"})
    list_panel.act(on_list, [state], [list_panel, chat, *controls.parts], **quiet)
