"""Serves /tokenize, /detokenize and /apply-template, which do not run the model."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from pellucid.api.generation.tool_calls import offered_tools
from pellucid.api.json_body import JsonRoute
from pellucid.api.openapi_extras import TEXT_ERRORS
from pellucid.api.routes.chat import plain_messages
from pellucid.api.schema.llama import (
    DetokenizeReply,
    DetokenizeRequest,
    TemplateReply,
    TemplateRequest,
    TokenizeReply,
    TokenizeRequest,
    TokenPiece,
)
from pellucid.api.server_state import state_of

router = APIRouter(tags=["llama.cpp"], route_class=JsonRoute)


# Replies are made off the event loop: those to a long text have millions of tokens, and would block all streams.


@router.post("/tokenize", responses={200: {"model": TokenizeReply}, **TEXT_ERRORS})
async def tokenize(body: TokenizeRequest, request: Request) -> Response:
    """Split a text into tokens."""
    assistant, card = state_of(request).find(body.model, strict=body.strict_model)

    def reply() -> Response:
        pieces = assistant.tokenize(body.content, card.name, special=body.parse_special, add_special=body.add_special)
        if body.with_pieces:
            result = TokenizeReply(tokens=[TokenPiece(id=piece.id, piece=_spelled(piece.bytes)) for piece in pieces])
        else:
            result = TokenizeReply(tokens=[piece.id for piece in pieces])
        return JSONResponse(result.model_dump())

    return await assistant.off_loop(reply, card.name)


@router.post("/detokenize", responses={200: {"model": DetokenizeReply}, **TEXT_ERRORS})
async def detokenize(body: DetokenizeRequest, request: Request) -> Response:
    """Join tokens to a text."""
    assistant, card = state_of(request).find(body.model, strict=body.strict_model)

    def reply() -> Response:
        return JSONResponse(DetokenizeReply(content=assistant.detokenize(body.tokens, card.name)).model_dump())

    return await assistant.off_loop(reply, card.name)


@router.post("/apply-template", responses={200: {"model": TemplateReply}, **TEXT_ERRORS})
async def apply_template(body: TemplateRequest, request: Request) -> Response:
    """Render a conversation as the prompt that the model would read."""
    assistant, card = state_of(request).find(body.model, strict=body.strict_model)
    tools = [] if body.tool_choice == "none" else offered_tools(body.tools)
    text = await assistant.render(plain_messages(body.messages), card.name, tools=tools)
    return JSONResponse(TemplateReply(prompt=text).model_dump())


def _spelled(data: bytes) -> str | list[int]:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return list(data)
