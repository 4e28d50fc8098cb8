"""Show what a language server offers in fifty edits of a working day, and count the useful offers.

    pellucid serve --port 8437 --no-prefix-save &
    python tests/editors/daily_edits.py --server http://127.0.0.1:8437

Each edit of ``daily_edits.toml`` is opened in an editor with a real language server, which is asked
once. An offer is useful if a programmer would accept the text, or if the offer is the larger part
of a wanted first line; half right if the beginning is like a wanted text; else wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import tomllib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import takewhile
from pathlib import Path

from rich.console import Console
from rich.table import Table

sys.path.append(str(Path(__file__).parents[1]))
from support.editors.lsp_client import homes, start

CURSOR = "¦"
OPEN_END = "…"

LEAST_COMMON = 8
"""Fewest common characters of a half right beginning."""

LANGUAGES = {"py": "python", "js": "javascript", "jsx": "javascriptreact", "ts": "typescript", "rs": "rust"}
LANGUAGES |= {"sh": "shellscript", "md": "markdown"}


class Verdict(StrEnum):
    USEFUL = "useful"
    HALF = "half"
    WRONG = "wrong"
    NOTHING = "nothing shown"


@dataclass(frozen=True)
class Edit:
    name: str
    file: str
    text: str
    wanted: tuple[str, ...]


@dataclass(frozen=True)
class Judged:
    """``right`` counts the characters of the offer up to the first wrong character."""

    verdict: Verdict
    right: int


def edits() -> list[Edit]:
    path = Path(__file__).with_suffix(".toml")
    found = tomllib.loads(path.read_text(encoding="utf-8"))["edit"]
    return [Edit(one["name"], one["file"], one["text"].lstrip("\n"), tuple(one["wanted"])) for one in found]


def judge(offer: str, wanted: Sequence[str]) -> Judged:
    """Return the best verdict over the wanted texts. Runs of white space are alike."""
    if not offer:
        return Judged(Verdict.NOTHING, 0)
    found = [_judge(_plain(offer), one) for one in wanted]
    order = list(Verdict)
    return min(found, key=lambda judged: (order.index(judged.verdict), -judged.right))


def _judge(offer: str, wanted: str) -> Judged:
    is_open = wanted.endswith(OPEN_END)
    whole, line = _plain(wanted.removesuffix(OPEN_END)), _plain(wanted.removesuffix(OPEN_END).split("\n")[0])
    common = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(offer, whole, strict=False)))
    if offer == whole or (is_open and offer.startswith(whole)):
        return Judged(Verdict.USEFUL, len(offer))
    if whole.startswith(offer) and 2 * len(offer) >= len(line):
        return Judged(Verdict.USEFUL, common)
    enough = common >= min(LEAST_COMMON, max(1, len(line) // 2))
    return Judged(Verdict.HALF if enough else Verdict.WRONG, common if enough else 0)


def _plain(text: str) -> str:
    return " ".join(text.split())


async def offers(server: str, level: str) -> list[str]:
    """Return the offered text of each edit, without replaced text at the end of the offer."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        editor = await start(
            homes(Path(folder)), {"server": {"url": server, "start": False}, "completion": {"level": level}}
        )
        try:
            for edit in edits():
                before, _, after = edit.text.partition(CURSOR)
                uri = (Path(folder) / edit.file).as_uri()
                kind = edit.file.rpartition(".")[2].lower()
                editor.open(uri, before + after, LANGUAGES.get(kind, kind))
                line, column = before.count("\n"), len(before.rpartition("\n")[2])
                items = await editor.inline(uri, line, column)
                replaced = after[: items[0].range.end.character - column] if items and items[0].range else ""
                found.append(str(items[0].insert_text).removesuffix(replaced) if items else "")
                editor.close(uri)
        finally:
            await editor.leave()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", metavar="URL", required=True, help="a running pellucid serve")
    parser.add_argument("--level", default="normal", choices=["eager", "normal", "quiet"])
    options = parser.parse_args()
    shown = asyncio.run(offers(options.server, options.level))
    judged = [judge(offer, edit.wanted) for edit, offer in zip(edits(), shown, strict=True)]
    table = Table("edit", "offered", "verdict", title=f"Fifty edits at the level {options.level}")
    for edit, offer, one in zip(edits(), shown, judged, strict=True):
        table.add_row(f"{edit.name} ({edit.file})", offer, one.verdict)
    console = Console()
    console.print(table)
    counts = Counter(one.verdict for one in judged)
    console.print(", ".join(f"{verdict}: {counts[verdict]}" for verdict in Verdict), highlight=False)
    console.print(f"characters of right text: {sum(one.right for one in judged)}", highlight=False)


if __name__ == "__main__":
    main()
