"""Compare suggestions with llama.vim, Tabby and Continue at the same cursors, language by language.

    python benchmarks/replay_against_peers.py --folder FOLDER --llama-bin FOLDER
        --json replay.json --picture replay.svg
    python benchmarks/replay_against_peers.py --read replay.json --picture replay.svg

``--folder`` has a subfolder for each language, with a subfolder for each package; choose packages
newer than the model. ``--llama-bin`` is the folder of llama-server, the peers' server; without this
option only Pellucid is measured. This script starts and ends both servers, with the same GGUF file
and with greedy or nearly greedy decoding. Each cursor is at a different place, with the text below
and without other files.

A suggestion is right if the first line is the rest of the line, ignoring spaces at the end. A
suggestion that is the beginning of the rest shows nothing wrong. Both kinds save keystrokes: all
characters except the accepting keystroke. Intervals come from resampling files.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

from common import llama_vim
from common.http_asker import TIMEOUT_SECONDS
from common.machine import about, llama_version
from common.markdown_tables import table
from common.other_clients import ask_continue, ask_tabby
from common.packages import draw_packages, own_packages, packages_in
from common.quantiles import quantile
from common.replayed_suggestions import is_right
from common.servers import gguf_file, llama_server, pellucid_server
from pellucid.completion.completer import Completer
from pellucid.completion.context.chunk_ring import ChunkRing
from pellucid.completion.context.prompt_context import PromptContext
from pellucid.completion.document_cursor import DocumentCursor
from pellucid.completion.model_choice import ModelChoice
from pellucid.completion.settings import CompletionSettings, GateLevel
from pellucid.completion.trust.calibrated_gate import Candidate, decide
from pellucid.completion.trust.threshold_gate import GateVerdict, show_all
from pellucid.learn.metrics import Interval, bootstrap
from pellucid.models.catalog import DEFAULT_MODEL
from pellucid.system.svg import Anchor, Mark, Picture, check_picture_path, write_picture
from pellucid_lsp.editor_settings import EditorSettings, ServerSettings
from pellucid_lsp.model_server.launch import Launcher

OURS, WITHOUT_GATE = "Pellucid", "Pellucid without a gate"
CONTEXT_TOKENS = 4096

LABELS, BAR, ROW, BAR_HEIGHT, TOP = 200, 520, 30, 20, 70
"""Sizes of the picture, in pixels: the column of names, a whole bar, the rows."""


@dataclass(frozen=True, slots=True)
class Shown:
    """The first line of a client's suggestion at a cursor, or an empty string."""

    client: str
    language: str
    file: str
    at: int
    truth: str
    text: str
    milliseconds: float

    @property
    def right(self) -> bool:
        """True if the line equals the truth."""
        return bool(self.text) and is_right(self.text, self.truth)

    @property
    def wrong(self) -> bool:
        """True if the shown text differs from the truth."""
        return bool(self.text) and not self.truth.startswith(self.text.rstrip())

    @property
    def saved(self) -> int:
        """The saved keystrokes."""
        return max(len(self.text.rstrip()) - 1, 0) if self.text and not self.wrong else 0


@dataclass(frozen=True, slots=True)
class Cursor:
    """A cursor, and the missing text."""

    place: DocumentCursor
    file: str
    at: int
    truth: str

    def shown(self, client: str, text: str, milliseconds: float) -> Shown:
        """Return a client's suggestion at this cursor."""
        line = text.partition("\n")[0]
        return Shown(
            client,
            self.file.partition("/")[0],
            self.file,
            self.at,
            self.truth,
            line if line.strip() else "",
            milliseconds,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--folder", type=Path, help="folder of languages and packages; by default Pellucid's own code in five languages"
    )
    source.add_argument("--read", type=Path, metavar="FILE", help="print the tables of an earlier run")
    parser.add_argument("--llama-bin", type=Path, metavar="FOLDER", help="folder of llama-server")
    parser.add_argument("--model", default=DEFAULT_MODEL, help="a catalog name or a .gguf")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--positions", type=int, default=100, help="cursors per language")
    parser.add_argument("--json", type=Path, metavar="FILE", help="file to write every suggestion to")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="SVG file for the picture")
    options = parser.parse_args()
    if options.picture:
        check_picture_path(options.picture)
    if options.read:
        found = json.loads(options.read.read_text(encoding="utf-8"))
        heading, suggestions = found["about"], [Shown(**one) for one in found["shown"]]
    else:
        heading = about(*[llama_version(options.llama_bin)] if options.llama_bin else [])
        suggestions = asyncio.run(replay(options))
    if options.json:
        record = {"about": heading, "shown": [asdict(one) for one in suggestions]}
        options.json.write_text(json.dumps(record, indent=1), encoding="utf-8")
    print(heading, overall(suggestions), by_language(suggestions), sep="\n")
    if options.picture:
        write_picture(options.picture, draw_picture(suggestions))


def draw(folder: Path | None, count: int) -> list[Cursor]:
    """Return the cursors, file by file."""
    packages = draw_packages(own_packages() if folder is None else packages_in(folder), count)
    cursors = []
    for one in packages.cursors:
        text = packages.texts[one.document]
        truth = one.truth(text, suffix=True).partition("\n")[0]
        cursors.append(Cursor(one.place(text, suffix=True), one.document, one.at, truth))
    return cursors


async def replay(options: argparse.Namespace) -> list[Shown]:
    """Ask all clients at all cursors: first Pellucid, then the peers."""
    cursors, threads = draw(options.folder, options.positions), str(options.threads)
    found: list[Shown] = []
    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        ours = ("--model", options.model, "--threads", threads, "--context", str(CONTEXT_TOKENS), "--no-page")
        with pellucid_server(*ours) as server:
            launcher = Launcher(ServerSettings(url=server.url, start=False), "", lambda: None)
            for cursor in progress.track(cursors, description=OURS):
                found += await ask_pellucid(cursor, launcher)
            await launcher.aclose()
        if options.llama_bin is None:
            return found
        theirs = ("-t", threads, "-c", str(CONTEXT_TOKENS), "-np", "1", *llama_vim.SERVER_FLAGS)
        for name, ask in PEERS.items():
            with llama_server(options.llama_bin, gguf_file(options.model), *theirs) as server:
                async with httpx.AsyncClient(base_url=server.url, timeout=TIMEOUT_SECONDS) as client:
                    for cursor in progress.track(cursors, description=name):
                        begun = time.perf_counter()
                        text = await ask(client, cursor.place)
                        found.append(cursor.shown(name, text, 1000 * (time.perf_counter() - begun)))
    return found


async def ask_pellucid(cursor: Cursor, launcher: Launcher) -> list[Shown]:
    """Ask as an editor just after opening the file.

    Return the shown suggestion of each level, and the suggestion without a gate.
    """
    parts = {WITHOUT_GATE: 0} | {f"{OURS}, {level}": 0 for level in GateLevel}
    whole = ""

    def note(candidate: Candidate, level: GateLevel) -> GateVerdict:
        nonlocal whole
        whole = candidate.text
        parts.update(
            {f"{OURS}, {one}": decide(candidate, one).length for one in GateLevel} | {WITHOUT_GATE: len(whole)}
        )
        return show_all(candidate.tokens)

    settings = EditorSettings(completion=CompletionSettings(ahead=False))
    context = PromptContext(settings.context, ChunkRing(settings.context))
    completer = Completer(settings.completion, ModelChoice(launcher), context, gate=note)
    begun = time.perf_counter()
    await completer.suggest(cursor.place)
    milliseconds = 1000 * (time.perf_counter() - begun)
    await completer.aclose()
    return [cursor.shown(client, whole[:length], milliseconds) for client, length in parts.items()]


async def ask_llama_vim(client: httpx.AsyncClient, place: DocumentCursor) -> str:
    before, after = place.before, place.after
    return llama_vim.shown(await llama_vim.answer(client, before, after), before, after)


PEERS: Mapping[str, Callable[[httpx.AsyncClient, DocumentCursor], Awaitable[str]]] = {
    "llama.vim": ask_llama_vim,
    "Tabby's prompt": ask_tabby,
    "Continue's prompt": ask_continue,
}


def overall(suggestions: Sequence[Shown]) -> str:
    """Return each client's shares of all cursors with 95 % intervals, and the times."""
    titles = ("client", "cursors", "right", "shown and wrong", "shown is right", "keystrokes saved", "p50 / p95, ms")
    rows = []
    for client, own in grouped(suggestions).items():
        shares = [percent(share(own, column)) for column in (right, wrong)]
        saved = percent(share(own, lambda one: one.saved, lambda one: len(one.truth.rstrip())))
        precise = percent(share([one for one in own if one.text], lambda one: not one.wrong))
        times = " / ".join(f"{quantile([one.milliseconds for one in own], part):.0f}" for part in (0.5, 0.95))
        rows.append([client, str(len(own)), *shares, precise, saved, times])
    return table(titles, rows) + "\n"


def by_language(suggestions: Sequence[Shown]) -> str:
    """Return each client's shares of right lines and of shown wrong lines in each language."""
    languages = sorted({one.language for one in suggestions})
    rows = []
    for client, own in grouped(suggestions).items():
        cells = [[one for one in own if one.language == language] for language in languages]
        rows.append([client, *(f"{share(cell, right).value:.0%} / {share(cell, wrong).value:.0%}" for cell in cells)])
    return "Right / shown and wrong:\n\n" + table(("client", *languages), rows) + "\n"


def draw_picture(suggestions: Sequence[Shown]) -> Picture:
    """Draw a bar for each client with the shares of right, partly right and wrong suggestions."""
    clients = grouped(suggestions)
    bottom = TOP + ROW * len(clients)
    count = len(next(iter(clients.values())))
    languages = ", ".join(sorted({one.language for one in suggestions}))
    words = "; ".join(
        f"{client}: " + ", ".join(f"{share(own, holds).value:.0%} {name}" for name, _, holds in OUTCOMES)
        for client, own in clients.items()
    )
    drawn = Picture(LABELS + BAR + 60, bottom + 12, f"What is suggested at {count} cursors in {languages}", words)
    drawn.text(12, 26, drawn.title, "title")
    for number, (name, kind, _) in enumerate(OUTCOMES):
        drawn.legend(LABELS + 190 * number, 48, name, Mark.SQUARE, kind)
    for number, (client, own) in enumerate(clients.items()):
        y = TOP + ROW * number
        drawn.text(LABELS - 10, y + 14, client, anchor=Anchor.END)
        drawn.bar(LABELS, y, BAR, BAR_HEIGHT, "track")
        x = float(LABELS)
        for name, kind, holds in OUTCOMES:
            value = share(own, holds).value
            drawn.bar(x, y, value * BAR, BAR_HEIGHT, kind, tooltip=f"{client}: {value:.1%} {name}")
            x += value * BAR
        drawn.text(LABELS + BAR + 8, y + 14, f"{share(own, right).value:.0%}", "value")
    return drawn


def grouped(suggestions: Sequence[Shown]) -> dict[str, list[Shown]]:
    """Return the suggestions of each client."""
    found: dict[str, list[Shown]] = {}
    for one in suggestions:
        found.setdefault(one.client, []).append(one)
    return found


def right(one: Shown) -> float:
    return one.right


def wrong(one: Shown) -> float:
    return one.wrong


def share(
    suggestions: Sequence[Shown], part: Callable[[Shown], float], of: Callable[[Shown], float] = lambda one: 1
) -> Interval:
    """Return a ratio of sums with an interval from resampling files."""
    files = [list(group) for _, group in itertools.groupby(suggestions, lambda one: one.file)]
    columns = [[sum(map(value, group)) for group in files] for value in (part, of)]
    return bootstrap(columns, lambda above, below: float(above.sum() / max(below.sum(), 1)), bounds=(0.0, 1.0))


OUTCOMES: Sequence[tuple[str, str, Callable[[Shown], float]]] = (
    ("right", "bar", right),
    ("the beginning, right", "count", lambda one: bool(one.text) and not one.right and not one.wrong),
    ("shown and wrong", "other", wrong),
)
"""The visible outcomes at a cursor: name, colour and test."""


def percent(value: Interval) -> str:
    return f"{value.value:.1%} ({value.low:.1%} to {value.high:.1%})"


if __name__ == "__main__":
    main()
