"""Measure the user's waiting times for the page in Chromium, without a model.

    python benchmarks/page_times.py --rounds 5 --slowdown 4 --tree ../other-checkout

Paints, keys, long conversations and long readings are measured. Every ``--tree``, a second checkout
of this project, is measured by the same script in turns with this checkout, under the same load.
``--slowdown`` makes the browser's processor that many times slower. A figure is the median of the
rounds, or for the longest tasks the maximum. Features missing in a tree are left out: trees before
the rebuilt Read tab have no figures of scrolling.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from playwright.async_api import Browser, Page, async_playwright

from common.chromium import chromium_path

ROOT = Path(__file__).parents[1]
PACKAGES = ("server", "lsp", "webui")
TIMEOUT_MS = 60_000.0
KEYS = "the quick brown fox jumps over the lazy dog "
WHEELS = ((400, 40), (2000, 40), (20_000, 20))
"""Pixels and number of turns of the wheel: reading, skimming, jumping."""

TOKENS_BUTTON = ".pl-assistant :is(.pl-tokens-button, .pl-look)"
"""Including the button's earlier name."""

PAINT = "() => performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? NaN"

WATCH_TASKS = """() => {
  window.longTasks = [];
  new PerformanceObserver((list) => window.longTasks.push(...list.getEntries().map((one) => one.duration)))\
.observe({ type: "longtask" });
}"""

WATCH_KEYS = """() => {
  window.echoes = [];
  const field = document.activeElement;
  field.addEventListener("keydown", () => {
    const pressed = performance.now();
    requestAnimationFrame(() => {
      const { port1, port2 } = new MessageChannel();
      port1.onmessage = () => window.echoes.push(performance.now() - pressed);
      port2.postMessage(null);
    });
  });
}"""
"""Notes the time from a key to the end of the next frame: a message posted in a frame arrives after
the paint.
"""

PASTE = "(field, text) => { field.value = text; field.dispatchEvent(new Event('input', { bubbles: true })); }"

Figures = dict[str, list[float]]


@dataclass(frozen=True, slots=True)
class Served:
    """The page of a checkout. ``messages`` and ``answer`` are conversations."""

    url: str
    messages: str
    answer: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tree", type=Path, action="append", default=[], metavar="FOLDER")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--slowdown", type=float, default=1)
    parser.add_argument("--messages", type=int, default=1000)
    parser.add_argument("--tokens", type=int, default=4000)
    parser.add_argument("--lines", type=int, default=5000)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    trees = [ROOT, *(tree.resolve() for tree in arguments.tree)]
    with ExitStack() as stack:
        pages = [stack.enter_context(serving(tree, arguments.messages, arguments.tokens)) for tree in trees]
        found = asyncio.run(measure(pages, arguments.rounds, arguments.slowdown, arguments.lines))
    print(table([tree.name for tree in trees], found))
    if arguments.json:
        arguments.json.write_text(json.dumps(dict(zip(map(str, trees), found, strict=True)), indent=1))


@contextmanager
def serving(tree: Path, messages: int, tokens: int) -> Iterator[Served]:
    """Serve the page of a checkout with the checkout's code."""
    script = tree / "benchmarks" / "common" / "scripted_page.py"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(str(tree / package) for package in PACKAGES)}
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(script), folder, str(messages), str(tokens)]
        with subprocess.Popen(
            command, cwd=tree, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as server:
            assert server.stdout is not None
            line = server.stdout.readline()
            if not line:
                raise SystemExit(f"{script} did not serve the page; its own message is above.")
            yield Served(**json.loads(line))
            server.communicate()  # The end of the input ends the process.


async def measure(pages: list[Served], rounds: int, slowdown: float, lines: int) -> list[Figures]:
    """Return the figures of each page."""
    found: list[Figures] = [{} for _ in pages]
    async with async_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-gpu"]
        browser = await playwright.chromium.launch(executable_path=chromium_path(), args=flags)
        for _ in range(rounds):
            for served, figures in zip(pages, found, strict=True):
                await measure_once(browser, served, figures, slowdown, lines)
        await browser.close()
    return found


async def measure_once(browser: Browser, served: Served, figures: Figures, slowdown: float, lines: int) -> None:
    """Add the figures of a round."""
    context = await browser.new_context(viewport={"width": 1280, "height": 800})
    page = await context.new_page()
    page.set_default_timeout(TIMEOUT_MS)
    session = await context.new_cdp_session(page)
    await session.send("Emulation.setCPUThrottlingRate", {"rate": slowdown})
    for measured in (
        first_paint(page, served),
        many_messages(page, served),
        long_answer(page, served),
        long_reading(page, served, lines),
    ):
        for name, figure in (await measured).items():
            figures.setdefault(name, []).append(figure)
    await context.close()


async def first_paint(page: Page, served: Served) -> dict[str, float]:
    begun = time.monotonic()
    await page.goto(served.url)
    await page.get_by_role("textbox", name="Your message").click()
    usable = passed(begun)
    return {"first paint": float(await page.evaluate(PAINT)), "a message can be written": usable}


async def many_messages(page: Page, served: Served) -> dict[str, float]:
    """Open the long conversation by address, and type there."""
    begun = time.monotonic()
    await page.goto(f"{served.url}/?c={served.messages}")
    await page.locator(".pl-message").last.wait_for()
    await page.get_by_role("textbox", name="Your message").click()
    opened = passed(begun)
    await page.evaluate(WATCH_KEYS)
    await page.keyboard.type(KEYS * 2, delay=30)
    await page.wait_for_function("count => window.echoes.length === count", arg=len(KEYS * 2))
    echoes = await page.evaluate("() => window.echoes")
    return {
        "open the conversation of many messages": opened,
        "key to echo": statistics.median(echoes),
        "key to echo, worst": max(echoes),
    }


async def long_answer(page: Page, served: Served) -> dict[str, float]:
    await page.goto(f"{served.url}/?c={served.answer}")
    await page.locator(TOKENS_BUTTON).wait_for()
    await page.evaluate(WATCH_TASKS)
    begun = time.monotonic()
    await page.locator(TOKENS_BUTTON).click()
    await page.locator(".pl-assistant .pl-heat [role=option]").first.wait_for()
    await page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return {"open the tokens of the long answer": passed(begun)}


async def long_reading(page: Page, served: Served, lines: int) -> dict[str, float]:
    """Read a long text with two models, and scroll through the finished map with the wheel."""
    await page.goto(served.url)
    await page.get_by_role("textbox", name="Your message").wait_for()
    await page.get_by_role("tab", name="Read").click()
    second = page.get_by_label("Second model", exact=True)
    if not await second.count():
        return {}
    await page.locator("#pl-read-text textarea").evaluate(PASTE, text_of(lines))
    await second.click()
    await page.get_by_role("option", name="halves").click()
    await page.evaluate(WATCH_TASKS)
    await page.get_by_role("button", name="Read", exact=True).click()
    await page.locator(".pl-line-row").first.wait_for()
    tokens = page.locator(".pl-read-body .pl-tokens")
    await tokens.hover()
    found = {"longest task until the lines are shown": await longest_task(page)}
    for pixels, turns in WHEELS:
        for _ in range(turns):
            await page.mouse.wheel(0, pixels)
            await asyncio.sleep(1 / 60)
        await asyncio.sleep(0.5)
        found[f"longest task while the wheel turns by {pixels} px"] = await longest_task(page)
    return found


async def longest_task(page: Page) -> float:
    """Return the longest task since the last call in milliseconds, or 0 below 50."""
    return float(await page.evaluate("() => Math.max(0, ...window.longTasks.splice(0))"))


def text_of(lines: int) -> str:
    """Return a text of this many lines of twelve words."""
    words = ("total", "value", "return", "index", "result", "count", "name", "line", "text", "token")
    return "".join(" ".join(words[(line * 7 + at * 3) % 10] for at in range(12)) + "\n" for line in range(lines))


def passed(since: float) -> float:
    """Return the milliseconds since a time."""
    return 1000 * (time.monotonic() - since)


def table(names: list[str], found: list[Figures]) -> str:
    """Return the figures as Markdown."""
    rows = [f"| ms | {' | '.join(names)} |", "|---|" + "---:|" * len(names)]
    for name in found[0]:
        middle = max if "longest" in name else statistics.median
        cells = [f"{middle(figures[name]):.0f}" if figures.get(name) else "" for figures in found]
        rows.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(rows)


if __name__ == "__main__":
    main()
