"""Tests the Review tab in a browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from pellucid_webui.conversations.storage.blind_reviews import REVIEWS, AnswerPair, Review, Reviews, Verdict
from pellucid_webui.hosting.gradio_host import pellucid_view
from support.page.page_fixtures import Tab, watched
from support.page.page_tabs import check_looks
from support.page.small_page_server import PagedServer, paged

PAIRS = (
    AnswerPair("Which number is **even**?", "`2`, for it can be halved.", "Three <script>alert(1)</script>"),
    AnswerPair("And which is odd?", "2", "3"),
)


@pytest.fixture
def reviewed(tmp_path: Path) -> Iterator[PagedServer]:
    """Serve a page with three reviews."""
    reviews = Reviews(tmp_path / REVIEWS)
    for name in ("judged", "looked-at", "renamed"):
        reviews.create(Review(name, "this model", "that model", PAIRS))
    with paged(tmp_path, pellucid_view) as server:
        server.wait()
        yield server


@pytest.fixture
async def tab(reviewed: PagedServer, browser_page: Page) -> Tab:
    return watched(browser_page, reviewed.server.url)


def kept(folder: Path, name: str = "judged") -> list[tuple[int, str, Verdict, tuple[str, ...]]]:
    found = Reviews(folder / REVIEWS).judgements(name)
    return [(one.pair, one.rater, one.verdict, one.reasons) for one in found]


async def test_judge(tab: Tab, tmp_path: Path) -> None:
    """All pairs can be judged by mouse and keyboard without model names, also after a reload."""
    await tab.open()
    await tab.tab("Review")
    page = tab.page
    await expect(page.locator(".pl-review [role=status]")).to_have_text(
        "Enter your name first; agreement is computed between named raters."
    )
    await expect(page.get_by_role("button", name="Left is better")).to_be_hidden()
    await page.get_by_label("Your name").fill("ann")
    await page.get_by_label("Your name").press("Tab")
    await expect(page.locator(".pl-review [role=status]")).to_have_text("Pair 1 of 2; you have judged 0.")
    left = await page.get_by_role("region", name="The answer on the left").inner_text()
    right = await page.get_by_role("region", name="The answer on the right").inner_text()
    assert {left, right} == {"2, for it can be halved.", "Three <script>alert(1)</script>"}
    assert "model" not in (await page.locator(".pl-review").inner_text()).lower()
    await page.get_by_label("clearer").check()
    await page.get_by_role("button", name="Left is better" if left.startswith("2") else "Right is better").click()
    await expect(page.locator(".pl-review [role=status]")).to_have_text("Pair 2 of 2; you have judged 1.")
    assert not await page.get_by_label("clearer").is_checked()
    await page.get_by_role("region", name="The prompt").focus()
    await page.keyboard.press("3")
    await expect(page.locator(".pl-review [role=status]")).to_contain_text("You have judged all 2 pairs.")
    assert kept(tmp_path) == [(0, "ann", Verdict.A, ("clearer",)), (1, "ann", Verdict.NEITHER, ())]
    await tab.open()
    await tab.tab("Review")
    await expect(page.locator(".pl-review [role=status]")).to_contain_text("You have judged all 2 pairs.")
    await page.get_by_label("Review to rate").select_option("looked-at")
    await expect(page.locator(".pl-review [role=status]")).to_have_text("Pair 1 of 2; you have judged 0.")
    await page.get_by_role("region", name="The answer on the left").wait_for()
    await check_looks(page, ".pl-review")
    await another_name(tab, tmp_path)
    assert tab.elsewhere == []
    assert tab.problems == []


async def another_name(tab: Tab, tmp_path: Path) -> None:
    """A verdict right after a change of name is not saved, and shows the new rater's pair."""
    review = Review("renamed", "this model", "that model", PAIRS)
    raters = [f"rater {number}" for number in range(100)]
    first = next(rater for rater in raters if review.is_a_left(0, rater))
    second = next(rater for rater in raters if not review.is_a_left(0, rater))
    page = tab.page
    left = page.get_by_role("region", name="The answer on the left")
    await page.get_by_label("Review to rate").select_option("renamed")
    await page.get_by_label("Your name").fill(first)
    await page.get_by_label("Your name").press("Tab")
    await expect(left).to_contain_text("halved")
    await page.get_by_label("clearer").check()
    await page.get_by_label("Your name").fill(second)
    await page.get_by_role("button", name="Left is better").click()
    await expect(left).to_contain_text("Three")
    assert not await page.get_by_label("clearer").is_checked()
    assert kept(tmp_path, "renamed") == []
    await page.get_by_role("button", name="Left is better").click()
    await expect(page.locator(".pl-review [role=status]")).to_have_text("Pair 2 of 2; you have judged 1.")
    assert kept(tmp_path, "renamed") == [(0, second, Verdict.B, ())]
    await page.get_by_label("Your name").fill("")
    await page.get_by_label("Your name").press("Tab")
    await expect(left).to_be_hidden()
    assert tab.problems == []


async def test_how_to_make_one(tmp_path: Path, browser_page: Page) -> None:
    """Without a review the tab says how to create a review, and shows a new one later."""
    with paged(tmp_path, pellucid_view) as server:
        server.wait()
        tab = watched(browser_page, server.server.url)
        await tab.open()
        await tab.tab("Review")
        await expect(tab.page.locator(".pl-review [role=status]")).to_contain_text("There is no review yet.")
        await expect(tab.page.get_by_label("Your name")).to_be_hidden()
        Reviews(tmp_path / REVIEWS).create(Review("new", "this model", "that model", PAIRS))
        await tab.open()
        await tab.tab("Review")
        await expect(tab.page.get_by_label("Your name")).to_be_visible()
