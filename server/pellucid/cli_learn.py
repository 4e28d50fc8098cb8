"""The commands that learn and judge. Like those of cli.py they import nothing heavy until one of them runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from pellucid.errors import ConfigError, InvalidRequestError

learning = typer.Typer(rich_markup_mode=None)


@contextmanager
def needing(extra: str) -> Iterator[None]:
    """Say in one sentence which extra is to be installed where one of its libraries is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise ConfigError(f"This needs {error.name}: run pip install '.[{extra}]' in Pellucid's folder.") from error


@learning.command(epilog="Example: pellucid review leap --model smollm2-135m-instruct --model qwen2.5-coder-0.5b-instruct --prompts q.txt")
def review(
    name: Annotated[str | None, typer.Argument(help="The review; without a name all of them are listed.")] = None,
    model: Annotated[
        list[str] | None, typer.Option("--model", "-m", help="What answers: give two, or the same one twice with --temperature.")
    ] = None,
    prompts: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Makes the review: a prompt a line, or JSON lines with a prompt.")
    ] = None,
    max_tokens: Annotated[int, typer.Option(min=1, help="Most tokens of an answer.")] = 512,
    temperature: Annotated[float, typer.Option(min=0.0, help="0 takes the most probable token.")] = 0.0,
    seed: Annotated[int | None, typer.Option(min=0, help="The same seed gives the same tokens.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Compare two models' answers blind: people judge on the page, tab Review; then this tells the win rate and their agreement.

    With --prompts and two models the review is made; without, what came of it is told.
    """
    from pellucid.config import load_settings

    with needing("learn"):
        from pellucid.learn.review import command

    settings = load_settings()
    if prompts is not None:
        if name is None:
            raise InvalidRequestError("The review needs a name: pellucid review NAME --model A --model B --prompts FILE.")
        from pellucid.ask import sampling

        command.make(settings, name, model or (), prompts, sampling(max_tokens, temperature, 1.0, 0, 0.0, seed, 0))
    elif model:
        raise InvalidRequestError("Models answer prompts: give --prompts FILE as well.")
    elif name is None:
        command.list_reviews(settings)
    else:
        command.tell(settings, name, json=json)
