"""Provides a page with a heat map alone, and tokens for the map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from math import exp, log
from pathlib import Path
from typing import Any

from playwright.async_api import Locator, Page, Route

import pellucid_webui
from pellucid.vocabulary.token import Alternative, Token
from pellucid_webui.conversations.compact_tokens import record

ASSETS = Path(str(pellucid_webui.__file__)).parent / "assets"

ADDRESS = "http://heat.test/"
"""An origin, so that the browser has local storage; requests stay within the browser."""

Record = dict[str, Any]

BRANCH = "(...asked) => { window.branched = [...(window.branched || []), asked]; }"

HTML = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Heat map</title>
<style>
body {{ margin: 0; background: #ffffff; color: #1f2328; font-family: system-ui, sans-serif; }}
body.dark {{ background: #0b0f19; color: #f1f5f9; }}
main {{ max-width: 60rem; margin: 0 auto; padding: 1rem; }}
{css}
</style></head><body><main></main>
<script type="module">
import {{ memory }} from "./assets/shared/dom.js";
import * as colours from "./assets/tokens/colours.js";
import {{ HeatMap }} from "./assets/tokens/heatmap.js";
Object.assign(window, {{ memory, colours, HeatMap }});
</script></body></html>"""

CLEAN = """theme => {
  if (window.map) window.map.destroy();
  for (const name of ["map", "other", "branched", "selected", "hurt"]) delete window[name];
  try { localStorage.clear(); } catch { /* there is none */ }
  document.head.querySelectorAll("style ~ style").forEach((style) => style.remove());
  document.body.className = theme;
  document.querySelector("main").innerHTML =
    '<h1>Heat map</h1><div id="place"></div><button id="after">After</button>';
  scrollTo(0, 0);
}"""
"""Gives a page that a test has used the state of a new page."""


@cache
def asset(name: str) -> str:
    """Return the text of the page's script or style with this file name, from any folder."""
    (found,) = ASSETS.rglob(name)
    return found.read_text(encoding="utf-8")


async def answer_with(route: Route, address: str, html: str) -> None:
    """Answer a page's request: with ``html`` at ``address``, with ES modules below ``assets/``."""
    path = route.request.url.partition("#")[0].removeprefix(address)
    if not path:
        await route.fulfill(body=html, content_type="text/html; charset=utf-8")
    elif path.startswith("assets/"):
        await route.fulfill(path=ASSETS / path.removeprefix("assets/"), content_type="text/javascript")
    else:
        await route.abort()


@dataclass
class HeatPage:
    """The page, all addresses requested since the page was loaded, and errors."""

    page: Page
    requested: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    async def open(
        self, records: Sequence[Record], *, theme: str = "", options: str = "{}", branches: bool = True
    ) -> None:
        """Create a map of these tokens as ``window.map``, with ``options`` as a script.

        A page with a map is used again, without the map and without stored settings.
        """
        if self.page.url != ADDRESS:
            await self._load()
        await self.page.evaluate(CLEAN, theme)
        await self.make(records, options=options, branches=branches)

    async def _load(self) -> None:
        self.page.on("request", lambda request: self.requested.append(request.url))
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("console", lambda message: self.problems.append(message.text) if message.type == "error" else None)
        self.page.on("dialog", lambda dialog: self.problems.append(dialog.message))
        await self.page.route("**/*", self._answer)
        await self.page.goto(ADDRESS)
        await self.page.wait_for_function("() => Boolean(window.HeatMap)")
        self.requested.clear()

    async def make(self, records: Sequence[Record], *, options: str = "{}", branches: bool = True) -> None:
        """Replace the map."""
        branch = BRANCH if branches else "null"
        await self.page.evaluate(
            "records => { if (window.map) window.map.destroy();"
            "window.map = new HeatMap(document.getElementById('place'), "
            f"{{ label: 'Tokens of a test', onBranch: {branch}, ...{options} }}); window.map.set(records); }}",
            list(records),
        )

    async def _answer(self, route: Route) -> None:
        html = HTML.format(css="".join(asset(f"{name}.css") for name in ("heatmap", "token_table", "colours")))
        await answer_with(route, ADDRESS, html)

    @property
    def cells(self) -> Locator:
        return self.page.locator("#place [role=option]")

    @property
    def card(self) -> Locator:
        return self.page.locator(".pl-card:popover-open")

    @property
    def rows(self) -> Locator:
        return self.card.locator("[data-alternative]")

    async def focused(self) -> int | None:
        """Return the number of the focused token."""
        found = await self.page.evaluate("document.activeElement.dataset.token ?? null")
        return None if found is None else int(found)

    async def number(self, name: str) -> float | None:
        """Return a figure of the card."""
        found = await self.card.get_attribute(f"data-{name}")
        return None if found is None else float(found)

    async def press(self, *keys: str) -> None:
        for key in keys:
            await self.page.keyboard.press(key)

    async def ask(self, **settings: float) -> None:
        """Set what-if sliders, and wait until the map is drawn."""
        await self.page.evaluate(
            "settings => { map.ask(settings); "
            "return new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))); }",
            settings,
        )


def token(
    text: str,
    probability: float | None = 0.9,
    *,
    id: int = 7,
    rank: int = 1,
    entropy: float | None = 0.5,
    entropy_range: tuple[float, float] | None = None,
    sampled: float | None = None,
    data: bytes | None = None,
    others: Sequence[tuple[int, str | bytes, float]] = (),
) -> Record:
    """Return a token's record; ``others`` has alternatives (id, text or bytes, probability)."""
    own = data if data is not None else text.encode()
    if probability is None:
        return record(Token(id, text, own, 0, None, None, None))
    top = [Alternative(id, text, own, log(probability))] if rank <= len(others) + 1 else []
    for other, other_text, share in others:
        given = other_text if isinstance(other_text, bytes) else other_text.encode()
        top.append(Alternative(other, given.decode(errors="replace"), given, log(share)))
    top.sort(key=lambda one: -one.logprob)
    rest = max(1 - sum(exp(one.logprob) for one in top), 0.0)
    return record(
        Token(
            id, text, own, 0, log(probability), rank, entropy, tuple(top), rest, sampled, entropy_range=entropy_range
        ),
    )


def bounded(text: str, least: float, most: float, *, sampled: float | None = None) -> Record:
    """Return the record of a token with an entropy between these bounds, in bits."""
    return token(text, 0.9, entropy=None, entropy_range=(least * log(2), most * log(2)), sampled=sampled)


def many(count: int, line: int = 12) -> list[Record]:
    """Return tokens of every probability, with ten alternatives each, ``line`` to a line."""
    found = []
    for index in range(count):
        probability = 0.999 - 0.99 * ((index * 37) % 100) / 100
        text = "\n" if index % line == line - 1 else f" word{index}"
        others = [(100 + one, f" other{one}", (1 - probability) * 0.5**one * 0.9) for one in range(1, 10)]
        rank = 1 + sum(share > probability for _, _, share in others)
        found.append(token(text, probability, id=index, rank=rank, entropy=3 * (1 - probability), others=others))
    return found
