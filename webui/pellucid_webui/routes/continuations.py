"""The likely continuations of an answer from a token on, as a growing tree; experts of a token."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from pellucid.client.assistant_protocol import Assistant, AssistantFor
from pellucid.errors import InvalidRequestError
from pellucid.vocabulary.finish import Finish
from pellucid.vocabulary.message import Message
from pellucid.vocabulary.query import BACKGROUND, SamplingParams, ScoreQuery
from pellucid.vocabulary.token import MAX_ALTERNATIVES, Token
from pellucid_webui.conversations.chat_actions import ChatActions, require_continuable
from pellucid_webui.conversations.compact_tokens import unpack
from pellucid_webui.conversations.continue_from_token import text_before
from pellucid_webui.conversations.conversation import ASSISTANT
from pellucid_webui.conversations.model_view import messages_of, view_of
from pellucid_webui.conversations.storage.store import ConversationStore
from pellucid_webui.conversations.turn import Turns
from pellucid_webui.conversations.turn_settings import ALTERNATIVES, TurnSettings
from pellucid_webui.inspection.continuation_tree import ContinuationTree
from pellucid_webui.inspection.scoring import require_complete, score
from pellucid_webui.page_threads import in_page_thread
from pellucid_webui.routes.inspect_answers import finished_answer

LEAST_THRESHOLD = 0.01

MOST_TOKENS = 32

UPDATE_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class AnswerBefore:
    """The messages before an answer, and the answer's text before a token."""

    messages: Sequence[Message]
    text: str
    settings: TurnSettings

    def followed_by(self, text: str) -> list[Message]:
        return [*self.messages, Message(ASSISTANT, self.text + text)]


async def answer_before(
    actions: ChatActions, id: object, number: object, index: object, settings: TurnSettings | None = None
) -> AnswerBefore:
    """Return an answer up to a token (default settings: the answer's).

    Raises a PellucidError if the answer cannot be continued from this token.
    """
    if not isinstance(id, str) or not isinstance(index, int):
        raise InvalidRequestError("The page sent no valid place of an answer: reload it.")
    conversation = await actions.conversation(id)
    answer = finished_answer(conversation, number, actions)
    if answer is None:
        raise InvalidRequestError("This conversation has no such answer, or it is still being generated.")
    settings = settings or conversation.settings_of(answer)
    require_continuable(answer, settings)
    tokens = await in_page_thread(unpack, await actions.batches_in(conversation, answer.id))
    written = answer.text.removesuffix("".join(token.text for token in tokens))
    path = conversation.path(answer.id)
    messages = messages_of(path[:-1], "", settings, view_of(path))
    return AnswerBefore(messages, written + text_before(tokens, index), settings)


async def read_continuation(assistant: Assistant, place: AnswerBefore, text: str) -> list[Token]:
    """Return the tokens of a text after a place, as read by the model."""
    if not text:
        raise InvalidRequestError("The answer ends here, so nothing can continue it: choose another continuation.")
    query = ScoreQuery(
        text,
        model=place.settings.model or None,
        top_logprobs=ALTERNATIVES,
        tools=place.settings.functions(),
        continued=place.followed_by(""),
    )
    tokens: list[Token] = []
    await score(assistant, query, tokens.append, lambda _: "Reading the continuation was interrupted: try again.")
    return tokens


@dataclass(frozen=True, slots=True)
class ContinuationsRoute:
    store: ConversationStore
    assistant_for: AssistantFor
    turns: Turns

    async def grow(self, owner: str, asked: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any]]:
        """Yield the growing tree of an answer's continuations from token ``index`` on.

        ``threshold`` is a probability, ``limit`` a number of tokens (None: a sentence or line).
        """
        threshold, limit = asked.get("threshold"), asked.get("limit")
        if not isinstance(threshold, float) or not LEAST_THRESHOLD <= threshold < 1:
            raise InvalidRequestError("The page sent no valid threshold: reload it.")
        if limit is not None and (not isinstance(limit, int) or not 1 <= limit <= MOST_TOKENS):
            raise InvalidRequestError("The page sent no valid limit: reload it.")
        assistant = self.assistant_for(owner)
        actions = ChatActions(owner, self.store, assistant, self.turns)
        place = await answer_before(actions, asked.get("conversation"), asked.get("node"), asked.get("index"))
        tree = ContinuationTree(threshold, limit)
        updated = time.monotonic()
        async with aclosing(tree.grow(partial(most_probable, assistant, place))) as growing:
            async for _ in growing:
                if time.monotonic() - updated >= UPDATE_SECONDS:
                    yield {"before": place.text, **tree.payload(), "isWhole": False}
                    updated = time.monotonic()
        yield {"before": place.text, **tree.payload(), "isWhole": True}

    async def experts(self, owner: str, asked: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any]]:
        """Yield the experts that computed the prediction of token ``index``, by layer."""
        assistant = self.assistant_for(owner)
        actions = ChatActions(owner, self.store, assistant, self.turns)
        place = await answer_before(actions, asked.get("conversation"), asked.get("node"), asked.get("index"))
        async with aclosing(most_probable(assistant, place, "", 1, experts=True)) as tokens:
            async for token in tokens:
                yield {"layers": token.experts}


async def most_probable(
    assistant: Assistant, place: AnswerBefore, text: str, most: int, *, experts: bool = False
) -> AsyncGenerator[Token]:
    """Yield the most probable tokens after a text, with the lowest priority."""
    params = SamplingParams(max_tokens=most, top_logprobs=MAX_ALTERNATIVES, ignore_eos=True, experts=experts)
    continues = bool(place.text + text)
    messages = place.followed_by(text) if continues else place.messages
    query = place.settings.query(messages, continue_last=continues)
    # Without reasoning, as read_continuation reads the answer.
    asked = replace(query, params=params, grammar=None, terms=BACKGROUND, reasoning=None)
    async with aclosing(assistant.chat(asked)) as items:
        async for item in items:
            if not isinstance(item, Finish):
                yield item
            else:
                require_complete(item, lambda _: "Reading the continuations was interrupted: open them again.")
