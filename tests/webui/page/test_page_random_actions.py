"""Plays a person who does anything, in two tabs, over a server that is slow and dies."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from random import Random

import pytest
from playwright.async_api import Error as BrowserError
from playwright.async_api import Locator, Page, Route, expect

from support.page.page_fixtures import PageServer, Tab, watched
from support.page.storyteller import Storyteller
from support.trial_counts import trial_count

pytestmark = pytest.mark.process

SOON_MS = 1_000
"""An action is left out if its control is not there."""

LONGEST_DELAY = 0.6
"""Seconds by which a slow server answers late."""

LIFE = 40
"""Actions between two deaths of the server."""

FORCED = re.compile("Failed to load resource|net::ERR|WebSocket|Unable to preload|dynamically imported module")
"""Errors that Chromium writes itself when a request does not arrive."""


@dataclass
class Person:
    """Acts in a tab, and writes words with the person's name."""

    name: str
    tab: Tab
    random: Random
    written: list[str] = field(default_factory=list)
    sent: str = ""
    is_slow: bool = False

    @property
    def page(self) -> Page:
        return self.tab.page

    @property
    def message(self) -> Locator:
        return self.page.get_by_role("textbox", name="Your message")

    async def delay(self, route: Route) -> None:
        """Answer late, and in another order than asked."""
        if self.is_slow:
            await asyncio.sleep(self.random.uniform(0, LONGEST_DELAY))
        with suppress(BrowserError):  # The tab may have been left.
            await route.continue_()

    async def write(self) -> None:
        word = f"{self.name}{len(self.written)}x"
        await self.message.focus(timeout=SOON_MS)
        await self.page.keyboard.press("Control+End")
        await self.page.keyboard.insert_text(f" {word}")
        if word in await self.message.input_value():
            self.written.append(word)

    async def send(self) -> None:
        await self.write()
        self.sent += await self.message.input_value()
        await self.message.press("Enter", timeout=SOON_MS)

    async def press(self, *names: str) -> None:
        button = self.page.get_by_role("button", name=self.random.choice(names), exact=True).last
        await button.click(timeout=SOON_MS)

    async def choose(self) -> None:
        rows = self.page.locator(".pl-conversations .pl-title")
        await rows.nth(self.random.randrange(max(1, await rows.count()))).click(timeout=SOON_MS)

    async def key(self) -> None:
        await self.page.keyboard.press(self.random.choice(["i", "n", "p", "l", "v", "Escape", "Tab"]))

    async def open_tab(self) -> None:
        for name in (self.random.choice(["Read", "Compare", "Infill", "Review"]), "Chat"):
            await self.page.get_by_role("tab", name=name).click(timeout=SOON_MS)

    async def change_pace(self) -> None:
        self.is_slow = not self.is_slow

    async def reload(self) -> None:
        with suppress(BrowserError):  # The server may be gone.
            await self.page.reload()

    async def act(self) -> None:
        actions: dict[Callable[[], Awaitable[None]], int] = {
            self.write: 4,
            self.send: 6,
            lambda: self.press("Undo"): 1,
            self.choose: 4,
            self.key: 3,
            self.open_tab: 1,
            self.change_pace: 1,
            self.reload: 1,
            lambda: self.press("New chat"): 2,
            lambda: self.press("Stop", "Regenerate", "Tokens", "Details", "Continue", "Redo"): 5,
        }
        (action,) = self.random.choices(list(actions), list(actions.values()))
        with suppress(BrowserError):  # The control is not there, or is covered by a dialog.
            await action()

    async def left_over(self) -> str:
        """Return all text that the tab keeps: drafts, and messages on their way."""
        return str(await self.page.evaluate("JSON.stringify([localStorage, sessionStorage])"))


@pytest.mark.parametrize("seed", [36])
async def test_random_actions(mortal: PageServer, teller: Storyteller, browser_page: Page, seed: int) -> None:
    """Any actions lose no word, save no message twice, stop no tab, and make no script fail."""
    teller.reset()
    random = Random(seed)
    people = [
        Person(name, watched(page, mortal.address), Random(random.random()))
        for name, page in (("anna", browser_page), ("ben", await browser_page.context.new_page()))
    ]
    for person in people:
        await person.page.route("**/page/**", person.delay)
        await person.tab.open()
    for number in range(trial_count(500)):
        await random.choice(people).act()
        if number % LIFE == LIFE - 1:
            mortal.kill()
            await random.choice(people).act()
            mortal.start()
    for person in people:
        person.is_slow = False
        await person.page.goto(mortal.address)
        await person.tab.open()
        await works(person)
    kept = "".join([await person.left_over() for person in people])
    with closing(sqlite3.connect(mortal.folder / "data" / "conversations.db")) as store:
        saved = "".join(text for (text,) in store.execute("SELECT text FROM node WHERE role = 'user'"))
    sent = "".join(person.sent for person in people)
    for person in people:
        assert [word for word in person.written if word not in saved and word not in kept] == []
        assert [word for word in person.written if saved.count(word) > sent.count(word)] == []
        assert [problem for problem in person.tab.problems if not FORCED.search(problem)] == []


async def works(person: Person) -> None:
    """Send a message in a new chat, and have the answer stopped."""
    await person.press("New chat")
    await expect(person.page.locator(".pl-message")).to_have_count(0)
    await person.send()
    await person.page.get_by_role("button", name="Stop", exact=True).click()
    await person.tab.answered(2)
