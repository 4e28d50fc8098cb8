"""Tests hostile answers in a browser."""

from __future__ import annotations

from pathlib import Path

import httpx
from playwright.async_api import Page, expect

from pellucid.vocabulary.token import Alternative, Token
from pellucid_webui.hosting.gradio_host import pellucid_view
from support.page.hostile_code import SLOW
from support.page.list_page import DAY, library, listed_page, row
from support.page.page_fixtures import watched
from support.page.page_tabs import PATIENCE
from support.page.small_page_server import paged
from support.servers.http_servers import ScriptedAssistant, scripted_state

PARTS = (
    "<script>window.harmed = 'script'</script>\n\n",
    "<img src=http://elsewhere.test/a.png onerror=\"window.harmed='img'\">\n\n",
    "${(window.harmed = 'template')} and {{x}} and {% y %}\n\n",
    "![picture](http://elsewhere.test/b.png) and ![data](data:image/svg+xml,<svg/onload=alert(1)>)\n\n",
    "[link](javascript:window.harmed='link') and [other](http://elsewhere.test/c)\n\n",
    "right \u202eto left\u202c and \u2067back\u2069\n\n",
    "```html\n<script>window.harmed = 'code'</script>\n```\n\n",
    "</pre></textarea></style></script><svg onload=\"window.harmed='svg'\">\n\n",
    "x" * 20_000 + "\n\n",
)

SHOWN = (
    "<script>window.harmed = 'script'</script>",
    "<img src=http://elsewhere.test/a.png",
    "${(window.harmed = 'template')} and {{x}} and {% y %}",
    "</pre></textarea></style></script><svg onload=",
)
"""Text that must be visible."""


def hostile() -> list[Token]:
    """Return the parts as tokens, with hostile alternatives and half an emoji at the end."""
    tokens: list[Token] = []
    for position, text in enumerate([*PARTS, ""]):
        data = text.encode() or "🙂".encode()[:2]
        other = "<b onmouseover=\"window.harmed='alternative'\">${window.harmed = 1}"
        top = (Alternative(position, text, data, -0.25), Alternative(99, other, other.encode(), -1.75))
        tokens.append(Token(position, text, data, position, -0.25, 1, 0.5, top, rest=0.05, sampled=1.0))
    return tokens


async def test_shown_as_text(tmp_path: Path, browser_page: Page) -> None:
    """Hostile text is shown as text, and neither runs nor loads anything."""
    dialogs: list[str] = []
    browser_page.on("dialog", lambda dialog: dialogs.append(dialog.message))
    state = scripted_state(ScriptedAssistant(hostile()))
    with paged(tmp_path, pellucid_view, state=state) as server:
        tab = watched(browser_page, server.server.url)
        await tab.open()
        await tab.send("<script>window.harmed = 'title'</script> ${window.harmed = 'title'} <b>bold</b>")
        await tab.answered(2)
        question, answer = await tab.texts()
        assert question == "<script>window.harmed = 'title'</script> ${window.harmed = 'title'} <b>bold</b>"
        for part in SHOWN:
            assert part in answer
        assert "x" * 20_000 in answer
        assert await browser_page.locator(".pl-body img, .pl-body svg, .pl-body script").count() == 0
        links = await browser_page.locator(".pl-message .pl-block a").evaluate_all(
            "links => links.map((link) => link.protocol)"
        )
        assert "javascript:" not in links
        await expect(browser_page.locator(".pl-title").first).to_contain_text("<script>window.harmed")

        await browser_page.locator(".pl-assistant .pl-tokens-button").click()
        await tab.options.first.wait_for()
        assert await tab.options.count() == len(PARTS) + 1
        for index in range(len(PARTS) + 1):
            await tab.options.nth(index).focus()
            await expect(browser_page.locator(".pl-docked")).to_contain_text("<b␣onmouseover=")
        assert "f0 9f" in (await browser_page.locator(".pl-docked").inner_text()).lower()
        assert await browser_page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
        await browser_page.reload()
        await tab.answered(2)
        assert await browser_page.evaluate("() => window.harmed") is None
        assert dialogs == []
        assert tab.elsewhere == []
        assert tab.problems == []


async def test_others_are_served(tmp_path: Path, browser_page: Page) -> None:
    """While a conversation with slow code is opened, other requests are answered."""
    with library(tmp_path) as conversations:
        code = [f"```java\nclass A{{}}\n```\n```java\n{SLOW[2 * number :]}```" for number in range(8)]
        id = conversations.add("slow", *code, at=DAY)
    with listed_page(tmp_path) as server:
        tab = watched(browser_page, server.server.url)
        await tab.open()
        await row(browser_page, id).locator(".pl-title").click()
        async with httpx.AsyncClient(base_url=server.server.url, timeout=PATIENCE) as other:
            assert (await other.post("/tokenize", json={"content": "x"})).status_code == 200
            assert (await other.post("/v1/completions", json={"prompt": "x"})).status_code == 200
        assert await browser_page.locator(".pl-message").count() == 0
        await expect(browser_page.locator(".pl-message")).to_have_count(8)
        blocks = browser_page.locator(".pl-message .pl-code code")
        assert (
            await blocks.evaluate_all("all => all.map((one) => one.querySelector('span') !== null)")
            == [True, False] * 8
        )
        assert await blocks.nth(1).inner_text() == SLOW
