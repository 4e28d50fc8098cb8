"""Tests the page with real models: its numbers are those of the server.

All tests of the page that need a real model are here, so that a single server has the models.
"""

from __future__ import annotations

import asyncio
import csv
import io
import json
import math
import re
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, expect

from support.page.page_fixtures import SMALL, PageServer, Tab, watched
from support.page.page_tabs import cards, check_themes, check_widths, choose, scored
from support.servers.real_model_server import CODER

pytestmark = pytest.mark.model

TEXT = '''def read_lines(path):
    """Every line of a file – déjà vu – without its end."""
    with open(path, encoding="utf-8") as file:
        return [line.rstrip("\\n") for line in file]


def count_words(lines):
    return sum(len(line.split()) for line in lines)
'''

CODE = "def add(a, b):\n    return \n"

PROMPT = "Write one sentence about the sea."

CLOSE = 1e-5
"""Relative tolerance: records have six digits."""

LEAST = 50
"""Minimum number of checked tokens."""

SPEED = re.compile(
    r"(\d+) tokens · \d+\.\d tokens/s · first token after \d+\.\d\d s · prompt: \d+ cached, \d+ computed"
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


@pytest.fixture
async def tab(page_server: PageServer, browser_page: Page) -> Tab:
    """Open the page of real models."""
    tab = watched(browser_page, page_server.address)
    await tab.open()
    return tab


async def test_chat(tab: Tab) -> None:
    """An answer has figures and branches, and a question has tokens with probabilities."""
    await tab.be_brief()
    await send(tab)
    await branch_by_keyboard(tab)
    await tokens_of_a_prompt(tab)
    assert tab.elsewhere == []
    assert tab.problems == []


async def send(tab: Tab) -> None:
    """A message is answered with figures, and names the conversation."""
    await tab.send("Say hello to the world.")
    await tab.answered(2)

    question, answer = await tab.texts()
    assert question == "Say hello to the world."
    assert "ello" in answer
    assert SPEED.search(await tab.page.locator(".pl-assistant .pl-note").inner_text())
    assert re.search(r"[?&]c=[0-9a-f]{32}", tab.page.url)
    await expect(tab.page).to_have_title("Say hello to the world. · Pellucid")


async def branch_by_keyboard(tab: Tab) -> None:
    """An alternative chosen by keyboard in a token's card starts a branch."""
    before = (await tab.texts())[1]
    await tab.page.locator(".pl-assistant .pl-tokens-button").click()
    await tab.options.first.focus()
    for key in ("Enter", "ArrowDown", "Enter"):
        await tab.page.keyboard.press(key)
    await tab.page.get_by_text("2 / 2").wait_for()
    await tab.answered(2)
    assert "branched at token 1" in await tab.page.locator(".pl-assistant .pl-head").inner_text()
    after = "".join(await tab.options.all_text_contents())
    assert after[:4] != before[:4]


async def tokens_of_a_prompt(tab: Tab) -> None:
    """A user's message opens as tokens with probabilities, without branches."""
    text = "The capital of France is Paris, and that of Italy is Rome."
    await tab.page.get_by_role("button", name="New chat").click()
    await expect(tab.page.locator(".pl-message")).to_have_count(0)
    await tab.answer(text)
    await tab.page.locator(".pl-user .pl-tokens-button").click()
    cells = tab.page.locator(".pl-user [role=option]")
    await cells.first.wait_for()
    shown_tokens = await cells.evaluate_all("cells => cells.map((cell) => cell.textContent)")
    assert "".join(shown_tokens) == text
    labels = await cells.evaluate_all("cells => cells.map((cell) => cell.getAttribute('aria-label'))")
    assert all("percent, rank" in label for label in labels)
    await cells.nth(3).click()
    card = tab.page.locator(".pl-docked")
    assert await card.locator("[data-alternative]").count() == 10
    assert await card.locator("button[data-alternative]").count() == 0
    await tab.page.locator(".pl-user .pl-tokens-button").click()
    await expect(cells).to_have_count(0)
    assert (await tab.texts())[0] == text


async def test_read(tab: Tab) -> None:
    """Figures, lines, cards and saved files of a text are the values of /v1/score."""
    await tab.tab("Read")
    await tab.page.locator("#pl-read-text textarea").fill(TEXT)
    await tab.page.locator("#pl-read-go").click()
    await tab.page.locator(".pl-line-row").first.wait_for()
    expected = await scored(tab.address, CODER, text=TEXT)
    # The page requests tokens after the figures.
    await expect(tab.page.locator(".pl-reading .pl-token")).to_have_count(len(expected))
    await figures_and_lines(tab.page, expected)
    compare_cards(await cards(tab.page.locator(".pl-reading")), expected)
    await saved_files(tab.page, expected)
    assert tab.elsewhere == []
    assert tab.problems == []


async def figures_and_lines(page: Page, expected: Sequence[dict[str, Any]]) -> None:
    """Figures and the bits of lines are sums of the server's values."""
    names, values = [await page.locator(f".pl-figures {tag}").all_inner_texts() for tag in ("dt", "dt + dd")]
    shown = dict(zip(names, values, strict=True))
    bits = -sum(logprobs(expected)) / math.log(2)
    assert shown["Tokens"] == str(len(expected))
    assert float(shown["Perplexity"]) == pytest.approx(
        math.exp(-sum(logprobs(expected)) / len(logprobs(expected))), abs=6e-4
    )
    assert float(shown["Bits per byte"]) == pytest.approx(
        bits / sum(len(one["bytes"]) for one in expected if one["logprob"] is not None), abs=6e-5
    )
    totals = [float(one) for one in await page.locator(".pl-line-bits").all_inner_texts()]
    assert totals == sorted(totals, reverse=True)
    assert sum(totals) == pytest.approx(bits, abs=0.05 * len(totals))


def compare_cards(shown: Sequence[dict[str, Any]], expected: Sequence[dict[str, Any]]) -> None:
    """Assert that the cards of tokens have the server's values."""
    assert len(shown) == len(expected) >= LEAST
    for card, token in zip(shown, expected, strict=True):
        assert card["id"] == str(token["id"])
        if token["logprob"] is None:
            assert "logprob" not in card
            continue
        assert card["rank"] == str(token["rank"])
        assert float(card["probability"]) == pytest.approx(
            math.exp(token["logprob"]), rel=CLOSE * max(-token["logprob"], 1)
        )
        for name in ("logprob", "entropy", "rest"):
            assert float(card[name]) == pytest.approx(token[name], rel=CLOSE, abs=1e-9)
        alternatives = [(one["id"], float(one["logprob"])) for one in card["alternatives"]]
        assert [id for id, _ in alternatives] == [str(one["id"]) for one in token["top"]]
        assert [logprob for _, logprob in alternatives] == pytest.approx(
            [one["logprob"] for one in token["top"]], rel=CLOSE
        )


async def saved_files(page: Page, expected: Sequence[dict[str, Any]]) -> None:
    """Saved files have the text and the server's values."""
    name, table = await saved(page, "Download CSV")
    rows = list(csv.DictReader(io.StringIO(table.decode(), newline="")))
    assert name == "reading.csv"
    assert "".join(row["token"] for row in rows) == TEXT
    assert [float(row["logprob"]) for row in rows if row["logprob"]] == pytest.approx(
        logprobs(expected), rel=1e-6, abs=1e-9
    )
    name, tree = await saved(page, "Download JSON")
    assert name == "reading.json"
    assert json.loads(tree)["model"] == CODER
    assert [one["id"] for one in json.loads(tree)["tokens"]] == [one["id"] for one in expected]


async def saved(page: Page, button: str) -> tuple[str, bytes]:
    """Return the name and content of the file saved by a button."""
    async with page.expect_download() as waiting:
        await page.get_by_role("button", name=button).click()
    download = await waiting.value
    return download.suggested_filename, await asyncio.to_thread(Path(await download.path()).read_bytes)


def logprobs(tokens: Sequence[dict[str, Any]]) -> list[float]:
    return [token["logprob"] for token in tokens if token["logprob"] is not None]


async def test_of_what_if(tab: Tab) -> None:
    """At the server's own settings, what-if gives the sampled probability of each token."""
    for label, value in {"Temperature": 0.8, "Top-p": 0.9, "Min-p": 0.05, "Seed": 5, "Max output tokens": 64}.items():
        await tab.set_number(label, value)
    await tab.answer("Write a letter to a friend.")
    await tab.page.locator(".pl-assistant .pl-tokens-button").click()
    answer = tab.page.locator(".pl-assistant")
    await answer.locator(".pl-token").first.wait_for()
    # The inspector is next to the answer in a wide window.
    await tab.show_settings(False)
    await tab.page.locator(".pl-inspector .pl-whatif > summary").click()
    await answer.locator(".pl-token").first.focus()
    # What-if is drawn in the next frame.
    await tab.page.locator(".pl-inspector [data-whatif]").first.wait_for()
    shown = await cards(answer)
    assert len(shown) >= LEAST
    assert [as_number(card["whatif"]) for card in shown] == pytest.approx(
        [as_number(card["sampled"]) for card in shown], abs=1e-5
    )
    assert any(as_number(card["sampled"]) < 0.9 for card in shown)


def as_number(found: Any) -> float:
    """Return a figure of a card, and fail without a figure."""
    assert found is not None
    return float(found)


async def test_compare(tab: Tab) -> None:
    """An answer has the perplexity of the other model, equal to the server's score."""
    page = tab.page
    await tab.tab("Compare")
    await page.locator("#pl-compare-prompt").fill(PROMPT)
    for letter in "AB":
        column = page.get_by_role("group", name=f"Column {letter}")
        await column.get_by_label(f"More settings of column {letter}").click()
        await column.get_by_label("Max output tokens").fill("24")
    await page.get_by_role("button", name="Compare", exact=True).click()
    await page.locator(".pl-compare-result[data-done=true]").wait_for()
    rows = {
        await row.locator("th").inner_text(): await row.locator("td").all_inner_texts()
        for row in await page.locator(".pl-compare-tables tbody tr").all()
    }
    for name, place, own, other in (("A", 1, CODER, SMALL), ("B", 0, SMALL, CODER)):
        side = page.locator(f"[aria-label='Answer {name}']")
        assert own in await side.inner_text()
        answered = "".join(await side.locator(".pl-token").all_text_contents())
        messages = [{"role": "user", "content": PROMPT}, {"role": "assistant", "content": answered}]
        answer = saying(await scored(tab.address, other, messages=messages), answered)
        mean = sum(one["logprob"] for one in answer) / len(answer)
        shown = rows[f"{name}'s answer"][place].split(" ")[0].replace(",", "")
        assert float(shown) == pytest.approx(math.exp(-mean), rel=2e-3)
    await expect(page.locator(".pl-compare-card [data-kl-low]")).to_contain_text("at least")


def saying(tokens: Sequence[dict[str, Any]], text: str) -> list[dict[str, Any]]:
    """Return the tokens of an answer within a conversation."""
    ends = list(accumulate(len(one["token"]) for one in tokens))
    start = "".join(one["token"] for one in tokens).rindex(text)
    found = [one for one, end in zip(tokens, ends, strict=True) if start < end <= start + len(text)]
    assert "".join(one["token"] for one in found) == text
    return found


async def test_infill(tab: Tab) -> None:
    """A suggestion is shown at the cursor with tokens, figures and prompt, and can be accepted."""
    await tab.tab("Infill")
    page = tab.page
    field = page.get_by_label("Code; the cursor marks where to complete")
    await field.fill(CODE)
    for key in ("ArrowUp", "End", "Control+Enter"):
        await page.keyboard.press(key)
    await page.locator(".pl-infill .pl-shown").filter(has_text="a").wait_for()
    await check_themes(page, ".pl-infill")
    await check_widths(page)
    assert await page.locator(".pl-infill .pl-shown").inner_text() == "a + b"
    labels = await page.locator(".pl-infill .pl-token").evaluate_all("cells => cells.map((cell) => cell.ariaLabel)")
    assert labels
    assert all("percent, rank 1" in label for label in labels)
    await expect(page.locator(".pl-infill .pl-table")).to_contain_text("at least")
    await page.get_by_text("The prompt, as the model read it").click()
    prompt = await page.locator(".pl-infill .pl-prompt").inner_text()
    assert "def add(a, b):" in prompt
    assert "fim" in prompt
    await page.get_by_role("button", name="Insert").click()
    assert await field.input_value() == "def add(a, b):\n    return a + b\n"
    await page.keyboard.press("Control+Z")
    assert await field.input_value() == CODE
    await field.fill("x = 1")
    await page.get_by_role("button", name="Insert").click()
    await expect(page.locator(".pl-infill [role=status]").first).to_have_text(
        "The code has changed: complete it again."
    )
    assert await field.input_value() == "x = 1"
    await a_model_that_cannot(page)
    assert tab.elsewhere == []
    assert tab.problems == []


async def a_model_that_cannot(page: Page) -> None:
    """A model without infill is named in a sentence, and the code stays."""
    await choose(page, "Model", SMALL)
    field = page.get_by_label("Code; the cursor marks where to complete")
    await field.fill(CODE)
    await field.press("Control+Enter")
    await expect(page.locator(".pl-infill .pl-wrong")).to_contain_text(SMALL)
    assert await field.input_value() == CODE


async def test_a_call(tab: Tab) -> None:
    """A required call is shown with function, state and the probability of the argument."""
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
