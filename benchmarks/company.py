"""Measure waiting times on a shared server, with completions during a chat, and with eight clients.

    python benchmarks/company.py --threads 2 --minutes 10

First the script requests completions at cursors of the standard library, like llama.vim,
alternately alone and during a chat, and also reports the chat's speed. Then three users type, two
chat, one asks about long texts, one scores texts and one samples completions, all at once. The
report has the time to the first token and the longest gap between two parts of an answer. The
script fails if a gap is longer than ``--stall`` seconds, if memory grows, or if a request fails.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from common import llama_vim
from common.machine import about
from common.markdown_tables import table
from common.quantiles import quantile
from common.servers import pellucid_server
from common.stdlib_cursors import Cursor, draw
from pellucid.models.catalog import DEFAULT_MODEL
from soak import resident_megabytes

CHARACTERS = 2500
"""Characters of code before a cursor, and of a long question."""

ANSWER_TOKENS = 24
"""Tokens of a completion."""

CHAT_ANSWER = 400
PAUSE_SECONDS = 0.2
"""Seconds between two keystrokes."""

SAMPLES = 20
"""Number of samples of the server's memory."""

GROWTH_SHARE = 0.05
"""Allowed growth of memory from the beginning to the last two thirds of a run."""


@dataclass
class WaitTimes:
    """Seconds to the first part of each answer, the longest gap between parts, and the number of
    parts.
    """

    first: list[float] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)
    parts: int = 0


class SharedServer:
    """Clients of a server, with the waiting times of each kind."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.waits: dict[str, WaitTimes] = defaultdict(WaitTimes)
        self._client = client
        self._cursors = itertools.cycle(draw("report", 200, 0))

    async def complete(self, cursor: Cursor) -> float:
        """Return the seconds of a completion."""
        body = llama_vim.request(cursor.before[-CHARACTERS:], cursor.below[:CHARACTERS]) | {
            "n_predict": ANSWER_TOKENS,
            "id_slot": -1,
        }
        begun = time.perf_counter()
        response = await self._client.post("/infill", json=body)
        response.raise_for_status()
        return time.perf_counter() - begun

    async def type(self) -> None:
        """Type a line; each keystroke cancels the previous request, as in an editor."""
        cursor = next(self._cursors)
        for end in range(len(cursor.truth) + 1):
            body = llama_vim.request(cursor.before[-CHARACTERS:] + cursor.truth[:end], cursor.below[:CHARACTERS])
            await self._stream("type", "/infill", body | {"n_predict": ANSWER_TOKENS, "id_slot": -1, "stream": True})
            await asyncio.sleep(PAUSE_SECONDS)

    async def chat(self) -> None:
        await self._ask("chat", f"Explain what this code does:\n\n{next(self._cursors).before[-400:]}", CHAT_ANSWER)

    async def question(self) -> None:
        await self._ask(
            "ask about a long text",
            f"What could be simpler here?\n\n{next(self._cursors).before[-4 * CHARACTERS :]}",
            100,
        )

    async def read(self) -> None:
        response = await self._client.post(
            "/v1/score", json={"text": next(self._cursors).before[-CHARACTERS:], "top_logprobs": 5}
        )
        response.raise_for_status()

    async def draw(self) -> None:
        body = {
            "prompt": next(self._cursors).before[-CHARACTERS:],
            "max_tokens": 100,
            "temperature": 0.8,
            "logprobs": 5,
            "stream": True,
        }
        await self._stream("draw by chance", "/v1/completions", body)

    async def _ask(self, kind: str, question: str, tokens: int) -> None:
        body = {
            "messages": [{"role": "user", "content": question}],
            "max_tokens": tokens,
            "stream": True,
            "logprobs": True,
        }
        await self._stream(kind, "/v1/chat/completions", body)

    async def _stream(self, kind: str, route: str, body: dict[str, Any]) -> None:
        waits, last, longest = self.waits[kind], time.perf_counter(), 0.0
        begun, parts = last, 0
        async with self._client.stream("POST", route, json=body) as response:
            if response.is_error:
                raise SystemExit(f"{route} answered with {response.status_code}: {(await response.aread())[:500]!r}")
            async for line in response.aiter_lines():
                if not line.startswith("data: {"):
                    continue
                if "error" in json.loads(line.removeprefix("data: ")):
                    raise SystemExit(f"{route} failed in its stream: {line[:500]}")
                now = time.perf_counter()
                if parts:
                    longest = max(longest, now - last)
                else:
                    waits.first.append(now - begun)
                last, parts = now, parts + 1
                waits.parts += 1
        waits.gaps.append(longest)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--completions", type=int, default=60, help="completions alone, and as many again during a chat"
    )
    parser.add_argument("--minutes", type=float, default=10.0, help="duration of the run with eight clients")
    parser.add_argument(
        "--stall", type=float, default=1.0, help="longest allowed gap between two parts of an answer, in seconds"
    )
    options = parser.parse_args()
    flags = ("--model", options.model, "--threads", str(options.threads), "--no-prefix-save")
    with pellucid_server(*flags) as server:
        problems = asyncio.run(measure(server.url, server.process, options))
    if problems:
        raise SystemExit(" ".join(problems))


async def measure(url: str, process: int, options: argparse.Namespace) -> list[str]:
    """Print both tables, and return a sentence for each failure."""
    print(about())
    async with httpx.AsyncClient(base_url=url, timeout=300) as client:
        print(await completions_during_chat(SharedServer(client), options.completions), flush=True)
        company = SharedServer(client)
        memory = await together(company, process, options.minutes * 60)
    print(report(company, memory))
    return problems_of(company, memory, options.stall)


async def completions_during_chat(company: SharedServer, count: int) -> str:
    """Return the times of completions alone and during a chat, with different cursors."""
    alone: list[float] = []
    during_chat: list[float] = []
    chat = company.waits["chat"]
    chat_tokens = 0
    for number, cursor in enumerate(draw("report", 2 * count, 1)):
        if number % 2:
            alone.append(await company.complete(cursor))
            continue
        chat.first.clear()
        async with _going_on(company.chat):
            while not chat.first:
                await asyncio.sleep(0.05)
            before = chat.parts
            during_chat.append(await company.complete(cursor))
            chat_tokens += chat.parts - before
    rows = [
        [name, *(f"{1000 * quantile(times, share):.0f}" for share in (0.5, 0.95))]
        for name, times in (("alone", alone), ("while a chat streams", during_chat))
    ]
    ratios = [f"{quantile(during_chat, share) / quantile(alone, share):.2f}" for share in (0.5, 0.95)]
    chat_rate = f"Meanwhile the chat generates {chat_tokens / sum(during_chat):.0f} tokens per second."
    return table(["completion", "p50, ms", "p95, ms"], [*rows, ["ratio", *ratios]]) + f"\n\n{chat_rate}\n"


@asynccontextmanager
async def _going_on(client: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    task = asyncio.ensure_future(client())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def together(company: SharedServer, process: int, seconds: float) -> list[float]:
    """Run eight clients, and return the server's memory in MB over time."""
    deadline = time.monotonic() + seconds
    clients = [*[company.type] * 3, *[company.chat] * 2, company.question, company.read, company.draw]

    async def keep_on(client: Callable[[], Awaitable[None]]) -> None:
        while time.monotonic() < deadline:
            await client()

    async def watch() -> None:
        for _ in range(SAMPLES):
            await asyncio.sleep(seconds / SAMPLES)
            memory.append(resident_megabytes(process))

    memory: list[float] = []
    await asyncio.gather(watch(), *map(keep_on, clients))
    return memory


def report(company: SharedServer, memory: list[float]) -> str:
    titles = ["client", "answers", "first token p50, ms", "p95, ms", "longest gap, ms"]
    rows = [
        [
            kind,
            str(len(waits.first)),
            *(f"{1000 * quantile(waits.first, share):.0f}" for share in (0.5, 0.95)),
            f"{1000 * max(waits.gaps, default=0.0):.0f}",
        ]
        for kind, waits in company.waits.items()
    ]
    return f"{table(titles, rows)}\n\nMemory of the server in MB: {', '.join(f'{sample:.0f}' for sample in memory)}."


def problems_of(company: SharedServer, memory: list[float], stall: float) -> list[str]:
    """Return a sentence for each failure."""
    longest = max((gap for waits in company.waits.values() for gap in waits.gaps), default=0.0)
    later = memory[len(memory) // 3 :]
    growth = max(later) / later[0] - 1
    return [
        *[f"An answer stalled for {longest:.2f} s."] * (longest > stall),
        *[f"Memory grew by {growth:.1%}."] * (growth > GROWTH_SHARE),
    ]


if __name__ == "__main__":
    main()
