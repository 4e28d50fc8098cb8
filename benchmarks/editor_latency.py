"""Measure the time from an editor's message to the language server's reply, by kind of keystroke.

    pellucid serve --port 8437 --no-prefix-save &
    python benchmarks/editor_latency.py --server http://127.0.0.1:8437 --json latency.json

A real language server process serves an editor that rewrites lines of standard library files: the
lines are removed, then typed at human speed, 4 to 8 characters per second. Each keystroke sends
`didChange` and `inlineCompletion` together. The next keystroke follows at the scheduled time, after
the reply. Between lines, the editor changes a line above, jumps far away and back, and opens the
next file; each file is visited twice. `pellucid/explain` reports the number of prompt tokens that
the model computed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from lsprotocol import types
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

from common.markdown_tables import table as markdown
from common.quantiles import quantile
from common.stdlib_cursors import STDLIB, code_rows, source
from common.typed_lines import FAR, LENGTHS, PACE, files, indentation, runs

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from support.editors.lsp_client import Editor, homes, start

READING_SECONDS = 5.0
"""Seconds of reading after opening a file."""

LINES_WRITTEN = 3
"""Lines written in each file on each visit."""


class Kind(StrEnum):
    """The position of a keystroke."""

    APPEND = "append on a line"
    TYPE_INTO = "type into the suggestion"
    NEW_LINE = "new line"
    ABOVE = "edit above the cursor"
    JUMP = "jump far away"
    BACK = "jump back"
    OTHER_FILE = "another file, just opened"
    FILE_AGAIN = "a file visited before"
    AFTER_READING = "after 5 s in that file"


@dataclass(frozen=True)
class Keystroke:
    """The cost of a keystroke.

    ``computed`` and ``prompt`` are tokens, 0 without a request to the model.
    """

    kind: str
    file: str
    milliseconds: float
    source: str | None
    outcome: str
    computed: int
    prompt: int
    generated: int


class Document:
    """An open file with a cursor, as in an editor."""

    def __init__(self, editor: Editor, path: Path, dice: random.Random) -> None:
        self.name = path.relative_to(STDLIB).as_posix()
        self._editor = editor
        self._uri = path.as_uri()
        self._lines = source(path).split("\n")
        self._dice = dice
        self._code = {self._lines[row] for row in code_rows(path)}
        self.row = 0
        editor.open(self._uri, "\n".join(self._lines))

    def take_out(self) -> list[str]:
        """Remove the lines to write, and put the cursor at the end of the preceding line."""
        home = self._dice.choice(runs(self._lines, self._code, LINES_WRITTEN))
        script = self._lines[home : home + LINES_WRITTEN]
        self.row = home - 1
        self._replace(self.row, len(self._lines[self.row]), home + LINES_WRITTEN - 1, len(script[-1]), "")
        return script

    def type(self, text: str) -> None:
        """Insert text at the end of the cursor's line."""
        self._replace(self.row, len(self._lines[self.row]), self.row, len(self._lines[self.row]), text)
        self.row += text.count("\n")

    def edit_above(self) -> None:
        """Insert a comment line above the cursor, and keep the cursor at the same text."""
        row = max(self.row - self._dice.randrange(8, 30), 0)
        self._replace(row, 0, row, 0, f"# checked {self._dice.randrange(1000)}\n")
        self.row += 1

    def jump(self) -> int:
        """Go to the end of a distant line, and return the previous row."""
        before = self.row
        far = [
            row for row, line in enumerate(self._lines) if abs(row - before) >= FAR and len(line.strip()) >= LENGTHS[0]
        ]
        self.row = self._dice.choice(far)
        return before

    @property
    def cursor(self) -> tuple[int, int]:
        return self.row, len(self._lines[self.row])

    async def ask(self) -> list[types.InlineCompletionItem]:
        return await self._editor.inline(self._uri, *self.cursor)

    async def explained(self, kind: Kind, milliseconds: float) -> Keystroke:
        """Return the cost of the last request."""
        found = await self._editor.request("pellucid/explain", {"textDocument": {"uri": self._uri}})
        usage = found.usage
        computed, prompt, generated = (
            (usage.computed, usage.cached + usage.computed, usage.generated) if usage else (0, 0, 0)
        )
        return Keystroke(kind, self.name, milliseconds, found.source, found.outcome, computed, prompt, generated)

    def _replace(self, row: int, character: int, end_row: int, end_character: int, text: str) -> None:
        """Replace a range, here and in the language server.

        The files are ASCII, so a character is a unit of any encoding.
        """
        range = types.Range(types.Position(row, character), types.Position(end_row, end_character))
        self._editor.replace(self._uri, range, text)
        changed = self._lines[row][:character] + text + self._lines[end_row][end_character:]
        self._lines[row : end_row + 1] = changed.split("\n")


class TypingUser:
    """Types at human speed, and records the cost of every keystroke."""

    def __init__(self, dice: random.Random) -> None:
        self.keystrokes: list[Keystroke] = []
        self._dice = dice
        self._shown = ""

    async def visit(self, document: Document, kind: Kind) -> None:
        """Write the missing lines, with edits in between."""
        script = document.take_out()
        for number, line in enumerate(script):
            text = line.strip()
            await self._press(document, "\n" + indentation(line), kind if number == 0 else Kind.NEW_LINE)
            if number == 0:
                await asyncio.sleep(READING_SECONDS)
            first = Kind.AFTER_READING if number == 0 else None
            if number > 0:
                document.edit_above()
                first = Kind.ABOVE
            await self._press(document, text[0], first)
            for character in text[1:-1]:
                await self._press(document, character)
            before = document.jump()
            await self._press(document, "\n" + indentation(line), Kind.JUMP)
            document.row = before + (document.row <= before)
            await self._press(document, text[-1], Kind.BACK)

    async def _press(self, document: Document, text: str, kind: Kind | None = None) -> None:
        """Press a key.

        Without a kind, the key is on the line, inside or outside of the shown suggestion.
        """
        if kind is None:
            kind = Kind.TYPE_INTO if self._shown.startswith(text) and self._shown != text else Kind.APPEND
        pause = asyncio.create_task(asyncio.sleep(self._dice.uniform(*PACE)))
        begun = time.perf_counter()
        document.type(text)
        items = await document.ask()
        milliseconds = (time.perf_counter() - begun) * 1000
        self._shown = str(items[0].insert_text) if items else ""
        self.keystrokes.append(await document.explained(kind, milliseconds))
        await pause


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", metavar="URL", required=True, help="a running pellucid serve")
    parser.add_argument("--files", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, metavar="FILE", help="file to write every keystroke to")
    options = parser.parse_args()
    keystrokes = asyncio.run(write(options.server, options.files, random.Random(options.seed)))
    if options.json:
        options.json.write_text(json.dumps([asdict(one) for one in keystrokes], indent=1), encoding="utf-8")
    print(table(keystrokes))


async def write(server: str, count: int, dice: random.Random) -> list[Keystroke]:
    """Visit the files twice in the same editor."""
    typist = TypingUser(dice)
    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
    with tempfile.TemporaryDirectory() as folder:
        editor = await start(homes(Path(folder)), {"server": {"url": server, "start": False}})
        try:
            with Progress(*columns, console=Console(stderr=True)) as progress:
                task = progress.add_task("files", total=2 * count)
                documents = []
                for path in files(count, LINES_WRITTEN, dice):
                    documents.append(Document(editor, path, dice))
                    await typist.visit(documents[-1], Kind.OTHER_FILE)
                    progress.advance(task)
                for document in documents:
                    await typist.visit(document, Kind.FILE_AGAIN)
                    progress.advance(task)
            assert not editor.messages, editor.messages
        finally:
            await editor.leave()
    return typist.keystrokes


def table(keystrokes: Sequence[Keystroke]) -> str:
    """Return time and tokens by kind, for all keystrokes and for keystrokes with a request to the
    model.

    Tokens are medians of keystrokes with a request.
    """
    titles = (
        "keystroke",
        "times",
        "p50, ms",
        "p95, ms",
        "asked the model",
        "p50 of these, ms",
        "p95 of these, ms",
        "tokens computed",
        "of a prompt of",
    )
    rows = []
    for kind in Kind:
        group = [one for one in keystrokes if one.kind == kind]
        asked = [one for one in group if one.prompt]
        if not group:
            continue
        cells = [kind.value, str(len(group)), *_quantiles(group), f"{len(asked) / len(group):.0%}", *_quantiles(asked)]
        tokens = [
            f"{statistics.median(values):.0f}"
            for values in ([one.computed for one in asked], [one.prompt for one in asked])
            if values
        ]
        rows.append(cells + tokens)
    return markdown(titles, rows)


def _quantiles(group: Sequence[Keystroke]) -> list[str]:
    times = [one.milliseconds for one in group]
    return [f"{quantile(times, share):.0f}" if times else "" for share in (0.5, 0.95)]


if __name__ == "__main__":
    main()
