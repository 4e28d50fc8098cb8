"""Tests a conversation longer than the context, in a browser with a scripted model."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Locator, Page, expect

from pellucid.errors import ContextLengthError
from pellucid.vocabulary.finish import Finish, FinishReason, OnUsage, Usage
from pellucid.vocabulary.model_card import ModelCard
from pellucid.vocabulary.query import ChatQuery
from pellucid.vocabulary.token import Token
from pellucid_webui.conversations.model_view import SUMMARY_PROMPT
from pellucid_webui.hosting.gradio_host import pellucid_view
from support.page.page_fixtures import Tab, watched
from support.page.page_tabs import check_looks
from support.page.scripted_assistant import token
from support.page.small_page_server import paged
from support.servers.http_servers import TINY, ScriptedAssistant, scripted_state

CONTEXT = 200
"""Tokens: a token for each character."""

LONG = "word " * 15


class SmallContext(ScriptedAssistant):
    """Refuses conversations longer than the context, and records the number of read messages."""

    def __init__(self) -> None:
        super().__init__()
        self.read: list[int] = []

    async def _chat(self, query: ChatQuery) -> AsyncGenerator[Token | Finish]:
        size = sum(message.characters for message in query.messages)
        if SUMMARY_PROMPT in query.messages[-1].content:
            size -= len(SUMMARY_PROMPT)
            text = "They spoke."
        else:
            text = "Yes."
        if size + 1 > CONTEXT:
            raise ContextLengthError(size, CONTEXT)
        self.read.append(len(query.messages))
        yield token(text)
        yield Finish(FinishReason.STOP, Usage(computed=size, generated=len(text)))

    def chat(self, query: ChatQuery, *, on_usage: OnUsage | None = None) -> AsyncGenerator[Token | Finish]:
        return self._chat(query)

    def scripted_cards(self) -> list[ModelCard]:
        return [ModelCard(name=TINY, context=CONTEXT)]


@pytest.fixture
def model() -> SmallContext:
    return SmallContext()


def room(tab: Tab) -> Locator:
    return tab.page.locator(".pl-context-notice")


def choice(tab: Tab, name: str) -> Locator:
    return room(tab).get_by_role("button", name=name)


@pytest.fixture
async def tab(tmp_path: Path, browser_page: Page, model: SmallContext) -> AsyncIterator[Tab]:
    """Open the page of a model with a small context."""
    with paged(tmp_path, pellucid_view, state=scripted_state(model)) as server:
        server.wait()
        found = watched(browser_page, server.server.url)
        await found.open()
        yield found


async def fill_context(tab: Tab) -> None:
    """Ask three questions, with a warning before the last, which does not fit."""
    await tab.answer(LONG)
    await expect(room(tab)).to_be_hidden()
    await tab.answer(LONG)
    await expect(room(tab)).to_have_text(
        "About 173 of 200 tokens are used: soon the oldest messages will have to be left out."
    )
    assert tab.problems == []
    await tab.send(LONG)
    await tab.answered(5)
    await expect(room(tab)).to_contain_text(f"This conversation is 260 tokens long, and {TINY} can read 200.")


async def test_fork_and_drop(tab: Tab, model: SmallContext) -> None:
    """A full conversation is forked, and continues without the oldest messages."""
    await fill_context(tab)
    await fork(tab)
    await drop(tab, model)
    await other_versions(tab)
    await too_long_alone(tab)


async def test_summarise(tab: Tab, model: SmallContext) -> None:
    """A full conversation continues with a summary, and in each state axe finds nothing serious."""
    await fill_context(tab)
    await check_looks(tab.page, "#pl-chat")
    await summarise(tab, model)
    await tab.page.get_by_role("button", name="Retry with…").last.click()
    await check_looks(tab.page, "#pl-chat")


async def fork(full: Tab) -> None:
    """A fork continues with the newest messages, and the old conversation is unchanged."""
    old = full.page.url
    await choice(full, "Continue in a new conversation").click()
    await full.answered(2)
    assert full.page.url != old
    assert (await full.texts()) == [LONG.strip(), "Yes."]
    await full.page.goto(old)
    await full.answered(5)
    await expect(choice(full, "Leave out the oldest messages")).to_be_visible()


async def drop(full: Tab, model: SmallContext) -> None:
    """Dropping the oldest messages answers the message, and dims the dropped messages."""
    await choice(full, "Leave out the oldest messages").click()
    await full.answered(6)
    assert model.read[-1] == 1
    for _ in range(2):
        await expect(full.page.locator(".pl-context-divider")).to_contain_text("The model no longer sees the")
        assert await full.page.locator(".pl-message").evaluate_all(
            "all => all.map((one) => one.hasAttribute('data-unseen'))"
        ) == [
            *[True] * 4,
            *[False] * 2,
        ]
        assert await full.page.locator(".pl-context-divider + .pl-message").get_attribute("data-node") == "5"
        await expect(choice(full, "Leave out the oldest messages")).to_have_count(0)
        assert full.problems == []
        await full.page.reload()
        await full.answered(6)


async def other_versions(full: Tab) -> None:
    """Only versions with dropped messages show dimmed messages."""
    await full.page.locator(".pl-user .pl-edit-button").last.click()
    editor = full.page.get_by_role("textbox", name="Edit the message")
    await editor.fill("Hm?")
    await full.page.get_by_role("button", name="Save & resend").click()
    await full.page.locator(".pl-user").get_by_text("2 / 2").wait_for()
    await full.answered(6)
    await expect(full.page.locator(".pl-context-divider")).to_have_count(0)
    await full.page.locator(".pl-user").get_by_role("button", name="Previous version").click()
    await expect(full.page.locator(".pl-context-divider")).to_have_count(1)
    assert await full.page.locator(".pl-message[data-unseen]").count() == 4


async def too_long_alone(full: Tab) -> None:
    """A message that does not fit alone is reported with the remedy and no useless choice."""
    await full.send("x" * 300)
    await expect(room(full)).to_have_text(
        f"Your message and the system prompt are 304 tokens long, and {TINY} can read 200: "
        "shorten them, or choose a model with a larger context."
    )
    await full.answered(7)


async def summarise(full: Tab, model: SmallContext) -> None:
    """The model's summary is labelled, and read instead of the oldest messages."""
    await choice(full, "Summarise them").click()
    await full.answered(6)
    border = full.page.locator(".pl-context-divider")
    await border.get_by_text("Summary that the model reads instead, written by the model").click()
    await expect(border.locator(".pl-summary-text")).to_have_text("They spoke.")
    assert model.read[-1] == 2
