"""Infill: what an editor would be given at a cursor, its prompt, its tokens and the gate's decision."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from html import escape
from itertools import count
from typing import Any

import gradio as gr

from pellucid.client.protocol import Assistant
from pellucid.completion.completer import Completer
from pellucid.completion.context.chunk_ring import ChunkRing
from pellucid.completion.context.prompt_context import PromptContext
from pellucid.completion.explanation import Explanation
from pellucid.completion.model_provider import FixedProvider
from pellucid.completion.recent_answers import RecentAnswers
from pellucid.completion.settings import CompletionSettings, ContextSettings, GateLevel
from pellucid.completion.shaping.ending import Ending
from pellucid.completion.suggestion import Place
from pellucid.completion.trust.calibrated_gate import Candidate, decide
from pellucid.completion.trust.threshold_gate import GateVerdict
from pellucid.errors import PellucidError
from pellucid.tokens import Token
from pellucid_webui.conversations.compact_tokens import pack
from pellucid_webui.views.controls import model_choices
from pellucid_webui.views.reliability_view import trust

SCRIPT = """
Pellucid.mountInfill({ element, props, watch, act: (data) => trigger('act', data) });
"""

MIN_STAGE_MS = 0.5
"""Stages that took less than this are not told; all of them together always are."""

NO_INFILL = "was not trained to fill in: it only continues the text before the cursor, and does not see what stands behind it."
"""Said of a model, behind its name."""

WHY = {
    Ending.LINE: "It ends with the line: the place asks for no more.",
    Ending.SCOPE: "It ends where its block does.",
    Ending.SUFFIX: "It ends before what stands behind the cursor already.",
    Ending.ABOVE: "It would have said the line above once more.",
    Ending.REPETITION: "It ends where the model began to repeat itself.",
    Ending.BLANK: "There was nothing but white space.",
    Ending.LIMIT: "It has as many lines as a suggestion may have.",
    Ending.TIME: "Time was up, as it is in an editor: these are the lines that were whole.",
    Ending.STOP: "The model had no more to say.",
}
"""Why a suggestion ends where it does, in a sentence."""

_NUMBERS = count(1)

LANGUAGES = ("python", "javascript", "typescript", "go", "rust", "c", "java", "html", "markdown", "plaintext")

BEFORE = "def median(values):\n    ordered = sorted(values)\n    middle = len(ordered) // 2\n    "
AFTER = "\n\n\nprint(median([3, 1, 2]))\n"


async def complete(assistant: Assistant, before: str, after: str, language: str, level: GateLevel, model: str) -> dict[str, Any]:
    """What the language server suggests at a place, and why."""
    answered: list[Token] = []

    def note(candidate: Candidate, level: GateLevel) -> GateVerdict:
        answered.extend(candidate.tokens)
        return decide(candidate, level)

    settings, context = replace(CompletionSettings(), level=level, ahead=False), ContextSettings()
    road = FixedProvider(assistant)
    completer = Completer(settings, lambda: road, PromptContext(context, ChunkRing(context)), RecentAnswers(), model=model, gate=note)
    # A newer request for a document supersedes the older one: each has its own, since other people have this page open as well.
    place = Place(f"untitled:page-{next(_NUMBERS)}", before, after, language)
    try:
        found = await completer.suggest(place)
        explanation = completer.journal.explanations.find()
        assert explanation is not None, "of the suggestion"
        said = completer.recent.find(place)
        tokens = answered or ([] if said is None else list(said.tokens))
        return await _payload(assistant, place, found[0].text if found else "", tokens, explanation)
    except PellucidError as error:
        return empty(before, after) | {"status": str(error), "wrong": True}
    finally:
        await completer.aclose()


def empty(before: str, after: str) -> dict[str, Any]:
    """The field before anything was asked."""
    return {
        "before": before,
        "after": after,
        "shown": "",
        "cut": "",
        "status": "Put the cursor somewhere and complete: Ctrl+Enter.",
        "caveat": "",
        "cost": "",
        "wrong": False,
        "batches": [],
        "gate": [],
        "prompt": "",
    }


async def _payload(assistant: Assistant, place: Place, shown: str, tokens: Sequence[Token], explanation: Explanation) -> dict[str, Any]:
    whole = "".join(token.text for token in tokens)
    verdict = explanation.verdict
    rows = [] if verdict is None else [[name, f"{value:.3f}", _threshold(verdict, name)] for name, value in verdict.values.items()]
    prompt = explanation.prompt
    text = "" if prompt is None else await assistant.infill_prompt(prompt.prefix, prompt.suffix, prompt.extra, model=explanation.model)
    return empty(place.before, place.after) | {
        "shown": shown,
        "cut": whole[len(shown) :],
        "status": f"{str(explanation.outcome).capitalize()}: {explanation.reason}",
        "caveat": "" if await _fills_in(assistant, explanation.model) else f"{explanation.model} {NO_INFILL}",
        "cost": _cost(explanation),
        "batches": [pack(tokens)] if tokens else [],
        "gate": rows,
        "prompt": text,
    }


async def _fills_in(assistant: Assistant, model: str | None) -> bool:
    return all(card.infill for card in await assistant.cards() if card.name == model)


async def _trusted(assistant: Assistant, model: str) -> str:
    """How far the suggestions of a model can be trusted; of the first one, where none is chosen."""
    try:
        cards = await assistant.cards()
    except PellucidError as error:
        return f"<p>{escape(str(error))}</p>"
    return "".join([trust(card) for card in cards if card.name == model] or [trust(card) for card in cards[:1]])


def _cost(explanation: Explanation) -> str:
    """Why an answer ended, and what it has cost, in sentences."""
    stages = explanation.milliseconds
    spent = ", ".join(f"{name} {value:.0f} ms" for name, value in stages.items() if value >= MIN_STAGE_MS or name == "total")
    usage = explanation.usage
    read = "" if usage is None else f"{usage.cached} tokens of the prompt came from the cache, {usage.computed} had to be computed. "
    why = "" if explanation.ending is None else f"{WHY[Ending(explanation.ending)]} "
    return f"{why}{read}Time: {spent}."


def _threshold(verdict: GateVerdict, name: str) -> str:
    return f"{verdict.thresholds[name]:.3f}" if name in verdict.thresholds else "–"


def infill_tab(page: gr.Blocks, assistant: Assistant) -> None:
    """The tab."""
    with gr.Tab("Infill", id="infill"):
        with gr.Row():
            model = gr.Dropdown([], label="Model", info="which fills in", min_width=280)
            language = gr.Dropdown(list(LANGUAGES), value="python", label="Language", info="decides where a block ends")
            level = gr.Dropdown(
                [str(one) for one in GateLevel], value=str(GateLevel.NORMAL), label="Level", info="how sure it has to be to be shown"
            )
        view = gr.HTML(value=empty(BEFORE, AFTER), html_template="", js_on_load=SCRIPT, elem_id="pl-infill", apply_default_css=False)
        with gr.Accordion("How far its suggestions can be trusted", open=False):
            known = gr.HTML(elem_id="pl-trust")

    async def on_act(event: gr.EventData, chosen: str, name: str, sure: str) -> AsyncIterator[dict[str, Any]]:
        asked: Mapping[str, Any] = event._data or {}
        before, after = str(asked.get("before", "")), str(asked.get("after", ""))
        yield empty(before, after) | {"status": "Asking the model."}
        yield await complete(assistant, before, after, name, GateLevel(sure), chosen or "")

    async def on_load() -> Any:
        return await model_choices(assistant, "which fills in")

    async def on_choice(chosen: str) -> str:
        return await _trusted(assistant, chosen)

    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "concurrency_limit": None}
    page.load(on_load, None, [model], **quiet)
    model.change(on_choice, [model], [known], **quiet)
    view.act(on_act, [model, language, level], [view], **quiet)
