"""Measure suggestions in the middle of a line, and the share that breaks the line.

    python benchmarks/mid_line.py FOLDER --places 34

FOLDER has a subfolder for each language, with a subfolder for each package. Real lines are cut at
borders of tokens: up to four tokens right of the cursor are removed, or zero, for places without
missing text. A line is broken by a suggestion that leads to a syntax error in the line, or to more
statements than before. Needs tree-sitter and grammars: tree-sitter-c, -go, -java, -python, -rust
and -typescript.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

from tree_sitter import Language, Node, Parser

from common.machine import about
from common.packages import documents_of, packages_in
from pellucid.client.assistant_protocol import Assistant
from pellucid.completion.completer import Completer
from pellucid.completion.context.chunk_ring import ChunkRing
from pellucid.completion.context.prompt_context import PromptContext
from pellucid.completion.document_cursor import DocumentCursor, normalize_newlines
from pellucid.completion.model_choice import ModelChoice
from pellucid.completion.model_provider_protocol import FixedProvider
from pellucid.completion.settings import CompletionSettings, ContextSettings, GateLevel
from pellucid.completion.suggestion import Suggestion
from pellucid.config import load_settings
from pellucid.learn.calibrate.cursors import LANGUAGES
from pellucid.learn.metrics import wilson
from pellucid.models.catalog import DEFAULT_MODEL
from pellucid.serving.assemble import assemble
from pellucid.terminal.progress_bars import Bars

MAX_GAP = 4
"""Maximum number of removed tokens."""

MIN_TOKENS = 6
"""Minimum number of tokens in a cut line."""

_TOKEN = re.compile(r"\w+|[^\w\s]")


@dataclass(frozen=True, slots=True)
class Place:
    """A cursor in a line of ``text``; the text between ``at`` and ``end`` is missing."""

    language: str
    file: str
    text: str
    at: int
    end: int

    @property
    def cursor(self) -> DocumentCursor:
        language = LANGUAGES.get(PurePath(self.file).suffix.removeprefix("."), "")
        return DocumentCursor(f"file:///{self.file}", self.text[: self.at], self.text[self.end :], language, self.file)

    def accept(self, shown: str) -> str:
        return self.text[: self.at] + shown + self.text[self.end :]


def draw(packages: Mapping[str, Sequence[Path]], count: int) -> list[Place]:
    """Return ``count`` places for each language, in lines without a syntax error."""
    dice = random.Random(11)
    places: list[Place] = []
    for language, folders in packages.items():
        documents = [document for folder in folders for document in documents_of(language, folder)]
        drawn: list[Place] = []
        while len(drawn) < count:
            document = dice.choice(documents)
            place = cut(dice, language, document.name, normalize_newlines(document.text))
            if place is not None:
                drawn.append(place)
        places += drawn
    return places


def cut(dice: random.Random, language: str, file: str, text: str) -> Place | None:
    """Return a place in a random line, or None for a short line, a comment or a syntax error."""
    lines = text.split("\n")
    row = dice.randrange(len(lines))
    tokens = list(_TOKEN.finditer(lines[row]))
    if len(tokens) < MIN_TOKENS or lines[row].lstrip().startswith(("#", "//", "/*", "*", '"""')):
        return None
    first = dice.randrange(1, len(tokens) - 1)
    last = min(first + dice.randrange(MAX_GAP + 1), len(tokens) - 1)
    begin = sum(len(line) + 1 for line in lines[:row])
    at = begin + (tokens[first].start() if last > first else tokens[first - 1].end())
    end = begin + tokens[last].start() if last > first else at
    right = text[end : begin + len(lines[row])]
    place = Place(language, file, text, at, end)
    if not re.search(r"\w", right) or faults(place, text).errors:
        return None
    return place


@dataclass(frozen=True, slots=True)
class Faults:
    """The syntax errors that touch a line, and the statements that begin in the line."""

    errors: int
    statements: int


def faults(place: Place, text: str) -> Faults:
    """Return the faults in a place's line, for a text of the place's document."""
    tree = parser(place.language, place.file).parse(text.encode())
    row = place.text.count("\n", 0, place.at)
    errors = statements = 0
    for node in nodes(tree.root_node, row):
        errors += node.is_error or node.is_missing
        statements += node.start_point[0] == row and node.type.endswith(("_statement", "_declaration", "_item"))
    return Faults(errors, statements)


def nodes(root: Node, row: int) -> Iterator[Node]:
    """Yield the nodes of a tree that touch a row."""
    left = [root]
    while left:
        node = left.pop()
        if node.start_point[0] <= row <= node.end_point[0]:
            yield node
            left += node.children


def parser(language: str, file: str) -> Parser:
    module = importlib.import_module(f"tree_sitter_{language}")
    if language == "typescript":
        return Parser(Language(module.language_tsx() if file.endswith(("x", ".js")) else module.language_typescript()))
    return Parser(Language(module.language()))


def is_broken(place: Place, shown: str) -> bool:
    found, whole = faults(place, place.accept(shown)), faults(place, place.text)
    return found.errors > 0 or found.statements > max(whole.statements, 1) + shown.count("\n")


async def suggestions(assistant: Assistant, model: str, places: Sequence[Place]) -> list[Suggestion | None]:
    """Return an editor's suggestion at each place."""
    settings = replace(CompletionSettings(), ahead=False, budget_ms=0, level=GateLevel.NORMAL)
    context = replace(ContextSettings(), files_tokens=0)
    models = ModelChoice(FixedProvider(assistant), model)
    found: list[Suggestion | None] = []
    for place in places:
        prompts = PromptContext(context, ChunkRing(context))
        completer = Completer(settings, models, prompts, doubtful_rests=True)
        shown = await completer.suggest(place.cursor)
        await completer.aclose()
        found.append(shown[0] if shown else None)
    return found


def table(places: Sequence[Place], shown: Sequence[Suggestion | None]) -> str:
    """Return a row for each language: suggestions shown, right and broken, also with doubtful
    rests.
    """
    rows = [
        "| language | places | shown | right | broken (95 %) | broken with doubtful rests |",
        "|---|---|---|---|---|---|",
    ]
    for language in (*sorted({place.language for place in places}), "all"):
        own = [(place, one) for place, one in zip(places, shown, strict=True) if language in (place.language, "all")]
        seen = [(place, one) for place, one in own if one is not None]
        right = sum(place.accept(one.sure.text) == place.text for place, one in seen)
        broken = sum(is_broken(place, one.sure.text) for place, one in seen if one.sure.text)
        whole = sum(is_broken(place, one.text) for place, one in seen)
        share = wilson(broken, len(own))
        lines = f"{broken}: {share.value:.1%} ({share.low:.1%} to {share.high:.1%})"
        rows.append(f"| {language} | {len(own)} | {len(seen)} | {right} | {lines} | {whole} |")
    return "\n".join(rows)


def broken_lines(places: Sequence[Place], shown: Sequence[Suggestion | None]) -> str:
    """Return the lines broken by accepted sure parts, with ``|`` as the cursor and braces."""
    lines: list[str] = []
    for place, one in zip(places, shown, strict=True):
        if one is not None and one.sure.text and is_broken(place, one.sure.text):
            before, after = place.text[: place.at].rpartition("\n")[2], place.text[place.end :].partition("\n")[0]
            lines.append(f"    {place.file}: {before}|{{{one.sure.text}}}{after}")
    return "\n".join(lines)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("folder", type=Path)
    options.add_argument("--places", type=int, default=34, help="places for each language")
    options.add_argument("--model", default=DEFAULT_MODEL)
    given = options.parse_args()
    places = draw(packages_in(given.folder), given.places)
    with Bars() as bars:
        engine, assistant = assemble(load_settings().model_copy(update={"prefix_memory": 0}), [given.model], bars)
    try:
        shown = asyncio.run(suggestions(assistant, assistant.models.find(None).name, places))
    finally:
        engine.close()
    print(about(), table(places, shown), broken_lines(places, shown), sep="\n\n")


if __name__ == "__main__":
    main()
