"""Tabby's routes, for its editor plugins. /v1/completions calls ``suggest`` for ``segments``."""

from __future__ import annotations

import platform
import re
from functools import lru_cache

from fastapi import APIRouter, Request
from starlette.responses import Response

from pellucid.api.generation.generated_answer import collect
from pellucid.api.generation.request_fields import ignored_fields, reply_id
from pellucid.api.json_body import JsonRoute
from pellucid.api.openapi_extras import MODEL_ERRORS
from pellucid.api.schema.tabby import (
    Segments,
    TabbyChoice,
    TabbyCompletionReply,
    TabbyCompletionRequest,
    TabbyEnd,
    TabbyEventRequest,
    TabbyHealth,
    TabbySetting,
    TabbyVersion,
)
from pellucid.api.server_state import state_of
from pellucid.api.sse import attend, json_response
from pellucid.system.installed_version import installed_version
from pellucid.system.machine import machine
from pellucid.text.stopping import LeastIndent
from pellucid.vocabulary.query import CompletionQuery, Extra, SamplingParams

router = APIRouter(tags=["Tabby"], route_class=JsonRoute)

MAX_SUGGESTION_TOKENS = 64
"""Maximum tokens of a suggestion, as in Tabby's own server. Plugins cut suggestions further."""

API_LEVEL = "v0.9.0"
"""The compatible version of Tabby.

Clients do not ask older servers for the setting that forbids telemetry.
"""

_CLOSING = re.compile(r"[\s)\]}>;:,\"'`]*")
_BLANK_LINES = ("\n\n", "\n\r\n")


async def suggest(body: TabbyCompletionRequest, request: Request) -> Response:
    state = state_of(request)
    assistant, card = state.find(body.model, strict=body.strict_model)
    segments = body.segments
    query = CompletionQuery(
        segments.prefix,
        segments.suffix,
        _other_files(segments) if card.files else (),
        SamplingParams(max_tokens=MAX_SUGGESTION_TOKENS, temperature=body.temperature, seed=body.seed),
        card.name,
        _stops(segments),
        window=state.infill_window,
    )
    line = segments.prefix[segments.prefix.rfind("\n") + 1 :]
    indent = len(line) - len(line.lstrip(" \t"))
    endings = [LeastIndent(indent)] if indent else []  # The suggestion ends before a line with less indentation.
    timer = state.metrics.timer(card.name, state.clock)
    with timer:
        answer = await attend(request, state, collect(assistant.complete(query, endings=endings), timer))
    ignored = [f"segments.{name}" for name, value in segments if isinstance(value, list) and value and not card.files]
    details = TabbyEnd(model=card.name, ignored=[*ignored_fields(body, card), *ignored])
    return json_response(
        TabbyCompletionReply(id=reply_id("cmpl"), choices=[TabbyChoice(index=0, text=answer.text)], pellucid=details)
    )


@router.get("/v1/health", responses={200: {"model": TabbyHealth}, 503: MODEL_ERRORS[503]})
@router.post("/v1/health", responses={200: {"model": TabbyHealth}, 503: MODEL_ERRORS[503]})
async def health(request: Request) -> Response:
    """Return the default model and the machine.

    Does not count as use of an idle server.
    """
    assistant, card = state_of(request).find(None)
    device = assistant.models.find(None).model.facts.device
    name, processors, gpus = _machine(device)
    return json_response(
        TabbyHealth(
            model=card.name,
            chat_model=card.name if card.chat else None,
            device="cuda" if device.startswith("cuda") else "cpu",
            arch=platform.machine(),
            cpu_info=name,
            cpu_count=processors,
            cuda_devices=gpus,
            version=TabbyVersion(git_describe=f"{API_LEVEL} (pellucid {installed_version()})"),
        )
    )


@router.post("/v1/events", status_code=204, response_class=Response, responses={400: MODEL_ERRORS[400]})
async def events(body: TabbyEventRequest, request: Request, select_kind: str | None = None) -> Response:
    """Count a shown or accepted suggestion for /metrics, once each. Nothing else is kept.

    Clients name no model here or in requests for suggestions, so the default model counts.
    """
    state = state_of(request)
    model = state.metrics_label(next(iter(state.models), None))
    report = (body.type, body.completion_id, body.choice_index)
    if body.type == "view":
        state.metrics.count_suggestions(model, shown=1, report=report)
    elif body.type == "select":
        state.metrics.count_suggestions(model, accepted=1, report=report)
    return Response(status_code=204)


@router.get("/v1beta/server_setting", responses={200: {"model": TabbySetting}})
async def server_setting() -> Response:
    """Return the settings for clients: no telemetry."""
    return json_response(TabbySetting())


def _other_files(segments: Segments) -> list[Extra]:
    """Return the parts of other files, the most relevant last.

    Declarations of used names come after all snippets.
    """
    opened, changed = (
        segments.relevant_snippets_from_recently_opened_files,
        segments.relevant_snippets_from_changed_files,
    )
    pieces = [*segments.declarations, *changed, *opened]
    return [Extra(piece.filepath, piece.body) for piece in reversed(pieces)]


def _stops(segments: Segments) -> tuple[str, ...]:
    """Return the texts that end a suggestion.

    A blank line or, if the text right of the cursor is more than closing punctuation, a line end.
    """
    right = segments.suffix.partition("\n")[0]
    return _BLANK_LINES if _CLOSING.fullmatch(right) else ("\n",)


@lru_cache(maxsize=1)
def _machine(device: str) -> tuple[str, int, list[str]]:
    facts = machine(device)
    return (
        str(facts["processor"]),
        int(facts["processors"]),
        [str(facts["device"])] if device.startswith("cuda") else [],
    )
