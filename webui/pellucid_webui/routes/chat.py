"""The chat: actions on a conversation, the state of a conversation, and the stream of an answer."""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from pellucid.client.assistant_protocol import Assistant, AssistantFor
from pellucid.errors import InvalidRequestError, PellucidError
from pellucid.system.common_prefix import common_prefix
from pellucid.vocabulary.query import ScoreQuery
from pellucid.vocabulary.token import Token
from pellucid_webui.conversations import context_use
from pellucid_webui.conversations.attachments import attach, content_of, picture_type, pictures_among
from pellucid_webui.conversations.chat_actions import ChatActions
from pellucid_webui.conversations.compact_tokens import pack
from pellucid_webui.conversations.conversation import Conversation, Node
from pellucid_webui.conversations.model_view import ALL_MESSAGES, messages_of, nodes_in_view, view_of
from pellucid_webui.conversations.storage.store import ConversationStore
from pellucid_webui.conversations.turn import TICK_SECONDS, Turn, Turns
from pellucid_webui.conversations.turn_settings import (
    ALTERNATIVES,
    TurnSettings,
    settings_of_controls,
    settings_of_retry,
)
from pellucid_webui.inspection.alignment import message_tokens
from pellucid_webui.inspection.scoring import score
from pellucid_webui.page_threads import in_page_thread, in_rendering_thread
from pellucid_webui.routes.context_notice import full_error, model_context, remedy_of, repeatable_action
from pellucid_webui.routes.continuations import answer_before, read_continuation
from pellucid_webui.routes.conversation_display import RenderedMessages, blocks_of, state_of, turn_stats
from pellucid_webui.routes.inspect_answers import inspected
from pellucid_webui.routes.models import models_payload
from pellucid_webui.routes.version_tree import versions_of

FULL_PACE_TABS = 4
"""With more streams of a user, all streams are updated less often."""

MAX_SENT = 1000
"""Messages whose ids are known, so that a message that arrives twice is added once."""

Asked = Mapping[str, Any]
"""``verb`` names the action, ``conversation`` the conversation that the tab shows."""

Payload = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ChatRoute:
    """Answers requests of tabs, which own all state of what they show."""

    store: ConversationStore
    assistant_for: AssistantFor
    turns: Turns
    rendered: RenderedMessages = field(default_factory=RenderedMessages)
    following: Counter[str] = field(default_factory=Counter)
    _running: set[asyncio.Task[Payload]] = field(default_factory=set)
    _sent: OrderedDict[tuple[str, str], asyncio.Task[Payload]] = field(default_factory=OrderedDict)

    async def act(self, owner: str, asked: Asked) -> AsyncGenerator[Payload]:
        """Run an action, and yield the result."""
        verb = str(asked.get("verb"))
        if verb not in ACTIONS:
            raise InvalidRequestError(f"The chat has no action {verb!r}: reload the page.")
        running = asyncio.create_task(ACTIONS[verb](self, owner, asked))
        self._running.add(running)
        running.add_done_callback(self._running.discard)
        running.add_done_callback(_see_failure)
        yield await asyncio.shield(running)  # A lost connection leaves no action half done.

    async def follow(self, owner: str, asked: Asked) -> AsyncGenerator[Payload]:
        """Yield what an answer gains up to the end, with the tokens after ``after`` batches.

        ``n`` is the number of batches so far, None if the answer has already ended. ``blocks``
        replace all blocks from ``keep`` on. The first event (``begins``) has the reasoning so far,
        each later event the added reasoning.
        """
        conversation = await self._actions(owner).conversation(_conversation_id(asked))
        turn = self._actions(owner).running(conversation, _number(asked, "node"))
        after, known, told = _number(asked, "after"), list[str](), 0
        if turn is None:
            yield {"n": None, "end": True, "error": None}
            return
        model, with_tokens = conversation.nodes[turn.node].model, asked.get("tokens") is True
        with _counted(self.following, owner):
            async for _ in turn.updates():
                count = len(turn.batches)
                blocks = await in_rendering_thread(blocks_of, turn)
                keep = common_prefix(known, blocks)
                event = {"n": count, "keep": keep, "blocks": blocks[keep:], "stats": turn_stats(turn)}
                reasoning = turn.reasoning
                event |= {"use": context_use.of_turn(model, turn), "reasoning": reasoning[told:], "begins": not told}
                yield event | ({"tokens": turn.batches[after:count]} if with_tokens else {})
                after, known, told = count, blocks, len(reasoning)
                if turn.end is None:
                    await asyncio.sleep(pause(self.following[owner]))
        yield {"n": len(turn.batches), "end": True, "error": turn.error if turn.is_unsaved else None}

    def _actions(self, owner: str) -> ChatActions:
        return ChatActions(owner, self.store, self.assistant_for(owner), self.turns)

    async def _show(self, owner: str, asked: Asked) -> Payload:
        """Return the state of a conversation; with ``opens`` also settings and models."""
        assistant, id = self.assistant_for(owner), asked.get("conversation")
        conversation = turn = None
        if id is not None:
            conversation = await self._actions(owner).conversation(str(id))
            turn = self.turns.find(conversation.leaf)
            if turn is None and conversation.is_unfinished:
                conversation = await self._actions(owner).conversation(str(id))  # The answer has ended since.
        context = await model_context(assistant, conversation)
        last = None if conversation is None else await self.turns.overflowed(conversation.id)
        shown = await in_rendering_thread(state_of, self.rendered, conversation, turn, context, last)
        if asked.get("opens") is not True:
            return shown
        settings = None if conversation is None else conversation.settings
        chosen = str(asked.get("model") or "") if settings is None else settings.model
        record = None if settings is None else settings.record()
        if record is not None and record["seed"] is not None:
            record["seed"] = str(record["seed"])  # Browsers round large numbers.
        return shown | {"settings": record, "header": await models_payload(assistant, owner, chosen)}

    async def _send(self, owner: str, asked: Asked) -> Payload:
        """Send a message, once even if the message arrives twice."""
        id = asked.get("messageId")
        if not isinstance(id, str) or not id:
            raise InvalidRequestError("The page sent a message without an id: reload it.")
        key = (owner, id)
        task = self._sent.get(key)
        if task is None:
            task = self._sent[key] = asyncio.create_task(self._send_new(owner, asked))
            task.add_done_callback(lambda done: _forget_refused(self._sent, key, done))
            while len(self._sent) > MAX_SENT:
                self._sent.popitem(last=False)
        return await asyncio.shield(task)

    async def _send_new(self, owner: str, asked: Asked) -> Payload:
        settings, files, id = _settings(asked), asked.get("files"), asked.get("conversation")
        contents = [content_of(file) for file in files] if isinstance(files, list) else []
        text = attach(str(asked.get("text", "")), [one for one in contents if not picture_type(one[1])])
        pictures = pictures_among(contents)
        if id is None:
            id, turn = await self._actions(owner).send_first(text, settings, pictures)
        else:
            turn = await self._actions(owner).send(str(id), text, settings, pictures)
        return await self._started(owner, str(id), settings, turn)

    async def _retry(self, owner: str, asked: Asked) -> Payload:
        id, settings, node = _conversation_id(asked), _settings(asked), _number(asked, "node")
        actions = self._actions(owner)
        if "with" in asked:  # Settings for this answer only.
            turn = await actions.retry(id, node, settings_of_retry(settings, asked["with"]))
            return {"conversation": id, "node": turn.node}
        turn = await actions.retry(id, node, settings, remedy=remedy_of(asked), reads_all=asked.get("remedy") == "all")
        return await self._started(owner, id, settings, turn, asked)

    async def _resume(self, owner: str, asked: Asked) -> Payload:
        id, settings, node = _conversation_id(asked), _settings(asked), _number(asked, "node")
        turn = await self._actions(owner).resume(id, node, settings, remedy=remedy_of(asked))
        return await self._started(owner, id, settings, turn, asked)

    async def _branch(self, owner: str, asked: Asked) -> Payload:
        id, settings, node = _conversation_id(asked), _settings(asked), _number(asked, "node")
        index, actions = _number(asked, "index"), self._actions(owner)
        if "text" in asked:
            place = await answer_before(actions, id, node, index, settings)
            other: int | Sequence[Token] = await read_continuation(self.assistant_for(owner), place, str(asked["text"]))
        else:
            other = _number(asked, "alternative")
        turn = await actions.branch(id, node, index, other, settings, remedy=remedy_of(asked))
        return await self._started(owner, id, settings, turn, asked)

    async def _fork(self, owner: str, asked: Asked) -> Payload:
        id, settings = _conversation_id(asked), _settings(asked)
        conversation = await self._actions(owner).conversation(id)
        context = await model_context(self.assistant_for(owner), conversation)
        full = full_error(conversation, context, await self.turns.overflowed(id))
        copy, _ = await self._actions(owner).fork(id, settings, full)
        return {"opens": copy}

    async def _edit(self, owner: str, asked: Asked) -> Payload:
        id, settings, node = _conversation_id(asked), _settings(asked), _number(asked, "node")
        turn = await self._actions(owner).edit(id, node, str(asked.get("text", "")), settings)
        return {"conversation": id} if turn is None else await self._started(owner, id, settings, turn)

    async def _started(
        self, owner: str, id: str, settings: TurnSettings, turn: Turn, asked: Asked | None = None
    ) -> Payload:
        """Save settings, and the action for repeating it with a remedy."""
        turn.action = {} if asked is None else repeatable_action(asked)
        await in_page_thread(self.store.set_settings, owner, id, settings)
        return {"conversation": id, "node": turn.node}

    async def _save_settings(self, owner: str, asked: Asked) -> Payload:
        await in_page_thread(self.store.set_settings, owner, _conversation_id(asked), _settings(asked))
        return {}

    async def _stop(self, owner: str, asked: Asked) -> Payload:
        await self._actions(owner).stop(_conversation_id(asked), _number(asked, "node"))
        return {}

    async def _undo(self, owner: str, asked: Asked) -> Payload:
        message = await self._actions(owner).undo(_conversation_id(asked))
        return {"draft": message.text, "pictures": [asdict(one) for one in message.pictures]}

    async def _select_version(self, owner: str, asked: Asked) -> Payload:
        await self._actions(owner).select_version(_conversation_id(asked), _number(asked, "node"))
        return {}

    async def _inspect(self, owner: str, asked: Asked) -> Payload:
        actions = self._actions(owner)
        try:
            cards = await self.assistant_for(owner).cards()
        except PellucidError:  # Answers are shown even while a model is loading.
            cards = []
        return await inspected(await actions.conversation(_conversation_id(asked)), asked, actions, cards)

    async def _pictures(self, owner: str, asked: Asked) -> Payload:
        """Return the URLs of a message's pictures, which are not in each state: they are long."""
        conversation = await self._actions(owner).conversation(_conversation_id(asked))
        return {"urls": [one.url for one in _message_in(conversation, _number(asked, "node")).pictures]}

    async def _versions(self, owner: str, asked: Asked) -> Payload:
        actions = self._actions(owner)
        conversation = await actions.conversation(_conversation_id(asked))
        return {"id": conversation.id, "nodes": await versions_of(conversation, actions)}

    async def _tokens(self, owner: str, asked: Asked) -> Payload:
        """Return the tokens of a message; score a message by a person."""
        id, node = _conversation_id(asked), _number(asked, "node")
        actions = self._actions(owner)
        conversation = await actions.conversation(id)
        message = _message_in(conversation, node)
        batches = await actions.batches_in(conversation, node)
        if not batches and message.text and actions.running(conversation, node) is None:
            batches = [pack(await _score(self.assistant_for(owner), conversation, message))]
        return {"node": node, "tokens": list(batches)}


def _see_failure(task: asyncio.Task[Payload]) -> None:
    if not task.cancelled():
        task.exception()  # Otherwise asyncio would report errors for a client that has gone.


def _message_in(conversation: Conversation, node: int) -> Node:
    message = conversation.nodes.get(node)
    if message is None:
        raise InvalidRequestError("This conversation has no such message.")
    return message


Action = Callable[[ChatRoute, str, Asked], Coroutine[Any, Any, Payload]]
"""Runs an action for a user, and returns the result, or raises a PellucidError."""

ACTIONS: Mapping[str, Action] = {
    "show": ChatRoute._show,
    "send": ChatRoute._send,
    "retry": ChatRoute._retry,
    "resume": ChatRoute._resume,
    "branch": ChatRoute._branch,
    "fork": ChatRoute._fork,
    "edit": ChatRoute._edit,
    "stop": ChatRoute._stop,
    "undo": ChatRoute._undo,
    "selectVersion": ChatRoute._select_version,
    "settings": ChatRoute._save_settings,
    "tokens": ChatRoute._tokens,
    "inspect": ChatRoute._inspect,
    "pictures": ChatRoute._pictures,
    "versions": ChatRoute._versions,
}


def pause(following: int) -> float:
    """Return seconds between updates, so that all tabs cost no more than FULL_PACE_TABS."""
    return 0.0 if following <= FULL_PACE_TABS else TICK_SECONDS * following / FULL_PACE_TABS


async def _score(assistant: Assistant, conversation: Conversation, node: Node) -> Sequence[Token]:
    """Return a person's message as tokens, as read by the answering model."""
    answer = conversation.nodes.get(node.chosen) if node.chosen is not None else None
    settings = node.settings or (answer.settings if answer is not None else None) or conversation.settings
    path = conversation.path(node.id)
    view = view_of(path if answer is None else [*path, answer])
    if node not in nodes_in_view(path, view):
        view = ALL_MESSAGES
    messages = messages_of(path, "", settings, view)
    tokens: list[Token] = []
    query = ScoreQuery(messages, model=settings.model or None, top_logprobs=ALTERNATIVES, tools=settings.functions())
    await score(
        assistant, query, tokens.append, lambda _: "Scoring this message was interrupted: open its tokens again."
    )
    found = message_tokens(tokens, node.text)
    if found is None:
        raise InvalidRequestError("The model's chat template changes this message, so its tokens cannot be shown.")
    return found


@contextmanager
def _counted(following: Counter[str], owner: str) -> Iterator[None]:
    following[owner] += 1
    try:
        yield
    finally:
        following[owner] -= 1
        if not following[owner]:
            del following[owner]


def _forget_refused(sent: dict[Any, asyncio.Task[Payload]], key: object, task: asyncio.Task[Payload]) -> None:
    if (task.cancelled() or task.exception() is not None) and sent.get(key) is task:
        del sent[key]


def _conversation_id(asked: Asked) -> str:
    id = asked.get("conversation")
    if not isinstance(id, str):
        raise InvalidRequestError("There is no conversation yet: send a message first.")
    return id


def _settings(asked: Asked) -> TurnSettings:
    return settings_of_controls(asked.get("settings"))


def _number(asked: Asked, name: str) -> int:
    value = asked.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidRequestError(f"The page sent no valid {name}: reload it.")
    return value
