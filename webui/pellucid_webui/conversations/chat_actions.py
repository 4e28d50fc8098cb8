"""What can be done in a conversation. Nothing is ever lost: each verb makes another version, or walks to one."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

from pellucid.client.protocol import Assistant
from pellucid.errors import InvalidRequestError
from pellucid.tokens import FinishReason, Message
from pellucid_webui.conversations.branching import whole_characters, with_alternative
from pellucid_webui.conversations.compact_tokens import pack, unpack
from pellucid_webui.conversations.conversation import ASSISTANT, SYSTEM, USER, Conversation, Node, TurnSettings
from pellucid_webui.conversations.store import DEFAULT_TITLE, ConversationStore
from pellucid_webui.conversations.turn import Turn, Turns

TITLE_CHARACTERS = 60
"""Characters of the first message that name a conversation."""

SEEDS = 2**31
"""Seeds that are drawn are below this."""


class ChatActions:
    """One owner's conversations, spoken with a speaker. Verbs that begin an answer return it on its way.

    They raise InvalidRequestError for what cannot be done, and while an answer is on its way; nothing has changed then.
    """

    def __init__(self, owner: str, store: ConversationStore, assistant: Assistant, turns: Turns) -> None:
        self._owner = owner
        self._store = store
        self._assistant = assistant
        self._turns = turns

    async def conversation(self, id: str) -> Conversation:
        """A conversation as it is now."""
        return await asyncio.to_thread(self._store.conversation, self._owner, id)

    async def delete(self, id: str) -> None:
        """Remove a conversation for good; answers on their way in it end."""
        conversation = await self.conversation(id)
        for turn in filter(None, map(self._turns.find, conversation.nodes)):
            await turn.stop()
        await asyncio.to_thread(self._store.delete, self._owner, id)

    async def send(self, id: str, text: str, settings: TurnSettings) -> Turn:
        """Say something and have it answered."""
        if not text.strip():
            raise InvalidRequestError("There is nothing to send: write something first.")
        settings = await self._settled(settings)
        async with self._quiet(id) as conversation:
            said = await self._add(id, conversation.leaf, USER, text)
            if conversation.title == DEFAULT_TITLE and not conversation.nodes:
                await asyncio.to_thread(self._store.rename, self._owner, id, _title(text))
            return await self._answer(id, said, settings)

    async def retry(self, id: str, node: int, settings: TurnSettings) -> Turn:
        """Another version of an answer; the first one, where a message of the user's has none."""
        settings = await self._settled(settings)
        async with self._quiet(id, node) as conversation:
            found = _find(conversation, node)
            if found.role == USER:
                return await self._answer(id, node, settings)
            return await self._answer(id, found.parent, settings, origin=node)

    async def resume(self, id: str, node: int, settings: TurnSettings) -> Turn:
        """Another version of an answer, which goes on from where this one ended, or before half a character at its end."""
        settings = await self._settled(settings)
        async with self._quiet(id, node) as conversation:
            found = _find(conversation, node, ASSISTANT)
            batches = await self.batches(id, node)
            tokens = await asyncio.to_thread(unpack, batches)
            kept = whole_characters(tokens)
            text = found.text
            if len(kept) < len(tokens):
                text = text.removesuffix("".join(token.text for token in tokens[len(kept) :]))
                batches = [pack(kept)]
            return await self._answer(id, found.parent, settings, text=text, batches=batches, origin=node)

    async def branch(self, id: str, node: int, index: int, alternative: int, settings: TurnSettings) -> Turn:
        """Another version of an answer: up to token ``index``, then that token's other ``alternative``, then what follows from it.

        Raises InvalidRequestError where there is no such alternative, or where a character would stay half.
        """
        settings = await self._settled(settings)
        async with self._quiet(id, node) as conversation:
            found = _find(conversation, node, ASSISTANT)
            tokens = await asyncio.to_thread(unpack, await self.batches(id, node))
            said = with_alternative(tokens, index, alternative)
            written = found.text.removesuffix("".join(token.text for token in tokens))
            text = written + "".join(token.text for token in said)
            return await self._answer(id, found.parent, settings, text=text, batches=[pack(said)], origin=node, branched=index)

    async def edit(self, id: str, node: int, text: str, settings: TurnSettings) -> Turn | None:
        """Another version of a message; what the user said is answered anew."""
        if not text.strip():
            raise InvalidRequestError("There is nothing left of the message: write something, or undo it instead.")
        async with self._quiet(id, node) as conversation:
            found = _find(conversation, node)
            if found.role == ASSISTANT:
                await self._add(id, found.parent, ASSISTANT, text, model=found.model, origin=node)
                return None
            settings = await self._settled(settings)
            return await self._answer(id, await self._add(id, found.parent, USER, text, origin=node), settings)

    async def undo(self, id: str) -> str:
        """Go back to before the last thing that the user said; that, to be said otherwise. It stays as a version."""
        async with self._quiet(id) as conversation:
            said = next((node for node in reversed(conversation.path()) if node.role == USER), None)
            if said is None:
                raise InvalidRequestError("There is nothing to undo in this conversation.")
            await asyncio.to_thread(self._store.stop_at, self._owner, id, said.parent)
            return said.text

    async def walk(self, id: str, node: int) -> None:
        """Look at another version of a message, and at what followed it the last time."""
        await asyncio.to_thread(self._store.look_at, self._owner, id, node)

    async def batches(self, id: str, node: int) -> list[str]:
        """The tokens of a message: they say its end, and all of it but for what a person wrote in front.

        Of an answer on its way it is the list that grows, up to the end: who keeps it has all of them then.
        """
        turn = self.running(await self.conversation(id), node)
        return await asyncio.to_thread(self._store.tokens, self._owner, id, node) if turn is None else turn.batches

    async def stop(self, id: str, node: int) -> None:
        """End an answer with what there is of it; nothing, where it has ended."""
        turn = self.running(await self.conversation(id), node)
        if turn is not None:
            await turn.stop()

    def running(self, conversation: Conversation, node: int | None = None) -> Turn | None:
        """The answer that is on its way at a node, by default at the end of the path that is looked at."""
        wanted = conversation.leaf if node is None else node
        return self._turns.find(wanted) if wanted in conversation.nodes else None

    @asynccontextmanager
    async def _quiet(self, id: str, node: int | None = None) -> AsyncIterator[Conversation]:
        """A conversation, where nothing else begins meanwhile. Raises InvalidRequestError while an answer is on its way there."""
        async with self._turns.alone(id):
            conversation = await self.conversation(id)
            if self.running(conversation) is not None or self._turns.find(node) is not None:
                raise InvalidRequestError("An answer is on its way in this conversation: stop it first, or wait for it.")
            yield conversation

    async def _settled(self, settings: TurnSettings) -> TurnSettings:
        """The settings with a model and a seed, so that the answer can be had again. Raises before anything is kept of it."""
        settings.sampling()
        model = settings.model or (await self._assistant.cards())[0].name
        seed = secrets.randbelow(SEEDS) if settings.seed is None else settings.seed
        return replace(settings, model=model, seed=seed)

    async def _answer(
        self,
        id: str,
        parent: int | None,
        settings: TurnSettings,
        *,
        text: str = "",
        batches: Sequence[str] = (),
        origin: int | None = None,
        branched: int | None = None,
    ) -> Turn:
        node = await asyncio.to_thread(
            self._store.add,
            self._owner,
            id,
            parent,
            ASSISTANT,
            text,
            settings=settings,
            model=settings.model,
            origin=origin,
            branched=branched,
            batches=batches,
        )
        said = (await self.conversation(id)).path(parent)
        turn = Turn(self._store, node, text, batches)
        return self._turns.start(turn, self._assistant, messages_of(said, text, settings), settings)

    async def _add(self, id: str, parent: int | None, role: str, text: str, model: str = "", origin: int | None = None) -> int:
        return await asyncio.to_thread(
            self._store.add, self._owner, id, parent, role, text, model=model, end=FinishReason.STOP, origin=origin
        )


def messages_of(path: Sequence[Node], beginning: str, settings: TurnSettings) -> list[Message]:
    """What the model reads: the system prompt, the path, and the beginning of the answer if there is one."""
    system = [Message(SYSTEM, settings.system)] if settings.system.strip() else []
    said = [Message(node.role, node.text) for node in path]
    return [*system, *said, *([Message(ASSISTANT, beginning)] if beginning else [])]


def _find(conversation: Conversation, node: int, role: str | None = None) -> Node:
    found = conversation.nodes.get(node)
    if found is None or role not in (None, found.role):
        raise InvalidRequestError("There is no such answer in this conversation." if role else "There is no such message here.")
    return found


def _title(text: str) -> str:
    """The first line that says something, without the marks in front of it."""
    first = " ".join(text.strip().partition("\n")[0].split())
    line = first.lstrip("#>`~ ") or first
    return line if len(line) <= TITLE_CHARACTERS else line[: TITLE_CHARACTERS - 1].rstrip() + "…"
