"""The chat's place on the page: what its script asks for goes to ``chat.py``, and what comes of it goes back."""

from __future__ import annotations

import asyncio
from base64 import b64decode
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from pellucid.errors import InvalidRequestError, NotFoundError, PellucidError
from pellucid.speaker import Speaker
from pellucid.tokens import Message, Token
from pellucid_webui.alignment import within
from pellucid_webui.attachments import attach
from pellucid_webui.chat import Chat, messages_of
from pellucid_webui.conversation import ALTERNATIVES, ASSISTANT, Conversation, Node, TurnSettings
from pellucid_webui.picture import picture
from pellucid_webui.records import pack
from pellucid_webui.session import Session
from pellucid_webui.store import Store
from pellucid_webui.turn import Turn, Turns

SCRIPT = """
Pellucid.mountChat({ element, props, watch, act: (data) => trigger('act', data) });
"""

Picture = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ChatDesk:
    """Serves the chats of all tabs."""

    store: Store
    speaker: Speaker
    turns: Turns

    async def act(self, session: Session, asked: Mapping[str, Any], settings: TurnSettings) -> AsyncIterator[Picture]:
        """Do what the script asks for, and show what comes of it up to the end of an answer."""
        if session.owner:
            turn = await self._obeyed(session, asked, settings)
        else:  # Gradio has forgotten the tab: its script loads the page anew
            turn = None
        async for shown in self.follow(session, turn):
            yield shown

    async def _obeyed(self, session: Session, asked: Mapping[str, Any], settings: TurnSettings) -> Turn | None:
        """The answer that is begun, if one is; what goes wrong is told in the tab."""
        session.tell("")
        seen = asked.get("conversation")
        if isinstance(seen, str) and seen != session.conversation:
            session.look_at(seen)
        try:
            turn = await self._verbs(session, asked, settings)
            if turn is not None and session.conversation is not None:  # as they were chosen: the answer has those that it was made with
                await asyncio.to_thread(self.store.set_settings, session.owner, session.conversation, settings)
        except PellucidError as error:
            session.tell(str(error))
            return None
        return turn

    async def settings(self, session: Session) -> TurnSettings | None:
        """Those that the conversation was last gone on with; None where there is none."""
        conversation = await self._look(session)
        return None if conversation is None else conversation.settings

    async def follow(self, session: Session, turn: Turn | None = None) -> AsyncIterator[Picture]:
        """Show the conversation, and the answer that is on its way in it, as long as the tab looks at it."""
        conversation = await self._look(session)
        if turn is None and conversation is not None:
            turn = self.turns.find(conversation.leaf)
        yield picture(session, conversation, turn)
        if turn is None:
            return
        session.epoch += 1  # whoever else streams to this tab ends: one at a time
        epoch = session.epoch
        async for _ in turn.updates():
            if session.epoch != epoch:
                return
            if turn.end is None:
                yield picture(session, conversation, turn)
        if turn.error is not None:
            session.tell(turn.error)
        if turn.node in session.tokens:
            session.tokens[turn.node] = list(turn.batches)
        yield picture(session, await self._look(session), None)

    def chat(self, session: Session) -> Chat:
        """The session's owner's conversations."""
        return Chat(session.owner, self.store, self.speaker, self.turns)

    async def _look(self, session: Session) -> Conversation | None:
        if session.conversation is None:
            return None
        try:
            return await self.chat(session).conversation(session.conversation)
        except NotFoundError as error:
            session.look_at(None)
            session.tell(str(error))
            return None

    async def _verbs(self, session: Session, asked: Mapping[str, Any], settings: TurnSettings) -> Turn | None:
        chat, verb = self.chat(session), asked.get("verb")
        if verb == "send":
            return await self._send(session, asked, settings)
        id = session.conversation
        if id is None and verb == "see":
            return None
        if id is None:
            raise InvalidRequestError("There is no conversation yet: write something first.")
        begins: dict[str, Callable[[], Awaitable[Turn | None]]] = {
            "retry": lambda: chat.retry(id, _number(asked, "node"), settings),
            "resume": lambda: chat.resume(id, _number(asked, "node"), settings),
            "branch": lambda: chat.branch(id, _number(asked, "node"), _number(asked, "index"), _number(asked, "alternative"), settings),
            "edit": lambda: chat.edit(id, _number(asked, "node"), str(asked.get("text", "")), settings),
        }
        if isinstance(verb, str) and verb in begins:
            return await begins[verb]()
        if verb == "stop":
            turn = chat.running(await chat.conversation(id))
            if turn is not None:
                await turn.stop()
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

    async def _send(self, session: Session, asked: Mapping[str, Any], settings: TurnSettings) -> Turn | None:
        """Say what was written; a letter that is sent twice is said once."""
        letter = str(asked.get("letter", ""))
        if letter and letter == session.letter:
            return None
        session.letter = letter
        try:
            return await self._say(session, asked, settings)
        except PellucidError:
            session.letter = ""  # it may be mended and sent again
            raise

    async def _say(self, session: Session, asked: Mapping[str, Any], settings: TurnSettings) -> Turn:
        files = [(str(file["name"]), b64decode(file["data"])) for file in asked.get("files", ())]
        text = attach(str(asked.get("text", "")), files)
        if not text.strip():
            raise InvalidRequestError("There is nothing to send: write something first.")
        if session.conversation is None:
            return await self._begin(session, text, settings)
        turn = await self.chat(session).send(session.conversation, text, settings)
        session.arrived()
        return turn

    async def _begin(self, session: Session, text: str, settings: TurnSettings) -> Turn:
        """Say something in a new conversation, which is there only if it can be said."""
        id = await asyncio.to_thread(self.store.create, session.owner, settings)
        try:
            turn = await self.chat(session).send(id, text, settings)
        except PellucidError:
            await asyncio.to_thread(self.store.delete, session.owner, id)
            raise
        session.look_at(id)
        session.arrived()
        return turn

    async def _open(self, session: Session, id: str, node: int) -> None:
        """Open a message as tokens, or close it: those of an answer are known, what was said otherwise is read now."""
        if session.tokens.pop(node, None) is not None:
            return
        chat = self.chat(session)
        conversation = await chat.conversation(id)
        found = conversation.nodes.get(node)
        if found is None:
            raise InvalidRequestError("There is no such message here.")
        batches = await chat.batches(id, node)
        session.tokens[node] = batches or [pack(await self._read(conversation, found))]

    async def _read(self, conversation: Conversation, node: Node) -> Sequence[Token]:
        """The tokens of a message that nobody generated, as the model of the conversation reads them where it stands."""
        settings = node.settings or conversation.settings
        path = conversation.path(node.parent)
        messages = messages_of(path, "", settings)
        said = [*messages, Message(node.role, node.text)]
        stream = self.speaker.score(said, model=settings.model or None, top_logprobs=ALTERNATIVES)
        tokens = [item async for item in stream if isinstance(item, Token)]
        found = within(tokens, node.text.strip() if node.role != ASSISTANT else node.text)
        return tokens if found is None else found


def _number(asked: Mapping[str, Any], name: str) -> int:
    value = asked.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidRequestError(f"The chat's script should say which {name}: reload the page.")
    return value


def chat_panel() -> gr.HTML:
    """The component; its script triggers ``act``."""
    return gr.HTML(value=None, html_template="", js_on_load=SCRIPT, elem_id="pl-chat", apply_default_css=False)
