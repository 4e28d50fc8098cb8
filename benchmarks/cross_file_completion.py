"""Measure the value of text from other files for completing identifiers, in several languages.

    python benchmarks/cross_file_completion.py --folder FOLDER --positions 30 --json cross.json \\
        --language-server "python=basedpyright-langserver --stdio"

``--folder`` has a subfolder for each language, with a subfolder for each package. A cursor is
before a name that is defined in a different file of the package, and not in the cursor's file. The
first word of the answer is compared with the name, and the first line with the rest of the line.
"seen" means that the model reads the name in the text around the cursor. At the control cursors, in
files without names of other files, context should not hurt.

Contexts: none; the first definitions of files of the same folder, as if just opened; related pieces
of the same size, as found by Pellucid's language server; with ``--language-server``, related pieces
and the definitions of the names near the cursor, as found by that server in the text without the
rest of the line. After each answer a key is typed: "keystroke" is the time until the next answer's
end, and "computed" the prompt's tokens that were not in the KV cache.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

from common.definition_servers import DefinitionServer
from common.machine import about
from common.markdown_tables import table
from common.packages import documents_of, folders_in
from common.quantiles import quantile
from pellucid.completion.context import uris
from pellucid.completion.context.chunk_ring import CHARACTERS_PER_TOKEN, CHUNKS_PER_BUDGET, cut
from pellucid.completion.context.definition_reader import DefinitionReader, FoundDefinition
from pellucid.completion.context.definitions import Definitions
from pellucid.completion.context.prompt_context import window_end, window_start
from pellucid.completion.context.repository_index import PIECE_LINES, RepositoryIndex
from pellucid.completion.document_cursor import DocumentCursor
from pellucid.completion.settings import ContextSettings
from pellucid.config import load_settings
from pellucid.learn.calibrate.cursors import LANGUAGES
from pellucid.learn.metrics import Interval, bootstrap
from pellucid.models.catalog import DEFAULT_MODEL
from pellucid.serving.assemble import assemble
from pellucid.terminal.progress_bars import Bars
from pellucid.text.assistant import LocalAssistant
from pellucid.vocabulary.finish import Usage
from pellucid.vocabulary.query import CompletionQuery, Extra, SamplingParams
from pellucid.vocabulary.token import Token

MAX_TOKENS = 32
CURSORS_PER_FILE = 4
MIN_LETTERS = 5
LONGEST_LINE = 160

_NAME = re.compile(r"[A-Za-z_$][\w$]*", re.ASCII)
_DEFINES = re.compile(
    r"""\s*(?:(?:export|default|public|private|protected|internal|static|final|abstract|async|unsafe|extern|inline"""
    r"""|override|declare|const
        |pub(?:\([^)]*\))?)\s+)*
    (?:(?:def|class|function|fn|func|interface|struct|enum|union|trait|type|record|macro_rules!|\#define)"""
    r"""\s+(?:\([^)]*\)\s*)?(?P<word>[\w$]+)
    |(?P<constant>[A-Z][A-Z_0-9]{3,})\s*=
    |(?:[\w<>\[\],.?*&]+\s+)+\**(?P<function>\w+)\s*\([^;]*$)""",
    re.VERBOSE,
)
_NO_CODE = re.compile(r"\s*(?:\#(?!define)|//|/?\*|import\b|from\b|use\b|package\b|@)")
_TELLING = re.compile(r".+[A-Z_]")
"""Matches names of several words: shorter names may have a different meaning in every file."""


@dataclass(frozen=True, slots=True)
class CrossFileCursor:
    """A cursor before a name, in a file of a package.

    A control cursor has no name from a different file.
    """

    language: str
    package: Path
    file: str
    line: int
    column: int
    name: str
    control: bool


@dataclass(frozen=True, slots=True)
class CrossFileAnswer:
    """The model's answer at a cursor with a given context."""

    context: str
    language: str
    file: str
    control: bool
    seen: bool
    given: bool
    """True if the context has the name."""
    name_right: bool
    line_right: bool
    keystroke: float
    """Milliseconds of the answer after a further key."""
    computed: int
    """The tokens of the prompt that were computed for that answer."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="folder of languages and packages")
    parser.add_argument("--model", default=DEFAULT_MODEL, help="a catalog name, a folder or a .gguf")
    parser.add_argument(
        "--positions", type=int, default=30, help="cursors per language; a third as many control cursors are added"
    )
    parser.add_argument(
        "--language-server",
        action="append",
        default=[],
        metavar="LANGUAGE=COMMAND",
        help="a language server that finds definitions; other languages are left out then",
    )
    parser.add_argument(
        "--not-seen", action="store_true", help="only the cursors without the name in the text around; no controls"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="file to write every answer to")
    options = parser.parse_args()
    servers = dict(one.split("=", 1) for one in options.language_server)
    drawn = [
        _around(package, cursor, suffix=number % 2 == 0)
        for number, (package, cursor) in enumerate(draw(options.folder, options.positions, servers))
    ]
    if options.not_seen:
        drawn = [one for one in drawn if not one.cursor.control and one.cursor.name not in "".join(one.near)]
    random.Random(1).shuffle(drawn)  # A run that is ended early has cursors of all languages.

    def save(answers: list[CrossFileAnswer]) -> None:
        if options.json:
            options.json.write_text(json.dumps([asdict(one) for one in answers], indent=1), encoding="utf-8")

    with Bars() as bars:
        engine, assistant = assemble(load_settings().model_copy(update={"prefix_memory": 0}), [options.model], bars)
    try:
        answers = asyncio.run(ask_all(assistant, drawn, servers, save))
    finally:
        engine.close()
    print(about(), report(answers), sep="\n")


class Package:
    """The files of a package, and the defining files of each name."""

    def __init__(self, language: str, folder: Path) -> None:
        self.language = language
        self.folder = folder
        start = len(f"{language}/{folder.name}/")
        self.files = {document.name[start:]: document.text for document in documents_of(language, folder)}
        self.defined: dict[str, set[str]] = defaultdict(set)
        for file, text in self.files.items():
            for line in text.split("\n"):
                match = _DEFINES.match(line[:LONGEST_LINE])
                if match is not None and match[match.lastgroup or 0]:
                    self.defined[match[match.lastgroup or 0]].add(file)

    def cursors(self, dice: random.Random) -> Iterator[CrossFileCursor]:
        """Yield cursors of both kinds, a few per file."""
        for file, text in self.files.items():
            lines = text.split("\n")
            code = [
                number
                for number, line in enumerate(lines)
                if number > 2 and len(line.strip()) > 10 and self._is_code(line)
            ]
            foreign = [(number, match) for number in code if (match := self._foreign(file, lines[number])) is not None]
            for number, match in dice.sample(foreign, min(CURSORS_PER_FILE, len(foreign))):
                yield CrossFileCursor(self.language, self.folder, file, number, match.start(), match[0], control=False)
            if not foreign and code:
                number = dice.choice(code)
                names = list(_NAME.finditer(lines[number]))
                if names:
                    match = dice.choice(names)
                    yield CrossFileCursor(
                        self.language, self.folder, file, number, match.start(), match[0], control=True
                    )

    def _is_code(self, line: str) -> bool:
        return len(line) <= LONGEST_LINE and not _NO_CODE.match(line) and not _DEFINES.match(line)

    def _foreign(self, file: str, line: str) -> re.Match[str] | None:
        """Return the line's first name defined only in one or two different files."""
        for match in _NAME.finditer(line):
            files = self.defined.get(match[0], set())
            in_string = line[: match.start()].count('"') % 2 or line[: match.start()].count("'") % 2
            if (
                len(match[0]) >= MIN_LETTERS
                and _TELLING.match(match[0])
                and 0 < len(files) <= 2
                and file not in files
                and not in_string
            ):
                return match
        return None


def draw(
    folder: Path, positions: int, languages: Container[str] | None = None
) -> list[tuple[Package, CrossFileCursor]]:
    """Return the cursors of all languages, or of some, with a fixed seed."""
    dice, drawn = random.Random(0), []
    for language in folders_in(folder):
        if languages and language.name not in languages:
            continue
        packages = [Package(language.name, package) for package in folders_in(language)]
        found = [(package, cursor) for package in packages for cursor in package.cursors(dice)]
        dice.shuffle(found)
        for control, count in ((False, positions), (True, positions // 3)):
            drawn += [pair for pair in found if pair[1].control is control][:count]
    return drawn


@dataclass(frozen=True, slots=True)
class Around:
    """The text around a cursor, and what was found for it."""

    package: Package
    cursor: CrossFileCursor
    before: str
    after: str
    index: RepositoryIndex
    found: Mapping[str, Sequence[FoundDefinition]]

    @property
    def near(self) -> tuple[str, str]:
        """The text before and after the cursor in the prompt."""
        settings = ContextSettings()
        start = window_start(self.before, int(settings.prefix_tokens * CHARACTERS_PER_TOKEN))
        end = window_end(self.after, int(settings.suffix_tokens * CHARACTERS_PER_TOKEN))
        return self.before[start:], self.after[:end]

    @property
    def document(self) -> DocumentCursor:
        path = self.package.folder / self.cursor.file
        return DocumentCursor(path.as_uri(), self.before, self.after, LANGUAGES.get(path.suffix.removeprefix("."), ""))


async def ask_all(
    assistant: LocalAssistant,
    drawn: Sequence[Around],
    servers: Mapping[str, str],
    save: Callable[[list[CrossFileAnswer]], None],
) -> list[CrossFileAnswer]:
    """Return the answers of all contexts; ``save`` is called after each cursor."""
    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
    answers: list[CrossFileAnswer] = []
    with Progress(*columns, console=Console(stderr=True)) as progress:
        if servers:
            drawn = await _with_definitions(drawn, servers, progress)
        for number, around in enumerate(progress.track(drawn, description="cursors")):
            contexts = list(CONTEXTS if servers else CONTEXTS_WITHOUT_SERVER)
            # In turns, so that no context has the warmer processor.
            first = number % len(contexts)
            answers += [await ask(assistant, around, one) for one in contexts[first:] + contexts[:first]]
            save(answers)
    return answers


_indexes: dict[Path, RepositoryIndex] = {}


def _around(package: Package, cursor: CrossFileCursor, *, suffix: bool) -> Around:
    if package.folder not in _indexes:
        index = _indexes[package.folder] = RepositoryIndex([package.folder], lambda uri, text: True)
        index.walk()
        index.read()
    lines = package.files[cursor.file].split("\n")
    before = "\n".join([*lines[: cursor.line], lines[cursor.line][: cursor.column]])
    after = "\n" + "\n".join(lines[cursor.line + 1 :]) if suffix else ""
    return Around(package, cursor, before, after, _indexes[package.folder], {})


async def _with_definitions(drawn: Sequence[Around], servers: Mapping[str, str], progress: Progress) -> list[Around]:
    """Return the cursors with the definitions that a language server of each package finds."""
    task = progress.add_task("definitions", total=len(drawn))
    found: dict[int, Around] = {}
    for folder in dict.fromkeys(one.package.folder for one in drawn):
        own = [(number, one) for number, one in enumerate(drawn) if one.package.folder == folder]
        async with DefinitionServer.start(servers[own[0][1].package.language], folder) as server:
            for number, one in own:
                found[number] = replace(one, found=await server.find(one.document))
                progress.advance(task)
    return [found[number] for number in range(len(drawn))]


async def ask(assistant: LocalAssistant, around: Around, context: str) -> CrossFileAnswer:
    cursor = around.cursor
    rest = around.package.files[cursor.file].split("\n")[cursor.line][cursor.column :]
    prefix, below = around.near
    extra = tuple(CONTEXTS[context](around, prefix + below))
    line, _, _ = await _first_line(assistant, CompletionQuery(prefix, below, extra, PARAMS))
    _, keystroke, computed = await _first_line(assistant, CompletionQuery(prefix + rest[:1], below, extra, PARAMS))
    word = _NAME.match(line)
    return CrossFileAnswer(
        context,
        cursor.language,
        f"{around.package.folder.name}/{cursor.file}",
        cursor.control,
        cursor.name in prefix + below,
        any(cursor.name in one.text for one in extra),
        word is not None and word[0] == cursor.name,
        line.rstrip() == rest.rstrip(),
        keystroke,
        computed,
    )


async def _first_line(assistant: LocalAssistant, query: CompletionQuery) -> tuple[str, float, int]:
    """Return the answer's first line, its milliseconds, and the computed tokens of the prompt."""
    usages: list[Usage] = []
    answer = ""
    begun = time.perf_counter()
    async with aclosing(assistant.complete(query, on_usage=usages.append)) as items:
        async for item in items:
            answer += item.text if isinstance(item, Token) else ""
            if "\n" in answer:
                break
    return answer.partition("\n")[0], 1000 * (time.perf_counter() - begun), usages[0].computed


def none(around: Around, near: str) -> list[Extra]:
    return []


def opened(around: Around, near: str) -> list[Extra]:
    cursor, package = around.cursor, around.package
    folder = cursor.file.rpartition("/")[0]
    others = [file for file in package.files if file != cursor.file]
    near_files = [file for file in others if file.rpartition("/")[0] == folder] or others
    chosen = random.Random(f"{cursor.file}:{cursor.line}").sample(near_files, min(CHUNKS_PER_BUDGET, len(near_files)))
    return [Extra(file, cut(package.files[file], -1, CHUNK)) for file in chosen]


def related(around: Around, near: str) -> list[Extra]:
    folder = around.package.folder
    pieces = around.index.related(around.before, around.after, folder / around.cursor.file)[:CHUNKS_PER_BUDGET]
    names = [piece.path.relative_to(folder).as_posix() for piece in pieces]
    return [
        Extra(name, cut(piece.text, piece.line + PIECE_LINES // 2, CHUNK))
        for name, piece in zip(names, pieces, strict=True)
    ][::-1]


def with_definitions(around: Around, near: str) -> list[Extra]:
    """Return the related pieces and the definitions, as ``PromptContext`` joins both."""
    folder, document = around.package.folder, around.document
    definitions = Definitions(ContextSettings())
    reader = DefinitionReader(
        [folder],
        lambda uri, text: True,
        lambda uri: Path(uris.read(uri).path).relative_to(folder).as_posix(),
        definitions.most_characters,
    )
    definitions.note(
        document.uri,
        {name: [made for one in many if (made := reader.read(one))] for name, many in around.found.items()},
    )
    definitions.prepare(document)
    pieces = related(around, near)
    known = "\n".join((near, *(piece.text for piece in pieces)))
    return [*pieces, *definitions.chunks(known, document.uri, prepared=True)]


CHUNK = int(ContextSettings().files_tokens / CHUNKS_PER_BUDGET * CHARACTERS_PER_TOKEN)
"""Characters of each piece."""

PARAMS = SamplingParams(max_tokens=MAX_TOKENS)

Choose = Callable[[Around, str], list[Extra]]

CONTEXTS_WITHOUT_SERVER: Mapping[str, Choose] = {"none": none, "opened files": opened, "related pieces": related}

CONTEXTS: Mapping[str, Choose] = {
    "none": none,
    "related pieces": related,
    "related pieces and definitions": with_definitions,
}


def report(answers: Sequence[CrossFileAnswer]) -> str:
    """Return the shares of right names and lines by context, and differences with intervals by
    file.
    """
    tasks = [one for one in answers if not one.control]
    groups = {
        "all": tasks,
        "name not seen": [one for one in tasks if not one.seen],
        "name seen": [one for one in tasks if one.seen],
        **{
            language: [one for one in tasks if one.language == language]
            for language in sorted({one.language for one in tasks})
        },
        "control": [one for one in answers if one.control],
    }
    titles = (
        "cursors",
        "context",
        "number",
        "name in context",
        "name right",
        "line right",
        "name right, more than none (95 %)",
        "keystroke, ms p50 / p95",
        "computed p50 / most",
    )
    return table(titles, [row for name, group in groups.items() if group for row in _rows(name, group)]) + "\n"


def _rows(name: str, group: Sequence[CrossFileAnswer]) -> Iterator[list[str]]:
    for context in dict.fromkeys(one.context for one in group):
        own = [one for one in group if one.context == context]
        shares = [
            f"{sum(held) / len(own):.1%}"
            for held in zip(*((one.given, one.name_right, one.line_right) for one in own), strict=True)
        ]
        times, computed = sorted(one.keystroke for one in own), sorted(one.computed for one in own)
        yield [
            name,
            context,
            str(len(own)),
            *shares,
            "" if context == "none" else _change(difference(group, context)),
            f"{quantile(times, 0.5):.0f} / {quantile(times, 0.95):.0f}",
            f"{quantile(computed, 0.5):.0f} / {computed[-1]}",
        ]


def difference(group: Sequence[CrossFileAnswer], context: str) -> Interval:
    """Return the share of right names with a context minus the share without context."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for one in group:
        counts[one.file][one.context] += one.name_right
        counts[one.file]["cursors"] += one.context == "none"
    columns = [[counts[file][column] for file in counts] for column in (context, "none", "cursors")]
    return bootstrap(
        columns, lambda one, none, of: float((one.sum() - none.sum()) / max(of.sum(), 1)), bounds=(-1.0, 1.0)
    )


def _change(value: Interval) -> str:
    return f"{100 * value.value:+.1f} ({100 * value.low:+.1f} to {100 * value.high:+.1f})"


if __name__ == "__main__":
    main()
