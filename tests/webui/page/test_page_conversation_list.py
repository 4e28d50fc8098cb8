"""Tests the list of conversations in a browser without a model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from playwright.async_api import Page, expect

from pellucid.vocabulary.finish import FinishReason
from pellucid_webui.conversations.conversation import ASSISTANT
from support.page.list_page import DAY, LOCAL, Library, choose_action, library, listed_page, row, shown_list
from support.page.page_tabs import check_themes
from support.page.small_page_server import PagedServer

AUCKLAND = {"timezone_id": "Pacific/Auckland"}

NOON = datetime(2026, 3, 15, 12, tzinfo=ZoneInfo("Pacific/Auckland")).timestamp()
"""A Sunday, and Saturday night in UTC."""

FOCUSED = "() => document.activeElement.closest('[data-id]')?.dataset.id ?? document.activeElement.type"

KEEP_LIST = """addEventListener("DOMContentLoaded", () => {
  const mount = Pellucid.mountConversations;
  Pellucid.mountConversations = (options) => (window.list = mount(options));
})"""
"""Makes the list's object reachable: its state includes changes that are not drawn."""

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


class TestDates:
    @pytest.mark.parametrize("browser_page", [AUCKLAND], indirect=True)
    async def test_groups(self, browser_page: Page, folder: Path) -> None:
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
            assert about in str(
                await row(browser_page, ids["before midnight"]).locator(".pl-title").get_attribute("title")
            )


@pytest.fixture
def three(folder: Path) -> Iterator[tuple[PagedServer, dict[str, str]]]:
    """Serve three conversations; return the ids by title."""
    with library(folder) as found:
        ids = {
            title: found.add(title, f"About {title}", "An answer.", at=NOON + n)
            for n, title in enumerate(("Cats", "Birds", "Ants"))
        }
    with listed_page(folder) as server:
        yield server, ids


class TestPinsAndFolders:
    async def test_pin(self, browser_page: Page, three: tuple[PagedServer, dict[str, str]]) -> None:
        """A conversation is pinned by menu and unpinned by key, and keeps focus and pin."""
        server, ids = three
        await open_page(browser_page, server)
        await choose_action(browser_page, ids["Cats"], "Pin")
        await browser_page.wait_for_function(
            "() => document.querySelector('.pl-conversations h3').innerText.includes('Pinned')"
        )
        assert (await shown_list(browser_page))[0] == ("Pinned", ["Cats"])
        assert await browser_page.evaluate(FOCUSED) == ids["Cats"]
        await browser_page.reload()
        await browser_page.locator(".pl-title").first.wait_for()
        assert (await shown_list(browser_page))[0] == ("Pinned", ["Cats"])
        await row(browser_page, ids["Cats"]).locator(".pl-title").focus()
        await browser_page.keyboard.press("p")
        await browser_page.get_by_role("heading", name="Pinned").wait_for(state="detached")
        assert await browser_page.evaluate(FOCUSED) == ids["Cats"]

    async def test_a_folders_life(self, browser_page: Page, three: tuple[PagedServer, dict[str, str]]) -> None:
        """A folder is created, collapsed, renamed and deleted, and undo restores it."""
        server, ids = three
        await open_page(browser_page, server)
        await choose_action(browser_page, ids["Birds"], "Move to a folder…")
        await browser_page.get_by_role("menuitem", name="New folder…").click()
        await browser_page.get_by_role("textbox", name="Name of the new folder").fill("Animals")
        await browser_page.keyboard.press("Enter")
        head = browser_page.locator(".pl-folder-head", has_text="Animals")
        await head.wait_for()
        groups = await shown_list(browser_page)
        assert (groups[0], groups[1][1]) == (("Animals", ["Birds"]), ["Ants", "Cats"])

        await choose_action(browser_page, ids["Cats"], "Move to a folder…")
        await browser_page.get_by_role("menuitemradio", name="Animals").click()
        await expect(head.locator(".pl-folder-count")).to_have_text("2")
        await head.locator(".pl-folder-name").click()
        await expect(head.locator(".pl-folder-name")).to_have_attribute("aria-expanded", "false")
        await browser_page.reload()
        await expect(head.locator(".pl-folder-name")).to_have_attribute("aria-expanded", "false")
        assert (await shown_list(browser_page))[0] == ("Animals", [])

        await head.locator(".pl-folder-name").focus()
        await browser_page.keyboard.press("F2")
        await browser_page.get_by_role("textbox", name="Name of the folder").fill("Beasts")
        await browser_page.keyboard.press("Enter")
        await browser_page.locator(".pl-folder-head", has_text="Beasts").wait_for()
        await browser_page.keyboard.press("Delete")
        await expect(browser_page.locator(".pl-undo")).to_contain_text("Deleted the folder “Beasts”.")
        assert [titles for _, titles in await shown_list(browser_page)] == [["Ants", "Birds", "Cats"]]
        await browser_page.get_by_role("button", name="Undo the deletion").click()
        await browser_page.locator(".pl-folder-head", has_text="Beasts").wait_for()
        assert (await shown_list(browser_page))[0] == ("Beasts", ["Birds", "Cats"])

    async def test_dragged(self, browser_page: Page, three: tuple[PagedServer, dict[str, str]]) -> None:
        """A conversation can be dragged into and out of a folder."""
        server, ids = three
        await open_page(browser_page, server)
        await browser_page.get_by_role("button", name="New folder").click()
        await browser_page.get_by_role("textbox", name="Name of the new folder").fill("Animals")
        await browser_page.keyboard.press("Enter")
        head = browser_page.locator(".pl-folder-head", has_text="Animals")
        # Otherwise the list would be drawn again under the pressed button.
        await head.wait_for()
        await row(browser_page, ids["Ants"]).drag_to(head)
        await expect(head.locator(".pl-folder-count")).to_have_text("1")
        assert (await shown_list(browser_page))[0] == ("Animals", ["Ants"])
        await row(browser_page, ids["Ants"]).drag_to(row(browser_page, ids["Birds"]))
        await expect(head.locator(".pl-folder-count")).to_have_text("0")


class TestDeletion:
    async def test_undo(self, browser_page: Page, three: tuple[PagedServer, dict[str, str]]) -> None:
        """A deletion needs no confirmation, moves the focus, and can be undone by keyboard."""
        server, ids = three
        await open_page(browser_page, server)
        await row(browser_page, ids["Birds"]).locator(".pl-title").focus()
        await browser_page.keyboard.press("Delete")
        # The row is removed before the server answers.
        assert await row(browser_page, ids["Birds"]).count() == 0
        assert await browser_page.evaluate(FOCUSED) == ids["Cats"]
        notice = browser_page.locator(".pl-undo[role=status]")
        await expect(notice).to_contain_text("Deleted “Birds”.")
        await browser_page.keyboard.press("Delete")
        await expect(notice).to_contain_text("Deleted “Cats”.")
        undo = browser_page.get_by_role("button", name="Undo the deletion")
        for _ in range(8):
            await browser_page.keyboard.press("Shift+Tab")
            if await undo.evaluate("one => one === document.activeElement"):
                break
        await browser_page.keyboard.press("Enter")
        await row(browser_page, ids["Cats"]).wait_for()
        await expect(notice).to_have_text("")
        assert [titles for _, titles in await shown_list(browser_page)] == [["Ants", "Cats"]]

    async def test_recently_deleted(
        self, browser_page: Page, three: tuple[PagedServer, dict[str, str]], folder: Path
    ) -> None:
        """Deleted conversations have a number of days, and can be restored or erased."""
        server, ids = three
        await open_page(browser_page, server)
        for title in ids:
            await choose_action(browser_page, ids[title], "Delete")
            await expect(browser_page.locator(".pl-undo")).to_contain_text(title)
        await browser_page.get_by_role("button", name="Dismiss").click()
        await expect(browser_page.locator(".pl-undo")).to_have_text("")
        await browser_page.reload()
        await browser_page.get_by_text("Recently deleted (3)").click()
        deleted = browser_page.locator(".pl-deleted li")
        await expect(deleted.first).to_contain_text("30 days left")
        await browser_page.get_by_role("button", name="Restore “Birds”").click()
        await row(browser_page, ids["Birds"]).wait_for()
        await expect(deleted).to_have_count(2)
        cats = browser_page.locator(f".pl-deleted [data-id='{ids['Cats']}']")
        await cats.get_by_role("button", name="Delete permanently").click()
        await expect(deleted).to_have_count(2)
        await cats.get_by_role("button", name="Really delete permanently?").click()
        await expect(deleted).to_have_count(1)
        await browser_page.get_by_role("button", name="Delete all permanently").click()
        await browser_page.get_by_role("button", name="Really delete all permanently?").click()
        await browser_page.locator(".pl-deleted").wait_for(state="hidden")
        content = stored(folder)
        assert [word for word in (b"About Cats", b"About Ants") if word in content] == []
        assert b"About Birds" in content


@pytest.fixture
def versions(folder: Path) -> Iterator[tuple[PagedServer, Library, str, list[int]]]:
    """Serve a long conversation with the word zebra in three messages, one on a second path."""
    with library(folder) as found:
        filler = "\n\n".join(["Nothing of it."] * 40)
        id = found.add("Stripes", "What has a Zébra?", "Stripes.", filler, f"{filler}\n\nThe **zebras** run.", at=NOON)
        other = found.add("Other", "A finch", "sings", at=NOON + 1)
        nodes = [node.id for node in found.store.conversation(LOCAL, id).path()]
        branch = found.store.add(LOCAL, id, nodes[0], ASSISTANT, "Only a zebra.", end=FinishReason.STOP)
        found.store.select_version(LOCAL, id, nodes[1])
        with listed_page(folder) as server:
            assert other
            yield server, found, id, [nodes[0], nodes[3], branch]


class TestSearch:
    async def test_jumps_to_the_match(
        self, browser_page: Page, versions: tuple[PagedServer, Library, str, list[int]]
    ) -> None:
        """A result opens at the marked words, and next and previous visit matches on all paths."""
        server, _, id, (first, last, branch) = versions
        await open_page(browser_page, server)
        search = browser_page.get_by_role("searchbox", name="Search all conversations")
        await search.fill("zebra")
        await expect(browser_page.locator(".pl-snippet mark").first).to_have_css("font-weight", "700")
        await expect(row(browser_page, id)).to_contain_text("3 messages match")
        await row(browser_page, id).locator(".pl-title").click()
        bar = browser_page.get_by_role("group", name="Matches of the search")
        await bar.wait_for()

        async def at(node: int, words: list[str], number: int) -> None:
            message = browser_page.locator(f".pl-message[data-node='{node}']")
            await expect(message).to_have_attribute("data-match", "current")
            await expect(bar).to_contain_text(f"Match {number} of 3")
            await browser_page.wait_for_function(
                "([words]) => JSON.stringify((" + MARKED + ")()) === words",
                arg=[json.dumps(words, ensure_ascii=False).replace(", ", ",")],
            )
            await browser_page.wait_for_function(  # The marked word is on the screen.
                "() => { const list = document.querySelector('.pl-messages').getBoundingClientRect();"
                " return [...CSS.highlights.get('pl-match')].some((range) => { const box = "
                "range.getBoundingClientRect();"
                " return box.top >= list.top && box.bottom <= list.bottom; }); }"
            )
            assert await browser_page.evaluate("scrollY") == 0

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
        await browser_page.keyboard.press("Escape")
        await bar.wait_for(state="detached")
        await expect(search).to_have_value("")
        assert await browser_page.evaluate(MARKED) == []
        await expect(browser_page.locator(".pl-title")).to_have_count(2)
        await expect(browser_page.locator(f".pl-message[data-node='{first}']")).to_have_count(1)

    async def test_by_keyboard(self, browser_page: Page, versions: tuple[PagedServer, Library, str, list[int]]) -> None:
        """Enter visits matches, arrow keys visit results, and Escape clears the search."""
        server, _, id, _ = versions
        await open_page(browser_page, server)
        search = browser_page.get_by_role("searchbox", name="Search all conversations")
        await search.fill("zebra")
        await browser_page.locator(".pl-snippet").wait_for()
        await search.press("Enter")
        bar = browser_page.get_by_role("group", name="Matches of the search")
        await bar.wait_for()
        before = await bar.inner_text()
        await search.press("Enter")
        await expect(bar).not_to_have_text(before)
        await search.press("Shift+Enter")
        await expect(bar).to_have_text(before)
        await search.press("ArrowDown")
        assert await browser_page.evaluate(FOCUSED) == id
        await browser_page.keyboard.press("Escape")
        assert await browser_page.evaluate(FOCUSED) == "search"
        await expect(browser_page.locator(".pl-title")).to_have_count(2)

    async def test_only_the_title(
        self, browser_page: Page, versions: tuple[PagedServer, Library, str, list[int]]
    ) -> None:
        """A conversation with a match only in the title is opened without marks."""
        server, _, id, (first, *_) = versions
        await open_page(browser_page, server)
        await browser_page.get_by_role("searchbox", name="Search all conversations").fill("stripes zebra run finch")
        await browser_page.get_by_text("No matches.").wait_for()
        await browser_page.get_by_role("searchbox", name="Search all conversations").fill("other")
        await browser_page.locator(".pl-title").first.click()
        await browser_page.get_by_text("sings").wait_for()
        assert await browser_page.locator(".pl-match-bar, [data-match], .pl-snippet").count() == 0
        assert await browser_page.locator(f".pl-message[data-node='{first}']").count() == 0
        assert id not in browser_page.url


class TestKeys:
    async def test_walk(self, browser_page: Page, three: tuple[PagedServer, dict[str, str]]) -> None:
        """Arrow keys, Home and End visit the rows, Tab enters a row, and F2 renames."""
        server, ids = three
        await open_page(browser_page, server)
        search = browser_page.get_by_role("searchbox", name="Search all conversations")
        await search.press("ArrowDown")
        order = []
        for key in ("ArrowDown", "ArrowDown", "ArrowDown", "Home", "End", "ArrowUp"):
            order.append(await browser_page.evaluate(FOCUSED))
            await browser_page.keyboard.press(key)
        cats, birds, ants = ids["Cats"], ids["Birds"], ids["Ants"]
        assert order == [ants, birds, cats, cats, ants, cats]
        assert await browser_page.evaluate(FOCUSED) == birds
        # The title and the menu of a single row
        assert await browser_page.locator(".pl-conversations button[tabindex='0']").count() == 2

        await browser_page.keyboard.press("F2")
        field = browser_page.get_by_role("textbox", name="Title of the conversation")
        await field.press("Escape")
        assert await browser_page.evaluate(FOCUSED) == birds
        await browser_page.keyboard.press("F2")
        await field.fill("Swifts")
        await field.press("Enter")
        await expect(row(browser_page, birds).locator(".pl-title")).to_have_text("Swifts")
        assert await browser_page.evaluate(FOCUSED) == birds

        await browser_page.keyboard.press("Tab")
        await browser_page.keyboard.press("Enter")
        item = "() => document.activeElement.textContent"
        assert (await browser_page.evaluate(item)).startswith("Rename")
        await browser_page.keyboard.press("ArrowUp")
        assert (await browser_page.evaluate(item)).startswith("Delete")
        await browser_page.keyboard.press("Escape")
        assert await browser_page.evaluate(FOCUSED) == birds
        await expect(browser_page.locator("[role=menu]")).to_have_count(0)

    async def test_nothing_shifts_on_hover(self, browser_page: Page, three: tuple[PagedServer, dict[str, str]]) -> None:
        """Hovering over a row, or focusing a row, moves nothing in the list."""
        server, ids = three
        await open_page(browser_page, server)
        boxes = (
            "() => [...document.querySelectorAll('.pl-conversation-panel *')].map((one) => "
            "JSON.stringify(one.getBoundingClientRect()))"
        )
        await browser_page.mouse.move(900, 10)
        before = await browser_page.evaluate(boxes)
        await row(browser_page, ids["Birds"]).hover()
        assert await browser_page.evaluate(boxes) == before
        await row(browser_page, ids["Cats"]).locator(".pl-title").focus()
        assert await browser_page.evaluate(boxes) == before


async def test_looks(browser_page: Page, versions: tuple[PagedServer, Library, str, list[int]]) -> None:
    """In both themes axe finds nothing serious in the list, and on a phone nothing is cut off."""
    server, found, id, _ = versions
    folder = found.store.folders.create(LOCAL, "A folder with a rather long name")
    found.store.folders.pin(LOCAL, found.add("Pinned", "x", at=NOON), True)
    found.store.folders.move(LOCAL, found.add("Inside", "x", at=NOON), folder)
    found.now = NOON
    await open_page(browser_page, server)

    await choose_action(browser_page, id, "Delete")
    await browser_page.get_by_role("button", name="Undo the deletion").wait_for()
    await browser_page.get_by_text("Recently deleted (1)").click()
    await check_themes(browser_page)
    await browser_page.get_by_role("button", name="Undo the deletion").click()
    await row(browser_page, id).locator(".pl-more").click()
    await browser_page.locator("[role=menu]").wait_for()
    await check_themes(browser_page)
    await browser_page.keyboard.press("Escape")
    await browser_page.get_by_role("searchbox", name="Search all conversations").fill("zebra")
    await browser_page.locator(".pl-snippet").wait_for()
    await row(browser_page, id).locator(".pl-title").click()
    await browser_page.locator(".pl-match-bar").wait_for()
    await check_themes(browser_page)
    await browser_page.set_viewport_size({"width": 360, "height": 800})
    await browser_page.wait_for_function("() => document.documentElement.clientWidth === 360")
    assert await browser_page.evaluate("document.documentElement.scrollWidth") <= 360


async def test_a_change_waits_for_an_open_menu(browser_page: Page, three: tuple[PagedServer, dict[str, str]]) -> None:
    """A change during an open menu is drawn when the menu closes, with the focus kept."""
    server, ids = three
    await browser_page.add_init_script(KEEP_LIST)
    await open_page(browser_page, server)
    other = await browser_page.context.new_page()
    await open_page(other, server)
    await row(browser_page, ids["Birds"]).hover()
    await row(browser_page, ids["Birds"]).locator(".pl-more").click()
    await browser_page.get_by_role("menu").wait_for()

    await row(other, ids["Ants"]).locator(".pl-title").click()
    await other.keyboard.press("F2")
    await other.get_by_role("textbox", name="Title of the conversation").fill("Bees")
    await other.keyboard.press("Enter")
    await expect(row(other, ids["Ants"]).locator(".pl-title")).to_have_text("Bees")
    await browser_page.evaluate("() => window.dispatchEvent(new Event('focus'))")
    await browser_page.wait_for_function("() => window.list.value.items.some((item) => item.title === 'Bees')")
    await expect(row(browser_page, ids["Ants"]).locator(".pl-title")).to_have_text("Ants")
    await browser_page.keyboard.press("Escape")

    await expect(row(browser_page, ids["Ants"]).locator(".pl-title")).to_have_text("Bees")
    assert await browser_page.evaluate(FOCUSED) == ids["Birds"]
