"""Tests trees of JSON answers in a browser with scripted models."""

from __future__ import annotations

import json

from playwright.async_api import expect

from pellucid.vocabulary.finish import Finish, FinishReason
from support.page.page_fixtures import Tab
from support.page.scripted_assistant import tokens
from support.page.storyteller import Storyteller
from support.scripted_answers import usage

SCHEMA = json.dumps(
    {
        "type": "object",
        "properties": {
            "colour": {"enum": ["red", "blue"]},
            "sizes": {"type": "array", "items": {"enum": ["S", "L"]}, "maxItems": 2},
        },
        "required": ["colour", "sizes"],
        "additionalProperties": False,
    }
)
ANSWER = tokens('{"', "colour", '":', ' "', "red", '",', ' "', "sizes", '":', ' ["', "S", '"]', "}")

QUESTION = "Describe a T-shirt as JSON with colour and sizes."


async def test_a_json_answer(tab: Tab, teller: Storyteller) -> None:
    """An answer under a JSON schema has probabilities of values and marks a value's tokens."""
    teller.script = ANSWER
    await a_broken_schema(tab)
    await tab.set_form(schema=SCHEMA)
    await tab.send(QUESTION)
    await tab.answered(2)
    found = json.loads(await tab.page.locator(".pl-assistant pre").inner_text())
    assert found == {"colour": "red", "sizes": ["S"]}
    colour = tab.page.get_by_role("treeitem", name="colour:")
    label = await colour.get_attribute("aria-label")
    assert label is not None
    assert 'colour: "red", probability' in label
    await expect(tab.page.locator(".pl-assistant .pl-head")).to_contain_text("JSON schema")

    await tab.page.reload()
    await tab.answered(2)
    assert await colour.get_attribute("aria-label") == label
    await colour.click()
    await expect(tab.page.locator(".pl-assistant .pl-ranged").first).to_be_visible()
    marked = "".join(await tab.page.locator(".pl-assistant .pl-ranged").all_text_contents())
    assert "red" in marked
    assert "colour" not in marked
    await tab.show_settings()
    await tab.page.get_by_role("button", name="Format and tools").click()
    await expect(tab.page.locator("#pl-schema textarea")).to_have_value(SCHEMA)
    await tab.show_settings(False)
    await an_incomplete_answer(tab, teller)
    assert tab.problems == []


async def an_incomplete_answer(tab: Tab, teller: Storyteller) -> None:
    """JSON cut at the token limit is called incomplete, and has a tree."""
    teller.script = [*ANSWER[:8], Finish(FinishReason.LENGTH, usage(8))]
    await tab.page.get_by_role("button", name="New chat").click()
    await expect(tab.page.locator(".pl-message")).to_have_count(0)
    await tab.be_brief(8)
    await tab.answer(QUESTION)
    await expect(tab.page.locator(".pl-assistant .pl-note")).to_contain_text(
        "Stopped at the token limit. The JSON is incomplete:"
    )
    await expect(tab.page.get_by_role("treeitem", name="colour:")).to_be_visible()


async def a_broken_schema(tab: Tab) -> None:
    """A broken schema is refused before sending, and message and schema stay."""
    await tab.set_form(answer_format="JSON schema", schema='{"type": ')
    await tab.send(QUESTION)
    await expect(tab.notice).to_contain_text("The JSON schema is not valid JSON")
    assert await tab.page.locator(".pl-message").count() == 0
    assert await tab.page.get_by_role("textbox", name="Your message").input_value() == QUESTION
    assert await tab.page.locator("#pl-schema textarea").input_value() == '{"type": '
