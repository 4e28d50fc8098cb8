"""/v1/edits, for changing a selection by an instruction."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from fastapi import APIRouter, Request
from starlette.responses import Response

from pellucid.api.generation.request_fields import ignored_fields, terms_of, usage_reply
from pellucid.api.metrics import GenerationTimer
from pellucid.api.openapi_extras import GENERATION_ERRORS, stream_or
from pellucid.api.schema.common import ReplyDetails
from pellucid.api.schema.edits import EditLines, EditReply, EditRequest
from pellucid.api.server_state import state_of
from pellucid.completion.edits.by_instruction.edit_json import edit_record
from pellucid.completion.edits.by_instruction.edit_query import EditQuery, InstructedEdit
from pellucid.completion.edits.by_instruction.instructed_edits import edit
from pellucid.door.event_stream import Event, attend, event_stream, json_response
from pellucid.door.json_body import JsonRoute
from pellucid.text.assistant import LocalAssistant
from pellucid.vocabulary.finish import Finish, FinishReason, OnUsage
from pellucid.vocabulary.model_card import ModelCard
from pellucid.vocabulary.query import ChatQuery, Priority
from pellucid.vocabulary.token import Token

router = APIRouter(tags=["Pellucid"], route_class=JsonRoute)


@router.post("/v1/edits", responses={200: stream_or(EditReply), **GENERATION_ERRORS})
async def edits(body: EditRequest, request: Request) -> Response:
    """Change a selection by an instruction, and return the change in hunks, with their tokens.

    The model rewrites the selection, and prompt lookup copies unchanged parts. An answer changes
    nothing if it is prose, cut off or equal to the selection; ``reason`` has the reason. The client
    changes the document itself, best without the hunks that break the syntax.
    """
    state = state_of(request)
    assistant, card = await state.find(body.model, strict=body.strict_model)
    query = EditQuery(
        body.prefix,
        body.selection,
        body.suffix,
        body.instruction,
        path=body.path,
        language=body.language,
        model=card.name,
        seed=body.seed,
        temperature=body.temperature,
        top_logprobs=body.top_logprobs,
        terms=terms_of(body, request, Priority.CHAT, 0),
    )
    ignored = ignored_fields(body, card)
    details = ReplyDetails(ignored=ignored) if ignored else None
    events = _events(assistant, card, query, state.metrics.timer(card.name, state.clock), details)
    if body.stream:
        return await event_stream(request, state.closing, events)
    return json_response(await attend(request, state.closing, _last(events)))


class _TimedAssistant:
    """An assistant with timed chats. ``finished`` is true if a chat came to its own end."""

    def __init__(self, assistant: LocalAssistant, timer: GenerationTimer) -> None:
        self._assistant = assistant
        self._timer = timer
        self.finished = False

    async def chat(self, query: ChatQuery, *, on_usage: OnUsage | None = None) -> AsyncGenerator[Token | Finish]:
        async with aclosing(self._assistant.chat(query, on_usage=on_usage)) as items:
            async for item in items:
                self._timer.note(item)
                self.finished = self.finished or isinstance(item, Finish)
                yield item


async def _events(
    assistant: LocalAssistant, card: ModelCard, query: EditQuery, timer: GenerationTimer, details: ReplyDetails | None
) -> AsyncGenerator[Event]:
    """Yield the new lines, then the edit."""
    timed = _TimedAssistant(assistant, timer)
    with timer:
        async with aclosing(edit(timed, query)) as items:
            async for item in items:
                if isinstance(item, InstructedEdit):
                    # Reading stopped after the answer's fence.
                    if not timed.finished:
                        timer.note(Finish(FinishReason.STOP, item.usage))
                    usage = usage_reply([item.usage], [item.usage])
                    yield EditReply(model=card.name, **edit_record(item), usage=usage, pellucid=details)
                else:
                    yield EditLines(model=card.name, lines=list(item.lines))


async def _last(events: AsyncGenerator[Event]) -> EditReply:
    async with aclosing(events):
        found = [event async for event in events]
    assert isinstance(found[-1], EditReply)
    return found[-1]
