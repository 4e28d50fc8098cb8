"""Comparisons of a chat's answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pellucid.errors import InvalidRequestError
from pellucid_webui.conversations.compact_tokens import unpack
from pellucid_webui.conversations.conversation import ASSISTANT, Conversation, Node
from pellucid_webui.conversations.model_view import messages_of, view_of
from pellucid_webui.conversations.storage.store import ConversationStore
from pellucid_webui.conversations.turn_settings import settings_of_retry
from pellucid_webui.inspection.comparison import LETTERS, ChatSource, Column, Comparison, StoredAnswer
from pellucid_webui.page_threads import in_page_thread
from pellucid_webui.routes.comparison_form import fields_of

RELOAD = "The page sent no valid answers of a chat: reload it."


class ChatAnswers:
    def __init__(self, store: ConversationStore) -> None:
        self._store = store

    async def form(self, owner: str, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Return the form of a comparison that begins in a chat.

        Each column has a stored ``answer``, or ``model`` and ``temperature`` for a new answer. With
        ``pictures`` False, an answer is read without the pictures of the chat. Raises a
        PellucidError if an answer cannot be compared.
        """
        conversation = await self._conversation(owner, asked.get("conversation"))
        columns = asked.get("columns")
        if (
            not isinstance(columns, list)
            or not 2 <= len(columns) <= len(LETTERS)
            or not all(isinstance(one, Mapping) for one in columns)
        ):
            raise InvalidRequestError(RELOAD)
        first = _answer(conversation, next((one["answer"] for one in columns if "answer" in one), None))
        prompt = _prompt(conversation, first)
        chat = {"conversation": conversation.id, "title": conversation.title, "node": first.id}
        return {
            "prompt": prompt,
            "reference": "",
            "columns": [_column(conversation, first, one) for one in columns],
            "chat": chat,
        }

    async def fill(self, owner: str, comparison: Comparison, form: Mapping[str, Any]) -> None:
        """Add the stored answers named by the form to the columns, with the messages before."""
        chat = form.get("chat")
        if chat is None:
            return
        if not isinstance(chat, Mapping):
            raise InvalidRequestError(RELOAD)
        conversation = await self._conversation(owner, chat.get("conversation"))
        answered = _answer(conversation, chat.get("node"))
        comparison.chat = ChatSource(conversation.id, conversation.title, answered.id)
        comparison.prompt = _prompt(conversation, answered)
        answers = [fields.get("answer") for fields in form["columns"]]
        for column, number, fields in zip(comparison.columns, answers, form["columns"], strict=False):
            node = answered if number is None else _answer(conversation, number)
            column.pictures = fields.get("pictures") is not False
            _follow(column, conversation, node)
            if number is not None:
                column.stored = await self._stored(owner, conversation, node)
        without_pictures = not all(column.pictures for column in comparison.columns)
        comparison.rereads = without_pictures and len(set(answers)) == 1
        for column in comparison.columns if comparison.rereads else []:
            column.stored = StoredAnswer(answered.id, answered.text)  # Without tokens, so that each column reads it.

    async def _stored(self, owner: str, conversation: Conversation, node: Node) -> StoredAnswer:
        batches = await in_page_thread(self._store.tokens, owner, conversation.id, node.id)
        tokens = await in_page_thread(unpack, batches)
        is_whole = "".join(token.text for token in tokens) == node.text
        return StoredAnswer(node.id, node.text, tokens if is_whole else ())

    async def _conversation(self, owner: str, id: object) -> Conversation:
        if not isinstance(id, str):
            raise InvalidRequestError(RELOAD)
        return await in_page_thread(self._store.conversation, owner, id)


def _answer(conversation: Conversation, number: object) -> Node:
    node = conversation.nodes.get(number) if isinstance(number, int) else None
    if node is None or node.role != ASSISTANT:
        raise InvalidRequestError("The chat has no such answer any more: choose another one.")
    if node.end is None:
        raise InvalidRequestError(
            "An answer that is incomplete cannot be compared: wait for its end, or regenerate it."
        )
    if node.details is not None and node.details.calls:
        raise InvalidRequestError("An answer with tool calls cannot be compared: choose one that is text.")
    return node


def _column(conversation: Conversation, first: Node, asked: Mapping[str, Any]) -> dict[str, Any]:
    if "answer" not in asked:
        return fields_of(settings_of_retry(conversation.settings_of(first), asked))
    node = _answer(conversation, asked["answer"])
    without = {"pictures": False} if asked.get("pictures") is False else {}
    return fields_of(conversation.settings_of(node)) | {"answer": node.id} | without


def _follow(column: Column, conversation: Conversation, node: Node) -> None:
    """Let a column answer the same messages as ``node``, in the same format."""
    own = conversation.settings_of(node)
    column.settings = replace(
        column.settings,
        answer_format=own.answer_format,
        schema=own.schema,
        tools=own.tools,
        tool_choice=own.tool_choice,
    )
    path = conversation.path(node.id)
    messages = messages_of(path[:-1], "", column.settings, view_of(path))
    column.conversation = tuple(messages if column.pictures else (replace(one, images=()) for one in messages))


def _prompt(conversation: Conversation, node: Node) -> str:
    before: Sequence[Node] = conversation.path(node.id)[:-1]
    return before[-1].text if before and before[-1].text.strip() else conversation.title
