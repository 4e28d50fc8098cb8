"""Compare the latency of suggestions by kind of keystroke with llama-server, like llama.vim.

    python benchmarks/keystroke_latency.py --llama-bin FOLDER --threads 2 --json keystrokes.json

``--llama-bin`` is the folder of llama-server, which is started with llama.vim's recommended flags.
This script starts and ends both servers. The script rewrites lines of standard library files with
llama.vim's request (POST /infill) at every keystroke, without other editor features. A time ends
with the whole suggestion.

Settled: both sides wait for the answer at the same keystrokes of each file. Ratios and bars refer
to settled keystrokes. Paced, in other files: 4 to 8 keystrokes per second, with some seconds of
rest at sampled keystrokes. Each keystroke closes the connection of the previous keystroke. Times
are of answered keystrokes, which differ between the sides.

The sides take turns by file. Pellucid may end an answer before ``--tokens`` by rules for endings,
so the table shows both lengths.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

import httpx
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

from common import llama_vim
from common.http_asker import TIMEOUT_SECONDS
from common.machine import about, llama_version
from common.markdown_tables import table
from common.quantiles import quantile
from common.servers import gguf_file, llama_server, pellucid_server
from common.stdlib_cursors import STDLIB, source
from common.typed_lines import PACE, Keystroke, Kind, files, homes, visit
from pellucid.models.catalog import DEFAULT_MODEL

OURS, THEIRS = "Pellucid", "llama-server"

WRITTEN = 2
"""Lines written in each file."""

REST_SECONDS = 2.5
"""Seconds of rest after a sampled keystroke in paced mode."""

CONTEXT_TOKENS = 8192
SHARES = (0.5, 0.95, 0.99)
COLUMNS = ("answered", "p50 / p95 / p99, ms", "computed (most) of the prompt", "generated")
"""Columns of each side."""

FIELDS = ("content", "tokens_evaluated", "timings/prompt_n", "timings/predicted_n")

MAX_P50, MAX_P95 = 0.3, 0.4
"""Maximum shares of llama-server's times, over all settled keystrokes."""

MAX_COMPUTED = 8
"""Maximum computed prompt tokens at a settled keystroke that appends."""


class Mode(StrEnum):
    SETTLED = "settled"
    PACED = "paced"


@dataclass(frozen=True)
class AskedKeystroke:
    """A keystroke on a side; time and tokens are None if the next keystroke came first."""

    side: str
    mode: str
    file: str
    kind: str
    milliseconds: float | None = None
    computed: int | None = None
    prompt: int | None = None
    generated: int | None = None


class Side:
    """A server and the client's records."""

    def __init__(self, name: str, client: httpx.AsyncClient, tokens: int) -> None:
        self.name = name
        self.asked: list[AskedKeystroke] = []
        self._client = client
        self._tokens = tokens

    async def settle(self, file: str, keystrokes: Sequence[Keystroke]) -> None:
        """Wait for the answer of each sampled keystroke."""
        for keystroke in keystrokes:
            if keystroke.sampled:
                self.asked.append(await self._ask(file, keystroke, Mode.SETTLED))

    async def pace(self, file: str, keystrokes: Sequence[Keystroke], dice: random.Random) -> None:
        """Send a request at each keystroke's time, and wait for the last answer, so that no work
        remains.
        """
        for keystroke in keystrokes[:-1]:
            request = asyncio.create_task(self._ask(file, keystroke, Mode.PACED))
            await asyncio.sleep(REST_SECONDS if keystroke.sampled else dice.uniform(*PACE))
            if request.cancel():
                with suppress(asyncio.CancelledError):
                    await request
                self.asked.append(AskedKeystroke(self.name, Mode.PACED, file, keystroke.kind))
            else:
                self.asked.append(request.result())
        self.asked.append(await self._ask(file, keystrokes[-1], Mode.PACED))

    async def _ask(self, file: str, keystroke: Keystroke, mode: Mode) -> AskedKeystroke:
        body = llama_vim.request(keystroke.before, keystroke.after, self._tokens) | {"response_fields": FIELDS}
        begun = time.perf_counter()
        response = await self._client.post("/infill", json=body)
        milliseconds = 1000 * (time.perf_counter() - begun)
        response.raise_for_status()
        found = response.json()
        counts = [found[name] for name in ("timings/prompt_n", "tokens_evaluated", "timings/predicted_n")]
        return AskedKeystroke(self.name, mode, file, keystroke.kind, milliseconds, *counts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--llama-bin", type=Path, required=True, metavar="FOLDER", help="folder of llama-server")
    parser.add_argument("--model", default=DEFAULT_MODEL, help="a catalog name or a .gguf")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=24, help="most tokens of an answer")
    parser.add_argument("--files", type=int, default=20, help="number of files in settled mode")
    parser.add_argument("--paced", type=int, default=3, help="number of further files in paced mode")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--require", action="store_true", help="fail if a bar is missed")
    parser.add_argument("--json", type=Path, metavar="FILE", help="file to write every keystroke to")
    options = parser.parse_args()
    asked = asyncio.run(write(options))
    if options.json:
        options.json.write_text(json.dumps([asdict(one) for one in asked], indent=1), encoding="utf-8")
    print(about(llama_version(options.llama_bin)))
    print(
        f"{options.model}, {options.threads} threads, at most {options.tokens} tokens an answer, {options.files} files"
    )
    for mode in Mode:
        print(f"\n{mode.capitalize()}:\n\n{report([one for one in asked if one.mode == mode])}")
    missed = shortfalls([one for one in asked if one.mode == Mode.SETTLED])
    if options.require and missed:
        raise SystemExit("\n".join(missed))


async def write(options: argparse.Namespace) -> list[AskedKeystroke]:
    """Write in all files, on both sides."""
    dice = random.Random(options.seed)
    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
    paths = files(options.files + options.paced, WRITTEN, dice)
    async with contestants(options) as sides:
        with Progress(*columns, console=Console(stderr=True)) as progress:
            for number, path in enumerate(progress.track(paths, description="files")):
                keystrokes = list(visit(source(path).split("\n"), dice.choice(homes(path, WRITTEN)), WRITTEN, dice))
                name, pauses = path.relative_to(STDLIB).as_posix(), dice.random()
                for side in sides if number % 2 else sides[::-1]:
                    if number < options.files:
                        await side.settle(name, keystrokes)
                    else:
                        await side.pace(name, keystrokes, random.Random(pauses))
    return [one for side in sides for one in side.asked]


@asynccontextmanager
async def contestants(options: argparse.Namespace) -> AsyncIterator[tuple[Side, Side]]:
    """Run both servers with the loaded model, and end both servers afterwards."""
    path, threads = gguf_file(options.model), str(options.threads)
    ours = ("--model", options.model, "--threads", threads, "--context", str(CONTEXT_TOKENS), "--no-page")
    theirs = ("-t", threads, "-c", str(CONTEXT_TOKENS), "-np", "1", *llama_vim.SERVER_FLAGS)
    with pellucid_server(*ours) as one, llama_server(options.llama_bin, path, *theirs) as other:
        async with (
            httpx.AsyncClient(base_url=one.url, timeout=TIMEOUT_SECONDS) as first,
            httpx.AsyncClient(base_url=other.url, timeout=TIMEOUT_SECONDS) as second,
        ):
            yield Side(OURS, first, options.tokens), Side(THEIRS, second, options.tokens)


def report(asked: Sequence[AskedKeystroke]) -> str:
    """Return times and tokens by kind and overall; tokens are medians of answered keystrokes."""
    titles = (
        "keystroke",
        "times",
        *(f"{side}: {what}" for side in (OURS, THEIRS) for what in COLUMNS),
        "ratio of p50",
        "ratio of p95",
    )
    groups = [(str(kind), [one for one in asked if one.kind == kind]) for kind in Kind] + [("all", list(asked))]
    return table(titles, [_row(name, group) for name, group in groups if group])


def _row(name: str, group: Sequence[AskedKeystroke]) -> list[str]:
    sides = [[one for one in group if one.side == side] for side in (OURS, THEIRS)]
    answered = [[one for one in side if one.milliseconds is not None] for side in sides]
    cells = [cell for side in answered for cell in _cells(side)]
    return [name, str(len(sides[0])), *cells, *(f"{ratio(group, share):.2f}" for share in SHARES[:2] if all(answered))]


def _cells(answered: Sequence[AskedKeystroke]) -> list[str]:
    """Return the COLUMNS of a side."""
    if not answered:
        return ["0", *[""] * (len(COLUMNS) - 1)]
    computed, prompt, generated = (
        [count for count in counts if count is not None]
        for counts in zip(*((one.computed, one.prompt, one.generated) for one in answered), strict=True)
    )
    return [
        str(len(answered)),
        " / ".join(f"{quantile(_times(answered), share):.0f}" for share in SHARES),
        f"{statistics.median(computed):.0f} ({max(computed)}) of {statistics.median(prompt):.0f}",
        f"{statistics.median(generated):.0f}",
    ]


def ratio(asked: Sequence[AskedKeystroke], share: float) -> float:
    """Return a quantile of Pellucid's times divided by the same quantile of llama-server's.

    Both must have answered.
    """
    ours, theirs = (quantile(_times([one for one in asked if one.side == side]), share) for side in (OURS, THEIRS))
    return ours / theirs


def _times(asked: Sequence[AskedKeystroke]) -> list[float]:
    return [one.milliseconds for one in asked if one.milliseconds is not None]


def shortfalls(settled: Sequence[AskedKeystroke]) -> list[str]:
    """Return a sentence for each missed bar."""
    found = []
    for share, most in zip(SHARES, (MAX_P50, MAX_P95), strict=False):
        if (reached := ratio(settled, share)) > most:
            found.append(f"p{100 * share:.0f} is {reached:.2f} of llama-server's and may be at most {most}.")
    computed = max(one.computed or 0 for one in settled if one.side == OURS and one.kind == Kind.APPEND)
    if computed > MAX_COMPUTED:
        found.append(
            f"A keystroke that appends computed {computed} tokens of the prompt and may compute at most {MAX_COMPUTED}."
        )
    return found


if __name__ == "__main__":
    main()
