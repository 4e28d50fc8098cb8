"""The page: header, tabs, theme, scripts and styles."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

from pellucid_webui.conversations.markdown.markdown_to_html import styles
from pellucid_webui.frame.controls import chat_controls
from pellucid_webui.frame.form_controls import connect_controls
from pellucid_webui.frame.header import header_row
from pellucid_webui.frame.infill_tab import infill_tab
from pellucid_webui.frame.module_bundle import bundle
from pellucid_webui.frame.read_tab import read_tab

ASSETS = Path(__file__).parents[1] / "assets"

EARLY_THEME = "frame/early_theme.js"
"""A script in the head, not a module."""

MAIN_MODULE = "main.js"

STYLES = (
    "frame/page",
    "tokens/heatmap",
    "tokens/token_table",
    "tokens/colours",
    "tokens/inspector",
    "tokens/marks",
    "chat/json_value_tree",
    "frame/dialogs_and_welcome",
    "continuations/continuations",
    "chat/chat",
    "chat/version_tree",
    "conversations/conversation_list",
    "read/read",
    "read/reading_inputs",
    "compare/compare",
    "compare/compare_form",
    "compare/compared_token_card",
    "compare/compare_column",
    "compare/batch",
    "compare/compare_from_chat",
    "compare/compare_whatif",
)

THEME = gr.themes.Base(
    primary_hue="blue",
    neutral_hue="slate",
    radius_size=gr.themes.Size("0.5rem", "0.5rem", "0.5rem", "0.5rem", "0.5rem", "0.5rem", "0.75rem", "radius_page"),
    font=["system-ui", "sans-serif"],
    font_mono=["ui-monospace", "monospace"],
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
"""Local fonts, because the page loads nothing from elsewhere, and darker hints, because Gradio's
hints fail the contrast check. ``frame.css`` has the tokens that are the same in both themes.
"""

SETTINGS_TITLE = """<h2 id="pl-settings-title">Model &amp; settings</h2>
<button type="button" class="pl-icon-button" data-close-drawer aria-label="Close the settings" title="Escape">\
<svg viewBox="0 0 24 24"
  aria-hidden="true"><path d="M6 6l12 12M18 6L6 18"/></svg></button>"""


def early_head() -> str:
    """Return theme, layout and viewport, needed before Gradio's scripts run."""
    return (
        '<meta name="viewport" content="width=device-width, initial-scale=1, interactive-widget=resizes-content">\n'
        f"<script>\n{_asset(EARLY_THEME)}</script>\n<style>\n{early_style()}</style>\n"
    )


def early_style() -> str:
    return _asset("frame/frame.css")


def module(main: str = MAIN_MODULE) -> str:
    """Return the page's ES modules that ``main`` needs as a single module."""
    names = sorted(path.relative_to(ASSETS).as_posix() for path in ASSETS.rglob("*.js"))
    return bundle({name: _asset(name) for name in names if name != EARLY_THEME}, main)


def css(*more: str) -> str:
    return "\n".join(
        [
            *(_asset(f"{name}.css") for name in (*STYLES, *more)),
            styles(".pl-code", "xcode"),
            styles(".dark .pl-code", "github-dark"),
        ]
    )


def _asset(name: str) -> str:
    return (ASSETS / name).read_text(encoding="utf-8")


def create_page() -> gr.Blocks:
    page = gr.Blocks(title="Pellucid", analytics_enabled=False, fill_width=True)
    with page:
        model = header_row()
        with gr.Tab("Chat", id="chat", elem_id="pl-tab-chat"), gr.Row(elem_id="pl-desk"):
            with gr.Column(scale=0, min_width=0, elem_id="pl-side"):
                gr.Column(elem_id="pl-conversation-panel")
            with gr.Column(scale=1, min_width=0, elem_id="pl-main"):
                gr.Column(elem_id="pl-chat")
            with gr.Column(scale=0, min_width=0, elem_id="pl-settings"):
                gr.HTML(SETTINGS_TITLE, apply_default_css=False)
                connect_controls(page, "chat", [model, *chat_controls()])
        read_tab(page)
        with gr.Tab("Compare", id="compare"):
            gr.Column(elem_id="pl-compare")
        infill_tab(page)
        with gr.Tab("Review", id="review"):
            gr.Column(elem_id="pl-review")
    return page
