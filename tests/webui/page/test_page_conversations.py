"""Tests the list of conversations in a browser with scripted models, also with two tabs."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from random import Random

import pytest
from playwright.async_api import FilePayload, Locator, Route, expect

from pellucid.vocabulary.finish import FinishReason
from pellucid_webui.conversations.conversation import USER, Conversation, Node
from pellucid_webui.conversations.exchange.markdown_format import to_markdown
from pellucid_webui.conversations.turn_settings import TurnSettings
from support.page.page_fixtures import ENDLESS, SECONDS, Tab, watched
from support.page.scripted_assistant import tokens
from support.page.small_page_server import PagedServer
from support.page.storyteller import Storyteller, story_page

MOST_BYTES = 1_000_000
"""Maximum bytes of a request, instead of the server's default, because packing takes long."""


@pytest.fixture(scope="module")
def story_server(tmp_path_factory: pytest.TempPathFactory, teller: Storyteller) -> Iterator[PagedServer]:
    """Serve the page with a lower limit of requests."""
    with story_page(tmp_path_factory.mktemp("story"), teller, max_body_bytes=MOST_BYTES) as server:
        yield server


@pytest.fixture
async def other(tab: Tab) -> AsyncIterator[Tab]:
    """Provide a second tab of the same browser."""
    page = await tab.page.context.new_page()
    page.set_default_timeout(SECONDS)
    yield watched(page, tab.address)
    await page.close()


def titles(tab: Tab) -> Locator:
    return tab.page.locator(".pl-conversations .pl-title")


def chosen(tab: Tab) -> Locator:
    """Return the selected conversation in the list."""
    return tab.page.locator(".pl-conversations .pl-chosen")


async def begin(tab: Tab, text: str) -> None:
    """Start a conversation with a short answer."""
    await tab.page.get_by_role("button", name="New chat").click()
    await expect(tab.page.locator(".pl-message")).to_have_count(0)
    await tab.answer(text)
    await expect(chosen(tab)).to_contain_text("2 messages")


async def do(tab: Tab, action: str) -> None:
    """Choose an action in the menu of the selected conversation."""
    await chosen(tab).locator(".pl-more").click()
    await tab.page.get_by_role("menuitem", name=action).click()


async def export(tab: Tab, name: str, folder: Path) -> Path:
    """Return the file saved by an action of the selected conversation."""
    async with tab.page.expect_download() as coming:
        await do(tab, name)
    download = await coming.value
    path = folder / download.suggested_filename
    await download.save_as(path)
    return path


async def test_delete(tab: Tab, other: Tab) -> None:
    """A deletion stops the answer and is shown in a second tab, and undo restores all."""
    await tab.be_brief(ENDLESS)
    await tab.send("Write a long story about a fox and a hen.")
    await tab.grown(20)
    id = str(await chosen(tab).get_attribute("data-id"))
    await other.open(f"/?c={id}")
    await other.grown(20)

    async def late(route: Route) -> None:
        response = await route.fetch()
        if (route.request.post_data_json or {})["verb"] == "delete":
            await expect(tab.page.locator(".pl-message")).to_have_count(0)  # The end of the stream has closed the chat.
        await route.fulfill(response=response)

    await tab.page.route("**/page/conversations", late)
    await do(tab, "Delete")

    await expect(tab.page.locator(f".pl-conversations [data-id='{id}']")).to_have_count(0)
    await expect(tab.page.locator(".pl-message")).to_have_count(0)
    assert id not in tab.page.url
    await expect(other.notice).to_contain_text("This conversation was deleted: you can restore it")
    await expect(other.page.locator(".pl-message")).to_have_count(0)
    assert id not in other.page.url
    await tab.page.get_by_role("button", name="Undo the deletion").click()
    await tab.answered(2)
    assert (await tab.texts())[0] == "Write a long story about a fox and a hen."
    await expect(tab.page.locator(".pl-assistant .pl-note")).to_contain_text("Stopped.")
    await expect(chosen(tab)).to_have_attribute("data-id", id)
    await other.open(f"/?c={id}")
    await other.answered(2)


async def test_two_tabs(tab: Tab, other: Tab) -> None:
    """Two tabs answer at once; in the same conversation the second tab follows and can stop."""
    await tab.be_brief(ENDLESS)
    await tab.send("Write a long story about a fox and a hen.")
    await tab.grown(20)
    await other.open()
    await other.be_brief(6)
    await other.answer("Name a colour.")
    assert len(await other.texts()) == 2
    assert await tab.page.locator(".pl-message[aria-busy=true]").count() == 1

    await other.open("/?" + tab.page.url.partition("?")[2])
    await other.grown(20)
    await other.page.get_by_role("button", name="Stop").click()
    await other.answered(2)
    await tab.answered(2)
    assert await tab.texts() == await other.texts()
    assert tab.problems == other.problems == []


async def test_the_list(tab: Tab) -> None:
    """Conversations are listed, found, renamed, and shown again with their drafts."""
    await tab.be_brief(4)
    await list_search_and_rename(tab)
    await rename_by_clicking_elsewhere(tab)
    await reload(tab)


async def list_search_and_rename(tab: Tab) -> None:
    """The newest conversation is first; conversations are found, opened and renamed."""
    await begin(tab, "What is a zebrafinch?")
    await begin(tab, "What is a wombat?")
    assert (await titles(tab).all_inner_texts())[:2] == ["What is a wombat?", "What is a zebrafinch?"]
    await expect(tab.page).to_have_title("What is a wombat? · Pellucid")

    await tab.page.get_by_role("searchbox", name="Search all conversations").fill("zebrafinch")
    await expect(titles(tab)).to_have_count(1)
    await expect(tab.page.locator(".pl-snippet mark").first).to_have_text(re.compile("zebrafinch"))
    await titles(tab).first.click()
    await expect(tab.page.locator(".pl-user .pl-body")).to_have_text("What is a zebrafinch?")
    await expect(tab.page).to_have_title("What is a zebrafinch? · Pellucid")
    id = str(await chosen(tab).get_attribute("data-id"))
    assert f"c={id}" in tab.page.url

    await do(tab, "Rename")
    field = tab.page.get_by_role("textbox", name="Title of the conversation")
    await field.fill("Birds")
    await field.press("Enter")
    await expect(chosen(tab).locator(".pl-title")).to_have_text("Birds")
    await expect(tab.page).to_have_title("Birds · Pellucid")
    await tab.page.get_by_role("searchbox", name="Search all conversations").fill("no such word anywhere")
    await expect(tab.page.get_by_text("No matches.")).to_be_visible()
    await tab.page.get_by_role("searchbox", name="Search all conversations").fill("")
    await tab.page.get_by_role("button", name="New chat").click()
    await expect(tab.page.locator(".pl-message")).to_have_count(0)
    await expect(tab.page).to_have_title("Pellucid")
    assert "c=" not in tab.page.url
    await tab.open(f"/?c={id}")
    await tab.answered(2)
    assert (await tab.texts())[0] == "What is a zebrafinch?"


async def rename_by_clicking_elsewhere(tab: Tab) -> None:
    """A title is saved on blur, and the list continues to update."""
    await begin(tab, "What is a numbat?")
    await do(tab, "Rename")
    await tab.page.get_by_role("textbox", name="Title of the conversation").fill("Termites")
    await tab.page.get_by_role("textbox", name="Your message").click()
    await expect(chosen(tab).locator(".pl-title")).to_have_text("Termites")
    await expect(tab.page.get_by_role("textbox", name="Your message")).to_be_focused()
    await begin(tab, "What is a quoll?")
    assert (await titles(tab).all_inner_texts())[:2] == ["What is a quoll?", "Termites"]


async def reload(tab: Tab) -> None:
    """A reload shows the same conversation, and each conversation keeps a draft."""
    await begin(tab, "Say yes.")
    before = await tab.texts()
    field = tab.page.get_by_role("textbox", name="Your message")
    await field.fill("half a thou")
    await tab.page.reload()
    await tab.answered(2)
    assert await tab.texts() == before
    assert await field.input_value() == "half a thou"
    await tab.page.get_by_role("button", name="New chat").click()
    await expect(field).to_have_value("")
    await field.fill("another")
    await titles(tab).first.click()
    await expect(field).to_have_value("half a thou")


async def test_exchange(tab: Tab, teller: Storyteller, tmp_path: Path) -> None:
    """Conversations are exported and imported, with or without an answer, up to a size."""
    await tab.be_brief(4)
    await export_and_import(tab, tmp_path)
    teller.script = tokens("Yes.")
    await import_without_an_answer(tab)
    await import_of_too_much(tab)


async def export_and_import(tab: Tab, tmp_path: Path) -> None:
    """JSON restores all versions and tokens, Markdown the shown path; other files are refused."""
    await begin(tab, "Name a planet.")
    await tab.page.get_by_role("button", name="Regenerate", exact=True).click()
    await tab.page.get_by_text("2 / 2").wait_for()
    await tab.answered(2)
    texts = await tab.texts()
    whole = await export(tab, "Export as JSON", tmp_path)
    text = await export(tab, "Export as Markdown", tmp_path)
    assert (whole.name, text.name) == ("Name-a-planet.json", "Name-a-planet.md")
    assert json.loads(whole.read_text(encoding="utf-8"))
    assert "Name a planet." in text.read_text(encoding="utf-8")

    choose = tab.page.get_by_label("A conversation to import")
    for path, versions in ((whole, ["2 / 2"]), (text, [])):
        before = tab.page.url
        await choose.set_input_files(path)
        await tab.page.wait_for_function("before => location.href !== before", arg=before)
        await tab.answered(2)
        assert await tab.texts() == texts
        assert await tab.page.locator(".pl-version").all_inner_texts() == versions
        await tab.page.locator(".pl-assistant .pl-tokens-button").click()
        await tab.options.first.wait_for()
        await tab.page.locator(".pl-assistant .pl-tokens-button").click()
        await expect(tab.options).to_have_count(0)

    await choose.set_input_files({"name": "notes.json", "mimeType": "", "buffer": b"[1, 2]"})
    await expect(tab.page.locator(".pl-conversation-panel .pl-notice")).to_contain_text("notes.json cannot be imported")
    assert await tab.page.locator(".pl-message").count() == 2


async def import_without_an_answer(tab: Tab) -> None:
    """A question without an answer can be answered with a button."""
    asked = Conversation(
        "x", "Asked", TurnSettings(), 1.0, 1.0, 1, {1: Node(1, None, USER, "Say yes.", 1.0, end=FinishReason.STOP)}
    )
    file: FilePayload = {"name": "asked.md", "mimeType": "", "buffer": to_markdown(asked).encode()}
    await tab.page.get_by_label("A conversation to import").set_input_files(file)
    await tab.page.get_by_role("button", name="Answer", exact=True).click()
    await tab.answered(2)
    assert (await tab.texts())[0] == "Say yes."
    assert await tab.page.get_by_role("button", name="Answer", exact=True).count() == 0


async def import_of_too_much(tab: Tab) -> None:
    """A refused request shows the server's message until the next action."""
    noise = Random(0).randbytes(MOST_BYTES)
    file: FilePayload = {"name": "noise.json", "mimeType": "", "buffer": b64encode(noise)}
    await tab.page.get_by_label("A conversation to import").set_input_files(file)
    notice = tab.page.locator(".pl-conversation-panel .pl-notice")
    await expect(notice).to_contain_text("send less, or start the server with a larger --max-body-bytes")
    await tab.page.get_by_role("button", name="New folder").click()
    await tab.page.keyboard.type("Animals")
    await tab.page.keyboard.press("Enter")
    await expect(tab.page.locator(".pl-folder-name")).to_have_text(["Animals0"])
    await expect(notice).to_be_hidden()


async def test_while_an_answer_comes(tab: Tab) -> None:
    """During an answer a rename and a reload lose nothing."""
    await tab.be_brief(60)
    await rename_while_an_answer_comes(tab)
    await tab.page.get_by_role("button", name="New chat").click()
    await expect(tab.page.locator(".pl-message")).to_have_count(0)
    await reload_in_the_middle(tab)


async def rename_while_an_answer_comes(tab: Tab) -> None:
    """An unfinished rename survives the end of an answer, and Escape cancels the rename."""
    await tab.send("Write a long story about a fox and a hen.")
    await tab.grown(0)
    await do(tab, "Rename")
    field = tab.page.get_by_role("textbox", name="Title of the conversation")
    await field.fill("A st")
    await tab.answered(2)
    await expect(field).to_be_focused()
    assert await field.input_value() == "A st"
    await field.press("Escape")
    await expect(chosen(tab).locator(".pl-title")).to_have_text("Write a long story about a fox and a hen.")


async def reload_in_the_middle(tab: Tab) -> None:
    """An answer continues during a reload, and is followed to the end."""
    await tab.send("Write a long story about a fox and a hen.")
    shown = await tab.grown(20)
    await tab.page.reload()
    # The answer may end while the page is loaded.
    again = await tab.grown(len(shown), even_ended=True)
    assert again.startswith(shown)
    await tab.answered(2)
    assert (await tab.texts())[1].startswith(again)
    assert "60 tokens" in await tab.page.locator(".pl-assistant .pl-note").inner_text()
