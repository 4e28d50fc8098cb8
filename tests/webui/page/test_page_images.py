"""Tests pictures in messages, in a browser with scripted models."""

from __future__ import annotations

from base64 import b64decode, b64encode
from pathlib import Path
from random import Random

import pytest
from playwright.async_api import FilePayload, Locator, expect

from pellucid.vocabulary.message import Image
from support.page.page_fixtures import Tab
from support.page.small_picture import png
from support.page.storyteller import LARGE, SMALL, Storyteller

RED, BLUE = png(), png(5, 2, b"\x20\x40\xd0")

HAND_OVER = """(element, [kind, name, content]) => {
  const data = new DataTransfer();
  const bytes = Uint8Array.from(atob(content), (one) => one.charCodeAt(0));
  data.items.add(new File([bytes], name, { type: "image/png" }));
  const how = { bubbles: true, cancelable: true };
  if (kind === "paste") element.dispatchEvent(new ClipboardEvent(kind, { ...how, clipboardData: data }));
  else element.dispatchEvent(new DragEvent(kind, { ...how, dataTransfer: data }));
}"""
"""Drops or pastes a picture."""


@pytest.fixture
async def tab(tab: Tab, teller: Storyteller) -> Tab:
    """Open the page of the model that sees images."""
    teller.served = (SMALL, LARGE)
    await tab.open()
    await tab.be_brief(3)
    return tab


def data_url(content: bytes) -> str:
    return f"data:image/png;base64,{b64encode(content).decode()}"


def attached(tab: Tab) -> Locator:
    return tab.page.locator(".pl-attached li")


async def choose(tab: Tab, *files: tuple[str, str, bytes]) -> None:
    """Choose files with the button for pictures."""
    chosen: list[FilePayload] = [{"name": name, "mimeType": type, "buffer": content} for name, type, content in files]
    async with tab.page.expect_file_chooser() as coming:
        await tab.page.get_by_role("button", name="Add a picture").click()
    await (await coming.value).set_files(chosen)


async def hand_over(tab: Tab, kind: str, name: str, content: bytes) -> None:
    place = tab.page.get_by_role("textbox", name="Your message") if kind == "paste" else tab.page.locator(".pl-chat")
    await place.evaluate(HAND_OVER, [kind, name, b64encode(content).decode()])


async def shows(tab: Tab, *widths: int) -> None:
    """Wait until the first message shows pictures of these widths in pixels."""
    pictures = tab.page.locator(".pl-user .pl-picture img")
    await expect(pictures).to_have_count(len(widths))
    script = "([at, width]) => document.querySelectorAll('.pl-user .pl-picture img')[at].naturalWidth === width"
    for at, width in enumerate(widths):
        await tab.wait_for("a picture", script, [at, width])


async def test_a_picture_from_the_box_to_the_model(tab: Tab, teller: Storyteller) -> None:
    """Chosen, dropped and pasted pictures are shown, sent, and kept by a reload and an edit."""
    await choose(tab, ("red.png", "image/png", RED), ("other.png", "image/png", RED))
    await expect(attached(tab).get_by_role("img")).to_have_count(2)
    await tab.page.get_by_role("button", name="Remove other.png").click()
    await hand_over(tab, "paste", "blue.png", BLUE)
    await expect(attached(tab).get_by_role("img", name="blue.png")).to_be_visible()
    await hand_over(tab, "drop", "again.png", RED)
    await expect(attached(tab)).to_have_count(3)

    await tab.answer("What is this?")

    sent = tuple(Image(0, data_url(content)) for content in (RED, BLUE, RED))
    assert teller.queries[-1].messages[-1].images == sent
    await expect(attached(tab)).to_have_count(0)
    await shows(tab, 4, 5, 4)
    await tab.page.reload()
    await tab.answered(2)
    await shows(tab, 4, 5, 4)
    picture = tab.page.get_by_role("button", name="blue.png")
    small = await picture.bounding_box()
    await picture.press("Enter")
    await expect(picture).to_have_attribute("aria-pressed", "true")
    assert small is not None

    await tab.page.locator(".pl-user").get_by_role("button", name="Edit", exact=True).click()
    await tab.page.get_by_label("Edit the message").fill("And now?")
    await tab.page.get_by_role("button", name="Save & resend").click()
    await tab.page.get_by_text("2 / 2").wait_for()
    await tab.answered(2)
    assert (teller.queries[-1].messages[-1].content, teller.queries[-1].messages[-1].images) == ("And now?", sent)
    await shows(tab, 4, 5, 4)


async def test_undo_and_redo(tab: Tab, teller: Storyteller) -> None:
    """Undo returns a message of pictures alone to the box, and redo to the conversation."""
    await hand_over(tab, "drop", "red.png", RED)
    await expect(attached(tab)).to_have_count(1)
    await tab.page.get_by_role("button", name="Send").click()
    await tab.answered(2)
    assert await tab.page.title() == "red.png · Pellucid"
    await tab.page.get_by_role("button", name="Undo").click()
    await expect(attached(tab).get_by_role("img", name="red.png")).to_be_visible()
    await tab.page.get_by_role("button", name="Redo").click()
    await shows(tab, 4)
    await expect(attached(tab)).to_have_count(0)
    await tab.page.get_by_role("button", name="Undo").click()
    await expect(attached(tab)).to_have_count(1)
    await tab.send("Again.")
    await tab.page.get_by_text("2 / 2").wait_for()
    await tab.answered(2)
    assert teller.queries[-1].messages[-1].images == (Image(0, data_url(RED)),)


async def test_refused_pictures(tab: Tab, teller: Storyteller) -> None:
    """Damaged, foreign, large and too many pictures are refused in a sentence; text stays."""
    field = tab.page.get_by_role("textbox", name="Your message")
    await field.fill("Look:")
    await choose(tab, ("a.bmp", "image/bmp", b"BM"), ("b.png", "image/png", b"no picture"))
    await expect(tab.notice).to_have_text(
        "a.bmp is not a PNG, JPEG, GIF or WebP picture: convert it first. "
        "b.png cannot be read: choose a picture that is not damaged."
    )
    noise = b"".join(b"\0" + Random(row).randbytes(3 * 2000) for row in range(1100))
    await hand_over(tab, "drop", "noise.png", png(2000, 1100, rows=noise))
    await expect(tab.notice).to_have_text(
        "With noise.png the pictures would exceed 6 MB together: remove some, or make it smaller."
    )
    await choose(tab, *((f"{number}.png", "image/png", RED) for number in range(9)))
    await expect(tab.notice).to_have_text("A message has at most 8 pictures: remove one before you add 8.png.")
    await expect(attached(tab)).to_have_count(8)
    assert await field.input_value() == "Look:"

    teller.served = (LARGE,)
    await tab.open()
    await hand_over(tab, "paste", "red.png", RED)
    await expect(tab.notice).to_have_text(f"{LARGE} sees no images: choose another model.")
    await expect(tab.page.get_by_role("button", name="Add a picture")).to_be_hidden()
    assert await field.input_value() == "Look:"


async def test_a_large_photo(tab: Tab, teller: Storyteller) -> None:
    """A picture with many pixels is scaled down before it is sent."""
    await hand_over(tab, "drop", "wide.png", png(4096, 20))
    await expect(attached(tab)).to_have_count(1)
    await tab.answer("What is this?")
    await shows(tab, 2048)
    (image,) = teller.queries[-1].messages[-1].images
    assert b64decode(image.url.partition(",")[2])[16:24] == (2048).to_bytes(4, "big") + (10).to_bytes(4, "big")


@pytest.mark.parametrize("form", ["JSON", "Markdown"])
async def test_export_and_import(tab: Tab, tmp_path: Path, form: str) -> None:
    """An exported conversation has its pictures after an import."""
    await hand_over(tab, "drop", "red.png", RED)
    await expect(attached(tab)).to_have_count(1)
    await tab.answer("What is this?")
    await tab.page.locator("#pl-side [aria-current=true]").locator("xpath=..").locator(".pl-more").click()
    async with tab.page.expect_download() as coming:
        await tab.page.get_by_role("menuitem", name=f"Export as {form}").click()
    path = tmp_path / (await coming.value).suggested_filename
    await (await coming.value).save_as(path)
    before = tab.page.url
    await tab.page.get_by_label("A conversation to import").set_input_files(path)
    await tab.page.wait_for_function("before => location.href !== before", arg=before)
    await tab.answered(2)
    await shows(tab, 4)


async def test_with_and_without_the_picture(tab: Tab) -> None:
    """An answer is read with and without the pictures, and each token shows the difference."""
    await hand_over(tab, "drop", "red.png", RED)
    await expect(attached(tab)).to_have_count(1)
    await tab.answer("What is this?")
    await tab.page.get_by_role("button", name="With and without the picture").click()
    summary = tab.page.locator(".pl-compare-summary")
    await expect(summary).to_contain_text(
        "The answer is 1.5 times as likely with the pictures (A) as without pictures (B): a difference of 0.5 bits."
    )
    token = tab.page.locator("[aria-label='Answer A'] .pl-token").first
    said = "token space a, 88.2 percent, 1.1 times as likely in A as in B (log ratio +0.18 bits)"
    await expect(token).to_have_attribute("aria-label", said)
    await expect(tab.page.locator("[data-column=B].pl-column .pl-quiet").first).to_have_text(
        "reads the text, without pictures"
    )
    assert tab.problems == []
