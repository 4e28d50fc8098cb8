"""The command ``pellucid review``."""

from __future__ import annotations

import asyncio
import json as jsons
import sys
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from pellucid.client.assistant_protocol import Assistant
from pellucid.config import Settings
from pellucid.errors import InvalidRequestError, PellucidError
from pellucid.learn.review.review_results import ReviewResults, results
from pellucid.serving.running_or_local_assistant import open_assistant
from pellucid.system.regular_files import read_text
from pellucid.terminal.progress_bars import Steps
from pellucid.vocabulary.finish import Finish, FinishReason
from pellucid.vocabulary.message import Message
from pellucid.vocabulary.query import BACKGROUND, ChatQuery, SamplingParams
from pellucid_webui.conversations.storage.blind_reviews import REVIEWS, AnswerPair, Review, Reviews, Verdict


def list_reviews(settings: Settings) -> None:
    reviews = Reviews(settings.data / REVIEWS)
    table = Table("review", "a", "b", "pairs", "judged", box=None, pad_edge=False)
    for name in reviews.names():
        review = reviews.find(name)
        table.add_row(name, review.a, review.b, str(len(review.pairs)), str(results(reviews.judgements(name)).judged))
    Console(highlight=False, markup=False, emoji=False).print(
        table
        if table.rows
        else "There is no review yet: create one with pellucid review NAME --model A --model B --prompts FILE."
    )


def make(settings: Settings, name: str, models: Sequence[str], prompts: Path, params: SamplingParams) -> None:
    """Generate answers of two models (or of one model twice) for a review."""
    if len(models) != 2:
        raise InvalidRequestError("A review compares two models: give --model twice.")
    if models[0] == models[1] and not params.temperature:
        raise InvalidRequestError(
            "Without sampling, one model gives the same answers twice: name two models, or give --temperature."
        )
    reviews = Reviews(settings.data / REVIEWS)
    reviews.check_free(name)
    asked = read_prompts(prompts)
    with Steps() as steps:
        answers = [_answers(model, asked, params, steps) for model in models]
    pairs = tuple(AnswerPair(prompt, a, b) for prompt, a, b in zip(asked, *answers, strict=True))
    a, b = (f"{model}, {_settings(params)}" for model in models)
    reviews.create(Review(name, a, b, pairs))
    sys.stderr.write(
        f"{len(pairs)} pairs are ready to be judged: open the page (pellucid serve, {settings.url}/) at the "
        f"Review tab; pellucid review {name} then shows the results.\n"
    )


def show_review(settings: Settings, name: str, *, json: bool) -> None:
    reviews = Reviews(settings.data / REVIEWS)
    review = reviews.find(name)
    found = results(reviews.judgements(name))
    if json:
        sys.stdout.write(
            jsons.dumps({"review": name, "a": review.a, "b": review.b, "pairs": len(review.pairs)} | asdict(found))
            + "\n"
        )
    else:
        _print_results(review, found)


def read_prompts(path: Path) -> list[str]:
    """Read JSON lines with a ``prompt`` each, or a prompt per line."""
    try:
        lines = [line for line in read_text(path).split("\n") if line.strip()]
    except FileNotFoundError:
        raise InvalidRequestError(f"There is no file {path}: name a file of prompts.") from None
    if not lines:
        raise InvalidRequestError(f"{path} contains no prompt: write one per line, or JSON lines with one prompt each.")
    if not lines[0].lstrip().startswith("{"):
        return lines
    return [_prompt(path, number, line) for number, line in enumerate(lines, 1)]


def _prompt(path: Path, number: int, line: str) -> str:
    try:
        prompt = jsons.loads(line)["prompt"]
    except (ValueError, KeyError, TypeError):
        prompt = None
    if not isinstance(prompt, str) or not prompt.strip():
        raise InvalidRequestError(
            f'Line {number} of {path} has no prompt: each line must be an object like {{"prompt": "..."}}.'
        )
    return prompt


def _answers(model: str, prompts: Sequence[str], params: SamplingParams, steps: Steps) -> list[str]:
    with asyncio.Runner() as runner, open_assistant(runner, model) as (assistant, name):
        steps.start(f"{model} answers", len(prompts))
        found = []
        for prompt in prompts:
            found.append(runner.run(_answer(assistant, name, prompt, params)))
            steps.advance(1)
        return found


async def _answer(assistant: Assistant, model: str | None, prompt: str, params: SamplingParams) -> str:
    text = []
    async with aclosing(
        assistant.chat(ChatQuery([Message("user", prompt)], params, model=model, terms=BACKGROUND))
    ) as items:
        async for item in items:
            if not isinstance(item, Finish):
                text.append(item.text)
            elif item.reason not in (FinishReason.STOP, FinishReason.LENGTH):
                raise PellucidError(
                    item.error or f"An answer was not finished ({item.reason}): create the review again."
                )
    return "".join(text)


def _settings(params: SamplingParams) -> str:
    if not params.temperature:
        return "greedy"
    return f"temperature {params.temperature:g}" + ("" if params.seed is None else f", seed {params.seed}")


def _print_results(review: Review, found: ReviewResults) -> None:
    console = Console(highlight=False, markup=False, emoji=False)
    console.print(f"A: {review.a}\nB: {review.b}\n{found.judged} of {len(review.pairs)} pairs have been judged.")
    if found.win_rate is None:
        console.print("No pair has been judged yet: open the page's Review tab.")
        return
    rate = found.win_rate
    console.print(
        f"A wins {rate.value:.1%} (95 % interval {rate.low:.1%} to {rate.high:.1%}); a tie counts as half a win."
    )
    better = found.better
    console.print(
        "The interval includes 50 %: neither model is shown to be better."
        if better is None
        else f"{better.upper()} is better."
    )
    table = Table("verdict", "times", "reasons", box=None, pad_edge=False)
    names = {
        Verdict.A: "A is better",
        Verdict.B: "B is better",
        Verdict.BOTH: "both are good",
        Verdict.NEITHER: "neither is",
    }
    for verdict, times in found.verdicts.items():
        reasons = ", ".join(f"{reason} ({count})" for reason, count in found.reasons.get(verdict, {}).items())
        table.add_row(names[verdict], str(times), reasons)
    console.print(table)
    for agreement in found.agreements:
        first, second = agreement.raters
        kappa = "" if agreement.kappa is None else f"; Cohen's kappa {agreement.kappa}"
        console.print(
            f"{first} and {second} judged {agreement.pairs} common pairs, {agreement.same:.0%} of them "
            f"identically{kappa}."
        )
