"""Tests the list of conversations in a browser without a model."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from playwright.async_api import Page, expect

from pellucid.vocabulary.finish import FinishReason
from pellucid_webui.conversations.conversation import ASSISTANT
from support.page.list_page import DAY, LOCAL, Library, choose_action, library, listed_page, row, shown_list
from support.page.page_fixtures import held
from support.page.page_tabs import FRAMES, check_themes
from support.page.small_page_server import PagedServer

AUCKLAND = {"timezone_id": "Pacific/Auckland"}

NOON = datetime(2026, 3, 15, 12, tzinfo=ZoneInfo("Pacific/Auckland")).timestamp()
"""A Sunday, and Saturday night in UTC."""

FOCUSED = "() => document.activeElement.closest('[data-id]')?.dataset.id ?? document.activeElement.type"

MARKED = "() => [...(CSS.highlights.get('pl-match') ?? [])].map((range) => range.toString())"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data"


def stored(folder: Path) -> bytes:
    """Return the bytes of the file of conversations and of SQLite's files next to it."""
    return b"".join(file.read_bytes() for file in folder.glob("conversations.db*"))


async def open_page(page: Page, server: PagedServer, path: str = "") -> None:
    """Open the page, and wait for the list."""
    await page.goto(server.server.url + path)
    await page.locator(".pl-conversations > *").first.wait_for()


@pytest.mark.parametrize("browser_page", [AUCKLAND], indirect=True)
async def test_dates(browser_page: Page, folder: Path) -> None:
    """Conversations are grouped by days in the browser's time zone, with readable times."""
    with library(folder) as found:
        ids = {}
        for title, at in reversed(
            [
                ("now", NOON - 60),
                ("after midnight", NOON - 11.9 * 3600),
                ("before midnight", NOON - 12.1 * 3600),
                ("a week", NOON - 7 * DAY),
                ("a month", NOON - 30 * DAY),
                ("February", NOON - 31 * DAY),
                ("last year", NOON - 300 * DAY),
            ]
        ):
            ids[title] = found.add(title, "Hi", at=at)
    await browser_page.clock.set_fixed_time(NOON)
    with listed_page(folder) as server:
        await open_page(browser_page, server)
        assert await shown_list(browser_page) == [
            ("Today", ["now", "after midnight"]),
            ("Yesterday", ["before midnight"]),
            ("Previous 7 days", ["a week"]),
            ("Previous 30 days", ["a month"]),
            ("February 2026", ["February"]),
            ("May 2025", ["last year"]),
        ]
        short = {
            title: await row(browser_page, id).locator(".pl-time [aria-hidden]").inner_text()
            for title, id in ids.items()
        }
        assert short["now"].replace("\u202f", " ") == "11:59 AM"
        assert (short["before midnight"], short["a week"], short["last year"]) == ("Sat", "Mar 8", "May 2025")
        about = (
            await row(browser_page, ids["before midnight"])
            .locator(".pl-title")
            .evaluate("one => document.getElementById(one.getAttribute('aria-describedby')).textContent")
        )
        assert about.startswith("Saturday, March 14, 2026 at 11:54")
        assert about.endswith("1 message")
        assert about in str(await row(browser_page, ids["before midnight"]).locator(".pl-title").get_attribute("title"))


@pytest.fixture
async def ids(folder: Path, browser_page: Page) -> AsyncIterator[dict[str, str]]:
    """Open the page with three conversations, and provide the ids by title."""
    with library(folder) as found:
        ids = {
            title: found.add(title, f"About {title}", "An answer.", at=NOON + n)
            for n, title in enumerate(("Cats", "Birds", "Ants"))
        }
    with listed_page(folder) as server:
        await open_page(browser_page, server)
        yield ids


async def test_pins_and_folders(browser_page: Page, ids: dict[str, str]) -> None:
    """Conversations are pinned, and moved into folders by menu and by dragging."""
    await pin(browser_page, ids)
    await dragged(browser_page, ids)
    await folders_life(browser_page, ids)


async def test_deletion(browser_page: Page, ids: dict[str, str], folder: Path) -> None:
    """A deletion can be undone, until a conversation is deleted permanently."""
    await undo(browser_page, ids)
    await recently_deleted(browser_page, ids, folder)


async def test_keys(browser_page: Page, ids: dict[str, str]) -> None:
    """Keys visit and rename rows, and neither hovering nor a change moves anything under a menu."""
    await nothing_shifts_on_hover(browser_page, ids)
    await change_waits_for_an_open_menu(browser_page, ids)
    await walk(browser_page, ids)


async def test_a_list_that_overtakes_a_change(browser_page: Page, ids: dict[str, str]) -> None:
    """A change is shown also if a list from before the change was asked for later."""
    released = await held(browser_page, "conversations", lambda asked: asked["verb"] != "refresh")
    await choose_action(browser_page, ids["Cats"], "Pin")
    async with browser_page.expect_response("**/page/conversations"):
        await browser_page.evaluate("document.dispatchEvent(new Event('pellucid-server-back'))")

    released.set()

    await browser_page.get_by_role("heading", name="Pinned").wait_for()


async def pin(page: Page, ids: dict[str, str]) -> None:
    """A conversation is pinned by menu and unpinned by key, and keeps focus and pin."""
    await choose_action(page, ids["Cats"], "Pin")
    await page.wait_for_function("() => document.querySelector('.pl-conversations h2').innerText.includes('Pinned')")
    assert (await shown_list(page))[0] == ("Pinned", ["Cats"])
    assert await page.evaluate(FOCUSED) == ids["Cats"]
    await page.reload()
    await page.locator(".pl-title").first.wait_for()
    assert (await shown_list(page))[0] == ("Pinned", ["Cats"])
    await row(page, ids["Cats"]).locator(".pl-title").focus()
    await page.keyboard.press("p")
    await page.get_by_role("heading", name="Pinned").wait_for(state="detached")
    assert await page.evaluate(FOCUSED) == ids["Cats"]


async def folders_life(page: Page, ids: dict[str, str]) -> None:
    """A folder is created, collapsed, renamed and deleted, and undo restores it."""
    await choose_action(page, ids["Birds"], "Move to a folder…")
    await page.get_by_role("menuitem", name="New folder…").click()
    await page.get_by_role("textbox", name="Name of the new folder").fill("Animals")
    await page.keyboard.press("Enter")
    head = page.locator(".pl-folder-head", has_text="Animals")
    await head.wait_for()
    groups = await shown_list(page)
    assert (groups[0], groups[-1][1]) == (("Animals", ["Birds"]), ["Ants", "Cats"])

    await choose_action(page, ids["Cats"], "Move to a folder…")
    await page.get_by_role("menuitemradio", name="Animals").click()
    await expect(head.locator(".pl-folder-count")).to_have_text("2")
    await head.locator(".pl-folder-name").click()
    await expect(head.locator(".pl-folder-name")).to_have_attribute("aria-expanded", "false")
    await page.reload()
    await expect(head.locator(".pl-folder-name")).to_have_attribute("aria-expanded", "false")
    assert (await shown_list(page))[0] == ("Animals", [])

    await head.locator(".pl-folder-name").focus()
    await page.keyboard.press("F2")
    await page.get_by_role("textbox", name="Name of the folder").fill("Beasts")
    await page.keyboard.press("Enter")
    await page.locator(".pl-folder-head", has_text="Beasts").wait_for()
    await page.keyboard.press("Delete")
    await expect(page.locator(".pl-undo")).to_contain_text("Deleted the folder “Beasts”.")
    assert [titles for _, titles in await shown_list(page) if titles] == [["Ants", "Birds", "Cats"]]
    await page.get_by_role("button", name="Undo the deletion").click()
    await page.locator(".pl-folder-head", has_text="Beasts").wait_for()
    assert (await shown_list(page))[0] == ("Beasts", ["Birds", "Cats"])


async def dragged(page: Page, ids: dict[str, str]) -> None:
    """A conversation can be dragged into and out of a folder."""
    await page.get_by_role("button", name="New folder").click()
    await page.get_by_role("textbox", name="Name of the new folder").fill("Zoo")
    await page.keyboard.press("Enter")
    head = page.locator(".pl-folder-head", has_text="Zoo")
    # Otherwise the list would be drawn again under the pressed button.
    await head.wait_for()
    await row(page, ids["Ants"]).drag_to(head)
    await expect(head.locator(".pl-folder-count")).to_have_text("1")
    assert (await shown_list(page))[0] == ("Zoo", ["Ants"])
    await row(page, ids["Ants"]).drag_to(row(page, ids["Birds"]))
    await expect(head.locator(".pl-folder-count")).to_have_text("0")


async def undo(page: Page, ids: dict[str, str]) -> None:
    """A deletion needs no confirmation, moves the focus, and can be undone by keyboard."""
    await row(page, ids["Birds"]).locator(".pl-title").focus()
    await page.keyboard.press("Delete")
    # The row is removed before the server answers.
    assert await row(page, ids["Birds"]).count() == 0
    assert await page.evaluate(FOCUSED) == ids["Cats"]
    notice = page.locator(".pl-undo[role=status]")
    await expect(notice).to_contain_text("Deleted “Birds”.")
    await page.keyboard.press("Delete")
    await expect(notice).to_contain_text("Deleted “Cats”.")
    undo = page.get_by_role("button", name="Undo the deletion")
    for _ in range(8):
        await page.keyboard.press("Shift+Tab")
        if await undo.evaluate("one => one === document.activeElement"):
            break
    await page.keyboard.press("Enter")
    await row(page, ids["Cats"]).wait_for()
    await expect(notice).to_have_text("")
    assert [titles for _, titles in await shown_list(page)] == [["Ants", "Cats"]]


async def recently_deleted(page: Page, ids: dict[str, str], folder: Path) -> None:
    """Deleted conversations have a number of days, and can be restored or erased."""
    for title in ("Ants", "Cats"):
        await choose_action(page, ids[title], "Delete")
        await expect(page.locator(".pl-undo")).to_contain_text(title)
    await page.get_by_role("button", name="Dismiss").click()
    await expect(page.locator(".pl-undo")).to_have_text("")
    await page.reload()
    await page.get_by_text("Recently deleted (3)").click()
    deleted = page.locator(".pl-deleted li")
    await expect(deleted.first).to_contain_text("30 days left")
    await page.get_by_role("button", name="Restore “Birds”").click()
    await row(page, ids["Birds"]).wait_for()
    await expect(deleted).to_have_count(2)
    cats = page.locator(f".pl-deleted [data-id='{ids['Cats']}']")
    await cats.get_by_role("button", name="Delete permanently").click()
    await expect(deleted).to_have_count(2)
    await cats.get_by_role("button", name="Really delete permanently?").click()
    await expect(deleted).to_have_count(1)
    await page.get_by_role("button", name="Delete all permanently").click()
    await page.get_by_role("button", name="Really delete all permanently?").click()
    await page.locator(".pl-deleted").wait_for(state="hidden")
    content = stored(folder)
    assert [word for word in (b"About Cats", b"About Ants") if word in content] == []
    assert b"About Birds" in content


async def test_search(folder: Path, browser_page: Page) -> None:
    """Messages on all paths are found and visited, and in each state axe finds nothing serious."""
    with library(folder) as found:
        filler = "\n\n".join(["Nothing of it."] * 40)
        id = found.add("Stripes", "What has a Zébra?", "Stripes.", filler, f"{filler}\n\nThe **zebras** run.", at=NOON)
        found.add("Other", "A finch", "sings", at=NOON + 1)
        nodes = [node.id for node in found.store.conversation(LOCAL, id).path()]
        branch = found.store.add(LOCAL, id, nodes[0], ASSISTANT, "Only a zebra.", end=FinishReason.STOP)
        found.store.select_version(LOCAL, id, nodes[1])
        with listed_page(folder) as server:
            await open_page(browser_page, server)
            await search_by_keyboard(browser_page, id)
            await only_the_title(browser_page, id, nodes[0])
            await jumps_to_the_match(browser_page, id, nodes[0], nodes[3], branch)
            await looks(browser_page, found, id)


async def jumps_to_the_match(page: Page, id: str, first: int, last: int, branch: int) -> None:
    """A result opens at the marked words, and next and previous visit matches on all paths."""
    search = page.get_by_role("searchbox", name="Search all conversations")
    await search.fill("zebra")
    await expect(page.locator(".pl-snippet mark").first).to_have_css("font-weight", "700")
    await expect(row(page, id)).to_contain_text("3 messages match")
    await row(page, id).locator(".pl-title").click()
    bar = page.get_by_role("group", name="Matches of the search")
    await bar.wait_for()

    async def at(node: int, words: list[str], number: int) -> None:
        message = page.locator(f".pl-message[data-node='{node}']")
        await expect(message).to_have_attribute("data-match", "current")
        await expect(bar).to_contain_text(f"Match {number} of 3")
        await page.wait_for_function(
            "([words]) => JSON.stringify((" + MARKED + ")()) === words",
            arg=[json.dumps(words, ensure_ascii=False).replace(", ", ",")],
        )
        await page.wait_for_function(  # The marked word is on the screen.
            "() => { const list = document.querySelector('.pl-messages').getBoundingClientRect();"
            " return [...CSS.highlights.get('pl-match')].some((range) => { const box = "
            "range.getBoundingClientRect();"
            " return box.top >= list.top && box.bottom <= list.bottom; }); }"
        )
        assert await page.evaluate("scrollY") == 0

    async def press(name: str) -> None:
        await bar.get_by_role("button", name=name).click()

    await at(branch, ["Zébra", "zebra"], 3)
    await press("Next match")
    await at(first, ["Zébra", "zebra"], 1)
    await press("Next match")
    await at(last, ["Zébra", "zebras"], 2)
    await press("Previous match")
    await at(first, ["Zébra", "zebras"], 1)
    await press("Previous match")
    await at(branch, ["Zébra", "zebra"], 3)

    await search.focus()
    await page.keyboard.press("Escape")
    await bar.wait_for(state="detached")
    await expect(search).to_have_value("")
    assert await page.evaluate(MARKED) == []
    await expect(page.locator(".pl-title")).to_have_count(2)
    await expect(page.locator(f".pl-message[data-node='{first}']")).to_have_count(1)


async def search_by_keyboard(page: Page, id: str) -> None:
    """Enter visits matches, arrow keys visit results, and Escape clears the search."""
    search = page.get_by_role("searchbox", name="Search all conversations")
    await search.fill("zebra")
    await page.locator(".pl-snippet").wait_for()
    await search.press("Enter")
    bar = page.get_by_role("group", name="Matches of the search")
    await bar.wait_for()
    before = await bar.inner_text()
    await search.press("Enter")
    await expect(bar).not_to_have_text(before)
    await search.press("Shift+Enter")
    await expect(bar).to_have_text(before)
    await search.press("ArrowDown")
    assert await page.evaluate(FOCUSED) == id
    await page.keyboard.press("Escape")
    assert await page.evaluate(FOCUSED) == "search"
    await expect(page.locator(".pl-title")).to_have_count(2)


async def only_the_title(page: Page, id: str, first: int) -> None:
    """A conversation with a match only in the title is opened without marks."""
    await page.get_by_role("searchbox", name="Search all conversations").fill("stripes zebra run finch")
    await page.get_by_text("No matches.").wait_for()
    await page.get_by_role("searchbox", name="Search all conversations").fill("other")
    await page.locator(".pl-title").first.click()
    await page.get_by_text("sings").wait_for()
    assert await page.locator(".pl-match-bar, [data-match], .pl-snippet").count() == 0
    assert await page.locator(f".pl-message[data-node='{first}']").count() == 0
    assert id not in page.url


async def walk(page: Page, ids: dict[str, str]) -> None:
    """Arrow keys, Home and End visit the rows, Tab enters a row, and F2 renames."""
    search = page.get_by_role("searchbox", name="Search all conversations")
    await search.press("ArrowDown")
    order = []
    for key in ("ArrowDown", "ArrowDown", "ArrowDown", "Home", "End", "ArrowUp"):
        order.append(await page.evaluate(FOCUSED))
        await page.keyboard.press(key)
    cats, birds, ants = ids["Cats"], ids["Birds"], ids["Ants"]
    assert order == [ants, birds, cats, cats, ants, cats]
    assert await page.evaluate(FOCUSED) == birds
    # The title and the menu of a single row
    assert await page.locator(".pl-conversations button[tabindex='0']").count() == 2

    await page.keyboard.press("F2")
    field = page.get_by_role("textbox", name="Title of the conversation")
    await field.press("Escape")
    assert await page.evaluate(FOCUSED) == birds
    await page.keyboard.press("F2")
    await field.fill("Swifts")
    await field.press("Enter")
    await expect(row(page, birds).locator(".pl-title")).to_have_text("Swifts")
    assert await page.evaluate(FOCUSED) == birds

    await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")
    item = "() => document.activeElement.textContent"
    assert (await page.evaluate(item)).startswith("Rename")
    await page.keyboard.press("ArrowUp")
    assert (await page.evaluate(item)).startswith("Delete")
    await page.keyboard.press("Escape")
    assert await page.evaluate(FOCUSED) == birds
    await expect(page.locator("[role=menu]")).to_have_count(0)


async def nothing_shifts_on_hover(page: Page, ids: dict[str, str]) -> None:
    """Hovering over a row, or focusing a row, moves nothing in the list."""
    boxes = (
        "() => [...document.querySelectorAll('.pl-conversation-panel *')].map((one) => "
        "JSON.stringify(one.getBoundingClientRect()))"
    )
    await page.mouse.move(900, 10)
    before = await page.evaluate(boxes)
    await row(page, ids["Birds"]).hover()
    assert await page.evaluate(boxes) == before
    await row(page, ids["Cats"]).locator(".pl-title").focus()
    assert await page.evaluate(boxes) == before


async def looks(page: Page, found: Library, id: str) -> None:
    """In both themes axe finds nothing serious in the list, and on a phone nothing is cut off."""
    folder = found.store.folders.create(LOCAL, "A folder with a rather long name")
    found.store.folders.pin(LOCAL, found.add("Pinned", "x", at=NOON), True)
    found.store.folders.move(LOCAL, found.add("Inside", "x", at=NOON), folder)
    found.now = NOON
    await page.reload()
    await row(page, id).wait_for()

    await choose_action(page, id, "Delete")
    await page.get_by_role("button", name="Undo the deletion").wait_for()
    await page.get_by_text("Recently deleted (1)").click()
    await check_themes(page, "#pl-side")
    await page.get_by_role("button", name="Undo the deletion").click()
    await row(page, id).locator(".pl-more").click()
    await page.locator("[role=menu]").wait_for()
    await check_themes(page, "#pl-side")
    await page.keyboard.press("Escape")
    await page.get_by_role("searchbox", name="Search all conversations").fill("zebra")
    await page.locator(".pl-snippet").wait_for()
    await row(page, id).locator(".pl-title").click()
    await page.locator(".pl-match-bar").wait_for()
    await check_themes(page, "#pl-side")
    await page.set_viewport_size({"width": 360, "height": 800})
    await page.wait_for_function("() => document.documentElement.clientWidth === 360")
    assert await page.evaluate("document.documentElement.scrollWidth") <= 360


async def change_waits_for_an_open_menu(page: Page, ids: dict[str, str]) -> None:
    """A change during an open menu is drawn when the menu closes, with the focus kept."""
    other = await page.context.new_page()
    await other.goto(page.url)
    await row(page, ids["Birds"]).hover()
    await row(page, ids["Birds"]).locator(".pl-more").click()
    await page.get_by_role("menu").wait_for()

    await row(other, ids["Ants"]).locator(".pl-title").click()
    await other.keyboard.press("F2")
    await other.get_by_role("textbox", name="Title of the conversation").fill("Bees")
    await other.keyboard.press("Enter")
    await expect(row(other, ids["Ants"]).locator(".pl-title")).to_have_text("Bees")
    async with page.expect_response(lambda response: "/page/conversations" in response.url) as news:
        await page.evaluate("() => window.dispatchEvent(new Event('focus'))")
    assert "Bees" in await (await news.value).text()
    await page.evaluate(FRAMES)
    await expect(row(page, ids["Ants"]).locator(".pl-title")).to_have_text("Ants")
    await page.keyboard.press("Escape")

    await expect(row(page, ids["Ants"]).locator(".pl-title")).to_have_text("Bees")
    assert await page.evaluate(FOCUSED) == ids["Birds"]
