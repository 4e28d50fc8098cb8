"""Measure the value of text from other files for completing identifiers, in several languages.

    python benchmarks/cross_file_completion.py --folder FOLDER --positions 30 --json cross.json

``--folder`` has a subfolder for each language, with a subfolder for each package. A cursor is
before a name that is defined in a different file of the package, and not in the cursor's file. The
first word of the answer is compared with the name, and the first line with the rest of the line.
"seen" means that the model reads the name in the text around the cursor. At the control cursors, in
files without names of other files, context should not hurt.

Contexts, of the same size: none; the first definitions of files of the same folder, as if just
opened; related pieces, as found by the language server.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

from common.machine import about
from common.markdown_tables import table
from common.packages import documents_of, folders_in
from pellucid.completion.context.chunk_ring import CHARACTERS_PER_TOKEN, CHUNKS_PER_BUDGET, cut
from pellucid.completion.context.prompt_context import window_end, window_start
from pellucid.completion.context.repository_index import PIECE_LINES, RepositoryIndex
from pellucid.completion.settings import ContextSettings
from pellucid.config import load_settings
from pellucid.learn.metrics import Interval, bootstrap
from pellucid.models.catalog import DEFAULT_MODEL
from pellucid.serving.assemble import assemble
from pellucid.terminal.progress_bars import Bars
from pellucid.text.assistant import LocalAssistant
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="folder of languages and packages")
    parser.add_argument("--model", default=DEFAULT_MODEL, help="a catalog name, a folder or a .gguf")
    parser.add_argument(
        "--positions", type=int, default=30, help="cursors per language; a third as many control cursors are added"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="file to write every answer to")
    options = parser.parse_args()
    with Bars() as bars:
        engine, assistant = assemble(load_settings().model_copy(update={"prefix_memory": 0}), [options.model], bars)
    try:
        answers = asyncio.run(ask_all(assistant, options.folder, options.positions))
    finally:
        engine.close()
    if options.json:
        options.json.write_text(json.dumps([asdict(one) for one in answers], indent=1), encoding="utf-8")
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


def draw(folder: Path, positions: int) -> list[tuple[Package, CrossFileCursor]]:
    """Return the cursors of all languages, with a fixed seed."""
    dice, drawn = random.Random(0), []
    for language in folders_in(folder):
        packages = [Package(language.name, package) for package in folders_in(language)]
        found = [(package, cursor) for package in packages for cursor in package.cursors(dice)]
        dice.shuffle(found)
        for control, count in ((False, positions), (True, positions // 3)):
            drawn += [pair for pair in found if pair[1].control is control][:count]
    return drawn


async def ask_all(assistant: LocalAssistant, folder: Path, positions: int) -> list[CrossFileAnswer]:
    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
    answers = []
    indexes: dict[Path, RepositoryIndex] = {}
    with Progress(*columns, console=Console(stderr=True)) as progress:
        for number, (package, cursor) in enumerate(progress.track(draw(folder, positions), description="cursors")):
            if package.folder not in indexes:
                indexes[package.folder] = RepositoryIndex([package.folder], lambda uri, text: True)
                indexes[package.folder].walk()
                indexes[package.folder].read()
            for context, choose in CONTEXTS.items():
                answers.append(
                    await ask(
                        assistant, package, cursor, context, choose, indexes[package.folder], suffix=number % 2 == 0
                    )
                )
    return answers


Choose = Callable[[Package, CrossFileCursor, str, str, RepositoryIndex], list[Extra]]


async def ask(
    assistant: LocalAssistant,
    package: Package,
    cursor: CrossFileCursor,
    context: str,
    choose: Choose,
    index: RepositoryIndex,
    *,
    suffix: bool,
) -> CrossFileAnswer:
    settings, text = ContextSettings(), package.files[cursor.file]
    lines = text.split("\n")
    rest = lines[cursor.line][cursor.column :]
    before = "\n".join([*lines[: cursor.line], lines[cursor.line][: cursor.column]])
    after = "\n" + "\n".join(lines[cursor.line + 1 :]) if suffix else ""
    prefix = before[window_start(before, int(settings.prefix_tokens * CHARACTERS_PER_TOKEN)) :]
    below = after[: window_end(after, int(settings.suffix_tokens * CHARACTERS_PER_TOKEN))]
    extra = choose(package, cursor, before, after, index)
    answer = ""
    async for item in assistant.complete(
        CompletionQuery(prefix, below, tuple(extra), SamplingParams(max_tokens=MAX_TOKENS))
    ):
        answer += item.text if isinstance(item, Token) else ""
        if "\n" in answer:
            break
    line = answer.partition("\n")[0]
    word = _NAME.match(line)
    return CrossFileAnswer(
        context,
        cursor.language,
        f"{package.folder.name}/{cursor.file}",
        cursor.control,
        cursor.name in prefix + below,
        any(cursor.name in one.text for one in extra),
        word is not None and word[0] == cursor.name,
        line.rstrip() == rest.rstrip(),
    )


def none(package: Package, cursor: CrossFileCursor, before: str, after: str, index: RepositoryIndex) -> list[Extra]:
    return []


def opened(package: Package, cursor: CrossFileCursor, before: str, after: str, index: RepositoryIndex) -> list[Extra]:
    folder = cursor.file.rpartition("/")[0]
    others = [file for file in package.files if file != cursor.file]
    near = [file for file in others if file.rpartition("/")[0] == folder] or others
    chosen = random.Random(f"{cursor.file}:{cursor.line}").sample(near, min(CHUNKS_PER_BUDGET, len(near)))
    return [Extra(file, cut(package.files[file], -1, CHUNK)) for file in chosen]


def related(package: Package, cursor: CrossFileCursor, before: str, after: str, index: RepositoryIndex) -> list[Extra]:
    pieces = index.related(before, after, package.folder / cursor.file)[:CHUNKS_PER_BUDGET]
    names = [piece.path.relative_to(package.folder).as_posix() for piece in pieces]
    return [
        Extra(name, cut(piece.text, piece.line + PIECE_LINES // 2, CHUNK))
        for name, piece in zip(names, pieces, strict=True)
    ][::-1]


CHUNK = int(ContextSettings().files_tokens / CHUNKS_PER_BUDGET * CHARACTERS_PER_TOKEN)
"""Characters of each piece."""

CONTEXTS: Mapping[str, Choose] = {"none": none, "opened files": opened, "related pieces": related}


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
    )
    return table(titles, [row for name, group in groups.items() if group for row in _rows(name, group)]) + "\n"


def _rows(name: str, group: Sequence[CrossFileAnswer]) -> Iterator[list[str]]:
    for context in CONTEXTS:
        own = [one for one in group if one.context == context]
        shares = [
            f"{sum(held) / len(own):.1%}"
            for held in zip(*((one.given, one.name_right, one.line_right) for one in own), strict=True)
        ]
        yield [name, context, str(len(own)), *shares, "" if context == "none" else _change(difference(group, context))]


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
