"""The chat's place on the page: what its script asks for goes to ``chat.py``, and what comes of it goes back."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from pellucid.client.protocol import Assistant
from pellucid.errors import InvalidRequestError, NotFoundError, PellucidError
from pellucid.tokens import FinishReason, Message, Token
from pellucid_webui.conversations.attachments import attach, content_of
from pellucid_webui.conversations.chat_actions import ChatActions, messages_of
from pellucid_webui.conversations.compact_tokens import pack
from pellucid_webui.conversations.conversation import ALTERNATIVES, ASSISTANT, Conversation, Node, TurnSettings
from pellucid_webui.conversations.store import ConversationStore
from pellucid_webui.conversations.tab_state import DeliveredMessage, TabState
from pellucid_webui.conversations.turn import TICK_SECONDS, Turn, Turns
from pellucid_webui.inspection.alignment import last_occurrence
from pellucid_webui.views.chat_payload import live_payload, payload

SCRIPT = """
Pellucid.mountChat({ element, props, watch, act: (data) => trigger('act', data) });
"""

BEGINNING = frozenset({"retry", "resume", "branch", "edit"})
"""What is asked of one message and begins an answer, as ``send`` does: the only verbs that need settings."""

FULL_PACE_TABS = 4
"""Tabs of one user that receive an answer at full pace. With more than these, all are updated less often."""

Picture = dict[str, Any]

Chosen = Callable[[], TurnSettings]
"""What the controls say, once it is needed. Raises a PellucidError for what cannot be sampled with."""


@dataclass(frozen=True, slots=True)
class ChatView:
    """Serves the chats of all tabs."""

    store: ConversationStore
    assistant: Assistant
    turns: Turns
    following: Counter[str] = field(default_factory=Counter)
    """Tabs of each user that are receiving an answer."""

    async def act(self, session: TabState, asked: Mapping[str, Any], settings: Chosen) -> AsyncIterator[Picture]:
        """Do what the script asks for, and show what comes of it up to the end of an answer."""
        if session.owner:
            turn = await self._obeyed(session, asked, settings)
        else:  # Gradio has forgotten the tab: its script loads the page anew
            turn = None
        async for shown in self.follow(session, turn):
            yield shown

    async def _obeyed(self, session: TabState, asked: Mapping[str, Any], settings: Chosen) -> Turn | None:
        """The answer that is begun, if one is; what goes wrong is told in the tab."""
        if asked.get("verb") != "see":  # which the script asks for by itself: what was told stays
            session.tell("")
        seen = asked.get("conversation")
        if isinstance(seen, str) and seen != session.conversation:
            session.look_at(seen)
        try:
            return await self._verbs(session, asked, settings)
        except PellucidError as error:
            session.tell(str(error))
            return None

    async def settings(self, session: TabState) -> TurnSettings | None:
        """Those that the conversation was last gone on with; None where there is none."""
        conversation = await self._look(session)
        return None if conversation is None else conversation.settings

    async def keep(self, session: TabState, settings: Chosen) -> None:
        """The settings of the conversation that the tab looks at are others from now on, if they are any."""
        if session.owner and session.conversation is not None:
            with suppress(PellucidError):  # half a number, say: it is told once something is answered
                await self._keep(session, session.conversation, settings())

    async def follow(self, session: TabState, turn: Turn | None = None) -> AsyncIterator[Picture]:
        """Show the conversation, and the answer that is on its way in it, as long as the tab looks at it."""
        session.epoch += 1  # whoever else shows something to this tab ends: one at a time
        epoch = session.epoch
        conversation = await self._look(session)
        if conversation is None or (turn is not None and turn.node not in conversation.nodes):  # the tab went elsewhere
            turn = None
        if turn is None and conversation is not None:
            turn = self.turns.find(conversation.leaf)
        shown = await asyncio.to_thread(payload, session, conversation, turn)
        if session.epoch != epoch:
            return
        yield shown
        if turn is None or conversation is None:
            return
        with self._counted(session.owner):
            async for _ in turn.updates():
                if session.epoch != epoch:
                    return
                if turn.end is None:
                    yield shown | {"live": live_payload(session, conversation, turn)}
                    await asyncio.sleep(pause(self.following[session.owner]))
        conversation = await self._look(session)
        node = None if conversation is None else conversation.nodes.get(turn.node)
        if turn.error is not None and node is not None and node.end is None:
            session.tell(turn.error)  # the answer could not be saved, for example because the disk is full
        shown = await asyncio.to_thread(payload, session, conversation, None)
        if session.epoch == epoch:
            yield shown

    @contextmanager
    def _counted(self, owner: str) -> Iterator[None]:
        self.following[owner] += 1
        try:
            yield
        finally:
            self.following[owner] -= 1
            if not self.following[owner]:
                del self.following[owner]

    def chat(self, session: TabState) -> ChatActions:
        """The session's owner's conversations."""
        return ChatActions(session.owner, self.store, self.assistant, self.turns)

    async def _look(self, session: TabState) -> Conversation | None:
        id = session.conversation
        if id is None:
            return None
        try:
            return await self.chat(session).conversation(id)
        except NotFoundError as error:
            if session.conversation == id:  # else the tab has gone elsewhere meanwhile
                session.leave()
                session.tell(str(error))
            return None

    async def _verbs(self, session: TabState, asked: Mapping[str, Any], chosen: Chosen) -> Turn | None:
        chat, verb, id = self.chat(session), str(asked.get("verb")), session.conversation
        if verb == "send":
            return await self._send(session, id, asked, chosen())
        if id is None and verb == "see":
            return None
        if id is None:
            raise InvalidRequestError("There is no conversation yet: write something first.")
        if verb in BEGINNING:
            settings = chosen()
            turn = await self._begun(chat, id, asked, settings)
            if turn is not None:
                if asked["node"] in session.tokens and verb != "edit":  # its next version is looked at in the same way
                    session.tokens[turn.node] = turn.batches
                await self._keep(session, id, settings)
            return turn
        if verb == "stop":
            await chat.stop(id, _number(asked, "node"))
        elif verb == "undo":
            session.offer(await chat.undo(id))
        elif verb == "walk":
            await chat.walk(id, _number(asked, "node"))
        elif verb == "see":
            pass  # what there is now is shown in any case
        elif verb == "look":
            await self._open(session, id, _number(asked, "node"))
        else:
            raise InvalidRequestError(f"The chat cannot {verb!r}.")
        return None

    async def _begun(self, chat: ChatActions, id: str, asked: Mapping[str, Any], settings: TurnSettings) -> Turn | None:
        """The answer that one of BEGINNING begins, if it does."""
        node = _number(asked, "node")
        match asked["verb"]:
            case "retry":
                return await chat.retry(id, node, settings)
            case "resume":
                return await chat.resume(id, node, settings)
            case "branch":
                return await chat.branch(id, node, _number(asked, "index"), _number(asked, "alternative"), settings)
            case _:
                return await chat.edit(id, node, str(asked.get("text", "")), settings)

    async def _keep(self, session: TabState, id: str, settings: TurnSettings) -> None:
        """Those that were chosen are the conversation's from now on; an answer has those that it was made with."""
        await asyncio.to_thread(self.store.set_settings, session.owner, id, settings)

    async def _send(self, session: TabState, id: str | None, asked: Mapping[str, Any], settings: TurnSettings) -> Turn | None:
        """Say what was written; a letter that is sent twice is said once."""
        letter = str(asked.get("letter", ""))
        if letter and letter == session.letter:
            return None
        session.letter = letter
        try:
            files = asked.get("files")
            text = attach(str(asked.get("text", "")), [content_of(file) for file in files] if isinstance(files, list) else [])
            if not text.strip():
                raise InvalidRequestError("There is nothing to send: write something first.")
            if id is None:
                id, turn = await self._begin(session, text, settings)
            else:
                turn = await self.chat(session).send(id, text, settings)
                await self._keep(session, id, settings)
        except BaseException:
            if session.letter == letter:
                session.letter = ""  # it may be mended and sent again
            raise
        session.arrived = DeliveredMessage(letter, id)
        return turn

    async def _begin(self, session: TabState, text: str, settings: TurnSettings) -> tuple[str, Turn]:
        """Say something in a new conversation, which is there only if it can be said; its id, and the answer."""
        id = await asyncio.to_thread(self.store.create, session.owner, settings)
        try:
            turn = await self.chat(session).send(id, text, settings)
        except BaseException:
            await asyncio.to_thread(self.store.delete, session.owner, id)
            raise
        if session.conversation is None:  # else the user has gone elsewhere meanwhile
            session.look_at(id)
        return id, turn

    async def _open(self, session: TabState, id: str, node: int) -> None:
        """Open a message as tokens, or close it: those of an answer are known, what was said otherwise is read now."""
        if session.tokens.pop(node, None) is not None:
            return
        chat = self.chat(session)
        conversation = await chat.conversation(id)
        found = conversation.nodes.get(node)
        if found is None:
            raise InvalidRequestError("There is no such message here.")
        batches = await chat.batches(id, node)
        if not batches and found.text and chat.running(conversation, node) is None:
            batches = [pack(await self._read(conversation, found))]
        session.tokens[node] = batches

    async def _read(self, conversation: Conversation, node: Node) -> Sequence[Token]:
        """The tokens of a message that nobody generated, as the model of the conversation reads them where it stands."""
        settings = node.settings or conversation.settings
        said = [*messages_of(conversation.path(node.parent), "", settings), Message(node.role, node.text)]
        tokens: list[Token] = []
        async with aclosing(self.assistant.score(said, model=settings.model or None, top_logprobs=ALTERNATIVES)) as items:
            async for item in items:
                if isinstance(item, Token):
                    tokens.append(item)
                elif item.reason is not FinishReason.STOP:
                    raise PellucidError(item.error or "The reading of the message was broken off: look at its tokens again.")
        found = last_occurrence(tokens, node.text.strip() if node.role != ASSISTANT else node.text)
        if found is None:
            raise InvalidRequestError("The template of the model changes this message: its tokens cannot be told from the others.")
        return found


def pause(following: int) -> float:
    """Return the seconds between two updates of each of a user's tabs, so that together they cost no more than FULL_PACE_TABS."""
    return 0.0 if following <= FULL_PACE_TABS else TICK_SECONDS * following / FULL_PACE_TABS


def _number(asked: Mapping[str, Any], name: str) -> int:
    value = asked.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidRequestError(f"The chat's script should say which {name}: reload the page.")
    return value


def chat_panel() -> gr.HTML:
    """The component; its script triggers ``act``."""
    return gr.HTML(value=None, html_template="", js_on_load=SCRIPT, elem_id="pl-chat", apply_default_css=False)
