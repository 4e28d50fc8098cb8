"""/api/pull: shapes and route."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from fastapi import APIRouter, Request
from pydantic import ConfigDict, Field
from starlette.responses import Response

from pellucid.api.dialects.ollama.common import OLLAMA_MODEL_ERRORS, Absent, OllamaQuery
from pellucid.api.dialects.ollama.model_aliases import find_by_alias
from pellucid.api.openapi_extras import lines_or
from pellucid.api.schema.common import Reply
from pellucid.api.server_state import state_of
from pellucid.door.event_stream import NDJSON, attend, event_stream, json_response
from pellucid.door.json_body import JsonRoute
from pellucid.errors import InvalidRequestError
from pellucid.models.catalog import catalog
from pellucid.models.store import Store
from pellucid.system.daemon_threads import in_daemon_thread
from pellucid.system.progress import Noted, Silent, Work

POLL_SECONDS = 0.2


class OllamaPullRequest(OllamaQuery):
    """A model to download."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"model": "qwen2.5-coder:0.5b"}]})

    model: str | None = Field(
        None,
        description="a name of the catalog, also as ollama spells it, or a repository of the Hugging Face hub: "
        "org/name or hf.co/org/name:Q4_K_M",
    )
    name: str | None = Field(None, description="older name of model")
    stream: bool = Field(True, description="send lines with the progress")
    insecure: Absent = Field(None, description="not supported")


class OllamaPullReply(Reply):
    """The progress of a download."""

    status: str = Field(description="the current step, at the end success")
    digest: str | None = Field(None, description="the current step again, for clients that show a bar for each digest")
    total: int | None = Field(None, description="bytes of the step, if known")
    completed: int | None = Field(None, description="finished bytes of the step")


router = APIRouter(tags=["ollama"], route_class=JsonRoute)


class StoppedError(Exception):
    """The client of a download has left."""


class _Stoppable(Noted):
    def __init__(self) -> None:
        super().__init__(Silent())
        self.is_stopped = False

    def advance(self, count: int) -> None:
        if self.is_stopped:
            raise StoppedError
        super().advance(count)


@router.post("/api/pull", responses={200: lines_or(OllamaPullReply), **OLLAMA_MODEL_ERRORS})
async def pull(body: OllamaPullRequest, request: Request) -> Response:
    """Download a model to this machine; the first request that names the model loads it.

    If the client hangs up, the download stops. The next try continues the download.
    """
    state = state_of(request)
    loader = state.require_loader()
    wanted = body.model or body.name
    if not wanted:
        raise InvalidRequestError("The name of the model to download is missing.", param="model")
    known = [*catalog(), *(one.name for one in await loader.list())]
    events = _download(loader.store, find_by_alias(wanted, known) or wanted)
    if body.stream:
        return await event_stream(request, state.closing, events, format=NDJSON)
    return json_response(await attend(request, state.closing, _last(events)))


async def _last(events: AsyncGenerator[OllamaPullReply]) -> OllamaPullReply:
    return [event async for event in events][-1]


async def _download(store: Store, name: str) -> AsyncGenerator[OllamaPullReply]:
    """Yield each change of the progress."""
    store.find(name)  # Raises NotFoundError before the first line.
    progress, shown = _Stoppable(), Work("pulling manifest")
    yield _reply(shown)
    download = asyncio.wrap_future(in_daemon_thread(lambda: store.pull(name, progress), "pellucid-pull"))
    try:
        while not (await asyncio.wait({download}, timeout=POLL_SECONDS))[0]:
            work = progress.now
            if work not in (None, shown):
                shown = work
                yield _reply(shown)
        await download
    finally:
        progress.is_stopped = True
        download.cancel()
    yield _reply(Work("success"))


def _reply(work: Work) -> OllamaPullReply:
    has_bar = work.total is not None
    return OllamaPullReply(
        status=work.activity,
        digest=work.activity if has_bar else None,
        total=work.total,
        completed=work.done if has_bar else None,
    )
