"""Measure the share of keystrokes with a suggestion in time, at steady typing rates.

    pellucid serve --port 8437 --no-prefix-save &
    python benchmarks/typing_rates.py --server http://127.0.0.1:8437 --rates 4 8 12

A real language server process serves an editor that removes lines of standard library files and
types the lines again. Each keystroke sends `didChange` and `inlineCompletion` together, even before
the previous reply. A suggestion is in time if the reply arrives before the next keystroke. The
suggestion is right so far if the next keystroke types into the suggestion, and wrong if the first
line differs from the line as finally typed. The same lines are typed at every rate.

With `--partial` the editor accepts the beginnings of unfinished suggestions, and repeats the
request after each beginning.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from common.machine import about
from common.markdown_tables import table as markdown
from common.quantiles import quantile
from common.typed_lines import files, indentation
from editor_latency import LINES_WRITTEN, Document

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from pellucid.learn.metrics import wilson
from pellucid_lsp.suggestion_items import PARTIAL
from support.editors.lsp_client import arguments_of, homes, start

READING_SECONDS = 3.0
"""Seconds of reading before a line is typed."""


@dataclass(frozen=True)
class Keystroke:
    """A keystroke and the reply.

    ``following`` is the rest of the line, typed from ``pause`` seconds later on. ``suggested`` is
    empty without a suggestion.
    """

    milliseconds: float
    suggested: str
    following: str
    pause: float

    @property
    def in_time(self) -> bool:
        return bool(self.suggested) and self.milliseconds < 1000 * self.pause

    @property
    def right_so_far(self) -> bool:
        return self.in_time and self.suggested.startswith(self.following[0])

    @property
    def wrong(self) -> bool:
        return self.in_time and not self.following.startswith(self.suggested.partition("\n")[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", metavar="URL", required=True, help="a running pellucid serve")
    parser.add_argument("--rates", type=float, nargs="+", default=[4, 8, 12], help="keystrokes per second")
    parser.add_argument("--files", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--partial", action="store_true", help="accept beginnings of suggestions, and ask for the rest")
    options = parser.parse_args()
    settings = {"server": {"url": options.server, "start": False}} | (
        {"partialSuggestions": True} if options.partial else {}
    )
    found = {rate: asyncio.run(write(settings, options.files, rate, options.seed)) for rate in options.rates}
    print(about())
    print(table(found))


async def write(settings: Mapping[str, Any], count: int, rate: float, seed: int) -> list[Keystroke]:
    """Type the lines of all files at a rate."""
    dice = random.Random(seed)
    keystrokes: list[Keystroke] = []
    with tempfile.TemporaryDirectory() as folder, Progress(console=Console(stderr=True)) as progress:
        editor = await start(homes(Path(folder)), settings)
        try:
            for path in progress.track(files(count, LINES_WRITTEN, dice), description=f"{rate:g} keys per second"):
                document = Document(editor, path, dice)
                for line in document.take_out():
                    document.type("\n" + indentation(line))
                    await asyncio.sleep(READING_SECONDS)
                    keystrokes += await type_line(document, line.strip(), 1 / rate)
            assert not editor.messages, editor.messages
        finally:
            await editor.leave()
    return keystrokes


async def type_line(document: Document, text: str, pause: float) -> list[Keystroke]:
    """Type a line; the last character does not count, because no keystroke follows."""
    asked = []
    for character in text:
        document.type(character)
        asked.append(asyncio.create_task(timed(document)))
        await asyncio.sleep(pause)
    replies = await asyncio.gather(*asked)
    return [Keystroke(*reply, text[index + 1 :], pause) for index, reply in enumerate(replies[:-1])]


async def timed(document: Document) -> tuple[float, str]:
    """Return the milliseconds until the first reply, and the suggestion.

    After a partial suggestion, wait for the rest as well.
    """
    begun, cursor = time.perf_counter(), document.cursor
    items = await document.ask()
    milliseconds = (time.perf_counter() - begun) * 1000
    if items and PARTIAL in arguments_of(items[0]) and cursor == document.cursor:
        await document.ask()
    return milliseconds, str(items[0].insert_text) if items else ""


def table(found: Mapping[float, Sequence[Keystroke]]) -> str:
    shares_of = ("suggestion in time (95 %)", "right so far (95 %)", "wrong (95 %)")
    titles = ("keys per second", "keystrokes", *shares_of, "reply p50, ms", "p95, ms")
    rows = []
    for rate, keystrokes in found.items():
        times = [one.milliseconds for one in keystrokes]
        counts = [sum(getattr(one, name) for one in keystrokes) for name in ("in_time", "right_so_far", "wrong")]
        shares = [wilson(count, len(keystrokes)) for count in counts]
        cells = [f"{one.value:.0%} ({one.low:.0%} to {one.high:.0%})" for one in shares]
        rows.append(
            [f"{rate:g}", str(len(keystrokes)), *cells, *(f"{quantile(times, share):.0f}" for share in (0.5, 0.95))]
        )
    return markdown(titles, rows)


if __name__ == "__main__":
    main()
