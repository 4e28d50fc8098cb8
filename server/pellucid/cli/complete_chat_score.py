"""The ``complete``, ``chat`` and ``score`` commands."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import typer

from pellucid.client.image_files import read_images
from pellucid.client.token_json import record_of
from pellucid.errors import InvalidRequestError
from pellucid.serving.running_or_local_assistant import open_assistant
from pellucid.system import regular_files
from pellucid.system.atomic_files import human
from pellucid.system.regular_files import LARGEST_DOCUMENT, decoded
from pellucid.terminal.coloured_tokens import Writer
from pellucid.vocabulary.finish import Finish
from pellucid.vocabulary.message import Message
from pellucid.vocabulary.query import ChatQuery, CompletionQuery, Grammar, Reasoning, SamplingParams, ScoreQuery
from pellucid.vocabulary.token import Token

INTERRUPTED = 130
"""Exit code after Ctrl-C, by the convention of shells."""

Items = AsyncGenerator[Token | Finish]


class Sink(Protocol):
    def begin(self) -> None:
        """Start a new answer, even if the previous answer was not finished."""
        ...

    def token(self, token: Token) -> None: ...

    def end(self, finish: Finish) -> None: ...

    def plain(self, text: str) -> None:
        """Write text outside of the answer."""
        ...


class Records:
    def begin(self) -> None:
        """Do nothing: records need no heading."""

    def token(self, token: Token) -> None:
        """Print the token's record, with the API's field names."""
        self._print(record_of(token))

    def end(self, finish: Finish) -> None:
        self._print({"finish": asdict(finish)})

    def plain(self, text: str) -> None:
        """Do nothing: context has no record."""

    def _print(self, record: dict[str, Any]) -> None:
        sys.stdout.write(json.dumps(record) + "\n")
        sys.stdout.flush()


def read_text(path: Path, *, or_stdin: bool = False) -> str:
    """Return a file's text with its line ends unchanged.

    Raise InvalidRequestError for a file that is not regular, not UTF-8 or too large, and
    typer.BadParameter for a missing file.
    """
    if or_stdin and path == Path("-"):
        content = sys.stdin.buffer.read(LARGEST_DOCUMENT + 1)
        if len(content) > LARGEST_DOCUMENT:
            raise InvalidRequestError(f"The standard input has more than {human(LARGEST_DOCUMENT)}: shorten it.")
        return decoded(content, "The standard input")
    try:
        return regular_files.read_text(
            path, instead_of_pipe="give - for the file, and the text on standard input" if or_stdin else None
        )
    except FileNotFoundError:
        raise typer.BadParameter(f"{str(path)!r} does not exist.", param_hint="FILE") from None


def offset_of(text: str, at: str | None) -> int:
    """Return the index of ``LINE:COL``, both counted from 1, in characters; None is the end.

    Raise ValueError for a position outside of the text.
    """
    if at is None:
        return len(text)
    line_text, separator, column_text = at.partition(":")
    if not (separator and line_text.isdecimal() and column_text.isdecimal()):
        raise ValueError(f"{at!r} is not LINE:COL, like 42:9.")
    line, column = int(line_text), int(column_text)
    lines = text.split("\n")
    if not 1 <= line <= len(lines):
        raise ValueError(f"there is no line {line}: the file has {len(lines)}.")
    if not 1 <= column <= len(lines[line - 1]) + 1:
        raise ValueError(f"there is no column {column} in line {line}: it ends at {len(lines[line - 1]) + 1}.")
    return sum(len(before) + 1 for before in lines[: line - 1]) + column - 1


def sampling(
    max_tokens: int, temperature: float, top_p: float, top_k: int, min_p: float, seed: int | None, top_logprobs: int
) -> SamplingParams:
    try:
        return SamplingParams(
            max_tokens=max_tokens,
            temperature=temperature,
            top_p=top_p,
            top_k=top_k,
            min_p=min_p,
            seed=seed,
            top_logprobs=top_logprobs,
        )
    except ValueError as error:
        raise InvalidRequestError(str(error)) from error


def answer_grammar(json_schema: Path | None, regex: str | None) -> Grammar | None:
    if json_schema is not None and regex is not None:
        raise InvalidRequestError("--json-schema and --regex both limit the answer: use only one of them.")
    if json_schema is not None:
        return Grammar("json_schema", read_text(json_schema), field=str(json_schema))
    return None if regex is None else Grammar("regex", regex, field="--regex")


def complete(
    prefix: str, suffix: str, params: SamplingParams, grammar: Grammar | None, model: str | None, as_json: bool
) -> None:
    sink = _sink(as_json)
    with asyncio.Runner() as runner, open_assistant(runner, model) as (assistant, name):
        sink.plain(prefix[prefix.rfind("\n") + 1 :])
        _show_or_exit(
            runner,
            assistant.complete(CompletionQuery(prefix, suffix, params=params, model=name, grammar=grammar)),
            sink,
        )


def score(text: str, top_logprobs: int, model: str | None, as_json: bool, *, windows: bool) -> None:
    with asyncio.Runner() as runner, open_assistant(runner, model) as (assistant, name):
        _show_or_exit(
            runner,
            assistant.score(ScoreQuery(text, model=name, top_logprobs=top_logprobs, windows=windows)),
            _sink(as_json),
        )


def chat(
    message: str | None,
    system: str | None,
    params: SamplingParams,
    grammar: Grammar | None,
    reasoning: Reasoning | None,
    model: str | None,
    as_json: bool,
    pictures: Sequence[Path],
) -> None:
    messages = [] if system is None else [Message("system", system)]
    images = read_images(pictures)
    sink = _sink(as_json)
    with asyncio.Runner() as runner, open_assistant(runner, model) as (assistant, name):
        query = ChatQuery(messages, params, model=name, grammar=grammar, reasoning=reasoning)
        if message is not None:
            messages.append(Message("user", message, images=images))
            _show_or_exit(runner, assistant.chat(query), sink)
            return
        for typed in _turns():
            messages.append(Message("user", typed, images=images))
            images = ()
            answer, is_whole = _show(runner, assistant.chat(query), sink)
            messages.append(Message("assistant", answer))
            if not is_whole:
                typer.echo("\n(stopped)", err=True)


def _sink(as_json: bool) -> Sink:
    return Records() if as_json else Writer()


def _turns() -> Iterator[str]:
    """Yield the typed messages until Ctrl-D; Ctrl-C at the prompt drops the line."""
    prompt = "> " if sys.stdin.isatty() else ""
    while True:
        try:
            typed = input(prompt)
        except EOFError:
            return
        except KeyboardInterrupt:
            typer.echo(err=True)
            continue
        if typed.strip():
            yield typed


def _show_or_exit(runner: asyncio.Runner, items: Items, sink: Sink) -> None:
    if not _show(runner, items, sink)[1]:
        typer.echo(err=True)
        raise typer.Exit(INTERRUPTED)


def _show(runner: asyncio.Runner, items: Items, sink: Sink) -> tuple[str, bool]:
    """Print an answer; return its text, and False after Ctrl-C."""
    text: list[str] = []
    sink.begin()

    async def show() -> None:
        async with aclosing(items):
            async for item in items:
                if isinstance(item, Finish):
                    sink.end(item)
                    if item.complete is False:
                        typer.echo(f"The answer is not complete: it ended early ({item.reason}).", err=True)
                else:
                    text.append(item.text)
                    sink.token(item)

    try:
        runner.run(show())
    except KeyboardInterrupt:
        return "".join(text), False
    return "".join(text), True
