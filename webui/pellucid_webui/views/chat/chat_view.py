"""The chat tab: runs the script's actions, and streams the conversation."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import gradio as gr

from pellucid.client.assistant_protocol import AssistantFor
from pellucid.errors import InvalidRequestError, NotFoundError, PellucidError
from pellucid.vocabulary.query import ScoreQuery
from pellucid.vocabulary.token import Token
from pellucid_webui.conversations.attachments import attach, content_of
from pellucid_webui.conversations.chat_actions import ChatActions
from pellucid_webui.conversations.compact_tokens import pack
from pellucid_webui.conversations.conversation import Conversation, Node
from pellucid_webui.conversations.model_view import ALL_MESSAGES, messages_of, nodes_in_view, view_of
from pellucid_webui.conversations.retry_settings import other_settings
from pellucid_webui.conversations.storage.store import ConversationStore
from pellucid_webui.conversations.tab_state import DeliveredMessage, TabState
from pellucid_webui.conversations.turn import TICK_SECONDS, Turn, Turns
from pellucid_webui.conversations.turn_settings import ALTERNATIVES, TurnSettings
from pellucid_webui.inspection.alignment import message_tokens
from pellucid_webui.inspection.scoring import score
from pellucid_webui.page_threads import in_page_thread, in_rendering_thread
from pellucid_webui.views.chat.chat_display_json import live_payload, payload
from pellucid_webui.views.chat.context_notice import (
    ModelContext,
    full_error,
    model_context,
    remedy_of,
    repeatable_action,
)
from pellucid_webui.views.chat.inspect_answers import INSPECT, inspect
from pellucid_webui.views.chat.version_tree import VERSIONS, open_versions
from pellucid_webui.views.script_panel import script_panel

REFRESH = "refresh"
"""The action by which the script requests the current state."""

AUTOMATIC = (REFRESH, INSPECT, VERSIONS)
"""Sent by the script itself: these actions keep the notice and open nothing."""

FULL_PACE_TABS = 4
"""With more tabs of a user, all tabs are updated less often."""

_ORDERS = count(1)

Event = Mapping[str, Any]
"""``verb`` names the action, ``conversation`` the tab's conversation."""

Payload = dict[str, Any]

ReadSettings = Callable[[], TurnSettings]
"""Returns the settings in the controls, or raises a PellucidError."""


@dataclass(frozen=True, slots=True)
class ChatView:
    store: ConversationStore
    assistant_for: AssistantFor
    turns: Turns
    following: Counter[str] = field(default_factory=Counter)

    async def act(self, tab: TabState, event: Event, read_settings: ReadSettings) -> AsyncIterator[Payload]:
        """Run an action, then yield the tab's content until the answer has ended."""
        turn = None
        if tab.owner:  # Otherwise Gradio has dropped the state, and the page reloads.
            verb = str(event.get("verb"))
            shown_there = event.get("conversation")
            is_elsewhere = isinstance(shown_there, str) and shown_there != tab.conversation
            if verb in AUTOMATIC:
                verb = REFRESH if is_elsewhere else verb  # The user has opened another conversation since.
            else:
                tab.show_notice("")
                if is_elsewhere:
                    tab.show_conversation(str(shown_there))
            try:
                turn = await _action(verb)(self, tab, event, read_settings)
                if turn is not None:
                    turn.action = repeatable_action(event)
                    tab.turn = turn
            except PellucidError as error:
                tab.show_notice(str(error))
        async for shown in self.follow(tab, turn):
            yield shown

    async def settings(self, tab: TabState) -> TurnSettings | None:
        conversation = await self._conversation(tab)
        if conversation is None:
            return None
        tab.settings = conversation.settings
        return tab.settings

    async def save_settings(self, tab: TabState, read_settings: ReadSettings) -> None:
        """Save the controls' settings with the tab and the conversation."""
        if tab.owner:
            tab.edits += 1
            with suppress(PellucidError):  # For example a half-typed number; the next answer reports the error.
                tab.settings = read_settings()
                if tab.conversation is not None:
                    await self._save_settings(tab, tab.conversation, tab.settings)

    async def follow(self, tab: TabState, turn: Turn | None = None) -> AsyncIterator[Payload]:
        """Yield the conversation, with the running answer, while the tab shows them.

        After another call takes over, yield the new state last: Gradio repeats the last output.
        """
        tab.epoch += 1  # Ends any other stream to this tab.
        epoch = tab.epoch
        async with aclosing(self._follow(tab, epoch, turn)) as own:
            async for shown in own:
                yield shown
        if tab.epoch != epoch:
            order = next(_ORDERS)
            yield await in_rendering_thread(payload, tab, *await self._read(tab), order)

    async def _follow(self, tab: TabState, epoch: int, turn: Turn | None) -> AsyncGenerator[Payload]:
        """Yield the tab's content until the answer ends or another call takes over."""
        order = next(_ORDERS)
        conversation, turn, context = await self._read(tab, turn)
        shown = await in_rendering_thread(payload, tab, conversation, turn, context, order)
        if tab.epoch != epoch:
            return
        yield shown
        if turn is None or conversation is None:
            return
        with self._counted(tab.owner):
            async for _ in turn.updates():
                if tab.epoch != epoch:
                    return
                if turn.end is None:
                    order = next(_ORDERS)
                    live = await in_rendering_thread(live_payload, tab, conversation, turn)
                    if tab.epoch != epoch:
                        return
                    yield shown | {"live": live, "order": order}
                    await asyncio.sleep(pause(self.following[tab.owner]))
        order = next(_ORDERS)
        conversation = await self._conversation(tab)
        node = None if conversation is None else conversation.nodes.get(turn.node)
        if turn.error is not None and node is not None and node.end is None:
            tab.show_notice(turn.error)  # The answer could not be saved, for example on a full disk.
        shown = await in_rendering_thread(payload, tab, conversation, None, context, order)
        if tab.epoch == epoch:
            yield shown

    async def _read(
        self, tab: TabState, turn: Turn | None = None
    ) -> tuple[Conversation | None, Turn | None, ModelContext | None]:
        """Return the conversation, the running answer (``turn`` preferred) and the context."""
        conversation = await self._conversation(tab)
        # Another conversation is shown, or the answer was already refused.
        if conversation is None or (turn is not None and turn.node not in conversation.nodes):
            turn = None
        if turn is None and conversation is not None:
            turn = self.turns.find(conversation.leaf)
            if turn is None and conversation.is_unfinished:
                conversation = await self._conversation(tab)  # The answer has ended since.
        tab.turn = turn or tab.turn
        return conversation, turn, await model_context(self.assistant_for(tab.owner), conversation)

    def actions(self, tab: TabState) -> ChatActions:
        return ChatActions(tab.owner, self.store, self.assistant_for(tab.owner), self.turns)

    async def _send(self, tab: TabState, event: Event, read_settings: ReadSettings) -> Turn | None:
        """Send a message, unless the event was sent twice."""
        settings, sent_id = read_settings(), str(event.get("messageId", ""))
        if sent_id and sent_id == tab.sent_id:
            return None
        tab.sent_id = sent_id
        if event.get("conversation", tab.conversation) is None and tab.conversation is not None:
            tab.show_conversation(None)  # The page still showed a new chat.
        id = tab.conversation
        try:
            files = event.get("files")
            text = attach(
                str(event.get("text", "")), [content_of(file) for file in files] if isinstance(files, list) else []
            )
            if id is None:
                id, turn = await self.actions(tab).send_first(text, settings)
                if tab.conversation is None:  # Otherwise the user has opened another conversation.
                    tab.show_conversation(id)
            else:
                turn = await self.actions(tab).send(id, text, settings)
                await self._save_settings(tab, id, settings)
        except BaseException:
            if tab.sent_id == sent_id:
                tab.sent_id = ""  # The message may be sent again.
            raise
        tab.delivered = DeliveredMessage(sent_id, id)
        return turn

    async def _retry(self, tab: TabState, event: Event, read_settings: ReadSettings) -> Turn:
        id, settings, node = _conversation_id(tab), read_settings(), _number(event, "node")
        if "with" in event:  # Settings for this answer only.
            turn = await self.actions(tab).retry(id, node, other_settings(settings, event["with"]))
            if node in tab.tokens:
                tab.tokens[turn.node] = turn.batches
            return turn
        reads_all = event.get("remedy") == "all"
        turn = await self.actions(tab).retry(id, node, settings, remedy=remedy_of(event), reads_all=reads_all)
        return await self._started(tab, id, settings, turn, shown_as=node)

    async def _resume(self, tab: TabState, event: Event, read_settings: ReadSettings) -> Turn:
        id, settings, node = _conversation_id(tab), read_settings(), _number(event, "node")
        turn = await self.actions(tab).resume(id, node, settings, remedy=remedy_of(event))
        return await self._started(tab, id, settings, turn, shown_as=node)

    async def _branch(self, tab: TabState, event: Event, read_settings: ReadSettings) -> Turn:
        id, settings, node = _conversation_id(tab), read_settings(), _number(event, "node")
        index, alternative = _number(event, "index"), _number(event, "alternative")
        turn = await self.actions(tab).branch(id, node, index, alternative, settings, remedy=remedy_of(event))
        return await self._started(tab, id, settings, turn, shown_as=node)

    async def _fork(self, tab: TabState, _: Event, read_settings: ReadSettings) -> Turn:
        id, settings = _conversation_id(tab), read_settings()
        conversation = await self.actions(tab).conversation(id)
        full = full_error(tab, conversation, await model_context(self.assistant_for(tab.owner), conversation))
        copy, turn = await self.actions(tab).fork(id, settings, full)
        if tab.conversation == id:  # Otherwise the user has opened another conversation.
            tab.show_conversation(copy)
        return turn

    async def _edit(self, tab: TabState, event: Event, read_settings: ReadSettings) -> Turn | None:
        id, settings, node = _conversation_id(tab), read_settings(), _number(event, "node")
        turn = await self.actions(tab).edit(id, node, str(event.get("text", "")), settings)
        return None if turn is None else await self._started(tab, id, settings, turn)

    async def _started(
        self, tab: TabState, id: str, settings: TurnSettings, turn: Turn, shown_as: int | None = None
    ) -> Turn:
        """Save settings; show the answer as text or tokens like ``shown_as``."""
        if shown_as in tab.tokens:
            tab.tokens[turn.node] = turn.batches
        await self._save_settings(tab, id, settings)
        return turn

    async def _stop(self, tab: TabState, event: Event, _: ReadSettings) -> None:
        await self.actions(tab).stop(_conversation_id(tab), _number(event, "node"))

    async def _undo(self, tab: TabState, _: Event, __: ReadSettings) -> None:
        id = _conversation_id(tab)
        text = await self.actions(tab).undo(id)
        if tab.conversation == id:  # Otherwise the field belongs to another conversation.
            tab.fill_draft(text)

    async def _select_version(self, tab: TabState, event: Event, _: ReadSettings) -> None:
        await self.actions(tab).select_version(_conversation_id(tab), _number(event, "node"))

    async def _refresh(self, _: TabState, __: Event, ___: ReadSettings) -> None:
        """Do nothing: every action is followed by the current state."""

    async def _inspect(self, tab: TabState, event: Event, _: ReadSettings) -> None:
        await inspect(tab, event, self.actions(tab))

    async def _open_versions(self, tab: TabState, _: Event, __: ReadSettings) -> None:
        await open_versions(tab, self.actions(tab))

    async def _toggle_tokens(self, tab: TabState, event: Event, _: ReadSettings) -> None:
        """Show a message as text or tokens; score messages by people."""
        id, node = _conversation_id(tab), _number(event, "node")
        if tab.tokens.pop(node, None) is not None:
            return
        actions = self.actions(tab)
        conversation = await actions.conversation(id)
        message = conversation.nodes.get(node)
        if message is None:
            raise InvalidRequestError("This conversation has no such message.")
        batches = await actions.batches(id, node)
        if not batches and message.text and actions.running(conversation, node) is None:
            batches = [pack(await self._score(tab, conversation, message))]
        tab.tokens[node] = batches

    async def _score(self, tab: TabState, conversation: Conversation, node: Node) -> Sequence[Token]:
        """Return a person's message as tokens, as read by the answering model."""
        answer = conversation.nodes.get(node.chosen) if node.chosen is not None else None
        settings = node.settings or (answer.settings if answer is not None else None) or conversation.settings
        path = conversation.path(node.id)
        view = view_of(path if answer is None else [*path, answer])
        if node not in nodes_in_view(path, view):
            view = ALL_MESSAGES
        messages = messages_of(path, "", settings, view)
        tokens: list[Token] = []
        query = ScoreQuery(
            messages, model=settings.model or None, top_logprobs=ALTERNATIVES, tools=settings.functions()
        )
        assistant = self.assistant_for(tab.owner)
        await score(
            assistant, query, tokens.append, lambda _: "Scoring this message was interrupted: open its tokens again."
        )
        found = message_tokens(tokens, node.text)
        if found is None:
            raise InvalidRequestError("The model's chat template changes this message, so its tokens cannot be shown.")
        return found

    async def _save_settings(self, tab: TabState, id: str, settings: TurnSettings) -> None:
        await in_page_thread(self.store.set_settings, tab.owner, id, settings)

    async def _conversation(self, tab: TabState) -> Conversation | None:
        """Return the tab's conversation; close a deleted conversation with a notice."""
        id = tab.conversation
        if id is None:
            return None
        try:
            return await self.actions(tab).conversation(id)
        except NotFoundError as error:
            if tab.conversation == id:  # Otherwise the tab has opened another conversation.
                tab.close_conversation()
                tab.show_notice(str(error))
            return None

    @contextmanager
    def _counted(self, owner: str) -> Iterator[None]:
        self.following[owner] += 1
        try:
            yield
        finally:
            self.following[owner] -= 1
            if not self.following[owner]:
                del self.following[owner]


Action = Callable[[ChatView, TabState, Event, ReadSettings], Awaitable[Turn | None]]
"""Runs an action, and returns the started answer, or raises a PellucidError."""

ACTIONS: Mapping[str, Action] = {
    "send": ChatView._send,
    "retry": ChatView._retry,
    "resume": ChatView._resume,
    "branch": ChatView._branch,
    "fork": ChatView._fork,
    "edit": ChatView._edit,
    "stop": ChatView._stop,
    "undo": ChatView._undo,
    "selectVersion": ChatView._select_version,
    "toggleTokens": ChatView._toggle_tokens,
    INSPECT: ChatView._inspect,
    VERSIONS: ChatView._open_versions,
    REFRESH: ChatView._refresh,
}


def pause(following: int) -> float:
    """Return seconds between updates, so that all tabs cost no more than FULL_PACE_TABS."""
    return 0.0 if following <= FULL_PACE_TABS else TICK_SECONDS * following / FULL_PACE_TABS


def chat_panel() -> gr.HTML:
    return script_panel("mountChat", "pl-chat", shared_as="chat")


def _action(verb: str) -> Action:
    if verb not in ACTIONS:
        raise InvalidRequestError(f"The chat has no action {verb!r}: reload the page.")
    return ACTIONS[verb]


def _conversation_id(tab: TabState) -> str:
    if tab.conversation is None:
        raise InvalidRequestError("There is no conversation yet: send a message first.")
    return tab.conversation


def _number(event: Event, name: str) -> int:
    value = event.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidRequestError(f"The page sent no valid {name}: reload it.")
    return value
