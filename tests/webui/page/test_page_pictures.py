"""Compares the page's main states in Chromium with reference pictures.

The pictures are in ``pictures``. Small differences pass, see ``picture_comparison.py``. After a
change that is meant to be seen, run

    UPDATE_PICTURES=1 .venv/bin/pytest tests/webui/page/test_page_pictures.py

look at every picture that changed, and commit them.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image, ImageDraw
from playwright.sync_api import Browser, Page, expect

from pellucid_webui.hosting.gradio_host import pellucid_view
from support.page.picture_comparison import BLOCK, as_reference, difference, marked
from support.page.pictured_page import PictureAssistant, fill, picture_browser, picture_page
from support.page.small_page_server import PagedServer, paged
from support.servers.http_servers import scripted_state

PICTURES = Path(__file__).parent / "pictures"
UPDATE = "UPDATE_PICTURES"

SIZES = {390: 844, 1280: 800, 1920: 1080}
"""Widths and heights of the window."""

TIMEOUT_MS = 60_000
"""Reached only if a test fails."""

SETTLED = """() => new Promise((done) => {
  let still = 0;
  let before = "";
  const look = () => {
    const now = document.body.innerHTML.length + " " + [...document.querySelectorAll("*")].map((one) => \
one.scrollTop).join("");
    still = now === before ? still + 1 : 0;
    before = now;
    if (still > 5) done(); else requestAnimationFrame(look);
  };
  document.fonts.ready.then(look);
})"""
"""Waits until nothing has changed for some frames."""

UNREPEATABLE = ".pl-column .pl-note { visibility: hidden; }"
"""Hides the times of a comparison's answers, because the times vary."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pictures")


@pytest.fixture(scope="module")
def conversation(folder: Path) -> str:
    """Store the conversations, and return the conversation with an answer."""
    return fill(folder)


@pytest.fixture(scope="module")
def pictured(folder: Path, conversation: str) -> Iterator[PagedServer]:
    with paged(folder, pellucid_view, state=scripted_state(PictureAssistant())) as server:  # type: ignore[arg-type]
        server.wait()
        yield server


@pytest.fixture(scope="module")
def browser(folder: Path) -> Iterator[Browser]:
    with picture_browser(folder) as found:
        yield found


def empty(page: Page) -> None:
    page.locator(".pl-example").first.wait_for()


def answer(page: Page) -> None:
    """Open the inspector at the first unsure word."""
    page.locator(".pl-body[data-tokens]").wait_for()
    page.keyboard.press("n")
    page.locator(".pl-docked .pl-numbers").wait_for()


def settings(page: Page) -> None:
    empty(page)
    page.get_by_role("button", name="Model & settings").click()
    page.get_by_role("button", name="Sampling").first.wait_for()


def conversations(page: Page) -> None:
    """Show the list with its folder, as a drawer in a narrow window."""
    page.locator("#pl-side [aria-current=true]").first.wait_for(state="attached")
    page.locator(".pl-body[data-tokens]").wait_for()
    toggle = page.locator("#pl-side-toggle")
    if toggle.get_attribute("aria-expanded") == "false":
        toggle.click()
    page.get_by_text("Old poems").wait_for()


def compare(page: Page) -> None:
    page.get_by_role("tab", name="Compare").click()
    page.locator("#pl-compare-prompt").fill("Write two sentences about the sky.")
    page.get_by_role("button", name="Compare", exact=True).click()
    page.locator(".pl-compare-result[data-done=true]").wait_for()


def read(page: Page) -> None:
    """Read the example in the tab."""
    page.get_by_role("tab", name="Read").click()
    expect(page.locator("#pl-read-text textarea")).to_have_value(re.compile("mean"), timeout=TIMEOUT_MS)
    page.get_by_role("button", name="Read", exact=True).click()
    page.locator(".pl-line-row").nth(4).wait_for()
    page.locator(".pl-charts svg").nth(2).wait_for()


def palette(page: Page) -> None:
    empty(page)
    page.locator("#pl-side .pl-title").first.wait_for()  # The palette keeps the commands it opened with.
    page.keyboard.press("Control+k")
    page.get_by_role("combobox", name="Command or conversation").wait_for()


def help(page: Page) -> None:
    empty(page)
    page.keyboard.press("?")
    page.get_by_role("dialog").wait_for()


STATES: dict[str, Callable[[Page], None]] = {
    state.__name__: state for state in (empty, answer, settings, conversations, compare, read, palette, help)
}
WITH_CONVERSATION = {"answer", "conversations"}
"""States that show the conversation."""

CASES = [
    ("empty", 390, "light"),
    ("answer", 1280, "light"),
    ("settings", 1280, "dark"),
    ("conversations", 390, "dark"),
    ("compare", 1920, "light"),
    ("read", 1280, "dark"),
    ("palette", 1280, "light"),
    ("help", 1920, "dark"),
]
"""State, width and scheme: each state once, and each width in both schemes."""


@pytest.mark.browser
@pytest.mark.parametrize(("state", "width", "scheme"), CASES)
def test_picture(
    pictured: PagedServer, browser: Browser, conversation: str, state: str, width: int, scheme: str, tmp_path: Path
) -> None:
    """The page looks like the reference picture."""
    page = picture_page(browser, width, SIZES[width], TIMEOUT_MS)
    try:
        open_state(page, pictured.server.url, state, conversation)
        problem = check(page, scheme, f"{state}-{width}-{scheme}", tmp_path)
    finally:
        page.context.close()
    assert not problem, problem


def open_state(page: Page, url: str, state: str, conversation: str) -> None:
    """Open the page in a state, without a pointer or the initial focus on any element."""
    page.goto(f"{url}/?c={conversation}" if state in WITH_CONVERSATION else url)
    field = page.get_by_role("textbox", name="Your message")
    expect(field).to_be_focused(timeout=TIMEOUT_MS)
    field.blur()
    STATES[state](page)
    page.mouse.move(1, 1)


def check(page: Page, scheme: str, name: str, folder: Path) -> str:
    """Compare the page with a reference, or replace the reference. Return the difference or ""."""
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    page.wait_for_function("dark => document.body.classList.contains('dark') === dark", arg=scheme == "dark")
    page.evaluate(SETTLED)
    actual = Image.open(io.BytesIO(page.screenshot(animations="disabled", style=UNREPEATABLE)))
    path = PICTURES / f"{name}.png"
    if os.environ.get(UPDATE):
        PICTURES.mkdir(exist_ok=True)
        if not path.exists() or difference(actual, Image.open(path)):
            as_reference(actual).save(path, optimize=True)
        return ""
    if not path.exists():
        return f"There is no reference {path}: run this with {UPDATE}=1."
    found = difference(actual, Image.open(path))
    if not found:
        return ""
    actual.save(folder / f"{name}.png")
    marked(actual, found).save(folder / f"{name}-differs.png")
    return (
        f"{name} differs from its reference: {found}. See {folder / name}-differs.png; if it is meant, run "
        f"this with {UPDATE}=1."
    )


def test_references_are_small() -> None:
    """The references are the pictures of the cases, and take at most 300 kB."""
    names = {f"{state}-{width}-{scheme}.png" for state, width, scheme in CASES}
    assert {path.name for path in PICTURES.iterdir()} == names
    assert sum(path.stat().st_size for path in PICTURES.iterdir()) < 300_000


def drawing(*, at: tuple[float, float] = (40, 40), icon: bool = True, ink: str = "#1f2328") -> Image.Image:
    """Return a picture of an icon, a button and a word, antialiased by a reduction."""
    scale = 4
    picture = Image.new("RGB", (320 * scale, 200 * scale), "white")
    pen = ImageDraw.Draw(picture)
    left, top = at[0] * scale, at[1] * scale
    if icon:
        pen.rectangle((left, top, left + 14 * scale, top + 14 * scale), outline=ink, width=int(1.5 * scale))
    pen.rectangle((left + 60 * scale, top, left + 120 * scale, top + 24 * scale), fill="#1d4ed8")
    pen.text((left, top + 60 * scale), "median", fill=ink, font_size=16 * scale)
    return picture.resize((320, 200), Image.Resampling.BOX)


@pytest.mark.parametrize("at", [(40, 40), (41, 40), (40, 39), (39, 41), (40.5, 40.25)], ids=str)
def test_small_differences_pass(at: tuple[float, float]) -> None:
    """Antialiasing, shifts of up to a pixel and a reference's palette are no difference."""
    assert not difference(drawing(at=at), as_reference(drawing()))
    assert not difference(drawing(at=at, ink="#2a2e34"), as_reference(drawing()))


@pytest.mark.parametrize(
    "changed",
    [
        drawing(at=(43, 40)),
        drawing(at=(40, 36)),
        drawing(icon=False),
        drawing(ink="#b0b0b0"),
        drawing().crop((0, 0, 320, 190)),
    ],
    ids=["moved right by 3", "moved up by 4", "icon missing", "paler", "smaller"],
)
def test_changes_fail(changed: Image.Image) -> None:
    """A moved or missing element, a new colour and a new size are differences."""
    assert difference(changed, as_reference(drawing()))
    assert difference(drawing(), as_reference(changed))


def test_where() -> None:
    """The difference names only the blocks of a missing icon, marked in colour in the picture."""
    missing = drawing(icon=False)
    found = difference(missing, drawing())
    assert found.blocks
    assert all(40 - BLOCK < left < 56 and 40 - BLOCK < top < 56 for left, top in found.blocks)
    assert "between (" in str(found)
    shown = marked(missing, found)
    assert shown.getpixel(found.blocks[0]) == (255, 0, 0)
    assert shown.getpixel((0, 199)) != (255, 255, 255)


@pytest.mark.browser
def test_a_moved_element_of_the_page_fails(
    pictured: PagedServer, browser: Browser, conversation: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A moved panel of the page is found, and pictures are written."""
    monkeypatch.delenv(UPDATE, raising=False)
    page = picture_page(browser, 1280, SIZES[1280], TIMEOUT_MS)
    open_state(page, pictured.server.url, "answer", conversation)
    name = "answer-1280-light"
    page.add_style_tag(content=".pl-inspector { translate: 4px 0; }")
    assert "differs" in check(page, "light", name, tmp_path)
    assert {f"{name}-differs.png", f"{name}.png"} <= {path.name for path in tmp_path.iterdir()}
    page.context.close()
