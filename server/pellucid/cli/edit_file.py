"""The ``edit`` command."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from contextlib import aclosing, suppress
from dataclasses import replace
from pathlib import Path

import typer
from rich.console import Console
from rich.text import Text

from pellucid.cli.complete_chat_score import INTERRUPTED, offset_of
from pellucid.completion.edits.by_instruction.edit_json import edit_record
from pellucid.completion.edits.by_instruction.edit_query import EditQuery, Hunk, InstructedEdit
from pellucid.completion.edits.by_instruction.instructed_edits import Editor, edit
from pellucid.errors import InvalidRequestError, PellucidError
from pellucid.serving.running_or_local_assistant import open_assistant
from pellucid.system.atomic_files import publish
from pellucid.system.regular_files import read_text
from pellucid.terminal.coloured_tokens import harmless

REFUSED = "Nothing was written: without --yes you decide, and another --seed perhaps gives an edit that parses."

MARK = "\ufeff"
"""The byte order mark, which the model neither reads nor writes."""


def lines_of(text: str, lines: str | None) -> tuple[int, int]:
    """Return the offsets of lines ``A:B`` or ``A``, counted from 1; None is all lines.

    Raise ValueError for lines outside of the text.
    """
    if lines is None:
        return 0, len(text)
    first, separator, last = lines.partition(":")
    if not (first.isdecimal() and (last.isdecimal() or not separator)):
        raise ValueError(f"{lines!r} is not A:B, like 10:24.")
    begin, end = int(first), int(last or first)
    if end < begin:
        raise ValueError(f"line {end} is before line {begin}.")
    start = offset_of(text, f"{begin}:1")
    offset_of(text, f"{end}:1")
    stop = text.find("\n", offset_of(text, f"{end}:1"))
    return start, len(text) if stop < 0 else stop + 1


def edit_lines(
    file: Path,
    text: str,
    span: tuple[int, int],
    query: EditQuery,
    model: str | None,
    *,
    yes: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Ask for an edit of a file's lines, show the edit, and write the file if the user agrees.

    Exit with 1 without a change.
    """
    with asyncio.Runner() as runner, open_assistant(runner, model) as (assistant, name):
        try:
            made = runner.run(_ask(assistant, name, query, as_json=as_json))
        except KeyboardInterrupt:
            typer.echo("\nCancelled: nothing was written.", err=True)
            raise typer.Exit(INTERRUPTED) from None
    if as_json:
        sys.stdout.write(json.dumps({"edit": edit_record(made)}) + "\n")
    else:
        _show(file, made)
    broken = any(hunk.breaks_syntax for hunk in made.hunks)
    sentences = [made.reason, made.note, REFUSED if broken and yes else None]
    if said := " ".join(filter(None, sentences)):
        typer.echo(said, err=True)
    if made.reason is not None or (broken and yes):
        raise typer.Exit(1)
    if dry_run or (as_json and not yes):
        return
    if not yes and not typer.confirm(f"Write {file}?", default=False, err=True):
        typer.echo("Nothing was written.", err=True)
        return
    begin = span[1] - len(made.old)  # The span, from the import block on if imports are added
    _write(file, text, text[:begin] + made.text + text[span[1] :])


async def _ask(assistant: Editor, name: str | None, query: EditQuery, *, as_json: bool) -> InstructedEdit:
    """Return the edit; meanwhile, print new lines as records, or count them on a terminal."""
    count = 0
    async with aclosing(edit(assistant, replace(query, model=name))) as items:
        async for item in items:
            if isinstance(item, InstructedEdit):
                return item
            count += len(item.lines)
            if as_json:
                sys.stdout.write(json.dumps({"lines": list(item.lines)}) + "\n")
                sys.stdout.flush()
            elif sys.stderr.isatty():
                sys.stderr.write(f"\r{count} lines")
                sys.stderr.flush()
    raise AssertionError("an edit ends with its hunks")


def _show(file: Path, made: InstructedEdit) -> None:
    console = Console(highlight=False, soft_wrap=True, legacy_windows=False)
    if sys.stderr.isatty():
        sys.stderr.write("\r")
    if made.hunks:
        console.print(Text(f"--- {file}\n+++ {file}", "bold"))
    shift = 0
    for hunk in made.hunks:
        console.print(Text(_heading(hunk, shift), "cyan"))
        shift += len(hunk.new) - len(hunk.old)
        for sign, lines, style in (("-", hunk.old, "red"), ("+", hunk.new, "green")):
            for line in lines:
                console.print(Text(sign + harmless(line), style))


def _heading(hunk: Hunk, shift: int) -> str:
    old, new = (f"{hunk.first + 1 + by - (not lines)},{len(lines)}" for by, lines in ((0, hunk.old), (shift, hunk.new)))
    return f"@@ -{old} +{new} @@{' breaks the syntax' * bool(hunk.breaks_syntax)}"


def _write(file: Path, before: str, text: str) -> None:
    """Replace a file's text atomically.

    Both texts are without a byte order mark; a mark in the file stays. Raise PellucidError if the
    file cannot be written.
    """
    part: Path | None = None
    try:
        target = file.resolve()
        has_mark = read_text(file).startswith(MARK)
        mode = target.stat().st_mode & 0o7777
        if not os.access(target, os.W_OK):
            raise InvalidRequestError(f"{file} is read-only, so nothing was written: make it writable, and ask again.")
        descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        part = Path(name)
        with os.fdopen(descriptor, "wb") as written:
            written.write((MARK * has_mark + text).encode())
        part.chmod(mode)
        if read_text(file) != MARK * has_mark + before:
            raise InvalidRequestError(f"{file} has changed meanwhile, so nothing was written: ask again.")
        publish(part, target)
    except BaseException as error:
        if part is not None:
            with suppress(OSError):
                part.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise PellucidError(f"{file} cannot be written: {error.strerror or error}.") from error
        raise
