"""Measure the share of lines suggested as written, and the effect of the gate, next to llama.vim.

    pellucid serve --port 8437 --no-prefix-save &
    llama-server -m qwen2.5-coder-0.5b-instruct-q4_k_m.gguf -t 2 -c 8192 -np 1 --port 8012 &
    python benchmarks/line_completion_accuracy.py --server http://127.0.0.1:8437
        --peer http://127.0.0.1:8012 --json replay.json

Cursors are after the first half of random lines of standard library code, with a fixed seed. The
rest of the line is removed, and is the expected suggestion. Each cursor is used twice: with and
without the lines below. A suggestion is right if the first line is the rest of the line, ignoring
trailing spaces. Pellucid's suggestions come from the language server's Completer, and the gate is
applied at each level.

An interrupted run resumes from the run's file. The table can be printed again from a file, and gate
thresholds can be searched in a run on other files:

    python benchmarks/line_completion_accuracy.py --read replay.json
    python benchmarks/line_completion_accuracy.py --server http://127.0.0.1:8437 --part tune
        --seed 1 --positions 400 --json tune.json
    python benchmarks/line_completion_accuracy.py --tune tune.json --against replay.json
"""

from __future__ import annotations

import argparse
import asyncio
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

from common import llama_vim
from common.gate_threshold_search import judged, search
from common.replayed_suggestions import Case, Gated, gated, is_right, load, save
from common.stdlib_cursors import PARTS, STDLIB, Cursor, draw
from pellucid.completion.completer import Completer
from pellucid.completion.context.chunk_ring import ChunkRing
from pellucid.completion.context.prompt_context import PromptContext
from pellucid.completion.settings import CompletionSettings, GateLevel
from pellucid.completion.suggestion import DocumentCursor
from pellucid.completion.trust import threshold_gate
from pellucid.completion.trust.calibrated_gate import Candidate
from pellucid.completion.trust.threshold_gate import GateVerdict, show_all
from pellucid_lsp.editor_settings import EditorSettings, ServerSettings
from pellucid_lsp.model_server.launch import Launcher

TIMEOUT_SECONDS = 300.0

GATED = (
    "wrong",
    "of them hidden",
    "or cut to what is right",
    "right",
    "of them hidden",
    "or shortened",
    "shown is right",
)
"""Columns of a level's effect."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--server", metavar="URL", help="a running pellucid serve")
    source.add_argument("--read", type=Path, metavar="FILE", help="print the table of an earlier run")
    source.add_argument("--tune", type=Path, metavar="FILE", help="search thresholds in an earlier run")
    parser.add_argument(
        "--against", type=Path, metavar="FILE", help="with --tune: another run to show the thresholds on"
    )
    parser.add_argument("--peer", metavar="URL", help="a running llama-server")
    parser.add_argument("--positions", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--part", choices=PARTS, default="report", help="the half of the files to use")
    parser.add_argument("--json", type=Path, metavar="FILE", help="file to write every case to")
    options = parser.parse_args()
    if options.tune:
        print(tune(options.tune, options.against))
        return
    if options.read:
        about, cases = load(options.read)
    else:
        about = {
            "python": platform.python_version(),
            "part": options.part,
            "seed": options.seed,
            "positions": options.positions,
        }
        earlier = _earlier(options.json, about)
        cursors = draw(options.part, options.positions, options.seed)
        cases = earlier or [Case(one.file, one.line, suffix, one.truth) for one in cursors for suffix in (True, False)]
        keep = partial(save, options.json, about, cases) if options.json else lambda: None
        asyncio.run(replay(cursors, cases, options.server, options.peer, keep))
    print(", ".join(f"{name} {value}" for name, value in about.items()), "\n")
    print(shares(cases), gates(cases), sep="\n\n")


def _earlier(path: Path | None, about: dict[str, Any]) -> list[Case]:
    """Return the cases of an interrupted run with the same settings, or an empty list."""
    if path is None or not path.exists():
        return []
    before, cases = load(path)
    if before != about:
        raise SystemExit(f"{path} holds another run ({before}): name another file, or remove that one.")
    return cases


async def replay(
    cursors: Sequence[Cursor], cases: Sequence[Case], server: str, peer: str | None, keep: Callable[[], None]
) -> None:
    """Ask at every cursor without a case, with and without the lines below: Pellucid, then the
    peer.
    """
    pairs = list(zip([cursor for cursor in cursors for _ in (True, False)], cases, strict=True))
    launcher = Launcher(ServerSettings(url=server, start=False), "", lambda _: None)
    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
    try:
        async with httpx.AsyncClient(base_url=peer or "", timeout=TIMEOUT_SECONDS) as client:
            with Progress(*columns, console=Console(stderr=True)) as progress:
                for cursor, case in progress.track(
                    [pair for pair in pairs if pair[1].ending is None], description="Pellucid"
                ):
                    await ask_ours(case, cursor, launcher)
                    keep()
                left = [pair for pair in pairs if peer and pair[1].peer is None]
                for cursor, case in progress.track(left, description="llama.vim"):
                    await ask_peer(case, cursor, client)
                    keep()
    finally:
        await launcher.aclose()


async def ask_ours(case: Case, cursor: Cursor, launcher: Launcher) -> None:
    """Ask as an editor just after opening the file, and record the whole suggestion, before the
    gate.
    """

    def note(candidate: Candidate, level: GateLevel) -> GateVerdict:
        case.tokens = [(token.text, token.constrained_logprob) for token in candidate.tokens]
        case.part_ends = candidate.part_ends
        return show_all(candidate.tokens)

    path = STDLIB / cursor.file
    place = DocumentCursor(path.as_uri(), cursor.before, cursor.below if case.suffix else "", "python", str(path))
    settings = EditorSettings(completion=replace(CompletionSettings(), ahead=False))
    completer = Completer(
        settings.completion,
        lambda: launcher,
        PromptContext(settings.context, ChunkRing(settings.context)),
        gate=note,
    )
    begun = time.perf_counter()
    await completer.suggest(place)
    case.took = (time.perf_counter() - begun) * 1000
    explanation = completer.journal.explanations.find()
    assert explanation is not None
    case.ending, case.answer = explanation.ending, explanation.answer
    await completer.aclose()


async def ask_peer(case: Case, cursor: Cursor, client: httpx.AsyncClient) -> None:
    after = cursor.below if case.suffix else ""
    begun = time.perf_counter()
    case.peer_answer = await llama_vim.answer(client, cursor.before, after)
    case.peer_took = (time.perf_counter() - begun) * 1000
    case.peer = llama_vim.shown(case.peer_answer, cursor.before, after)


def shares(cases: Sequence[Case]) -> str:
    """Return the shares of right lines, and also of the peer's cursors if the peer has fewer."""
    asked = [case for case in cases if case.peer is not None]
    blocks = [cases, asked] if 0 < len(asked) < len(cases) else [cases]
    lines = ["| right, of all cursors | with the lines below | without | both |", "|---|---|---|---|"]
    for block in blocks:
        lines += _shares(block)
    return "\n".join(lines)


def _shares(cases: Sequence[Case]) -> list[str]:
    groups = [[case for case in cases if case.suffix is suffix] for suffix in (True, False)] + [list(cases)]

    def row(name: str, holds: Callable[[Case], bool]) -> str:
        return _row(name, [_share(sum(map(holds, group)), len(group)) for group in groups])

    rows = [_row("cursors", [str(len(group)) for group in groups]), row("Pellucid, no gate", lambda case: case.right)]
    rows += [row(f"Pellucid, {level}", partial(_is_kept, level=level)) for level in GateLevel]
    if all(case.peer is not None for case in cases):
        rows.append(row("llama.vim", lambda case: is_right(case.peer or "", case.truth)))
        rows.append(row("shown and wrong: Pellucid, no gate", lambda case: bool(case.tokens) and not case.right))
        rows += [row(f"shown and wrong: Pellucid, {level}", partial(_is_wrong, level=level)) for level in GateLevel]
        rows.append(
            row(
                "shown and wrong: llama.vim", lambda case: bool(case.peer) and not is_right(case.peer or "", case.truth)
            )
        )
    return rows


def gates(cases: Sequence[Case]) -> str:
    """Return the hidden wrong suggestions and the lost right suggestions of each level."""
    rows = [gate_row(str(level), gated(cases, level)) for level in GateLevel]
    return "\n".join([_row("level", GATED), "|---" * (len(GATED) + 1) + "|", *rows])


def gate_row(name: str, found: Gated) -> str:
    wrong = [str(found.wrong), _share(found.hidden, found.wrong), _share(found.cut, found.wrong)]
    right = [str(found.right), _share(found.lost, found.right), _share(found.shortened, found.right)]
    return _row(name, [*wrong, *right, f"{found.precision:.1%}"])


def tune(path: Path, against: Path | None) -> str:
    """Return thresholds found in a run, and the effects of found and current thresholds in both
    runs.
    """
    _, cases = load(path)
    found = search(cases)
    chosen = {level: one.thresholds for level, one in found.items()}
    lines = [_row("level", (*GATED, "first", "mean", "least")), "|---" * (len(GATED) + 4) + "|"]
    for file in filter(None, (path, against)):
        _, cases = load(file)
        for name, thresholds in (("now", threshold_gate.THRESHOLDS), ("found", chosen)):
            for level in GateLevel:
                values = " | ".join(f"{thresholds[level][one]:.2f}" for one in ("first", "mean", "least"))
                lines.append(f"{gate_row(f'{file.stem}: {level} {name}', judged(cases, thresholds[level]))} {values} |")
    return "\n".join(lines)


def _is_kept(case: Case, level: GateLevel) -> bool:
    found = gated([case], level)
    return found.right - found.lost - found.shortened == 1


def _is_wrong(case: Case, level: GateLevel) -> bool:
    found = gated([case], level)
    return found.wrong - found.hidden - found.cut == 1


def _share(count: int, of: int) -> str:
    return f"{100 * count / max(of, 1):.1f} % ({count})"


def _row(name: str, cells: Sequence[str]) -> str:
    return f"| {name} | " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main()
