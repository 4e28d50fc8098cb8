"""What the server is and does at the moment: /, /health, /metrics, /v1/models, and /props and /slots as llama.cpp has them."""

from __future__ import annotations

from html import escape
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from pellucid.api.errors import error_body
from pellucid.api.json_body import JsonRoute
from pellucid.api.openapi_extras import MODEL_ERRORS, NOT_READY, installed_version
from pellucid.api.plain_page import PageNotice, plain_page
from pellucid.api.routes.infill import COMPLETION_TEMPERATURE
from pellucid.api.schema.common import Unready
from pellucid.api.schema.llama import DefaultSettings, Generation, Health, Modalities, Props, SlotReply
from pellucid.api.schema.openai import ModelList, ModelObject
from pellucid.api.state import ServerState, state_of
from pellucid.errors import NotFoundError, UnavailableError

router = APIRouter(tags=["Server"], route_class=JsonRoute)

_DEFAULTS = ("top_k", "top_p", "min_p", "repeat_penalty", "presence_penalty", "frequency_penalty", "n_predict", "seed")


@router.get("/health", responses={200: {"model": Health}, **NOT_READY})
async def health(request: Request) -> Response:
    """Whether the server is ready and, while it loads, how far it is. Needs no key, and does not keep the server from leaving when idle."""
    state = state_of(request)
    try:
        state.require_ready()
    except UnavailableError as error:
        return JSONResponse(_unready(state, error), error.status)
    return JSONResponse(Health().model_dump())


@router.get("/metrics", responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}, response_class=Response)
async def metrics(request: Request) -> Response:
    """Counters and times, for Prometheus."""
    return state_of(request).metrics.response()


@router.get("/v1/models", tags=["OpenAI"], responses={200: {"model": ModelList}})
async def models(request: Request) -> Response:
    """The models that are served, the default one first."""
    return JSONResponse(ModelList(data=_models(state_of(request))).model_dump())


@router.get("/v1/models/{model:path}", tags=["OpenAI"], responses={200: {"model": ModelObject}, 404: MODEL_ERRORS[404]})
async def model(model: str, request: Request) -> Response:
    """One of them."""
    state = state_of(request)
    found = next((one for one in _models(state) if one.id == model), None)
    if found is None:
        raise NotFoundError(f"There is no model {model!r} here; there is {', '.join(state.models)}.")
    return JSONResponse(found.model_dump())


@router.get("/props", tags=["llama.cpp"], responses={200: {"model": Props}, **MODEL_ERRORS})
async def props(request: Request, model: str | None = None, autoload: bool = False) -> Response:
    """What a model's generations start from. All models are loaded, so that ``autoload`` has nothing to do."""
    state = state_of(request)
    _, card = state.find(model)
    reply = Props(
        default_generation_settings=DefaultSettings(
            n_ctx=card.context,
            params={"temperature": COMPLETION_TEMPERATURE} | {name: Generation.model_fields[name].default for name in _DEFAULTS},
        ),
        total_slots=len(state.statuses()[card.name].slots),
        chat_template=card.chat_template or "",
        model_alias=card.name,
        modalities=Modalities(),
        build_info=f"pellucid {installed_version()}",
    )
    return JSONResponse(reply.model_dump())


@router.get("/slots", tags=["llama.cpp"], responses={200: {"model": list[SlotReply]}, **MODEL_ERRORS})
async def slots(request: Request, model: str | None = None, fail_on_no_slot: bool = False) -> Response:
    """The places for running sequences, of all models or of one; with ``fail_on_no_slot=1`` 503 where all are taken."""
    state = state_of(request)
    state.require_ready()
    cards = state.cards() if model is None else (state.find(model)[1],)
    statuses = state.statuses()
    replies = [
        SlotReply(
            id=slot.id,
            model=card.name,
            n_ctx=card.context,
            n_tokens=slot.tokens,
            is_processing=slot.busy,
            n_decoded=slot.generated,
        )
        for card in cards
        for slot in statuses[card.name].slots
    ]
    if fail_on_no_slot and all(reply.is_processing for reply in replies):
        raise UnavailableError("No slot is free.")
    return JSONResponse([reply.model_dump() for reply in replies])


@router.get("/", include_in_schema=False)
async def index(request: Request) -> Response:
    """What this is, where the page is switched off."""
    state = state_of(request)
    return plain_page(PageNotice("There is no page here: this server was started without one (--no-page).", lasting=True), about(state))


def about(state: ServerState) -> str:
    """What a server is and has, as HTML."""
    models = "".join(f"<li><code>{escape(one.id)}</code> ({one.meta['state']})</li>" for one in _models(state))
    return _ABOUT.format(version=escape(installed_version()), models=models)


def news_of(state: ServerState) -> PageNotice | None:
    """Why a server has no page to show yet; None once it is ready."""
    try:
        state.require_ready()
    except UnavailableError as error:
        work = state.progress.now
        if state.standing != "loading":
            return PageNotice(str(error), lasting=state.standing == "failed")
        if work is None:
            return PageNotice("The models are being loaded.")
        return PageNotice(f"The models are being loaded: {work.label.rstrip('.')}.", max(work.done, 0), work.total)
    return None


def _unready(state: ServerState, error: UnavailableError) -> dict[str, Any]:
    """llama.cpp's reply with what we know besides, in the shape of ``schema.UnreadyReply``."""
    assert state.standing != "ready"
    work = state.progress.now if state.standing == "loading" else None
    label, done, total = (None, None, None) if work is None else (work.label, work.done, work.total)
    details = Unready(state=state.standing, activity=label, done=done, total=total)
    body = error_body(error)
    body["error"]["pellucid"] = details.model_dump()
    return body


def _models(state: ServerState) -> list[ModelObject]:
    cards = state.cards()
    if not cards:
        return [ModelObject(id=name, created=state.started, meta={"state": "loading"}) for name in state.models]
    statuses = state.statuses()
    objects = []
    for card in cards:
        status = statuses[card.name]
        meta = {
            "state": "ready",
            "n_ctx": card.context,
            "infill": card.infill,
            "files": card.files,
            "chat": card.chat,
            "chat_template": card.chat_template,
            "memory": {
                "weights": card.weight_bytes,
                "cache": status.cache_bytes,
                "cache_limit": status.cache_limit,
                "parked": status.parked_bytes,
                "parked_limit": status.parked_limit,
            },
            "description": card.description,
            "licence": card.licence,
            "base": card.base,
            "adapter": card.adapter,
            "revision": card.revision,
            "calibration": card.calibration,
            "calibration_note": card.calibration_note,
        }
        objects.append(ModelObject(id=card.name, created=state.started, meta=meta))
    return objects


_ABOUT = """<p>Pellucid {version} is a local code-completion and chat server that you can see through: every token comes with its
probability, its rank, the entropy of the choice, and what the model would have said instead.</p>
<h2>Models</h2>
<ul>{models}</ul>
<h2>Programs</h2>
<p>Point an OpenAI client at <code>/v1</code>, or llama.vim and llama.vscode at this address.
What there is to ask: <a href="/openapi.json">/openapi.json</a>. How it is going: <a href="/health">/health</a>,
<a href="/slots">/slots</a>, <a href="/metrics">/metrics</a>.</p>
"""
