"""Measure suggestions in the scenarios of cursortab.nvim, with the scenarios' score.

    pellucid serve --port 8437 --no-prefix-save &
    python benchmarks/cursortab_scenarios.py --server http://127.0.0.1:8437
        --folder cursortab.nvim/server/eval

``--folder`` has ``scenarios/*.txtar`` and ``baseline.json``, the published scores of other targets.
In 25 cases a change is expected, and in 25 cases no suggestion. Pellucid suggests as for an
editor's request by hand, as in the scenarios: all next edits, or otherwise the completion at the
cursor. Completions are requested at the places named by the scenarios for infill models. A second
row has the suggestions without a request by hand, behind the gate.

deltaChrF compares the changed lines with the lines that should have changed, by n-grams of
characters. The score multiplies the mean of deltaChrF by the harmonic mean of two shares: of cases
with a suggestion among the 25 cases with an expected change, and of cases without a suggestion
among the rest. 15 of the expected texts end with an empty line more than the files, so that no
suggestion is wholly right there; this holds for all targets.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress

from common.machine import about
from common.markdown_tables import table
from pellucid.client.http_client import Client
from pellucid.completion.completer import Completer
from pellucid.completion.context.chunk_ring import ChunkRing
from pellucid.completion.context.prompt_context import PromptContext
from pellucid.completion.document_cursor import DocumentCursor
from pellucid.completion.edits.edit_history import Edit, EditHistory, difference
from pellucid.completion.edits.next_edits import NextEdits
from pellucid.completion.model_choice import ModelChoice
from pellucid.completion.model_provider_protocol import FixedProvider
from pellucid.completion.settings import CompletionSettings, ContextSettings

N_GRAM = 6
BETA = 2.0
"""Maximum length of n-grams, and the weight of recall, as in chrF (Popovic 2015)."""


@dataclass(frozen=True)
class Scenario:
    """A file after the edits of ``history``, a cursor (line and character from 0), and the expected
    file, or None if the file is right.
    """

    name: str
    path: str
    language: str
    lines: tuple[str, ...]
    history: tuple[tuple[str, str], ...]
    cursor: tuple[int, int]
    expected: tuple[str, ...] | None


class Edits(EditHistory):
    """The edits of a scenario; edits without their new lines in the file are taken as edits
    elsewhere.
    """

    def __init__(self, scenario: Scenario, uri: str) -> None:
        super().__init__()
        self._found = list(_edits(scenario, uri))

    def edits(self) -> list[Edit]:
        """Return the edits of the scenario."""
        return self._found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", metavar="URL", required=True, help="a running pellucid serve")
    parser.add_argument("--folder", type=Path, required=True, help="the folder server/eval of cursortab.nvim")
    options = parser.parse_args()
    scenarios = [one for path in sorted((options.folder / "scenarios").glob("*.txtar")) for one in read_scenarios(path)]
    if {one.expected is None for one in scenarios} != {True, False}:
        parser.error(f"{options.folder} has no scenarios of both kinds: name the folder server/eval of cursortab.nvim")
    print(about())
    rows = [
        _row(f"**Pellucid, {name}**", scores) for name, scores in asyncio.run(ask(scenarios, options.server)).items()
    ]
    published = json.loads((options.folder / "baseline.json").read_text())
    for name, one in sorted(published.items(), key=lambda item: -item[1]["score"]):
        rows.append(
            [
                name,
                f"{one['deltaChrF']:.1f}",
                f"{one['showRate']:.0%}",
                f"{one['quietRate']:.0%}",
                f"{one['score']:.2f}",
            ]
        )
    print(table(("target", "deltaChrF", "suggests", "keeps quiet", "score"), rows))


def read_scenarios(path: Path) -> Iterator[Scenario]:
    """Yield the scenarios of a file, with a scenario for each cursor.

    Scenarios without a request to a model are left out.
    """
    head, *parts = re.split(r"^-- (.+?) --\n", path.read_text(), flags=re.M)
    header = {key: value.strip() for key, value in re.findall(r"^([A-Za-z-]+):(.*)$", head, flags=re.M)}
    if header.get("modified") == "false":
        return
    sections = {name: text.removesuffix("\n") for name, text in zip(parts[::2], parts[1::2], strict=True)}
    history = tuple(
        (old.removesuffix("\n"), new.removesuffix("\n"))
        for old, new in re.findall(
            r"^<\|old\|>\n(.*?)^<\|new\|>\n(.*?)(?=^<\|file\|>|\Z)", sections.get("history", ""), flags=re.M | re.S
        )
    )
    cursors = [f"{header.get('fim-row', header['row'])}:{header.get('fim-col', header['col'])}"]
    cursors += [one.strip() for one in header.get("cursor-positions", "").split(",") if one.strip()]
    expected = sections.get("expected")
    for cursor in cursors:
        row, column = map(int, cursor.split(":"))
        yield Scenario(
            f"{path.stem}@{row}",
            header["file"],
            header["language"],
            tuple(sections["buffer.txt"].split("\n")),
            history,
            (row - 1, column),
            tuple(expected.split("\n")) if expected else None,
        )


async def ask(scenarios: Sequence[Scenario], url: str) -> dict[str, list[tuple[float, bool, bool]]]:
    """Return deltaChrF for each way to ask and each scenario, and whether text was suggested and
    expected.
    """
    found: dict[str, list[tuple[float, bool, bool]]] = {"asked by hand": [], "unasked": []}
    console = Console(stderr=True)
    async with Client(url) as client:
        with Progress(*Progress.get_default_columns()[:2], MofNCompleteColumn(), console=console) as progress:
            for scenario in progress.track(scenarios, description="scenarios"):
                for name, scores in found.items():
                    new = await _suggested(client, scenario, invoked=name == "asked by hand")
                    score = (
                        0.0
                        if new is None or scenario.expected is None
                        else delta_chrf(scenario.lines, new, scenario.expected)
                    )
                    scores.append((score, new is not None, scenario.expected is not None))
                    progress.console.print(f"{scenario.name}, {name}: {score:.0f}{'' if new else ', quiet'}")
    return found


async def _suggested(client: Client, scenario: Scenario, *, invoked: bool) -> Sequence[str] | None:
    """Return the file after the suggestion, or None without a suggestion."""
    uri, text = f"file:///repository/{scenario.path}", "\n".join(scenario.lines) + "\n"
    models = ModelChoice(FixedProvider(client))
    # With this clock no time passes: a slow machine reads all places, too.
    edits = await NextEdits(Edits(scenario, uri), models, clock=lambda: 0.0).suggest(uri, text)
    if edits:
        lines = list(scenario.lines)
        for edit in sorted(edits, key=lambda one: -one.change.first):
            lines[edit.change.first : edit.change.first + len(edit.change.old)] = edit.change.new
        return lines
    row, column = scenario.cursor
    at = sum(len(line) + 1 for line in scenario.lines[:row]) + min(column, len(scenario.lines[row]))
    settings, context = replace(CompletionSettings(), ahead=False, delay_ms=0), ContextSettings()
    completer = Completer(settings, models, PromptContext(context, ChunkRing(context)))
    cursor = DocumentCursor(f"{uri}?{scenario.name}-{invoked}", text[:at], text[at:], scenario.language, scenario.path)
    found = await completer.suggest(cursor, invoked=invoked)
    await completer.aclose()
    return f"{text[:at]}{found[0].text}{text[at:]}".removesuffix("\n").split("\n") if found else None


def _edits(scenario: Scenario, uri: str) -> Iterator[Edit]:
    for old, new in scenario.history:
        lines = tuple(new.split("\n"))
        places = range(len(scenario.lines) - len(lines) + 1)
        first = next((at for at in places if scenario.lines[at : at + len(lines)] == lines), None)
        edit = difference(uri if first is not None else f"{uri}?elsewhere", old.split("\n"), lines)
        if edit is not None:
            yield replace(edit, first=edit.first + (first or 0))


def delta_chrf(before: Sequence[str], produced: Sequence[str], expected: Sequence[str]) -> float:
    """Return the similarity of two changes of a text, from 0 to 100."""
    return chrf(_changed(before, produced), _changed(before, expected))


def chrf(candidate: str, reference: str) -> float:
    """Return the mean F score of n-grams of characters up to N_GRAM, from 0 to 100 (empty texts:
    100).
    """
    scores = []
    for size in range(1, N_GRAM + 1):
        one, other = (
            Counter(text[at : at + size] for at in range(len(text) - size + 1)) for text in (candidate, reference)
        )
        if one or other:
            same = (one & other).total()
            precision, recall = same / max(one.total(), 1), same / max(other.total(), 1)
            scores.append((1 + BETA**2) * precision * recall / (BETA**2 * precision + recall) if same else 0.0)
    return 100 * sum(scores) / len(scores) if scores else 100.0


def _changed(before: Sequence[str], after: Sequence[str]) -> str:
    edit = difference("", before, after)
    return "" if edit is None else "\n".join(edit.new)


def _row(name: str, scores: Sequence[tuple[float, bool, bool]]) -> list[str]:
    wanted = [(score, shown) for score, shown, is_wanted in scores if is_wanted]
    unwanted = [shown for _, shown, is_wanted in scores if not is_wanted]
    likeness = sum(score for score, _ in wanted) / len(wanted)
    shows, quiet = sum(shown for _, shown in wanted) / len(wanted), 1 - sum(unwanted) / len(unwanted)
    score = likeness / 100 * 2 * shows * quiet / (shows + quiet) if shows + quiet else 0.0
    return [name, f"{likeness:.1f}", f"{shows:.0%}", f"{quiet:.0%}", f"**{score:.2f}**"]


if __name__ == "__main__":
    main()
