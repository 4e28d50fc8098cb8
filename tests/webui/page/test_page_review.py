"""Tests the Review tab in a browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.async_api import FilePayload, Page, expect

from pellucid_webui.conversations.storage.blind_reviews import REVIEWS, AnswerPair, Review, Reviews, Verdict
from pellucid_webui.hosting.gradio_host import pellucid_view
from support.page.page_fixtures import Tab, watched
from support.page.page_tabs import check_looks
from support.page.small_page_server import PagedServer, paged
from support.page.storyteller import LARGE, SMALL, Storyteller, story_page

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
    return [(one.pair, one.rater, one.verdict, one.reasons) for one in Reviews(folder / REVIEWS).judgements(name)]


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
    await page.get_by_role("button", name="Left is better").hover()
    await page.mouse.down()
    await expect(left).to_contain_text("Three")
    await page.mouse.up()
    assert not await page.get_by_label("clearer").is_checked()
    assert kept(tmp_path, "renamed") == []
    await page.get_by_role("button", name="Left is better").click()
    await expect(page.locator(".pl-review [role=status]")).to_have_text("Pair 2 of 2; you have judged 1.")
    assert kept(tmp_path, "renamed") == [(0, second, Verdict.B, ())]
    await page.get_by_label("Your name").fill("")
    await page.get_by_label("Your name").press("Tab")
    await expect(left).to_be_hidden()


async def test_from_start_to_results(tmp_path: Path, browser_page: Page) -> None:
    """On the page, an example and a batch become reviews, are rated and have their results."""
    with story_page(tmp_path, Storyteller()) as server:
        tab, page = watched(browser_page, server.server.url), browser_page
        await tab.open()
        await tab.tab("Review")
        status, you = page.locator(".pl-review > [role=status]"), page.get_by_label("Your name")
        await expect(you).to_be_hidden()
        await check_looks(page, ".pl-review")
        await page.get_by_role("button", name="Start").click()
        await expect(status).to_have_text("Write at least one prompt.")
        await page.get_by_role("button", name="Try it: answer these prompts twice and rate the answers").click()
        await expect(status).to_be_focused()
        await expect(page.get_by_role("button", name="Stop")).to_be_visible()
        await expect(you).to_be_focused()
        await you.press_sequentially("ann")
        await you.press("Enter")
        for done in range(3):
            await expect(status).to_have_text(f"Pair {done + 1} of 3; you have judged {done}.")
            await page.get_by_role("region", name="The prompt").focus()
            await page.keyboard.press("2")
        await expect(status).to_be_focused()
        assert (await page.locator(".pl-review-results p").all_inner_texts())[:3] == [
            f"A: {LARGE}, greedy",
            f"B: {SMALL}, greedy",
            "3 of 3 pairs have been judged.",
        ]
        await check_looks(page, ".pl-review")
        await page.get_by_text("New review").click()
        await page.get_by_label("Name of the review").fill("example")
        await page.get_by_label("Prompts, one a line").fill("Why?")
        await page.get_by_role("button", name="Start").click()
        await expect(status).to_have_text("A review named 'example' exists already: choose another name.")
        await expect(page.get_by_label("Prompts, one a line")).to_have_value("Why?")
        await rate_a_batch(tab)
        await expect(status).to_have_text("Pair 1 of 2; you have judged 0.")
        await expect(page.get_by_role("region", name="The prompt")).to_be_focused()
        pairs = Reviews(tmp_path / REVIEWS).find("of-a-batch").pairs
        assert [one.prompt for one in pairs] == ["One?", "Two?"]
        assert tab.elsewhere == []
        assert tab.problems == []


async def rate_a_batch(tab: Tab) -> None:
    """Run a file of prompts in Compare, and rate the answers."""
    page = tab.page
    await tab.tab("Compare")
    await page.get_by_text("Many prompts or seeds").click()
    file: FilePayload = {"name": "prompts.txt", "mimeType": "", "buffer": b"One?\nTwo?"}
    await page.get_by_label("File of prompts").set_input_files([file])
    for letter in "AB":
        column = page.locator("#pl-compare").get_by_role("group", name=f"Column {letter}")
        await column.get_by_label(f"More settings of column {letter}").click()
        await column.get_by_label("Max output tokens").fill("3")
    await page.get_by_role("button", name="Compare 2 prompts").click()
    await page.get_by_role("textbox", name="Name of the review").fill("of-a-batch")
    await page.get_by_role("button", name="Rate blind").click()
