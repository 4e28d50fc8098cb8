"""/tokenize, /detokenize and /apply-template, which do not run the model: shapes and routes."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Request
from pydantic import ConfigDict, Field
from starlette.responses import JSONResponse, Response

from pellucid.api.generation.messages import plain_messages
from pellucid.api.generation.tool_calls import offered_tools
from pellucid.api.openapi_extras import TEXT_ERRORS
from pellucid.api.schema.common import ModelQuery, Reply
from pellucid.api.schema.messages import Messages
from pellucid.api.schema.sampling import TokenId
from pellucid.api.schema.tool_calls import ToolFields
from pellucid.api.server_state import state_of
from pellucid.door.json_body import JsonRoute
from pellucid.text.prompts import refuse_huge, with_bos
from pellucid.text.query_ids import chat_text
from pellucid.text.text_model import run_off_loop


class TokenizeRequest(ModelQuery):
    """Text to split."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"content": "def add", "with_pieces": True}]})

    content: str
    add_special: bool = Field(False, description="start with the model's BOS token, if any")
    parse_special: bool = Field(True, description="parse special tokens in the text")
    with_pieces: bool = Field(
        False, description="return each token's text, or the bytes of a token without valid UTF-8"
    )


class TokenPiece(Reply):
    """A token and its text, or its bytes."""

    id: int
    piece: str | list[int]


class TokenizeReply(Reply):
    """Token ids; with ``with_pieces``, ids and pieces."""

    tokens: list[int] | list[TokenPiece]


class DetokenizeRequest(ModelQuery):
    """Token ids to turn into text."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"tokens": [72, 105]}]})

    tokens: Annotated[list[TokenId], Field(fail_fast=True)]


class DetokenizeReply(Reply):
    """The text of token ids."""

    content: str


class TemplateRequest(ModelQuery, ToolFields):
    """A conversation to render."""

    messages: Messages


class TemplateReply(Reply):
    """The prompt of a rendered conversation."""

    prompt: str


router = APIRouter(tags=["llama.cpp"], route_class=JsonRoute)


# Replies are made off the event loop: millions of tokens of a long text would block all streams.


@router.post("/tokenize", responses={200: {"model": TokenizeReply}, **TEXT_ERRORS})
async def tokenize(body: TokenizeRequest, request: Request) -> Response:
    """Split a text of at most 4,194,304 characters into tokens."""
    assistant, card = await state_of(request).find(body.model, strict=body.strict_model)
    served = assistant.models.find(card.name)
    refuse_huge(len(body.content), "content")

    def reply() -> Response:
        ids = served.tokenizer.encode(body.content, special=body.parse_special)
        if body.add_special:
            ids = with_bos(served.tokenizer, ids)
        spelled = {id: str(id) for id in set(ids)}
        if body.with_pieces:
            spelled = {
                id: TokenPiece(id=id, piece=_spelled(served.tokenizer.token_bytes(id))).model_dump_json()
                for id in spelled
            }
        # JSON by hand, as objects for millions of tokens would take gigabytes.
        return Response(f'{{"tokens":[{",".join([spelled[id] for id in ids])}]}}', media_type="application/json")

    return await run_off_loop(served, len(body.content), reply)


@router.post("/detokenize", responses={200: {"model": DetokenizeReply}, **TEXT_ERRORS})
async def detokenize(body: DetokenizeRequest, request: Request) -> Response:
    """Join tokens to a text."""
    assistant, card = await state_of(request).find(body.model, strict=body.strict_model)
    served = assistant.models.find(card.name)

    def reply() -> Response:
        return JSONResponse(DetokenizeReply(content=served.detokenize(body.tokens)).model_dump())

    return await run_off_loop(served, len(body.tokens), reply)


@router.post("/apply-template", responses={200: {"model": TemplateReply}, **TEXT_ERRORS})
async def apply_template(body: TemplateRequest, request: Request) -> Response:
    """Render a conversation as the prompt that the model would read."""
    assistant, card = await state_of(request).find(body.model, strict=body.strict_model)
    tools = [] if body.tool_choice == "none" else offered_tools(body.tools)
    text = await chat_text(assistant.models.find(card.name), plain_messages(body.messages), tools)
    return JSONResponse(TemplateReply(prompt=text).model_dump())


def _spelled(data: bytes) -> str | list[int]:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return list(data)
