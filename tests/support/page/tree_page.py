"""Provides a page with the tree of an answer alone."""

from __future__ import annotations

from typing import Any

from playwright.async_api import Page

from support.page.heat_page import asset

SCRIPTS = ("dom", "colours", "token_text", "json_value_tree")
"""Scripts in dependency order."""

HTML = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Tree</title><style>{css}</style></head>
<body class="{theme}"><main><h1>Tree</h1><div id="place"></div></main>{scripts}</body></html>"""

SHOW = """tree => {
  window.chosen = [];
  const made = new Pellucid.AnswerTree(tree, (tokens) => window.chosen.push(tokens));
  document.getElementById("place").replaceChildren(made.element);
}"""


async def show_tree(page: Page, tree: dict[str, Any], theme: str = "") -> None:
    """Show a tree; chosen tokens are in ``window.chosen``."""
    scripts = "\n".join(f"<script>{asset(f'{name}.js')}</script>" for name in SCRIPTS)
    css = "\n".join(asset(f"{name}.css") for name in ("heatmap", "colours", "json_value_tree"))
    await page.set_content(HTML.format(css=css, theme=theme, scripts=scripts))
    await page.evaluate(SHOW, tree)
