"""The actions on a conversation. None loses a message: each adds a version or selects one."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

from pellucid.client.assistant_protocol import Assistant
from pellucid.errors import InvalidRequestError
from pellucid.tokens import FinishReason, Message, ToolCall
from pellucid_webui.conversations.compact_tokens import pack, unpack
from pellucid_webui.conversations.continue_from_token import whole_characters, with_alternative
from pellucid_webui.conversations.conversation import ASSISTANT, SYSTEM, USER, Conversation, Node
from pellucid_webui.conversations.store import DEFAULT_TITLE, ConversationStore
from pellucid_webui.conversations.turn import Turn, Turns
from pellucid_webui.conversations.turn_settings import TurnSettings

TITLE_CHARACTERS = 60
"""Longest title that is made of the first message."""

SEEDS = 2**31
"""Random seeds are below this."""


class ChatActions:
    """Acts on the conversations of one owner. Actions that start an answer return its turn while it is being generated.

    They raise InvalidRequestError for what is impossible, and while an answer is being generated; nothing is changed then.
    """

    def __init__(self, owner: str, store: ConversationStore, assistant: Assistant, turns: Turns) -> None:
        self._owner = owner
        self._store = store
        self._assistant = assistant
        self._turns = turns

    async def conversation(self, id: str) -> Conversation:
        """Return a conversation as it is now."""
        return await asyncio.to_thread(self._store.conversation, self._owner, id)

    async def delete(self, id: str) -> None:
        """Delete a conversation, and stop its answers. It can be restored for a while."""
        async with self._turns.lock(id):  # so that no other answer starts in it meanwhile
            conversation = await self.conversation(id)
            for turn in filter(None, map(self._turns.find, conversation.nodes)):
                await turn.stop()
            await asyncio.to_thread(self._store.delete, self._owner, id)

    async def send(self, id: str, text: str, settings: TurnSettings) -> Turn:
        """Add a message and start its answer."""
        _require_text(text)
        settings = await self._resolved(settings)
        async with self._idle_conversation(id) as conversation:
            message = await self._add(id, conversation.leaf, USER, text)
            if conversation.title == DEFAULT_TITLE and not conversation.nodes:
                await asyncio.to_thread(self._store.rename, self._owner, id, _title(text))
            return await self._answer(id, message, settings)

    async def send_first(self, text: str, settings: TurnSettings) -> tuple[str, Turn]:
        """Send a message in a new conversation, which is created only if that succeeds. Return its id and the answer."""
        _require_text(text)
        id = await asyncio.to_thread(self._store.create, self._owner, settings)
        try:
            return id, await self.send(id, text, settings)
        except BaseException:
            await asyncio.to_thread(self._store.deleted.erase, self._owner, id)
            raise

    async def retry(self, id: str, node: int, settings: TurnSettings) -> Turn:
        """Generate another version of an answer, or the first answer to a user's message that has none."""
        settings = await self._resolved(settings)
        async with self._idle_conversation(id, node) as conversation:
            found = _find(conversation, node)
            if found.role == USER:
                return await self._answer(id, node, settings)
            return await self._answer(id, found.parent, settings, origin=node)

    async def resume(self, id: str, node: int, settings: TurnSettings) -> Turn:
        """Generate another version of an answer that continues this one, without an incomplete character at its end."""
        settings = await self._resolved(settings)
        async with self._idle_conversation(id, node) as conversation:
            found = _find(conversation, node, ASSISTANT)
            _require_continuable(found, settings)
            batches = await self.batches(id, node)
            tokens = await asyncio.to_thread(unpack, batches)
            kept = whole_characters(tokens)
            text = found.text
            if len(kept) < len(tokens):
                text = text.removesuffix("".join(token.text for token in tokens[len(kept) :]))
                batches = [pack(kept)]
            return await self._answer(id, found.parent, settings, text=text, batches=batches, origin=node)

    async def branch(self, id: str, node: int, index: int, alternative: int, settings: TurnSettings) -> Turn:
        """Generate another version of an answer that has the token's ``alternative`` in place of token ``index``.

        Raises InvalidRequestError if there is no such alternative, or if it would leave a character incomplete.
        """
        settings = await self._resolved(settings)
        async with self._idle_conversation(id, node) as conversation:
            found = _find(conversation, node, ASSISTANT)
            _require_continuable(found, settings)
            tokens = await asyncio.to_thread(unpack, await self.batches(id, node))
            kept = with_alternative(tokens, index, alternative)
            written = found.text.removesuffix("".join(token.text for token in tokens))
            text = written + "".join(token.text for token in kept)
            return await self._answer(id, found.parent, settings, text=text, batches=[pack(kept)], origin=node, branched=index)

    async def edit(self, id: str, node: int, text: str, settings: TurnSettings) -> Turn | None:
        """Add another version of a message. A user's message is answered again."""
        if not text.strip():
            raise InvalidRequestError("The edited message is empty: write something, or undo the message instead.")
        async with self._idle_conversation(id, node) as conversation:
            found = _find(conversation, node)
            if found.role == ASSISTANT:
                await self._add(id, found.parent, ASSISTANT, text, model=found.model, origin=node)
                return None
            settings = await self._resolved(settings)
            return await self._answer(id, await self._add(id, found.parent, USER, text, origin=node), settings)

    async def undo(self, id: str) -> str:
        """Go back to before the user's last message, and return its text to be edited. The message stays as a version."""
        async with self._idle_conversation(id) as conversation:
            message = next((node for node in reversed(conversation.path()) if node.role == USER), None)
            if message is None:
                raise InvalidRequestError("There is nothing to undo in this conversation.")
            await asyncio.to_thread(self._store.stop_at, self._owner, id, message.parent)
            return message.text

    async def walk(self, id: str, node: int) -> None:
        """Select another version of a message, and what followed it the last time."""
        await asyncio.to_thread(self._store.look_at, self._owner, id, node)

    async def batches(self, id: str, node: int) -> list[str]:
        """Return the tokens of a message. They cover its end, and all of it except what a person wrote at the beginning.

        For an answer that is being generated this is the list that grows until its end.
        """
        turn = self.running(await self.conversation(id), node)
        return await asyncio.to_thread(self._store.tokens, self._owner, id, node) if turn is None else turn.batches

    async def stop(self, id: str, node: int) -> None:
        """Stop an answer and keep the text so far. Do nothing if it has ended."""
        turn = self.running(await self.conversation(id), node)
        if turn is not None:
            await turn.stop()

    def running(self, conversation: Conversation, node: int | None = None) -> Turn | None:
        """Return the answer that is being generated at a node, by default at the end of the selected path."""
        wanted = conversation.leaf if node is None else node
        return self._turns.find(wanted) if wanted in conversation.nodes else None

    @asynccontextmanager
    async def _idle_conversation(self, id: str, node: int | None = None) -> AsyncIterator[Conversation]:
        """Return a conversation and start no other answer in it meanwhile. Raises InvalidRequestError if one is being generated."""
        async with self._turns.lock(id):
            conversation = await self.conversation(id)
            if self.running(conversation) is not None or self._turns.find(node) is not None:
                raise InvalidRequestError("An answer is being generated in this conversation: stop it, or wait until it is complete.")
            yield conversation

    async def _resolved(self, settings: TurnSettings) -> TurnSettings:
        """Return the settings with a model and a seed, so that the answer can be reproduced. Raises before anything is saved."""
        settings.check()
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
        """Add an answer with its settings, and start generating it after ``text``, whose tokens are ``batches``."""
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
        path = (await self.conversation(id)).path(parent)
        turn = Turn(self._store, node, text, batches)
        return self._turns.start(turn, self._assistant, messages_of(path, text, settings), settings)

    async def _add(self, id: str, parent: int | None, role: str, text: str, model: str = "", origin: int | None = None) -> int:
        return await asyncio.to_thread(
            self._store.add, self._owner, id, parent, role, text, model=model, end=FinishReason.STOP, origin=origin
        )


def messages_of(path: Sequence[Node], beginning: str, settings: TurnSettings) -> list[Message]:
    """Return the messages that the model reads: the system prompt, the path, and the beginning of the answer if there is one.

    Calls that are incomplete are left out, as a chat template cannot show them.
    """
    system = [Message(SYSTEM, settings.system)] if settings.system.strip() else []
    written = [Message(node.role, node.text, _whole_calls(node)) for node in path]
    return [*system, *written, *([Message(ASSISTANT, beginning)] if beginning else [])]


def _whole_calls(node: Node) -> tuple[ToolCall, ...]:
    calls = () if node.details is None else node.details.calls
    return tuple(ToolCall(call.id, call.name, call.arguments) for call in calls if call.complete)


def _require_continuable(node: Node, settings: TurnSettings) -> None:
    if settings.answer_format != "free":
        raise InvalidRequestError("An answer cannot be continued under an answer format: retry it, or choose the format free.")
    if node.details is not None and node.details.calls:
        raise InvalidRequestError("An answer with tool calls cannot be continued: retry it instead.")


def _require_text(text: str) -> None:
    if not text.strip():
        raise InvalidRequestError("The message is empty: write something first.")


def _find(conversation: Conversation, node: int, role: str | None = None) -> Node:
    found = conversation.nodes.get(node)
    if found is None or role not in (None, found.role):
        raise InvalidRequestError("This conversation has no such answer." if role else "This conversation has no such message.")
    return found


def _title(text: str) -> str:
    """Return the first line that is not blank, without Markdown marks in front of it."""
    first = " ".join(text.strip().partition("\n")[0].split())
    line = first.lstrip("#>`~ ") or first
    return line if len(line) <= TITLE_CHARACTERS else line[: TITLE_CHARACTERS - 1].rstrip() + "…"
