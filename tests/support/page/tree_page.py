"""Provides a page with the tree of an answer alone."""

from __future__ import annotations

from typing import Any

from playwright.async_api import Page

from support.page.heat_page import answer_with, asset

ADDRESS = "http://tree.test/"

HTML = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Tree</title><style>{css}</style></head>
<body><main><h1>Tree</h1><div id="place"></div></main></body></html>"""

SHOW = """async (tree) => {
  const { AnswerTree } = await import("./assets/chat/json_value_tree.js");
  window.chosen = [];
  const made = new AnswerTree(tree, (tokens) => window.chosen.push(tokens));
  document.getElementById("place").replaceChildren(made.element);
}"""


async def show_tree(page: Page, tree: dict[str, Any], theme: str = "") -> None:
    """Show a tree; chosen tokens are in ``window.chosen``."""
    if page.url != ADDRESS:
        css = "\n".join(asset(f"{name}.css") for name in ("heatmap", "colours", "json_value_tree"))
        await page.route("**/*", lambda route: answer_with(route, ADDRESS, HTML.format(css=css)))
        await page.goto(ADDRESS)
    await page.evaluate("theme => { document.body.className = theme; }", theme)
    await page.evaluate(SHOW, tree)
