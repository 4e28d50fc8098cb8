"""Measure the cost of the page: processor time per streamed token, and the time until usable.

    python benchmarks/page_cost.py --messages 200 --rounds 3 --json page_cost.json

Starts a server with a conversation of ``--messages`` messages. The same question is then asked
through the API (a stream with logprobs, as programs ask) and on the page in Chromium, in turns.
Measurements begin with the first token and end with the last, so that prefill is excluded. The
models are taken from PELLUCID_CACHE.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx
from playwright.async_api import Page, async_playwright

from common.chromium import chromium_path
from common.servers import pellucid_server

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from pellucid.vocabulary.finish import FinishReason
from pellucid_webui.conversations.conversation import ASSISTANT, USER
from pellucid_webui.conversations.storage.store import ConversationStore
from pellucid_webui.conversations.turn_settings import ALTERNATIVES, TurnSettings

OWNER = "local"
QUESTION = "Count from one to one hundred in words, one number a line, and say nothing else."
MESSAGES = ("Tell me about the number {}.", "The number {} follows the one before it, and the next one follows it.")
TIMEOUT_SECONDS = 600.0

PAINTS = """() => new Promise((done) => {
  const paint = performance.getEntriesByName("first-contentful-paint")[0];
  done(paint ? paint.startTime : null);
})"""


@dataclass(frozen=True, slots=True)
class Streamed:
    """An answer: tokens after the first sample, and the server's processor seconds."""

    tokens: int
    processor: float

    @property
    def each(self) -> float:
        """Milliseconds of processor time per token."""
        return 1000 * self.processor / self.tokens


@dataclass(frozen=True, slots=True)
class Served:
    """The server of this script."""

    url: str
    process: int
    conversation: str

    def processor(self) -> float:
        """Return the server's total processor time in seconds."""
        fields = Path(f"/proc/{self.process}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=192, help="of each answer")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with serving(arguments.messages, arguments.tokens) as served:
        prepared = prepare(served.url)
        found = {"gradio_s": prepared} | asyncio.run(
            measure(served, arguments.messages, arguments.rounds, arguments.tokens)
        )
    print(table(found))
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1))


def prepare(url: str) -> float:
    """Build the page, as the first visit does, and return the seconds."""
    begun = time.monotonic()
    while "gradio_config" not in httpx.get(url).text:
        time.sleep(0.05)
    return time.monotonic() - begun


async def measure(served: Served, messages: int, rounds: int, tokens: int) -> dict[str, Any]:
    """Return all figures of a built page."""
    api: list[Streamed] = []
    page: list[Streamed] = []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=chromium_path(), args=["--no-sandbox", "--disable-gpu"]
        )
        tab = await browser.new_page()
        tab.set_default_timeout(TIMEOUT_SECONDS * 1000)
        starts = [await opened(tab, served) for _ in range(rounds)]
        for _ in range(rounds):
            api.append(await ask_api(served, messages, tokens))
            page.append(await ask_page(tab, served))
        await browser.close()
    each = [statistics.median(one.each for one in side) for side in (api, page)]
    return {
        "messages": messages,
        "api": [asdict(one) for one in api],
        "page": [asdict(one) for one in page],
        "api_ms": each[0],
        "page_ms": each[1],
        "ratio": each[1] / each[0],
        "paint_ms": statistics.median(paint for paint, _ in starts),
        "interactive_ms": statistics.median(interactive for _, interactive in starts),
    }


def table(found: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    rows = [
        "| what | figure |",
        "|---|---|",
        f"| processor time a token, API, ms | {found['api_ms']:.1f} |",
        f"| processor time a token, page with {found['messages']} messages, ms | {found['page_ms']:.1f} |",
        f"| ratio | {found['ratio']:.3f} |",
        f"| first visit: Gradio is imported and the page made, s | {found['gradio_s']:.1f} |",
        f"| first paint, ms | {found['paint_ms']:.0f} |",
        f"| a message can be written and sent, {found['messages']} messages shown, ms "
        f"| {found['interactive_ms']:.0f} |",
    ]
    return "\n".join(rows)


async def opened(tab: Page, served: Served) -> tuple[float, float]:
    """Open the page at the conversation.

    Return the milliseconds to the first paint and until the page is usable.
    """
    begun = time.monotonic()
    await tab.goto(f"{served.url}/?c={served.conversation}")
    await tab.locator(".pl-message").last.wait_for()
    await tab.get_by_role("textbox", name="Your message").click()
    interactive = 1000 * (time.monotonic() - begun)
    return float(await tab.evaluate(PAINTS)), interactive


async def ask_page(tab: Page, served: Served) -> Streamed:
    """Ask the question on the page."""
    field = tab.get_by_role("textbox", name="Your message")
    await field.fill(QUESTION)
    await field.press("Enter")
    note = tab.locator(".pl-assistant[aria-busy=true] .pl-note")
    await note.filter(has_text=re.compile(r"[1-9]\d* tokens")).wait_for(state="attached")
    before, first = served.processor(), counted(await note.text_content())
    await tab.wait_for_function(
        "() => ![...document.querySelectorAll('.pl-message')].some((one) => one.ariaBusy === 'true')"
    )
    after, last = served.processor(), counted(await tab.locator(".pl-assistant .pl-note").last.text_content())
    return Streamed(last - first, after - before)


def counted(note: str | None) -> int:
    found = re.search(r"(\d+) tokens", note or "")
    assert found is not None, note
    return int(found[1])


async def ask_api(served: Served, messages: int, tokens: int) -> Streamed:
    """Ask the question through the API."""
    body = {
        "messages": [*conversation(messages), {"role": USER, "content": QUESTION}],
        "max_tokens": tokens,
        "temperature": 0,
        "stream": True,
        "logprobs": True,
        "top_logprobs": ALTERNATIVES,
    }
    before, count = 0.0, -1
    async with (
        httpx.AsyncClient(base_url=served.url, timeout=TIMEOUT_SECONDS) as client,
        client.stream("POST", "/v1/chat/completions", json=body) as reply,
    ):
        async for line in reply.aiter_lines():
            if '"logprobs":{' not in line:
                continue
            count += 1
            if not count:
                before = served.processor()
    return Streamed(count, served.processor() - before)


def conversation(messages: int) -> list[dict[str, str]]:
    """Return a conversation."""
    return [
        {"role": (USER, ASSISTANT)[at % 2], "content": MESSAGES[at % 2].format(at // 2 + 1)} for at in range(messages)
    ]


def fill(store: ConversationStore, messages: int, tokens: int) -> str:
    """Store the conversation, and return the id."""
    id = store.create(OWNER, TurnSettings(temperature=0, max_tokens=tokens), "Numbers")
    parent = None
    for one in conversation(messages):
        parent = store.add(OWNER, id, parent, one["role"], one["content"], end=FinishReason.STOP)
    return id


@contextmanager
def serving(messages: int, tokens: int) -> Iterator[Served]:
    """Run a server with the conversation and a loaded model."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder)
        store = ConversationStore(data / "conversations.db")
        conversation = fill(store, messages, tokens)
        store.close()
        with pellucid_server(data=data) as server:
            yield Served(server.url, server.process, conversation)


if __name__ == "__main__":
    main()
