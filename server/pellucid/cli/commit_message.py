"""The ``commit`` command."""

from __future__ import annotations

import asyncio
import subprocess
from contextlib import aclosing
from pathlib import Path

import typer

from pellucid.cli.complete_chat_score import INTERRUPTED, Records
from pellucid.completion.commit_message.commit_messages import CommitMessage, commit_messages
from pellucid.completion.commit_message.commit_prompt import CommitPrompt
from pellucid.completion.commit_message.staged_changes import staged_changes
from pellucid.serving.running_or_local_assistant import open_assistant
from pellucid.terminal.coloured_tokens import Writer


def write_messages(count: int, model: str | None, *, edit: bool, as_json: bool) -> None:
    """Print messages for the staged changes, or begin a commit with the first message."""
    with asyncio.Runner() as runner:
        changes = runner.run(staged_changes(Path.cwd()))
        prompt = CommitPrompt(changes)
        for note in prompt.notes:
            typer.echo(note, err=True)
        with open_assistant(runner, model) as (assistant, name):

            async def write() -> CommitMessage:
                sink = Records() if as_json else Writer()
                async with aclosing(commit_messages(assistant, prompt, count, model=name)) as messages:
                    async for message in messages:
                        if edit:
                            return message
                        sink.begin()
                        if count > 1:
                            sink.plain(f"{message.probability:.1%}  ")
                        for token in message.tokens:
                            sink.token(token)
                        sink.end(message.finish)
                return message

            try:
                message = runner.run(write())
            except KeyboardInterrupt:
                raise typer.Exit(INTERRUPTED) from None
    if edit:
        command = ["git", "commit", "--edit", "--message", message.text]
        raise typer.Exit(subprocess.run(command).returncode)  # noqa: S603 - the user's own git, without a shell
