"""The command ``pellucid review``."""

from __future__ import annotations

import asyncio
import json as jsons
import sys
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import asdict
from pathlib import Path

from pellucid.client.assistant_protocol import Assistant
from pellucid.config import Settings
from pellucid.errors import InvalidRequestError, PellucidError
from pellucid.learn.review.rater_agreement import agreements
from pellucid.serving.running_or_local_assistant import open_assistant
from pellucid.system.regular_files import read_text
from pellucid.terminal.plain_tables import plain_console, plain_table
from pellucid.terminal.progress_bars import Steps
from pellucid.vocabulary.finish import Finish, FinishReason
from pellucid.vocabulary.message import Message
from pellucid.vocabulary.query import BACKGROUND, ChatQuery, SamplingParams
from pellucid_webui.conversations.storage.blind_reviews import REVIEWS, AnswerPair, Judgement, Review, Reviews, side
from pellucid_webui.inspection.blind_review_results import results, sentences, table


def list_reviews(settings: Settings) -> None:
    reviews = Reviews(settings.data / REVIEWS)
    shown = plain_table(("review", "a", "b", "pairs", "judged"))
    for name in reviews.names():
        review, judged = reviews.find(name), {one.pair for one in reviews.judgements(name)}
        shown.add_row(name, review.a, review.b, str(len(review.pairs)), str(len(judged)))
    plain_console().print(
        shown
        if shown.rows
        else "There is no review yet: create one on the page, or with pellucid review NAME -m A -m B --prompts FILE."
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
    a, b = (side(model, params) for model in models)
    reviews.create(Review(name, a, b, pairs))
    sys.stderr.write(
        f"{len(pairs)} pairs are ready to be judged: open the page (pellucid serve, {settings.url}/) at the "
        f"Review tab; pellucid review {name} then shows the results.\n"
    )


def show_review(settings: Settings, name: str, *, json: bool) -> None:
    reviews = Reviews(settings.data / REVIEWS)
    review = reviews.find(name)
    judgements = reviews.judgements(name)
    if json:
        head = {"review": name, "a": review.a, "b": review.b, "pairs": len(review.pairs)}
        agreed = {"agreements": [asdict(one) for one in agreements(judgements)]}
        sys.stdout.write(jsons.dumps(head | asdict(results(review, judgements)) | agreed) + "\n")
    else:
        _print_results(review, judgements)


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


def _print_results(review: Review, judgements: Sequence[Judgement]) -> None:
    console, found = plain_console(), results(review, judgements)
    console.print("\n".join(sentences(review, found)))
    if not judgements:
        console.print("Open the page's Review tab to judge.")
        return
    head, *rows = table(found)
    shown = plain_table(head)
    for row in rows:
        shown.add_row(*row)
    console.print(shown)
    for agreement in agreements(judgements):
        first, second = agreement.raters
        kappa = "" if agreement.kappa is None else f"; Cohen's kappa {agreement.kappa}"
        console.print(
            f"{first} and {second} judged {agreement.pairs} common pairs, {agreement.same:.0%} of them "
            f"identically{kappa}."
        )
