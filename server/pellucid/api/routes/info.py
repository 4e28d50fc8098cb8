"""/, /health, /metrics and /v1/models."""

from __future__ import annotations

from dataclasses import asdict
from html import escape
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from pellucid.api.openapi_extras import MODEL_ERRORS, NOT_READY
from pellucid.api.routes.engines import engine_objects
from pellucid.api.schema.info import (
    EnginesHealth,
    Health,
    HealthDetails,
    LoadingStep,
    ModelList,
    ModelObject,
    Unready,
)
from pellucid.api.server_state import ServerState, state_of
from pellucid.door.error_replies import error_body, status_of
from pellucid.door.json_body import JsonRoute
from pellucid.door.plain_page import PageNotice, loading_notice, plain_page
from pellucid.errors import UnavailableError, unknown_model
from pellucid.system.installed_version import installed_version
from pellucid.system.progress import Work

router = APIRouter(tags=["Server"], route_class=JsonRoute)


@router.get("/health", responses={200: {"model": Health}, **NOT_READY})
async def health(request: Request) -> Response:
    """Report whether the server is ready and, during loading, the progress.

    Needs no key, and does not count as use of an idle server. A server with remote engines is ready
    if each model has an engine.
    """
    state = state_of(request)
    try:
        state.require_ready()
    except UnavailableError as error:
        return JSONResponse(_unready(state, error), status_of(error))
    if not state.is_front:
        return JSONResponse(Health(pellucid=_loading_health(state)).model_dump())
    engines, away = _engines_health(state), state.models_away()
    if away:
        problem = UnavailableError(
            f"No engine computes {', '.join(away)} now: `pellucid engines list` shows the reasons."
        )
        details = Unready(state="away", activity=None, done=None, total=None, engines=engines)
        return JSONResponse(_with_details(problem, details), status_of(problem))
    return JSONResponse(Health(pellucid=HealthDetails(engines=engines, loading=None)).model_dump())


@router.get(
    "/metrics", responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}, response_class=Response
)
async def metrics(request: Request) -> Response:
    """Return counters and times for Prometheus."""
    return state_of(request).metrics.response()


@router.get("/v1/models", tags=["OpenAI"], responses={200: {"model": ModelList}})
async def models(request: Request) -> Response:
    """List the served models, the default model first."""
    return JSONResponse(ModelList(data=model_objects(state_of(request))).model_dump())


@router.get("/v1/models/{model:path}", tags=["OpenAI"], responses={200: {"model": ModelObject}, 404: MODEL_ERRORS[404]})
async def model(model: str, request: Request) -> Response:
    """Return a model by name."""
    state = state_of(request)
    match = next((one for one in model_objects(state) if one.id == model), None)
    if match is None:
        raise unknown_model(model, state.models)
    return JSONResponse(match.model_dump())


@router.get("/", include_in_schema=False)
async def index(request: Request) -> Response:
    """Describe the server, if the page is switched off."""
    state = state_of(request)
    return plain_page(
        PageNotice("There is no page here, because this server was started with --no-page.", lasting=True), about(state)
    )


def about(state: ServerState) -> str:
    models = "".join(f"<li><code>{escape(one.id)}</code> ({one.meta['state']})</li>" for one in model_objects(state))
    return _ABOUT.format(version=escape(installed_version()), models=models)


def notice_of(state: ServerState) -> PageNotice | None:
    """Return the reason why the page is missing (``None``: the server is ready)."""
    try:
        state.require_ready()
    except UnavailableError as error:
        if state.phase == "loading":
            return loading_notice("The models are being loaded", state.progress.now)
        return PageNotice(str(error), lasting=state.phase == "failed")
    return None


def _unready(state: ServerState, error: UnavailableError) -> dict[str, Any]:
    """Return llama.cpp's reply with our own details, in the shape of ``UnreadyReply``."""
    assert state.phase != "ready"
    work = state.progress.now if state.phase == "loading" else None
    return _with_details(error, Unready(state=state.phase, engines=None, **step_fields(work)))


def _loading_health(state: ServerState) -> HealthDetails | None:
    load = None if state.loader is None else state.loader.loading()
    return None if load is None else HealthDetails(engines=None, loading=LoadingStep(**step_fields(load.step)))


def step_fields(step: Work | None) -> dict[str, Any]:
    """Return the fields of a ``LoadingStep``."""
    return {} if step is None else asdict(step)


def _engines_health(state: ServerState) -> EnginesHealth:
    """Return the state of the remote engines.

    On a server with keys, only their number: /health needs no key, and addresses are private.
    """
    engines = engine_objects(state)
    ready = sum(one.state == "ready" for one in engines)
    return EnginesHealth(ready=ready, total=len(engines), data=engines if state.keys is None else None)


def _with_details(error: UnavailableError, details: Unready) -> dict[str, Any]:
    body = error_body(error)
    body["error"]["pellucid"] = details.model_dump()
    return body


def model_objects(state: ServerState) -> list[ModelObject]:
    cards = state.cards()
    if not cards:
        return [ModelObject(id=name, created=state.started, meta={"state": "loading"}) for name in state.models]
    statuses, engines = state.statuses(), state.engines()
    objects = []
    for card in cards:
        status = statuses.get(card.name)
        meta: dict[str, Any] = {
            "state": "unloaded" if status is None else "ready",
            "n_ctx": card.context,
            "infill": card.infill,
            "files": card.files,
            "next_edit": card.next_edit,
            "experts": card.experts,
            "reasoning": card.reasoning,
            "images": card.images,
            "chat": card.chat,
            "chat_template": card.chat_template,
            "memory": {
                "weights": card.weight_bytes,
                "cache": status.cache_bytes if status else 0,
                "cache_limit": status.cache_limit if status else 0,
                "parked": status.parked_bytes if status else 0,
                "parked_limit": status.parked_limit if status else 0,
            },
            "description": card.description,
            "licence": card.licence,
            "base": card.base,
            "adapter": card.adapter,
            "revision": card.revision,
            "calibration": card.calibration,
            "calibration_note": card.calibration_note,
            "edit_calibration": card.edit_calibration,
            "edit_calibration_note": card.edit_calibration_note,
        }
        if state.is_front:
            meta["engines"] = [one.url for one in engines if one.state == "ready" and card.name in one.models]
        objects.append(ModelObject(id=card.name, created=state.started, meta=meta))
    return objects


_ABOUT = """<p>Pellucid {version} is a local code-completion and chat server that you can see through: \
every token comes with its
probability, its rank, the entropy of the choice and the model's alternatives.</p>
<h2>Models</h2>
<ul>{models}</ul>
<h2>Programs</h2>
<p>Point an OpenAI client at <code>/v1</code>, or llama.vim and llama.vscode at this address.
All routes: <a href="/openapi.json">/openapi.json</a>. Status: <a href="/health">/health</a>,
<a href="/slots">/slots</a>, <a href="/metrics">/metrics</a>.</p>
"""
