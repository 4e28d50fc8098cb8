"""Measure the slowdown of completions while the model reads, for next edits or a chat's prompt.

    pellucid serve --port 8437 --no-prefix-save &
    python benchmarks/completions_during_reading.py --server http://127.0.0.1:8437

The same completions, in a file of the standard library, are requested with pauses: once alone, once
while changes of a second file are read in sequence, as for next edits, and once while a chat's
prompt of some thousand tokens is read. All completions were requested once before, so the prompts
are in the cache.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Sequence
from contextlib import aclosing, suppress

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

from common.machine import about
from common.markdown_tables import table
from common.quantiles import quantile
from common.stdlib_cursors import STDLIB
from pellucid.client.http_client import Client
from pellucid.completion.edits.reading import log_odds
from pellucid.completion.edits.repeated_edits import Candidate
from pellucid.vocabulary.query import CompletionQuery, Priority, SamplingParams, Terms

PAUSE_SECONDS = 0.25
PREFIX_LINES, SUFFIX_LINES = 60, 20
TYPED, READ = "argparse.py", "tarfile.py"
CHAT_CHARACTERS = 12_000
ALONE, BACKGROUND, CHAT = "alone", "during reading", "during a chat's prompt"
MAX_RATIO = 1.1
"""Maximum permitted ratio of the medians during background reading."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", metavar="URL", required=True, help="a running pellucid serve")
    parser.add_argument("--completions", type=int, default=60)
    parser.add_argument("--tokens", type=int, default=12, help="tokens of each completion")
    options = parser.parse_args()
    seconds, read = asyncio.run(measure(options.server, options.completions, options.tokens))
    alone = quantile(seconds[ALONE], 0.5)
    rows = [
        [
            name,
            *(f"{1000 * quantile(times, share):.0f}" for share in (0.5, 0.95)),
            f"{quantile(times, 0.5) / alone:.2f}",
        ]
        for name, times in seconds.items()
    ]
    print(about())
    print(table(("completions", "p50, ms", "p95, ms", "ratio of the medians"), rows))
    print(f"\nbar of the ratio during reading: {MAX_RATIO}; {len(read)} changes were read to their end meanwhile")


async def measure(url: str, count: int, tokens: int) -> tuple[dict[str, list[float]], list[str]]:
    """Return the seconds of completions, alone and during each reading, and the lines read."""
    lines = (STDLIB / TYPED).read_text(encoding="utf-8").split("\n")
    cursors = [PREFIX_LINES + index * (len(lines) - PREFIX_LINES - SUFFIX_LINES) // count for index in range(count)]
    seconds: dict[str, list[float]] = {ALONE: [], BACKGROUND: [], CHAT: []}
    read: list[str] = []
    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
    async with Client(url) as client, Client(url) as reader:
        with Progress(*columns, console=Console(stderr=True)) as progress:
            for cursor in progress.track(cursors, description="completions"):
                await complete(client, lines, cursor, tokens)
                await asyncio.sleep(PAUSE_SECONDS)
                seconds[ALONE].append(await complete(client, lines, cursor, tokens))
                for name, load in (
                    (BACKGROUND, read_changes(reader, cursor, read)),
                    (CHAT, read_prompts(reader, cursor)),
                ):
                    reading = asyncio.create_task(load)
                    await asyncio.sleep(PAUSE_SECONDS)
                    seconds[name].append(await complete(client, lines, cursor, tokens))
                    reading.cancel()
                    with suppress(asyncio.CancelledError):
                        await reading
    return seconds, read


async def complete(client: Client, lines: Sequence[str], cursor: int, tokens: int) -> float:
    """Return the seconds of a completion that begins in the cursor's line."""
    prefix = "\n".join([*lines[cursor - PREFIX_LINES : cursor], lines[cursor][: len(lines[cursor]) // 2]])
    suffix = "\n".join(lines[cursor + 1 : cursor + SUFFIX_LINES])
    params = SamplingParams(max_tokens=tokens, temperature=0, ignore_eos=True)
    begun = time.perf_counter()
    async with aclosing(
        client.complete(CompletionQuery(prefix, suffix, (), params, terms=Terms(Priority.COMPLETION)))
    ) as items:
        async for _ in items:
            pass
    return time.perf_counter() - begun


async def read_changes(client: Client, seed: int, read: list[str]) -> None:
    """Read changes until cancelled."""
    lines = (STDLIB / READ).read_text(encoding="utf-8").split("\n")
    for number in range(len(lines)):
        first = (seed + 53 * number) % (len(lines) - 1)
        change = Candidate("", first, (lines[first],), (f"{lines[first]}  # changed",), 1.0)
        await log_odds(client, change, lines)
        read.append(lines[first])


async def read_prompts(client: Client, seed: int) -> None:
    """Let prompts of chats be read until cancelled."""
    text = (STDLIB / READ).read_text(encoding="utf-8")
    for number in range(100):
        first = (seed * 1000 + 7000 * number) % (len(text) - CHAT_CHARACTERS)
        query = CompletionQuery(
            text[first : first + CHAT_CHARACTERS], params=SamplingParams(max_tokens=1), terms=Terms(Priority.CHAT)
        )
        async with aclosing(client.complete(query)) as items:
            async for _ in items:
                pass


if __name__ == "__main__":
    main()
