"""Handlers of an editor's chat: an answer to a conversation, and a selection as a message."""

from __future__ import annotations

from contextlib import aclosing
from typing import Any

from lsprotocol import types

from pellucid.errors import InvalidRequestError
from pellucid.vocabulary.finish import Finish
from pellucid.vocabulary.message import Message
from pellucid.vocabulary.token import Token
from pellucid_lsp.inspection_json import Json, tokens_report
from pellucid_lsp.request_params import Params, place_of, result_token
from pellucid_lsp.server import Pellucid

ROLES = ("system", "user", "assistant")


def register(server: Pellucid) -> None:
    @server.own_request("pellucid/chat")
    async def chat(given: Any) -> Json:
        """Return the answer to a conversation.

        Tokens are sent as progress if the client gave a token.
        """
        params = Params(given, "pellucid/chat")
        messages, token = _messages(params), result_token(given, "pellucid/chat")
        await server.settings_known.wait()
        codec, model, text = server.documents.position_codec, "", ""
        note = None
        async with aclosing(server.session.chats.answer(messages)) as items:
            async for item in items:
                if isinstance(item, Token):
                    text += item.text
                    if token is not None:
                        value = {"tokens": tokens_report([item], None, codec)}
                        server.protocol.notify("$/progress", types.ProgressParams(token, value))
                elif isinstance(item, Finish):
                    note = server.session.chats.why_cut(item)
                else:
                    model = item
        return {"text": text, "model": model, "note": note}

    @server.own_request("pellucid/chatSelection")
    async def selection(given: Any) -> Json:
        """Return the selected lines as Markdown, or refuse a document that is never sent."""
        uri, range = place_of(Params(given, "pellucid/chatSelection"))
        await server.settings_known.wait()
        if uri not in server.documents.text_documents:
            raise InvalidRequestError(f"{uri} is not open in this editor: open it first.", param="textDocument")
        start, end = (server.documents.cursor(uri, place) for place in (range.start, range.end))
        text = end.before[len(start.before) :]
        if not text.strip():
            raise InvalidRequestError("The selection is empty: select some lines.", param="range")
        return {"text": server.session.chats.attachment(start, text, range.start.line + 1)}


def _messages(params: Params) -> list[Message]:
    given = params.parts("messages")
    messages = []
    for one in given:
        role, content = (one.required(name, one.text(name)) for name in ("role", "content"))
        if role not in ROLES:
            raise one.wrong("role", " or ".join(ROLES))
        messages.append(Message(role, content))
    if not messages or messages[-1].role != "user" or not messages[-1].content.strip():
        raise InvalidRequestError("The last message should be the user's, with text: type a message.", param="messages")
    return messages
