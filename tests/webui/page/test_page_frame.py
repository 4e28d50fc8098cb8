"""Tests the page's frame in a browser: header, drawers, theme, palette, keys and empty chat."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import FilePayload, Locator, Page, expect

from pellucid.vocabulary.finish import Finish, FinishReason, Usage
from pellucid.vocabulary.token import Token
from pellucid_webui.conversations.conversation import USER, Conversation, Node
from pellucid_webui.conversations.exchange.markdown_format import to_markdown
from pellucid_webui.conversations.model_view import CHARACTERS_PER_TOKEN
from pellucid_webui.conversations.turn_settings import TurnSettings
from support.page.page_fixtures import Tab, watched
from support.page.page_tabs import Theme, check_looks, check_themes, check_widths, set_theme
from support.page.storyteller import LARGE, SMALL, Storyteller
from support.servers.http_servers import spoken

USAGE = Usage(cached=1000, computed=201, generated=3, prefill=0.5, decode=0.25)
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True}


SCRIPT: list[Token | Finish | Exception] = [
    spoken("Can"),
    spoken("ber"),
    spoken("ra."),
    Finish(FinishReason.STOP, USAGE),
]


@pytest.fixture
async def framed(tab: Tab, teller: Storyteller) -> Tab:
    """Wait for the server's state."""
    teller.script = SCRIPT
    await tab.page.locator(".pl-example").first.wait_for()
    return tab


async def new_chat(framed: Tab) -> None:
    await framed.page.get_by_role("button", name="New chat").click()
    await expect(framed.page.locator(".pl-message")).to_have_count(0)


CUT_OFF = "all => all.filter((one) => one.scrollHeight > one.clientHeight + 2).map((one) => one.innerText)"
"""Returns the texts of elements lower than their content."""

SEND_HELLO = """() => {
  const field = document.querySelector("#pl-chat textarea.pl-field");
  field.value = "Hello";
  field.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", bubbles: true, cancelable: true }));
}"""
"""Sends a message while a dialog covers the chat."""


async def open_palette(page: Page) -> Locator:
    """Open the palette, and return the field."""
    await page.keyboard.press("Control+k")
    return page.get_by_role("combobox", name="Command or conversation")


async def palette(page: Page, text: str) -> None:
    """Run the first command of the palette that matches a text."""
    await (await open_palette(page)).fill(text)
    # The server may not have sent the command yet.
    await page.get_by_role("listbox", name="Commands").get_by_role("option").first.wait_for()
    await page.keyboard.press("Enter")


async def test_models(framed: Tab, teller: Storyteller) -> None:
    """The header shows the model, a new chat keeps the model, and a missing model is named."""
    await header_says_what_is_known(framed)
    await new_chat(framed)
    await new_chat_keeps_the_model(framed)
    await new_chat(framed)
    await missing_model(framed, teller)


async def header_says_what_is_known(framed: Tab) -> None:
    """The header has the model's state, size and device, the speed and the used context."""
    page = framed.page
    await expect(page.get_by_role("heading", level=1)).to_have_text("Pellucid")
    about = page.get_by_role("button", name="About the model")
    await expect(about).to_have_text("Ready531 MB · cpu")
    meter = page.get_by_role("meter", name="Context")
    await expect(meter).to_have_text("0 of 32,768 tokens")
    await framed.send("What is the capital of Australia?")
    await framed.answered(2)
    await expect(about).to_have_text("Ready531 MB · cpu · 8.0 tokens/s")
    await expect(meter).to_have_text("1,204 of 32,768 tokens")
    await page.get_by_role("textbox", name="Your message").fill("x" * 400)
    await expect(meter).to_have_text("1,204 + about 100 of 32,768 tokens")
    await about.click()
    await expect(page.locator("#pl-model-facts")).to_contain_text("int8 weights on cpu")
    assert framed.elsewhere == []
    assert framed.problems == []


async def missing_model(framed: Tab, teller: Storyteller) -> None:
    """A conversation keeps the name of a missing model, and changes the model only on request."""
    page = framed.page
    await expect(page.get_by_label("Model", exact=True).first).to_have_value(SMALL)
    await framed.send("Hello")
    await framed.answered(2)
    teller.served = (LARGE,)
    await page.reload()
    await framed.answered(2)
    await expect(page.get_by_label("Model", exact=True).first).to_have_value(f"{SMALL} (missing)")
    warning = page.get_by_role("alert").filter(has_text=SMALL)
    await expect(warning).to_contain_text("is not served any more")
    await warning.get_by_role("button", name=f"Use {LARGE}").click()
    await expect(page.get_by_label("Model", exact=True).first).to_have_value(LARGE)
    await expect(warning).to_be_hidden()
    await framed.answer("And now?")
    await expect(page.locator(".pl-assistant .pl-head").last).to_contain_text(LARGE)


async def new_chat_keeps_the_model(framed: Tab) -> None:
    """A new chat has the model and settings of the previous chat."""
    page = framed.page
    await palette(page, f"use model {SMALL}")
    await expect(page.get_by_label("Model", exact=True).first).to_have_value(SMALL)
    await framed.set_number("Temperature", 0.3)
    await framed.answer("Hello")
    await new_chat(framed)
    await framed.answer("Hello again")
    await expect(page.locator(".pl-assistant .pl-head")).to_contain_text(f"{SMALL}, temperature 0.3")


async def test_the_settings_cover_nothing(framed: Tab) -> None:
    """Open settings cover nothing, scroll, and close on Escape, which restores the focus."""
    page = framed.page
    field = page.get_by_role("textbox", name="Your message")
    await framed.answer("Hello")
    await page.get_by_role("button", name="Model & settings").click()
    await expect(page.get_by_role("button", name="Close the settings")).to_be_focused()
    await page.get_by_role("button", name="Sampling").click()
    await page.get_by_role("button", name="Format and tools").click()
    assert await page.evaluate("[scrollY, document.documentElement.scrollHeight - innerHeight]") == [0, 0]
    await field.click(trial=True)  # Fails if anything covers the field
    await page.get_by_label("Seed").focus()
    await page.keyboard.press("Escape")
    await expect(page.locator("#pl-settings")).to_be_hidden()
    await expect(page.get_by_role("button", name="Model & settings")).to_be_focused()
    await settings_scroll(framed)


async def settings_scroll(framed: Tab) -> None:
    """Settings higher than the drawer keep their height, and scroll."""
    page = framed.page
    await page.set_viewport_size({"width": 1280, "height": 860})
    await framed.show_settings()
    temperature = page.get_by_label("number input for Temperature").first
    for group in (None, "Sampling", "Format and tools"):
        if group is not None:
            await framed.unfold_settings(group)
        assert await page.locator("#pl-settings > *").evaluate_all(CUT_OFF) == []
        await temperature.click(trial=True)  # Fails if anything covers the number
    assert await page.locator("#pl-settings").evaluate("drawer => drawer.scrollHeight > drawer.clientHeight")


async def typing_after_loading(framed: Tab) -> None:
    """After loading, typing writes a message, also in an existing conversation."""
    page = framed.page
    field = page.get_by_role("textbox", name="Your message")
    await page.keyboard.type("Hello")
    await page.keyboard.press("Enter")
    await framed.answered(2)
    await page.reload()
    await framed.answered(2)
    await page.keyboard.type("And now?")
    await expect(field).to_have_value("And now?")


async def meter_of_an_imported_conversation(framed: Tab) -> None:
    """The meter estimates the length of an imported conversation."""
    page = framed.page
    asked = Conversation(
        "x", "Asked", TurnSettings(), 1.0, 1.0, 1, {1: Node(1, None, USER, "Hello! " * 400, 1.0, end=FinishReason.STOP)}
    )
    file: FilePayload = {"name": "asked.md", "mimeType": "", "buffer": to_markdown(asked).encode()}
    await page.get_by_label("A conversation to import").set_input_files(file)
    await framed.answered(1)
    tokens = round(len("Hello! " * 400) / CHARACTERS_PER_TOKEN)
    await expect(page.get_by_role("meter", name="Context")).to_have_text(
        re.compile(f"{tokens // 10}[0-9] of 32,768 tokens")
    )


@pytest.mark.parametrize("browser_page", [PHONE], indirect=True, ids=["phone"])
async def test_a_phone(framed: Tab) -> None:
    """On a phone a single drawer is open at a time, and closes on Escape or an outside touch."""
    page = framed.page
    field = page.get_by_role("textbox", name="Your message")
    side, settings = page.locator("#pl-side"), page.locator("#pl-settings")
    await expect(side).to_be_hidden()
    await expect(settings).to_be_hidden()
    await page.get_by_role("button", name="Conversations", exact=True).click()
    await expect(page.get_by_role("button", name="New chat")).to_be_focused()
    await page.get_by_role("button", name="Model & settings").click()
    await expect(side).to_be_hidden()
    await expect(settings).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(settings).to_be_hidden()
    await expect(page.get_by_role("button", name="Model & settings")).to_be_focused()
    await page.get_by_role("button", name="Conversations", exact=True).click()
    await page.touchscreen.tap(380, 500)
    await expect(side).to_be_hidden()
    await field.click()
    await expect(field).to_be_focused()
    await field_above_the_keyboard(framed)


async def field_above_the_keyboard(framed: Tab) -> None:
    """The message field stays in view above an on-screen keyboard, whose Enter starts a line."""
    page = framed.page
    field = page.get_by_role("textbox", name="Your message")
    await field.press_sequentially("a\nb")
    await expect(field).to_have_value("a\nb")
    await page.set_viewport_size({"width": 390, "height": 480})
    await expect(field).to_be_in_viewport(ratio=1)
    await expect(page.get_by_role("button", name="Send")).to_be_in_viewport(ratio=1)
    assert await page.evaluate(
        "document.querySelector('meta[name=viewport]').content.includes('interactive-widget=resizes-content')"
    )
    assert await page.evaluate("document.querySelectorAll('meta[name=viewport]').length") == 1


async def test_the_theme_is_remembered(framed: Tab) -> None:
    """A chosen theme overrides the system's, from the first paint after a reload."""
    page = framed.page
    dark = "document.body.classList.contains('dark')"
    await page.add_init_script(
        "window.seen = []; const look = () => { if (document.body) "
        "window.seen.push(getComputedStyle(document.body).backgroundColor);"
        " requestAnimationFrame(look); }; look();"
    )
    themes: list[tuple[Theme, Theme]] = [("light", "dark"), ("dark", "light")]
    for system, chosen in themes:
        await set_theme(page, system)
        await palette(page, f"theme: {chosen}")
        assert await page.evaluate(dark) == (chosen == "dark")
        await page.reload()
        await page.get_by_role("textbox", name="Your message").wait_for()
        assert await page.evaluate(dark) == (chosen == "dark")
        bright = "(one) => one.match(/\\d+/g).slice(0, 3).every((part) => part > 128)"
        lights = await page.evaluate(f"window.seen.map({bright})")
        assert lights
        assert set(lights) == {chosen == "light"}
        await palette(page, "theme: system")
        assert await page.evaluate(dark) == (system == "dark")


async def palette_by_keys(framed: Tab) -> None:
    """The palette filters while typing, moves by arrow keys, and restores the focus on Escape."""
    page = framed.page
    await framed.answer("A question about foxes")
    field = page.get_by_role("textbox", name="Your message")
    combobox = await open_palette(page)
    await expect(combobox).to_be_focused()
    await combobox.fill("go to")
    options = page.get_by_role("listbox", name="Commands").get_by_role("option")
    assert await options.all_inner_texts() == [
        "Go to Chat",
        "Go to Read",
        "Go to Compare",
        "Go to Infill",
        "Go to Review",
    ]
    await page.keyboard.press("ArrowDown")
    await expect(options.nth(1)).to_have_attribute("aria-selected", "true")
    assert await combobox.get_attribute("aria-activedescendant") == await options.nth(1).get_attribute("id")
    await page.keyboard.press("ArrowUp")
    await page.keyboard.press("ArrowUp")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("tab", name="Review")).to_have_attribute("aria-selected", "true")
    await palette(page, "new chat")
    await expect(page.locator(".pl-message")).to_have_count(0)
    await expect(field).to_be_focused()
    await palette(page, "foxes")
    await framed.answered(2)
    async with page.expect_download() as saved:
        await palette(page, "export markdown")
    assert (await saved.value).suggested_filename.endswith(".md")
    await field.focus()
    await page.keyboard.press("Control+k")
    await combobox.fill("no such thing")
    await expect(page.get_by_text("Nothing has this name.")).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(field).to_be_focused()
    assert framed.problems == []


async def palette_finds_what_comes_later(framed: Tab) -> None:
    """A command sent later by the server appears without typing again."""
    page = framed.page
    await (await open_palette(page)).fill("export json")
    await expect(page.get_by_text("Nothing has this name.")).to_be_visible()
    await page.evaluate(SEND_HELLO)
    await expect(page.get_by_role("option")).to_have_text(["Export this conversation as JSON"])
    await expect(page.get_by_text("Nothing has this name.")).to_be_hidden()
    assert framed.problems == []


async def test_palette_and_empty_chat(framed: Tab) -> None:
    """In an empty chat the palette, keys and example prompts can be used."""
    await palette_finds_what_comes_later(framed)
    await framed.page.keyboard.press("Escape")
    await menus(framed)
    await new_chat(framed)
    await palette_by_keys(framed)
    await new_chat(framed)
    await help_with_keys(framed)
    await framed.page.get_by_role("textbox", name="Your message").fill("")
    await examples_of_an_empty_chat(framed)


async def help_with_keys(framed: Tab) -> None:
    """A question mark shows all keys, except while typing, or with single letters switched off."""
    page = framed.page
    field = page.get_by_role("textbox", name="Your message")
    await field.press_sequentially("why?")
    await expect(page.get_by_role("dialog", name="Keys and words")).to_be_hidden()
    await page.get_by_role("tab", name="Chat").focus()
    await page.keyboard.press("?")
    await expect(page.get_by_role("dialog", name="Keys and words")).to_contain_text(
        "go to the next or previous unsure token"
    )
    letters = page.get_by_label("Keys of a single letter")
    await letters.uncheck()
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("tab", name="Chat")).to_be_focused()
    await page.keyboard.press("?")
    await expect(letters).to_be_hidden()
    await page.get_by_role("button", name="Keys and words").click()
    await letters.check()
    await page.keyboard.press("Escape")


async def menus(framed: Tab) -> None:
    """A menu opens again after Escape, and closes when the focus leaves the menu."""
    menu = framed.page.get_by_role("combobox", name="Model").first
    await menu.click()
    await expect(menu).to_have_attribute("aria-expanded", "true")
    await framed.page.keyboard.press("Escape")
    await expect(menu).to_have_attribute("aria-expanded", "false")
    await menu.click()
    await expect(menu).to_have_attribute("aria-expanded", "true")
    await framed.page.keyboard.press("Tab")
    await expect(menu).to_have_attribute("aria-expanded", "false")


async def examples_of_an_empty_chat(framed: Tab) -> None:
    """An empty chat offers four prompts, and one opens the tokens of the answer."""
    page = framed.page
    examples = page.locator(".pl-example:visible")
    await expect(examples).to_have_count(4)
    await page.get_by_role("button", name="and open the tokens of the answer").click()
    await framed.options.first.wait_for()
    await expect(examples).to_have_count(0)
    await framed.answered(2)
    assert "capital of Australia" in (await framed.texts())[0]
    assert framed.problems == []


LINE = """one => {
  const lines = Math.round(one.getBoundingClientRect().height / parseFloat(getComputedStyle(one).lineHeight));
  return one.textContent.length / lines;
}"""
"""Returns the mean length of a paragraph's lines in characters."""


async def test_messages(framed: Tab) -> None:
    """Messages are typed at once, have short lines, and appear in a second tab without a touch."""
    await typing_after_loading(framed)
    await meter_of_an_imported_conversation(framed)
    await new_chat(framed)
    await framed.page.set_viewport_size({"width": 1920, "height": 1000})
    await lines_of_prose(framed)
    await another_tab_follows(framed)


async def lines_of_prose(framed: Tab) -> None:
    """In a wide window the lines of a message stay short enough to read."""
    await framed.answer("Several words in a line. " * 40)
    length = await framed.page.locator(".pl-user .pl-block p").evaluate(LINE)
    assert 60 < length <= 90


async def another_tab_follows(framed: Tab) -> None:
    """A second tab with the same conversation shows new messages without a touch."""
    other = watched(await framed.page.context.new_page(), framed.address)
    await other.open("/?" + framed.page.url.partition("?")[2])
    await other.answered(2)
    await framed.answer("And now?")
    await other.answered(4)
    assert other.problems == []


async def test_looks_of_the_frame(framed: Tab) -> None:
    """In every state of the frame axe finds nothing serious, and nothing is cut off."""
    page = framed.page
    await check_looks(page)
    for width, height in ((390, 844), (1280, 800)):
        await page.set_viewport_size({"width": width, "height": height})
        await page.locator("#pl-settings-toggle").click()
        await page.get_by_role("button", name="Close the settings").wait_for()
        await check_widths(page)
    await check_themes(page, "#pl-settings")
    await page.set_viewport_size({"width": 390, "height": 844})
    await page.locator("#pl-side-toggle").click()
    await check_looks(page, "#pl-side")
    for key in ("Control+k", "?"):
        await page.keyboard.press(key)
        await check_looks(page, "dialog[open]")
        await page.keyboard.press("Escape")
