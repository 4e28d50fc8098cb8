"""The Infill tab: an editor's suggestion with prompt, tokens and gate decision."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from itertools import count
from typing import Any

from pellucid.client.assistant_protocol import Assistant, AssistantFor
from pellucid.completion.completer import Completer
from pellucid.completion.context.chunk_ring import ChunkRing
from pellucid.completion.context.prompt_context import PromptContext
from pellucid.completion.document_cursor import DocumentCursor
from pellucid.completion.explanation import Decision, Explanation
from pellucid.completion.model_choice import ModelChoice
from pellucid.completion.model_provider_protocol import FixedProvider
from pellucid.completion.settings import CompletionSettings, ContextSettings, GateLevel
from pellucid.completion.shaping.ending_reasons import Ending
from pellucid.completion.trust.calibrated_gate import Candidate, decide
from pellucid.completion.trust.threshold_gate import MEASURES, GateVerdict
from pellucid.errors import InvalidRequestError, PellucidError
from pellucid.vocabulary.query import CompletionQuery
from pellucid.vocabulary.token import Token
from pellucid_webui.conversations.compact_tokens import pack
from pellucid_webui.conversations.served_models import ServedModels
from pellucid_webui.routes.reliability_view import reliability_html

MIN_STAGE_MS = 0.5
"""Faster stages are not listed."""

NO_INFILL = (
    "was not trained for infill: it only continues the text before the cursor and does not see the text after it."
)
"""Follows the name of a model."""

ENDING_REASONS = {
    Ending.LINE: "The suggestion ends with its line, since only one line is needed here.",
    Ending.SCOPE: "The suggestion ends with its code block.",
    Ending.SUFFIX: "The suggestion ends before text that already follows the cursor.",
    Ending.BRACKET: "The suggestion ends before a bracket that closes nothing at the cursor.",
    Ending.REWRITE: "The answer would have written the rest of the line in other words.",
    Ending.ABOVE: "The suggestion would have repeated the line above.",
    Ending.REPETITION: "The suggestion ends where the model began to repeat itself.",
    Ending.BLANK: "The model generated only white space.",
    Ending.LIMIT: "The suggestion has the maximum number of lines.",
    Ending.TIME: "The time limit of an editor was reached: these are the complete lines.",
    Ending.STOP: "The model ended the suggestion.",
    Ending.PART: "The model had not finished: this is the beginning that was sure already.",
}

_NUMBERS = count(1)

MODEL_HINT = "generates the suggestion"


async def complete(
    assistant: Assistant, before: str, after: str, language: str, level: GateLevel, model: str
) -> dict[str, Any]:
    judged: list[Token] = []

    def note(candidate: Candidate, level: GateLevel) -> GateVerdict:
        judged.extend(candidate.tokens)
        return decide(candidate, level)

    settings, context = replace(CompletionSettings(), level=level, ahead=False), ContextSettings()
    models = ModelChoice(FixedProvider(assistant), model)
    completer = Completer(settings, models, PromptContext(context, ChunkRing(context)), gate=note)
    # Use a document per request: a newer request, perhaps of another user, supersedes older
    # requests for the same document.
    place = DocumentCursor(f"untitled:page-{next(_NUMBERS)}", before, after, language)
    try:
        found = await completer.suggest(place)
        explanation = completer.journal.explanations.find()
        assert explanation is not None, "suggest() explains every suggestion"
        answer = completer.answers.at(place)
        tokens = judged or ([] if answer is None else list(answer.tokens))
        return await _payload(assistant, place, found[0].text if found else "", tokens, explanation)
    except PellucidError as error:
        return empty(before, after) | {"status": str(error), "wrong": True}
    finally:
        await completer.aclose()


def empty(before: str, after: str) -> dict[str, Any]:
    return {
        "before": before,
        "after": after,
        "shown": "",
        "cut": "",
        "status": "",
        "caveat": "",
        "cost": "",
        "wrong": False,
        "batches": [],
        "gate": [],
        "prompt": "",
    }


async def _payload(
    assistant: Assistant, place: DocumentCursor, shown: str, tokens: Sequence[Token], explanation: Explanation
) -> dict[str, Any]:
    whole = "".join(token.text for token in tokens)
    verdict = explanation.verdict
    rows = (
        []
        if verdict is None
        else [[MEASURES[name], f"{value:.3f}", _required(verdict, name)] for name, value in verdict.values.items()]
    )
    prompt = explanation.prompt
    query = (
        None if prompt is None else CompletionQuery(prompt.prefix, prompt.suffix, prompt.extra, model=explanation.model)
    )
    text = "" if query is None else await assistant.infill_prompt(query)
    has_infill = all(card.infill for card in await assistant.cards() if card.name == explanation.model)
    return empty(place.before, place.after) | {
        "shown": shown,
        "cut": whole[len(shown) :],
        "status": f"{str(explanation.outcome).capitalize()}: {explanation.reason}{_how_to_show(explanation)}",
        "caveat": "" if has_infill else f"{explanation.model} {NO_INFILL}",
        "cost": _cost(explanation),
        "batches": [pack(tokens)] if tokens else [],
        "gate": rows,
        "prompt": text,
    }


async def _reliability(assistant: Assistant, model: str) -> str:
    try:
        cards = await assistant.cards()
    except PellucidError as error:
        return f"<p>{escape(str(error))}</p>"
    return "".join(
        [reliability_html(card) for card in cards if card.name == model]
        or [reliability_html(card) for card in cards[:1]]
    )


def _how_to_show(explanation: Explanation) -> str:
    if explanation.outcome is not Decision.HIDDEN:
        return ""
    more = "" if explanation.level is GateLevel.EAGER else " The confidence threshold eager shows more."
    return f" It is struck through below.{more}"


def _cost(explanation: Explanation) -> str:
    stages = explanation.milliseconds
    times = ", ".join(
        f"{name} {value:.0f} ms" for name, value in stages.items() if value >= MIN_STAGE_MS or name == "total"
    )
    usage = explanation.usage
    prompt = "" if usage is None else f"Prompt: {usage.cached} tokens from the cache, {usage.computed} computed. "
    why = "" if explanation.ending is None else f"{ENDING_REASONS[Ending(explanation.ending)]} "
    return f"{why}{prompt}Time: {times}."


def _required(verdict: GateVerdict, name: str) -> str:
    return f"at least {verdict.thresholds[name]:.3f}" if name in verdict.thresholds else "not compared"


@dataclass(frozen=True, slots=True)
class InfillRoute:
    assistant_for: AssistantFor

    async def act(self, owner: str, asked: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any]]:
        """Yield the models' menu, a model's reliability, or a suggestion."""
        assistant, model = self.assistant_for(owner), str(asked.get("model") or "")
        match asked.get("verb"):
            case "open":
                menu = (await ServedModels.ask(assistant)).menu(MODEL_HINT)
                yield {"menu": menu}
            case "reliability":
                yield {"html": await _reliability(assistant, model)}
            case _:
                before, after = str(asked.get("before", "")), str(asked.get("after", ""))
                language, level = str(asked.get("language", "")), _level(asked.get("level"))
                yield empty(before, after) | {"status": "Waiting for the model…"}
                yield await complete(assistant, before, after, language, level, model)


def _level(name: object) -> GateLevel:
    if name not in [str(one) for one in GateLevel]:
        raise InvalidRequestError(f"There is no confidence threshold {name!r}: use {', '.join(map(str, GateLevel))}.")
    return GateLevel(str(name))
