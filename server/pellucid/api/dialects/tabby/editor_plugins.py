"""Routes of Tabby's editor plugins. /v1/completions calls ``suggest`` for ``segments``."""

from __future__ import annotations

import platform
import re
from functools import lru_cache
from typing import Annotated, Literal

from fastapi import APIRouter, Request
from pydantic import ConfigDict, Field
from starlette.responses import Response

from pellucid.api.generation.generated_answer import collect
from pellucid.api.generation.request_fields import ignored_fields, reply_id
from pellucid.api.openapi_extras import MODEL_ERRORS
from pellucid.api.schema.common import Body, ModelQuery, OnlyFalse, Reply, Unused
from pellucid.api.schema.sampling import Temperature
from pellucid.api.server_state import state_of
from pellucid.door.event_stream import attend, json_response
from pellucid.door.json_body import JsonRoute
from pellucid.system.installed_version import installed_version
from pellucid.system.machine import machine
from pellucid.text.stopping import LeastIndent
from pellucid.vocabulary.query import CompletionQuery, Extra, SamplingParams

IGNORED = "ignored"


class Declaration(Body):
    """The declaration of a name in the prefix."""

    filepath: str
    body: str


class Snippet(Declaration):
    """A part of a different file."""

    score: float = Field(description="the relevance of the snippet; the client has sorted the snippets by relevance")


class Segments(Body):
    """The text around the cursor, and further context."""

    prefix: str
    suffix: str = ""
    filepath: Annotated[str | None, Unused()] = Field(None, description=IGNORED)
    git_url: Annotated[str | None, Unused()] = Field(None, description=IGNORED)
    declarations: Annotated[list[Declaration], Field(fail_fast=True)] = Field(
        [], description="read as texts of other files, if the model has a token for files; otherwise " + IGNORED
    )
    relevant_snippets_from_changed_files: Annotated[list[Snippet], Field(fail_fast=True)] = Field(
        [], description="the most relevant first; read as declarations are"
    )
    relevant_snippets_from_recently_opened_files: Annotated[list[Snippet], Field(fail_fast=True)] = Field(
        [], description="the most relevant first; read as declarations are"
    )
    clipboard: Annotated[str | None, Unused()] = Field(
        None, description=IGNORED + ", as the clipboard may hold a secret"
    )


class DebugOptions(Body):
    """Options for tests of a server."""

    raw_prompt: None = Field(None, description="not supported: use prompt instead of segments")
    return_snippets: OnlyFalse = Field(False, description="always false")
    return_prompt: OnlyFalse = Field(False, description="always false")
    disable_retrieval_augmented_code_completion: Annotated[bool, Unused()] = Field(
        False, description=IGNORED + ": this server never searches repositories"
    )


class TabbyCompletionRequest(ModelQuery):
    """A cursor in a file, from Tabby's editor plugins. ``model`` is an extension."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"language": "python", "segments": {"prefix": "def add(a, b):\n    return ", "suffix": "\n"}}]
        }
    )

    segments: Segments
    language: Annotated[str | None, Unused()] = Field(None, description=IGNORED)
    user: Annotated[str | None, Unused()] = Field(None, description=IGNORED)
    temperature: Temperature = Field(0.0, description="0, the default, always picks the most probable token")
    seed: int | None = Field(None, ge=0, lt=2**63, description="the same seed gives the same answer")
    mode: Literal["standard"] = Field(
        "standard", description="always standard: next edits are a matter of the language server"
    )
    debug_options: DebugOptions = Field(default_factory=lambda: DebugOptions.model_validate({}))


class TabbyChoice(Reply):
    """A suggestion."""

    index: int
    text: str


class TabbyEnd(Reply):
    """Pellucid's own details of a suggestion."""

    model: str
    ignored: list[str] = Field(description="fields of the request without an effect")


class TabbyCompletionReply(Reply):
    """A suggestion in Tabby's shape."""

    id: str
    choices: list[TabbyChoice]
    pellucid: TabbyEnd


class TabbyVersion(Reply):
    """The compatible version of Tabby, and Pellucid's version.

    The remaining fields are empty, as there is no build of Tabby.
    """

    build_date: str = ""
    build_timestamp: str = ""
    git_sha: str = ""
    git_describe: str


class TabbyHealth(Reply):
    """The default model, and the machine."""

    model: str
    chat_model: str | None = None
    device: Literal["cpu", "cuda"]
    arch: str
    cpu_info: str
    cpu_count: int
    cuda_devices: list[str]
    version: TabbyVersion


class TabbyEventRequest(Body):
    """The user's reaction to a suggestion."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"type": "view", "completion_id": "cmpl-1", "choice_index": 0}]}
    )

    type: Literal["view", "select", "dismiss"]
    completion_id: str
    choice_index: int = Field(ge=0)
    view_id: str | None = Field(None, description="the id of the showing of the suggestion")
    elapsed: int | None = Field(None, ge=0, description="milliseconds since the suggestion was shown")
    select_kind: Literal["line"] | None = Field(None, description="line if only a line of the suggestion was accepted")
    user: str | None = None


class TabbySetting(Reply):
    """Settings of the server that clients follow."""

    disable_client_side_telemetry: Literal[True] = True


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
    assistant, card = await state.find(body.model, strict=body.strict_model)
    segments = body.segments
    right = segments.suffix.partition("\n")[0]
    query = CompletionQuery(
        segments.prefix,
        segments.suffix,
        _other_files(segments) if card.files else (),
        SamplingParams(max_tokens=MAX_SUGGESTION_TOKENS, temperature=body.temperature, seed=body.seed),
        card.name,
        # With more than closing punctuation right of the cursor, the suggestion is at most a line.
        _BLANK_LINES if _CLOSING.fullmatch(right) else ("\n",),
        window=state.infill_window,
    )
    line = segments.prefix[segments.prefix.rfind("\n") + 1 :]
    indent = len(line) - len(line.lstrip(" \t"))
    endings = [LeastIndent(indent)] if indent else []  # The suggestion ends before a line with less indentation.
    timer = state.metrics.timer(card.name, state.clock)
    with timer:
        answer = await attend(request, state.closing, collect(assistant.complete(query, endings=endings), timer))
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
    state = state_of(request)
    models, card = state.require_ready().models, state.cards()[0]
    device = next((served.model.facts.device for served in models.all()), "cpu")
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


@lru_cache(maxsize=1)
def _machine(device: str) -> tuple[str, int, list[str]]:
    facts = machine(device)
    return (
        str(facts["processor"]),
        int(facts["processors"]),
        [str(facts["device"])] if device.startswith("cuda") else [],
    )
