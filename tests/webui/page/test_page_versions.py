"""Tests the tree of versions, and comparisons from the chat, in a browser."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Locator, Page, expect

from pellucid.vocabulary.finish import Finish, FinishReason, OnUsage, Usage
from pellucid.vocabulary.model_card import ModelCard
from pellucid.vocabulary.query import ChatQuery, ScoreQuery
from pellucid.vocabulary.token import Token
from pellucid_webui.conversations.compact_tokens import pack
from pellucid_webui.conversations.conversation import ASSISTANT, USER
from pellucid_webui.conversations.storage.store import ConversationStore
from pellucid_webui.conversations.turn_settings import TurnSettings
from pellucid_webui.hosting.gradio_host import pellucid_view
from support.page.page_fixtures import Tab, watched
from support.page.page_tabs import check_looks
from support.page.scripted_assistant import token, tokens
from support.page.small_page_server import PagedServer, paged
from support.servers.http_servers import TINY, ScriptedAssistant, scripted_state

OTHER = "other-model"

OWNER, FILE = "local", "conversations.db"

SETTINGS = TurnSettings(model=TINY, temperature=0.5, seed=7)

VERSIONS = 200

FOCUSED = "() => document.activeElement.getAttribute('aria-label')"

LINES_END = """frame => {
  const [picture, tree] = [frame.querySelector("svg"), frame.firstChild].map((one) => \
one.getBoundingClientRect().bottom);
  return Math.abs(picture - tree) < 10;
}"""
"""Returns whether the lines of the tree end at the last row, as they do after a frame."""


class TwoModels(ScriptedAssistant):
    """Answers with the name of the model, and scores the last message as a single token."""

    def __init__(self) -> None:
        super().__init__()
        self.queries: list[ChatQuery] = []

    async def _chat(self, query: ChatQuery) -> AsyncGenerator[Token | Finish]:
        self.queries.append(query)
        yield token(f"I am {query.model}.")
        yield Finish(FinishReason.STOP, Usage(computed=10, generated=1))

    async def _score(self, query: ScoreQuery) -> AsyncGenerator[Token | Finish]:
        assert not isinstance(query.text, str)
        last = query.text[-1]
        yield token(getattr(last, "content", ""))
        yield Finish(FinishReason.STOP, Usage(computed=10))

    def chat(self, query: ChatQuery, *, on_usage: OnUsage | None = None) -> AsyncGenerator[Token | Finish]:
        return self._chat(query)

    def score(self, query: ScoreQuery) -> AsyncGenerator[Token | Finish]:
        return self._score(query)

    def scripted_cards(self) -> list[ModelCard]:
        return [ModelCard(name=name, context=1000) for name in (TINY, OTHER)]


@pytest.fixture
def model() -> TwoModels:
    return TwoModels()


@pytest.fixture
async def server(tmp_path: Path, model: TwoModels) -> AsyncIterator[PagedServer]:
    """Provide a page over a store with the conversation of the fixture ``talk``."""
    with paged(tmp_path, pellucid_view, state=scripted_state(model)) as found:
        found.wait()
        yield found


@pytest.fixture
def talk(tmp_path: Path, server: PagedServer) -> str:
    """Write a conversation with three versions of an answer, a branch, and an edited question."""
    store = ConversationStore(tmp_path / FILE)
    id = store.create(OWNER, SETTINGS, "Talk")

    def add(parent: int | None, role: str, text: str, **more: Any) -> int:
        return store.add(OWNER, id, parent, role, text, end=FinishReason.STOP, **more)

    def answer(parent: int, *parts: str, **more: Any) -> int:
        return add(
            parent, ASSISTANT, "".join(parts), settings=SETTINGS, model=TINY, batches=[pack(tokens(*parts))], **more
        )

    hello = add(None, USER, "Hello")
    first = answer(hello, "Good", " day", "!")
    answer(hello, "Good", " night", origin=first, branched=1)
    third = answer(hello, "Hi", origin=first)
    bye = add(third, USER, "Bye")
    answer(bye, "So", " soon")
    answer(add(third, USER, "Stay", origin=bye), "Why", " not")
    store.close()
    return id


@pytest.fixture
async def tab(browser_page: Page, server: PagedServer, talk: str) -> AsyncIterator[Tab]:
    """Provide a tab that shows the conversation."""
    found = watched(browser_page, server.server.url)
    await found.open(f"/?c={talk}")
    await found.answered(4)
    yield found
    assert found.problems == []
    assert found.elsewhere == []


def rows(tab: Tab) -> Locator:
    return tab.page.get_by_role("dialog", name="Versions").get_by_role("treeitem")


async def names(tab: Tab) -> list[str]:
    """Return the names of the rows as read by a screen reader."""
    found: list[str] = await rows(tab).evaluate_all("all => all.map((one) => one.getAttribute('aria-label'))")
    return found


async def press(tab: Tab, *keys: str) -> str:
    """Press keys, and return the name of the focused element."""
    for key in keys:
        await tab.page.keyboard.press(key)
    return str(await tab.page.evaluate(FOCUSED))


async def open_by_key(tab: Tab) -> None:
    await tab.page.locator(".pl-messages").focus()
    await tab.page.keyboard.press("v")
    await rows(tab).first.wait_for()


async def compared(tab: Tab) -> list[str]:
    """Wait for the end of a comparison, and return the answers."""
    await tab.page.locator(".pl-compare-result[data-done=true]").wait_for()
    found: list[str] = await tab.page.locator(".pl-column [role=listbox]").all_inner_texts()
    return [text.strip() for text in found]


async def test_versions(tab: Tab) -> None:
    """All versions are shown, and opened by click, palette and keys."""
    await what_is_shown(tab)
    await tab.page.keyboard.press("Escape")
    await rows_by_keys(tab)
    await a_click_and_the_palette(tab)


async def what_is_shown(tab: Tab) -> None:
    """The tree has all versions with their origin, and branches with both tokens."""
    await tab.page.locator(".pl-assistant").first.get_by_role("button", name="Versions").click()
    await rows(tab).first.wait_for()
    about = f"{TINY}, temperature 0.5"
    assert await names(tab) == [
        "You, shown: Hello",
        f"Answer, version 1 of 3, {about}: Good day!",
        (
            f"Answer, version 2 of 3, branched at token 2, {about}, space night 77.9 percent, was space day "
            f"77.9 percent: Good night"
        ),
        f"Answer, version 3 of 3, regenerated, {about}, shown: Hi",
        "You, version 1 of 2: Bye",
        f"Answer, {about}: So soon",
        "You, version 2 of 2, edited, shown: Stay",
        f"Answer, {about}, shown: Why not",
    ]
    await expect(rows(tab).nth(3)).to_be_focused()
    branch = rows(tab).nth(2).locator(".pl-version-branch")
    assert " ".join((await branch.inner_text()).split()) == "␣night 77.9 % was ␣day 77.9 %"
    weights = await tab.page.locator(".pl-version-words").evaluate_all(
        "all => all.map((one) => getComputedStyle(one).fontWeight)"
    )
    assert [index for index, weight in enumerate(weights) if weight == "700"] == [0, 3, 6, 7]
    assert await rows(tab).evaluate_all("all => all.map((one) => one.ariaLevel)") == [
        "1",
        "2",
        "2",
        "2",
        "3",
        "4",
        "3",
        "4",
    ]


async def a_click_and_the_palette(tab: Tab) -> None:
    """The palette opens the tree, a click opens a version, and a typed v does nothing."""
    await tab.page.get_by_role("textbox", name="Your message").press("v")
    await expect(tab.page.get_by_role("dialog", name="Versions")).to_have_count(0)
    await tab.page.keyboard.press("Control+k")
    await tab.page.keyboard.type("versions")
    await tab.page.get_by_role("option", name="Show the versions of this conversation").wait_for()
    await tab.page.keyboard.press("Enter")
    await rows(tab).filter(has_text="Bye").click()
    await expect(tab.page.locator(".pl-message").nth(2).locator(".pl-body")).to_have_text("Bye")
    assert await tab.texts() == ["Hello", "Hi", "Bye", "So soon"]
    await expect(tab.page.locator(".pl-message").nth(2)).to_be_focused()


async def rows_by_keys(tab: Tab) -> None:
    """Arrow keys visit the rows, Enter shows a version in the chat, and Escape only closes."""
    await open_by_key(tab)
    assert "Why not" in await press(tab, "End")
    assert "edited, shown: Stay" in await press(tab, "ArrowLeft")
    assert "Why not" in await press(tab, "ArrowRight")
    assert "shown: Hi" in await press(tab, "ArrowLeft", "ArrowLeft")
    assert "shown: Hello" in await press(tab, "Home")
    assert "version 1 of 3" in await press(tab, "ArrowDown")
    await tab.page.keyboard.press("Escape")
    await expect(tab.page.get_by_role("dialog", name="Versions")).to_have_count(0)
    assert await tab.texts() == ["Hello", "Hi", "Stay", "Why not"]

    await open_by_key(tab)
    await press(tab, "Home", "ArrowDown", "Enter")
    await tab.answered(2)
    assert await tab.texts() == ["Hello", "Good day!"]
    await expect(tab.page.locator(".pl-assistant")).to_be_focused()
    await tab.page.reload()
    await tab.answered(2)
    assert await tab.texts() == ["Hello", "Good day!"], "the server keeps what is shown"


async def test_two_versions_are_compared(tab: Tab, model: TwoModels) -> None:
    """Stored answers chosen in the tree are compared without new answers, and look right."""
    await open_by_key(tab)
    button = tab.page.get_by_role("dialog").get_by_role("button", name="Compare")
    await expect(button).to_be_disabled()
    await press(tab, "Home", "ArrowDown", "Space", "ArrowDown", "Space")
    await expect(button).to_have_text("Compare 2 answers")
    await check_looks(tab.page, "dialog[open]")
    await button.click()
    assert await compared(tab) == ["Good day!", "Good night"]
    await check_looks(tab.page, "#pl-compare")
    assert model.queries == []
    await expect(tab.page.locator(".pl-compare-origin")).to_contain_text("From the chat “Talk”")
    await expect(tab.page.get_by_label("Prompt", exact=True)).to_have_value("Hello")

    await tab.tab("Chat")
    await open_by_key(tab)
    await press(tab, "Home", "ArrowDown", "Space")
    await expect(button).to_have_text("Compare with the shown answer")
    await button.click()
    await expect(tab.page.locator(".pl-column").first.locator("[role=listbox]")).to_have_text("Hi")
    assert await compared(tab) == ["Hi", "Good day!"]
    assert model.queries == []


async def test_compare_with(tab: Tab, model: TwoModels) -> None:
    """The stored answer is compared with a new answer of a different model."""
    answer = tab.page.locator(".pl-assistant").last
    await answer.get_by_role("button", name="Compare with…").click()
    form = tab.page.get_by_role("group", name="Compare with another model or temperature")
    await expect(form.get_by_label("Model")).to_be_focused()
    await form.get_by_label("Model").select_option(OTHER)
    await form.get_by_role("button", name="Compare", exact=True).click()
    assert await compared(tab) == ["Why not", f"I am {OTHER}."]
    (query,) = model.queries
    assert [message.content for message in query.messages] == ["Hello", "Hi", "Stay"]
    assert (query.params.temperature, query.params.seed) == (0.5, 7)
    stored = tab.page.get_by_text("Shows the stored answer. With other settings, a new one is generated.")
    await expect(stored.locator("visible=true")).to_have_count(1)
    assert tab.problems == []

    await tab.page.reload()
    await tab.tab("Compare")
    assert await compared(tab) == ["Why not", f"I am {OTHER}."]
    await tab.page.get_by_role("group", name="Column A").get_by_label("Temperature").fill("1")
    await expect(stored.locator("visible=true")).to_have_count(0)
    await tab.page.get_by_role("button", name="Use the prompt alone").click()
    await expect(tab.page.get_by_label("Prompt", exact=True)).to_be_editable()
    await tab.page.get_by_role("button", name="Compare", exact=True).click()
    await expect(tab.page.locator(".pl-column").first.locator("[role=listbox]")).to_have_text(f"I am {TINY}.")
    assert [message.content for message in model.queries[-1].messages] == ["Stay"]


async def test_many_versions(tmp_path: Path, server: PagedServer, browser_page: Page) -> None:
    """200 versions in a long conversation are shown, and single messages are folded."""
    store = ConversationStore(tmp_path / FILE)
    id = store.create(OWNER, SETTINGS, "Long")
    at: int | None = None
    for number in range(60):
        at = store.add(OWNER, id, at, ASSISTANT if number % 2 else USER, f"Message {number}", end=FinishReason.STOP)
    for number in range(VERSIONS):
        store.add(
            OWNER, id, at, USER, f"Version {number} " + "of a long line that does not fit " * 9, end=FinishReason.STOP
        )
    store.close()
    tab = watched(browser_page, server.server.url)
    await tab.open(f"/?c={id}")
    await tab.answered(61)
    await open_by_key(tab)
    await expect(rows(tab)).to_have_count(VERSIONS + 3)
    await expect(rows(tab).last).to_be_focused()
    assert (await names(tab))[1] == "58 messages without other versions"
    await browser_page.set_viewport_size({"width": 390, "height": 844})
    frame = browser_page.locator(".pl-versions-frame")
    await browser_page.wait_for_function(
        "frame => frame.scrollWidth <= frame.clientWidth", arg=await frame.element_handle()
    )
    await browser_page.wait_for_function(LINES_END, arg=await frame.element_handle())
    await press(tab, "Home", "ArrowDown", "Enter")
    await expect(rows(tab)).to_have_count(VERSIONS + 60)
    assert await press(tab, "ArrowDown") == "You, shown: Message 2"
    await browser_page.get_by_role("treeitem", name="version 18 of 200").click()
    await expect(browser_page.locator(".pl-message").last).to_contain_text("Version 17 of a long line")
    assert tab.problems == []
