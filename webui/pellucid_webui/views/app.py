"""Creates the page: its header, tabs, theme, scripts and styles."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

from pellucid.client.assistant_protocol import Assistant
from pellucid_webui.conversations.blind_reviews import REVIEWS, Reviews
from pellucid_webui.conversations.markdown_to_html import styles
from pellucid_webui.conversations.store import ConversationStore
from pellucid_webui.conversations.tab_state import TabState
from pellucid_webui.conversations.turn import Turns
from pellucid_webui.views.chat import ChatView, chat_panel
from pellucid_webui.views.chat_events import ChatTab, OwnerOf, connect
from pellucid_webui.views.compare import compare_tab
from pellucid_webui.views.controls import chat_controls
from pellucid_webui.views.conversation_list import ConversationList, conversation_list_panel
from pellucid_webui.views.header import header_row
from pellucid_webui.views.infill import infill_tab
from pellucid_webui.views.read import read_tab
from pellucid_webui.views.review import review_tab

ASSETS = Path(__file__).parents[1] / "assets"

SCRIPTS = (
    "dom",
    "shared_components",
    "icons",
    "code_blocks",
    "attached_files",
    "context_notice",
    "retry_form",
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
    "conversation_dates",
    "popup_menu",
    "conversation_rows",
    "search_match",
    "deleted_list",
    "conversation_list",
    "compare_form",
    "compare_card",
    "compare_column",
    "compare_parts",
    "compare_tab",
    "reading_parts",
    "line_list",
    "text_minimap",
    "reading_charts",
    "diff_view",
    "read_tab",
    "infill_tab",
    "review_tab",
    "server_connection",
    "drawers",
    "keyboard_help",
    "command_palette",
    "header",
    "empty_chat",
    "other_tabs",
)
"""Scripts in dependency order."""

STYLES = ("page", "heatmap", "inspector", "answer_tree", "dialogs_and_welcome", "chat", "conversation_list", "read", "compare")

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

SETTINGS_TITLE = """<h2 id="pl-settings-title">Model &amp; settings</h2>
<button type="button" class="pl-icon-button" data-close-drawer aria-label="Close the settings" title="Escape"><svg viewBox="0 0 24 24"
  aria-hidden="true"><path d="M6 6l12 12M18 6L6 18"/></svg></button>"""


def early_head() -> str:
    """Return what a browser needs before Gradio's scripts have run: the theme, the layout, and a viewport above the on-screen keyboard."""
    return (
        '<meta name="viewport" content="width=device-width, initial-scale=1, interactive-widget=resizes-content">\n'
        f"<script>\n{_asset('early_theme.js')}</script>\n<style>\n{_asset('frame.css')}</style>\n"
    )


def head() -> str:
    """Return all scripts as inline ``<script>`` elements."""
    return "\n".join(f"<script>\n{_asset(f'{name}.js')}\n</script>" for name in SCRIPTS)


def css() -> str:
    """Return all styles, including those of highlighted code."""
    return "\n".join([*(_asset(f"{name}.css") for name in STYLES), styles(".pl-code", "xcode"), styles(".dark .pl-code", "github-dark")])


def _asset(name: str) -> str:
    return (ASSETS / name).read_text(encoding="utf-8")


def create_page(assistant: Assistant, store: ConversationStore, turns: Turns, owner_of: OwnerOf) -> gr.Blocks:
    """Create the page over an assistant and a store; ``owner_of`` returns the user whose conversations a request may see."""
    chats = ChatView(store, assistant, turns)
    page = gr.Blocks(title="Pellucid", analytics_enabled=False, fill_width=True)
    with page:
        header = header_row()
        with gr.Tab("Chat", id="chat", elem_id="pl-tab-chat"), gr.Row(elem_id="pl-desk"):
            with gr.Column(scale=0, min_width=0, elem_id="pl-side"):
                list_panel = conversation_list_panel()
            with gr.Column(scale=1, min_width=0, elem_id="pl-main"):
                chat = chat_panel()
            with gr.Column(scale=0, min_width=0, elem_id="pl-settings"):
                gr.HTML(SETTINGS_TITLE, apply_default_css=False)
                controls = chat_controls(header.model)
        read_tab(page, assistant, owner_of)
        compare_tab(page, assistant, owner_of)
        infill_tab(page, assistant)
        review_tab(page, Reviews(store.folder / REVIEWS), owner_of)
        connect(ChatTab(gr.State(TabState()), header, list_panel, chat, controls), page, ConversationList(chats), owner_of)
    return page
