"""Tests the chat at several widths and by keyboard, in a browser with scripted models."""

from __future__ import annotations

from playwright.async_api import Page, expect

from support.page.page_fixtures import ENDLESS, Tab
from support.page.page_tabs import FRAMES


async def test_widths(tab: Tab) -> None:
    """At any width the page does not scroll sideways, and the input field is visible."""
    field = tab.page.get_by_role("textbox", name="Your message")
    overflow = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"

    async def fits(state: str) -> None:
        for width in (360, 768, 1280, 1920):
            await tab.page.set_viewport_size({"width": width, "height": 800})
            await tab.page.evaluate(FRAMES)
            assert await tab.page.evaluate(overflow) == 0, (state, width)
            await expect(field).to_be_in_viewport(ratio=1)

    await fits("empty")
    await tab.be_brief(4)
    await tab.send(f"Say yes.\n\n```\n{'long ' * 200}\n```\n\n{'x' * 500}")
    await tab.answered(2)
    await fits("answered")
    await tab.page.locator(".pl-user .pl-tokens-button").click()
    await tab.page.locator(".pl-user [role=option]").first.wait_for()
    await fits("tokens")


FOCUSED = "() => document.activeElement.getAttribute('aria-label') || document.activeElement.textContent.trim()"


async def tabbed(page: Page, name: str, key: str = "Tab", most: int = 40) -> None:
    """Press a key until the element with this name has the focus."""
    passed = []
    for _ in range(most):
        await page.keyboard.press(key)
        passed.append(str(await page.evaluate(FOCUSED)))
        if passed[-1].startswith(name):
            return
    raise AssertionError(f"{name} is not reached by {key}, but {passed}")


async def test_by_keyboard(tab: Tab) -> None:
    """Sending, stopping, tokens, branches and versions need no mouse; the focus is never lost."""
    await tab.be_brief(ENDLESS)
    page = tab.page
    await tabbed(page, "Your message")
    await page.keyboard.type("Write a long story about a fox and a hen.")
    await page.keyboard.press("Enter")
    await tab.grown(10)
    await page.keyboard.press("Escape")
    await tab.answered(2)
    assert await page.evaluate(FOCUSED) == "Your message"

    await tabbed(page, "Tokens", "Shift+Tab")
    await page.keyboard.press("Enter")
    await tab.options.first.wait_for()
    await expect(page.locator(".pl-assistant .pl-tokens-button")).to_be_focused()
    await tabbed(page, "token ", "Shift+Tab")
    for key in ("ArrowRight", "Enter", "ArrowDown", "Enter"):
        await page.keyboard.press(key)
    await page.get_by_text("2 / 2").wait_for()
    await tab.grown(10)
    await expect(page.locator(".pl-assistant .pl-tokens-button")).to_be_focused()
    await page.keyboard.press("Escape")
    await tab.answered(2)
    assert "branched at token 2" in await page.locator(".pl-assistant .pl-head").inner_text()

    await expect(page.get_by_role("button", name="Previous version")).to_be_enabled()
    await tabbed(page, "Previous version", "Shift+Tab")
    await page.keyboard.press("Enter")
    await page.get_by_text("1 / 2").wait_for()
    await tabbed(page, "Next version", "Shift+Tab")
    await page.keyboard.press("Enter")
    await page.get_by_text("2 / 2").wait_for()
    await tabbed(page, "Edit")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("textbox", name="Edit the message")).to_be_focused()
    await page.keyboard.press("Escape")
    await expect(page.locator(".pl-assistant .pl-edit-button")).to_be_focused()
    assert tab.problems == []
