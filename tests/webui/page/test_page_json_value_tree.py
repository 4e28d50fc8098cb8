"""Tests trees of JSON answers and tool calls in a browser with real models."""

from __future__ import annotations

import json

import pytest
from playwright.async_api import expect

from support.page.page_fixtures import Tab
from support.page.page_tabs import check_looks

pytestmark = pytest.mark.model

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
TOOLS = json.dumps(
    [
        {
            "type": "function",
            "function": {
                "name": "get_weather",
                "description": "Get the current weather of a city.",
                "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
            },
        }
    ]
)
QUESTION = "Describe a T-shirt as JSON with colour and sizes."


async def test_a_json_answer(tab: Tab) -> None:
    """An answer under a JSON schema has probabilities of values and marks a value's tokens."""
    await tab.open()
    await tab.be_brief(100)
    await tab.set_form(answer_format="JSON schema", schema=SCHEMA)
    await tab.send(QUESTION)
    await tab.answered(2)
    found = json.loads(await tab.page.locator(".pl-assistant pre").inner_text())
    assert found["colour"] in ("red", "blue")
    colour = tab.page.get_by_role("treeitem", name="colour:")
    label = await colour.get_attribute("aria-label")
    assert label is not None
    assert f'colour: "{found["colour"]}", probability' in label
    await expect(tab.page.locator(".pl-assistant .pl-head")).to_contain_text("JSON schema")

    await tab.page.reload()
    await tab.answered(2)
    assert await colour.get_attribute("aria-label") == label
    await colour.click()
    await expect(tab.page.locator(".pl-assistant .pl-ranged").first).to_be_visible()
    marked = "".join(await tab.page.locator(".pl-assistant .pl-ranged").all_text_contents())
    assert found["colour"] in marked
    assert "colour" not in marked
    await tab.show_settings()
    await tab.page.get_by_role("button", name="Format and tools").click()
    await expect(tab.page.locator("#pl-schema textarea")).to_have_value(SCHEMA)
    assert tab.problems == []


async def test_a_call(tab: Tab) -> None:
    """A required call is shown with function, state and the probability of the argument."""
    await tab.open()
    await tab.be_brief(60)
    await tab.set_form(tools=TOOLS, tool_choice="Required")
    await tab.send("How warm is it in Berlin?")
    await tab.answered(2)
    tree = tab.page.get_by_role("tree", name="Call of get_weather with probabilities").first
    await expect(tree.get_by_role("treeitem").first).to_contain_text("Berlin")
    await expect(tab.page.locator(".pl-tree-head").first).to_contain_text("complete · arguments held to the schema")

    await tree.get_by_role("treeitem").first.press("Enter")
    await expect(tab.page.locator(".pl-assistant .pl-ranged").first).to_be_visible()
    assert "Berlin" in "".join(await tab.page.locator(".pl-assistant .pl-ranged").all_text_contents())
    assert tab.problems == []


async def test_an_incomplete_answer(tab: Tab) -> None:
    """JSON cut at the token limit is called incomplete, and axe finds nothing serious."""
    await tab.open()
    await tab.be_brief(12)
    await a_broken_schema(tab)
    await tab.set_form(schema=SCHEMA)
    await tab.send(QUESTION)
    await tab.answered(2)
    await expect(tab.page.locator(".pl-assistant .pl-note")).to_contain_text(
        "Stopped at the token limit. The JSON is incomplete:"
    )
    await expect(tab.page.get_by_role("treeitem", name="colour:")).to_be_visible()
    await check_looks(tab.page)


async def a_broken_schema(tab: Tab) -> None:
    """A broken schema is refused before sending, and message and schema stay."""
    await tab.set_form(answer_format="JSON schema", schema='{"type": ')
    await tab.send(QUESTION)
    await expect(tab.notice).to_contain_text("The JSON schema is not valid JSON")
    assert await tab.page.locator(".pl-message").count() == 0
    assert await tab.page.get_by_role("textbox", name="Your message").input_value() == QUESTION
    assert await tab.page.locator("#pl-schema textarea").input_value() == '{"type": '
