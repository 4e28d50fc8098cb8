"""Asking an assistant, near or far, from the terminal: complete, chat and score."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import typer

from pellucid.client.token_json import record_of
from pellucid.errors import InvalidRequestError
from pellucid.serving.open_assistant import speaker_for
from pellucid.system.terminal import Writer
from pellucid.tokens import ChatQuery, CompletionQuery, Finish, Message, SamplingParams, ScoreQuery, Token

INTERRUPTED = 130
"""The exit code of a command that Ctrl-C ended, as shells have it."""

Items = AsyncGenerator[Token | Finish]


class Sink(Protocol):
    """Where an answer goes."""

    def begin(self) -> None:
        """Get ready for an answer, whatever became of the one before it."""
        ...

    def token(self, token: Token) -> None:
        """Take one token."""
        ...

    def end(self, finish: Finish) -> None:
        """Take the end."""
        ...

    def plain(self, text: str) -> None:
        """Take text that stands before or after the tokens."""
        ...


class Records:
    """Prints one JSON record a line: each token, and last how it ended."""

    def begin(self) -> None:
        """Records stand for themselves."""

    def token(self, token: Token) -> None:
        """Print a token's record, with the API's names."""
        self._print(record_of(token))

    def end(self, finish: Finish) -> None:
        """Print how it ended."""
        self._print({"finish": asdict(finish)})

    def plain(self, text: str) -> None:
        """Context is no record."""

    def _print(self, record: dict[str, Any]) -> None:
        sys.stdout.write(json.dumps(record) + "\n")
        sys.stdout.flush()


def read_text(path: Path) -> str:
    """The file's text, line ends as they are; raises InvalidRequestError where it is not UTF-8."""
    try:
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidRequestError(f"{path} is not UTF-8 text (byte {error.start}): convert it first.") from error


def offset_of(text: str, at: str | None) -> int:
    """The index in ``text`` of ``LINE:COL``, both counted from 1 and columns in characters; None is the end.

    Raises ValueError where there is no such place.
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
    """The command line's sampling flags; raises InvalidRequestError where one is out of its range."""
    try:
        return SamplingParams(
            max_tokens=max_tokens, temperature=temperature, top_p=top_p, top_k=top_k, min_p=min_p, seed=seed, top_logprobs=top_logprobs
        )
    except ValueError as error:
        raise InvalidRequestError(str(error)) from error


def complete(prefix: str, suffix: str, params: SamplingParams, model: str | None, as_json: bool) -> None:
    """Fill the gap between two texts, and show the line that it stands in."""
    sink = _sink(as_json)
    with asyncio.Runner() as runner, speaker_for(runner, model) as (assistant, name):
        sink.plain(prefix[prefix.rfind("\n") + 1 :])
        _show_or_leave(runner, assistant.complete(CompletionQuery(prefix, suffix, params=params, model=name)), sink)


def score(text: str, top_logprobs: int, model: str | None, as_json: bool) -> None:
    """Read a text and show how probable each token was."""
    with asyncio.Runner() as runner, speaker_for(runner, model) as (assistant, name):
        _show_or_leave(runner, assistant.score(ScoreQuery(text, model=name, top_logprobs=top_logprobs)), _sink(as_json))


def chat(message: str | None, system: str | None, params: SamplingParams, model: str | None, as_json: bool) -> None:
    """Answer one message or, without one, turn by turn what is typed."""
    messages = [] if system is None else [Message("system", system)]
    sink = _sink(as_json)
    with asyncio.Runner() as runner, speaker_for(runner, model) as (assistant, name):
        if message is not None:
            messages.append(Message("user", message))
            _show_or_leave(runner, assistant.chat(ChatQuery(messages, params, model=name)), sink)
            return
        for typed in _turns():
            messages.append(Message("user", typed))
            answer, whole = _show(runner, assistant.chat(ChatQuery(messages, params, model=name)), sink)
            messages.append(Message("assistant", answer))
            if not whole:
                typer.echo("\n(stopped)", err=True)


def _sink(as_json: bool) -> Sink:
    return Records() if as_json else Writer()


def _turns() -> Iterator[str]:
    """What the user types until Ctrl-D; Ctrl-C at the prompt drops the line."""
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


def _show_or_leave(runner: asyncio.Runner, items: Items, sink: Sink) -> None:
    if not _show(runner, items, sink)[1]:
        typer.echo(err=True)
        raise typer.Exit(INTERRUPTED)


def _show(runner: asyncio.Runner, items: Items, sink: Sink) -> tuple[str, bool]:
    """Show a whole answer; its text, and False if Ctrl-C stopped it."""
    text: list[str] = []
    sink.begin()

    async def show() -> None:
        async with aclosing(items):
            async for item in items:
                if isinstance(item, Finish):
                    sink.end(item)
                else:
                    text.append(item.text)
                    sink.token(item)

    try:
        runner.run(show())
    except KeyboardInterrupt:
        return "".join(text), False
    return "".join(text), True
