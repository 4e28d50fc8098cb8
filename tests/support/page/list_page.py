"""Provides the whole page with scripted answers and a test's conversations, without a model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from playwright.async_api import Locator, Page

from pellucid.vocabulary.finish import FinishReason
from pellucid_webui.conversations.conversation import ASSISTANT, USER
from pellucid_webui.conversations.storage.store import ConversationStore
from pellucid_webui.conversations.turn_settings import TurnSettings
from pellucid_webui.hosting.gradio_host import pellucid_view
from support.page.small_page_server import PagedServer, paged

LOCAL = "local"
"""The user of a page without keys."""

DAY = 86_400.0


class Library:
    """Conversations at chosen times."""

    def __init__(self, path: Path) -> None:
        self.now = 0.0
        self.store = ConversationStore(path, lambda: self.now)

    def add(self, title: str, *texts: str, at: float, owner: str = LOCAL) -> str:
        """Add a conversation with alternating messages, the user's first, and return the id."""
        self.now = at
        id = self.store.create(owner, TurnSettings(), title)
        parent: int | None = None
        for index, text in enumerate(texts):
            role = ASSISTANT if index % 2 else USER
            parent = self.store.add(
                owner, id, parent, role, text, model="scripted" if index % 2 else "", end=FinishReason.STOP
            )
        return id


@contextmanager
def library(folder: Path) -> Iterator[Library]:
    """Open the conversations of the page from ``listed_page`` in this folder."""
    folder.mkdir(exist_ok=True)
    found = Library(folder / "conversations.db")
    with closing(found.store):
        yield found


@contextmanager
def listed_page(folder: Path) -> Iterator[PagedServer]:
    """Serve the page with the conversations in a folder."""
    with paged(folder, pellucid_view) as server:
        server.wait()
        yield server


def row(page: Page, id: str) -> Locator:
    """Return the row of a conversation, or the heading of a folder."""
    return page.locator(f".pl-conversations [data-id='{id}']")


async def shown_list(page: Page) -> list[tuple[str, list[str]]]:
    """Return the groups of the list: their headings with their titles."""
    found = await page.locator(".pl-conversations section").evaluate_all(
        "all => all.map((one) => [one.querySelector('h2').innerText.trim().split('\\n')[0],"
        " [...one.querySelectorAll('.pl-title')].map((title) => title.innerText)])"
    )
    return [(head, titles) for head, titles in found]


async def choose_action(page: Page, id: str, action: str) -> None:
    """Choose an action in the menu of a conversation or folder."""
    await row(page, id).locator(".pl-more").click()
    await page.get_by_role("menuitem", name=action).click()
