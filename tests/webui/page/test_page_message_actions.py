"""Tests actions on messages and code, and dropped or pasted files, in a browser."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from playwright.async_api import expect

from pellucid.vocabulary.finish import Finish, FinishReason, Usage
from support.page.page_fixtures import Tab, held_show
from support.page.scripted_assistant import token
from support.page.storyteller import LARGE, SMALL, Storyteller

CODE = "def add(a, b):\n    return a + b\n"
RETURN = "\n    return best\n"

ANSWER = f"Take \\(x_1 + y_1\\):\n\n```python\n{CODE}```\n\n- [x] done\n- [ ] open\n"

BOXES = """element => [...element.querySelectorAll('.pl-tools button')].map((one) => {
  const box = one.getBoundingClientRect();
  return [one.getAttribute('aria-label'), box.x, box.width, box.height];
})"""
"""Returns the places of a message's tools."""

HAND_OVER = """(element, [kind, files]) => {
  const data = new DataTransfer();
  for (const [name, type, text] of files) data.items.add(new File([text], name, { type }));
  const how = { bubbles: true, cancelable: true };
  const paste = () => new ClipboardEvent('paste', { ...how, clipboardData: data });
  const event = kind === 'paste' ? paste() : new DragEvent(kind, { ...how, dataTransfer: data });
  element.dispatchEvent(event);
  return event.defaultPrevented;
}"""
"""Drops or pastes files."""


@pytest.fixture
async def tab(tab: Tab, teller: Storyteller) -> Tab:
    """Open the page of models that answer with Markdown."""
    teller.script = [token(ANSWER), Finish(FinishReason.STOP, Usage(computed=10, generated=1))]
    return tab


async def test_the_row_stays(tab: Tab, teller: Storyteller) -> None:
    """The tools of an answer keep their places during generation and with a label shown."""
    is_held = True

    async def hold(index: int) -> None:
        while index and is_held:
            await asyncio.sleep(0.01)

    teller.before = hold
    await tab.send("Hi")
    await tab.grown()
    answer = tab.page.locator(".pl-assistant")
    before = await answer.evaluate(BOXES)
    assert [name for name, *_ in before] == [
        "Tokens",
        "Copy",
        "Edit",
        "Regenerate",
        "Retry with…",
        "Compare with…",
        "Details",
        "Continue",
    ]
    await expect(answer.get_by_role("button", name="Regenerate", exact=True)).to_be_disabled()
    is_held = False
    await tab.answered(2)
    assert await answer.evaluate(BOXES) == before
    edit = answer.get_by_role("button", name="Edit")
    await expect(edit.locator(".pl-tip")).to_be_hidden()
    await answer.get_by_role("button", name="Copy", exact=True).focus()
    await tab.page.keyboard.press("Tab")
    await expect(edit).to_be_focused()
    await expect(edit.locator(".pl-tip")).to_have_text("Edit")
    await expect(edit.locator(".pl-tip")).to_be_visible()
    assert await answer.evaluate(BOXES) == before
    assert tab.problems == []


async def test_a_cut_answer(tab: Tab, teller: Storyteller) -> None:
    """An answer that filled the context has a note and a visible button to continue."""
    teller.script = [token(ANSWER), Finish(FinishReason.LENGTH, Usage(computed=10, generated=1))]
    await tab.answer("Hi")
    answer = tab.page.locator(".pl-assistant")
    await expect(answer.locator(".pl-note")).to_contain_text("Stopped: the context is full.")
    await expect(answer.get_by_role("button", name="Continue")).to_have_count(1)
    await expect(answer.get_by_role("button", name="Continue")).to_have_text("Continue")
    await answer.get_by_role("button", name="Continue").click()
    await tab.page.get_by_text("2 / 2").wait_for()
    assert teller.queries[-1].continue_last
    await expect(answer.locator(".pl-head")).to_contain_text(f"continued after {len(ANSWER)} characters")


async def test_retry_with(tab: Tab, teller: Storyteller) -> None:
    """A retry may use another model and temperature, and the next answer uses the settings."""
    await tab.answer("Hi")
    answer = tab.page.locator(".pl-assistant")
    await answer.get_by_role("button", name="Retry with…").click()
    form = tab.page.get_by_role("group", name="Retry with another model or temperature")
    await expect(form.get_by_label("Model")).to_be_focused()
    await form.get_by_label("Model").select_option(SMALL)
    await form.get_by_label("Temperature").fill("0")
    await form.get_by_role("button", name="Regenerate", exact=True).click()
    await tab.page.get_by_text("2 / 2").wait_for()
    await tab.answered(2)
    await expect(answer.locator(".pl-head")).to_contain_text(f"{SMALL}, greedy")
    await expect(form).to_have_count(0)
    await tab.answer("And now?")
    assert [(query.model, query.params.temperature) for query in teller.queries] == [
        (LARGE, 0.7),
        (SMALL, 0.0),
        (LARGE, 0.7),
    ]

    await answer.last.get_by_role("button", name="Retry with…").click()
    await form.get_by_label("Temperature").press("Escape")
    await expect(form).to_have_count(0)
    await expect(answer.last.get_by_role("button", name="Retry with…")).to_be_focused()


def expected(part: str) -> str:
    """Return the text of the Infill tab with ``part`` at the cursor."""
    loop = "    for value in values:\n        if value > best:\n            "
    return f"def largest(values):\n    best = values[0]\n{loop}{part}{RETURN}"


async def test_content(tab: Tab) -> None:
    """Formulas and tasks are shown, and code can be wrapped and put into the Infill tab."""
    await tab.answer("Hi")
    await formulas_and_tasks(tab)
    await wrapped_code(tab)
    await code_into_infill(tab)


async def formulas_and_tasks(tab: Tab) -> None:
    """A formula is rendered, and tasks are read-only check boxes."""
    await expect(tab.page.locator(".pl-assistant .pl-formula")).to_have_attribute("data-source", "\\(x_1 + y_1\\)")
    await expect(tab.page.locator(".pl-assistant .pl-formula msub").first).to_have_text("x1")
    boxes: list[Any] = json.loads(
        await tab.page.locator(".pl-task").evaluate_all(
            "all => JSON.stringify(all.map((one) => [one.checked, one.disabled]))"
        )
    )
    assert boxes == [[True, True], [False, True]]


async def wrapped_code(tab: Tab) -> None:
    """The browser remembers wrapped code."""
    wrap = tab.page.get_by_role("button", name="Wrap long lines")
    white_space = "pre => getComputedStyle(pre).whiteSpace"
    assert await tab.page.locator(".pl-code pre").evaluate(white_space) == "pre"
    await wrap.click()
    for _ in range(2):
        await expect(wrap).to_have_attribute("aria-pressed", "true")
        assert await tab.page.locator(".pl-code pre").evaluate(white_space) == "pre-wrap"
        await tab.page.reload()
        await tab.answered(2)
    await wrap.click()
    await expect(wrap).to_have_attribute("aria-pressed", "false")
    assert await tab.page.locator(".pl-code pre").evaluate(white_space) == "pre"


async def code_into_infill(tab: Tab) -> None:
    """Code is put before the cursor of the Infill tab, repeatedly, and the tab's text stays."""
    field = tab.page.get_by_label("Code; the cursor marks where to complete")
    await tab.page.get_by_role("button", name="Insert into Infill").click()
    await expect(field).to_be_visible()
    await expect(field).to_have_value(expected(CODE))
    before_cursor = await field.evaluate("field => field.value.slice(0, field.selectionStart)")
    assert before_cursor == expected(CODE).removesuffix(RETURN)
    await tab.tab("Chat")
    await tab.page.get_by_role("button", name="Insert into Infill").click()
    await expect(field).to_have_value(expected(CODE * 2))


async def test_files(tab: Tab, teller: Storyteller) -> None:
    """Files are attached when dropped or pasted, up to a size; text is pasted as text."""
    await text_is_pasted_as_text(tab)
    await handed_over(tab, teller, "drop")
    await handed_over(tab, teller, "paste")
    await together(tab)


async def test_files_during_the_start(tab: Tab) -> None:
    """Files that are dropped before the page knows the limits are attached afterwards."""
    shown = await held_show(tab.page, None)
    await tab.page.goto(tab.page.url.partition("?")[0])
    await tab.page.locator(".pl-chat").evaluate(HAND_OVER, ["drop", [["a.py", "", "A = 1\n"]]])

    shown.set()

    await expect(tab.page.locator(".pl-attached li")).to_contain_text("a.py")


async def text_is_pasted_as_text(tab: Tab) -> None:
    """Pasted text is handled by the browser."""
    script = "field => { const data = new DataTransfer(); data.setData('text/plain', 'x');"
    script += (
        " const event = new ClipboardEvent('paste', { clipboardData: data, cancelable: true }); "
        "field.dispatchEvent(event);"
    )
    script += " return event.defaultPrevented; }"
    assert not await tab.page.get_by_role("textbox", name="Your message").evaluate(script)


async def handed_over(tab: Tab, teller: Storyteller, kind: str) -> None:
    """Dropped or pasted text files are attached, and a picture is refused with the reason."""
    place = tab.page.locator(".pl-chat") if kind == "drop" else tab.page.get_by_role("textbox", name="Your message")
    files = [["a.py", "", "A = 1\n"], ["b.txt", "text/plain", "two"], ["c.png", "image/png", "x"]]
    assert await place.evaluate(HAND_OVER, [kind, files])
    await expect(tab.page.locator(".pl-attached li")).to_have_count(2)
    await expect(tab.notice).to_have_text(f"{LARGE} sees no images: choose another model.")
    await tab.answer("Look.")
    assert teller.queries[-1].messages[-1].content == "Look.\n\n```python a.py\nA = 1\n```\n\n```text b.txt\ntwo\n```"
    await expect(tab.notice).to_be_hidden()


async def together(tab: Tab) -> None:
    """Files that exceed the limit together are refused by name; earlier files stay."""
    files = [[f"{number}.txt", "", "x" * 190_000] for number in range(3)]
    await tab.page.locator(".pl-chat").evaluate(HAND_OVER, ["drop", files])
    await expect(tab.notice).to_have_text("With 2.txt the files would exceed 500 kB together: remove some.")
    await expect(tab.page.locator(".pl-attached li")).to_have_count(2)
