"""Measure the speed of the page's token heat map with thousands of tokens, in headless Chromium.

    python benchmarks/heat_map.py --json heat_map.json

The text is Python's own `argparse.py`, cut into pieces of token length, with alternatives of a
distribution that falls off as a power of the rank. User actions are repeated `--repeats` times:
keys are pressed, the colour mode is chosen, a slider is moved, tokens stream in. A time lasts from
the event's own time stamp (or the call) to the end of the next frame, including style, layout and
paint. Up to 16.7 ms of it are the wait for that frame, which the row "a frame alone" shows.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import statistics
import sys
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from math import exp, log
from pathlib import Path
from typing import Any

from playwright.async_api import Page, async_playwright

from common.chromium import chromium_path

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from pellucid.vocabulary.token import Alternative, Token
from pellucid_webui.conversations.compact_tokens import record
from support.page.heat_page import HeatPage, Record
from support.page.page_fixtures import FLAGS

PIECE = re.compile(r" ?[A-Za-z]{1,6}|\n *| ?[^\sA-Za-z]{1,2}| +")
"""Approximate tokens of code."""

VOCABULARY = 50_000

MODES = ("probability", "rank", "surprisal", "two")

WATCH = """() => {
  window.painted = () => new Promise((done) => requestAnimationFrame(() => {
    const channel = new MessageChannel(); // its message comes when the frame has been painted
    channel.port1.onmessage = () => done(performance.now());
    channel.port2.postMessage(null);
  }));
  document.addEventListener("keydown", (event) => {
    window.pressed = painted().then((end) => end - event.timeStamp);
  }, { capture: true });
  window.timed = async (act) => {
    await painted();
    const begin = performance.now();
    act();
    return (await painted()) - begin;
  };
}"""

SLIDE = """([name, value]) => timed(() => {
  const slider = document.querySelector(`[data-setting=${name}]`);
  slider.value = value;
  slider.dispatchEvent(new Event("input", { bubbles: true }));
})"""

CHOOSE = """mode => timed(() => {
  const select = document.querySelector(".pl-mode");
  select.value = mode;
  select.dispatchEvent(new Event("change", { bubbles: true }));
})"""


@dataclass(frozen=True)
class Row:
    """The times of a user action, in milliseconds."""

    action: str
    times: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.times)

    @property
    def worst(self) -> float:
        return max(self.times)


def tokens(count: int, alternatives: int, seed: int) -> list[Record]:
    """Return ``count`` token records."""
    dice = random.Random(seed)
    pieces = PIECE.findall(Path(argparse.__file__).read_text(encoding="utf-8"))
    text = [pieces[at % len(pieces)] for at in range(count)]
    return [drawn(piece, pieces, alternatives, dice) for piece in text]


def drawn(piece: str, pieces: list[str], alternatives: int, dice: random.Random) -> Record:
    """Return a token with alternatives of a peaked or flat distribution, mostly the first
    alternative.
    """
    power = dice.choice((1.2, 1.6, 2.5, 4.0))
    weights = [rank**-power for rank in range(1, 2_000)]
    whole = sum(weights)
    logprobs = [log(weight / whole) for weight in weights]
    entropy = -sum(exp(one) * one for one in logprobs)
    rank = dice.choices(range(len(weights)), weights)[0]
    words = [piece if at == rank else dice.choice(pieces) for at in range(alternatives)]
    ids = dice.sample(range(VOCABULARY), alternatives + 1)
    top = tuple(
        Alternative(id, word, word.encode(), logprob) for id, word, logprob in zip(ids, words, logprobs, strict=False)
    )
    rest = 1 - sum(exp(one.logprob) for one in top)
    id = ids[min(rank, alternatives)]
    return record(
        Token(id, piece, piece.encode(), 0, logprobs[rank], rank + 1, entropy, top, rest, exp(logprobs[rank]))
    )


class Measure:
    """Performs user actions on a heat map, and records the time of each."""

    def __init__(self, page: Page, repeats: int) -> None:
        self.rows: list[Row] = []
        self._page = page
        self._repeats = repeats

    async def act(self, name: str, once: Callable[[int], Awaitable[float]], repeats: int | None = None) -> None:
        self.rows.append(Row(name, tuple([await once(turn) for turn in range(repeats or self._repeats)])))

    async def press(self, name: str, key: str) -> None:
        """Press a key repeatedly."""

        async def once(_: int) -> float:
            await self._page.keyboard.press(key)
            return await self.number("pressed")

        await self.act(name, once)

    async def slide(self, name: str, start: float, step: float) -> None:
        """Move a slider step by step, repeatedly from the start."""
        await self.act(
            f"slider {name}", lambda turn: self.number(SLIDE, [name, str(round(start + step * (turn % 30), 2))])
        )

    async def number(self, script: str, argument: Any = None) -> float:
        return float(await self._page.evaluate(script, argument))


async def measured(records: list[Record], repeats: int) -> tuple[list[Row], str]:
    """Return all rows, and the browser's version."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium_path(), args=FLAGS)
        page = await browser.new_page(viewport={"width": 1280, "height": 800})
        await HeatPage(page).open([])
        await page.evaluate(WATCH)
        await page.evaluate("records => { window.records = records; }", records)
        rows = await measure(Measure(page, repeats), len(records))
        version = browser.version
        await browser.close()
    return rows, version


async def measure(to: Measure, count: int) -> list[Row]:
    await to.act("a frame alone", lambda _: to.number("timed(() => {})"))
    await to.act(f"draw {count} tokens", lambda _: to.number("timed(() => map.set(records))"), 10)
    await to.number(
        "() => { map.setSampling({ temperature: 0.7, top_k: 0, top_p: 0.95, min_p: 0.05 }); "
        "map.focusToken(0); return 0; }"
    )
    for key in ("ArrowRight", "ArrowDown", "n"):
        await to.press(f"key {key}", key)
    await to.act("colour mode", lambda turn: to.number(CHOOSE, MODES[turn % len(MODES)]))
    await to.number("() => { document.querySelector('.pl-whatif').open = true; return 0; }")
    for name, start, step in (("temperature", 0.3, 0.05), ("top_k", 1, 1), ("top_p", 0.3, 0.02), ("min_p", 0.0, 0.01)):
        await to.slide(name, start, step)
    await to.press("key ArrowRight, with what-if", "ArrowRight")
    await to.act("20 more tokens", lambda _: to.number("timed(() => map.add(records.slice(0, 20)))"))
    return to.rows


def table(rows: list[Row]) -> str:
    lines = ["| what | median (ms) | worst (ms) | times |", "|---|---:|---:|---:|"]
    return "\n".join(
        [*lines, *(f"| {row.action} | {row.median:.1f} | {row.worst:.1f} | {len(row.times)} |" for row in rows)]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=4_000)
    parser.add_argument("--alternatives", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows, version = asyncio.run(measured(tokens(options.tokens, options.alternatives, options.seed), options.repeats))
    print(f"Chromium {version}, {options.tokens} tokens with {options.alternatives} alternatives each\n\n{table(rows)}")
    if options.json:
        found = {
            "chromium": version,
            "tokens": options.tokens,
            "alternatives": options.alternatives,
            "rows": [asdict(row) for row in rows],
        }
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
