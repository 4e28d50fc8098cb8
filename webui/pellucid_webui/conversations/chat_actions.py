"""Actions on conversations: each action adds or selects a version, and no message is lost."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

from pellucid.client.assistant_protocol import Assistant
from pellucid.errors import ContextLengthError, InvalidRequestError
from pellucid.system.common_prefix import common_prefix
from pellucid.vocabulary.finish import FinishReason
from pellucid.vocabulary.token import Token
from pellucid_webui.conversations.compact_tokens import pack, unpack
from pellucid_webui.conversations.continue_from_token import whole_characters, with_alternative
from pellucid_webui.conversations.conversation import ASSISTANT, USER, Archive, Conversation, Node, Picture
from pellucid_webui.conversations.model_view import ContextFitting, ModelView, Remedy, narrower, view_of
from pellucid_webui.conversations.storage.store import DEFAULT_TITLE, ConversationStore
from pellucid_webui.conversations.turn import Turn, Turns
from pellucid_webui.conversations.turn_settings import TurnSettings
from pellucid_webui.page_threads import in_page_thread

TITLE_CHARACTERS = 60
"""Maximum length of a title made from the first message."""

FORKED = " (continued)"

SEEDS = 2**31


class ChatActions:
    """Actions on the conversations of a single owner.

    Actions that start an answer return the running turn. Impossible actions, and actions during an
    answer, raise InvalidRequestError and change nothing.
    """

    def __init__(self, owner: str, store: ConversationStore, assistant: Assistant, turns: Turns) -> None:
        self._owner = owner
        self._store = store
        self._assistant = assistant
        self._turns = turns

    async def conversation(self, id: str) -> Conversation:
        return await in_page_thread(self._store.conversation, self._owner, id)

    async def delete(self, id: str) -> None:
        """Stop the answers of a conversation, and delete the conversation (restorable)."""
        async with self._turns.lock(id):  # The lock prevents the start of another answer meanwhile.
            conversation = await self.conversation(id)
            for turn in filter(None, map(self._turns.find, conversation.nodes)):
                await turn.stop()
            await in_page_thread(self._store.delete, self._owner, id)

    async def send(self, id: str, text: str, settings: TurnSettings, pictures: Sequence[Picture] = ()) -> Turn:
        _require_content(text, pictures)
        settings = await self._resolved(settings, pictures)
        async with self._idle_conversation(id) as conversation:
            message = await self._add(id, conversation.leaf, USER, text, pictures=pictures)
            if conversation.title == DEFAULT_TITLE and not conversation.nodes:
                title = _title(text or pictures[0].name)
                await in_page_thread(self._store.rename, self._owner, id, title)
            return await self._answer(id, message, settings)

    async def send_first(self, text: str, settings: TurnSettings, pictures: Sequence[Picture] = ()) -> tuple[str, Turn]:
        """Send a message in a new conversation, which is erased if sending fails."""
        _require_content(text, pictures)
        id = await in_page_thread(self._store.create, self._owner, settings)
        try:
            return id, await self.send(id, text, settings, pictures)
        except BaseException:
            await in_page_thread(self._store.deleted.erase, self._owner, id)
            raise

    async def retry(
        self, id: str, node: int, settings: TurnSettings, *, remedy: Remedy | None = None, reads_all: bool = False
    ) -> Turn:
        """Generate another version of an answer, or answer a user's message.

        ``remedy`` makes room in a full context (default: the path's remedy). With ``reads_all`` the
        model also reads messages that were dropped earlier.
        """
        settings = await self._resolved(settings)
        async with self._idle_conversation(id, node) as conversation:
            found = _find(conversation, node)
            if found.role == USER:
                return await self._answer(id, node, settings, remedy=remedy)
            begins = conversation.path(node)[0].id if reads_all else None
            return await self._answer(id, found.parent, settings, origin=node, remedy=remedy, begins=begins)

    async def resume(self, id: str, node: int, settings: TurnSettings, *, remedy: Remedy | None = None) -> Turn:
        """Generate a version that continues this answer, minus an incomplete final character."""
        settings = await self._resolved(settings)
        async with self._idle_conversation(id, node) as conversation:
            found = _find(conversation, node, ASSISTANT)
            require_continuable(found, settings)
            batches = await self.batches(id, node)
            tokens = await in_page_thread(unpack, batches)
            kept = whole_characters(tokens)
            text = found.text
            if not text:  # It ended within the reasoning, which begins again.
                batches = []
            elif len(kept) < len(tokens):
                text = text.removesuffix("".join(token.text for token in tokens[len(kept) :]))
                batches = [pack(kept)]
            return await self._answer(
                id, found.parent, settings, text=text, batches=batches, origin=node, continued=len(text), remedy=remedy
            )

    async def branch(
        self,
        id: str,
        node: int,
        index: int,
        other: int | Sequence[Token],
        settings: TurnSettings,
        *,
        remedy: Remedy | None = None,
    ) -> Turn:
        """Generate a version in which an alternative or other tokens replace token ``index``."""
        settings = await self._resolved(settings)
        async with self._idle_conversation(id, node) as conversation:
            found = _find(conversation, node, ASSISTANT)
            require_continuable(found, settings)
            tokens = await in_page_thread(unpack, await self.batches(id, node))
            if isinstance(other, int):
                kept = with_alternative(tokens, index, other)
            else:
                kept = [*tokens[:index], *other]
                shared = common_prefix([token.id for token in kept], [token.id for token in tokens])
                index = min(shared, len(kept) - 1, len(tokens) - 1)
            written = found.text.removesuffix("".join(token.text for token in tokens))
            text = written + "".join(token.text for token in kept)
            return await self._answer(
                id, found.parent, settings, text=text, batches=[pack(kept)], origin=node, branched=index, remedy=remedy
            )

    async def edit(self, id: str, node: int, text: str, settings: TurnSettings) -> Turn | None:
        """Add an edited version with the same pictures; answer a user's message again."""
        async with self._idle_conversation(id, node) as conversation:
            found = _find(conversation, node)
            if not text.strip() and not found.pictures:
                raise InvalidRequestError("The edited message is empty: write something, or undo the message instead.")
            if found.role == ASSISTANT:
                await self._add(id, found.parent, ASSISTANT, text, origin=node)
                return None
            settings = await self._resolved(settings, found.pictures)
            edited = await self._add(id, found.parent, USER, text, origin=node, pictures=found.pictures)
            return await self._answer(id, edited, settings)

    async def fork(self, id: str, settings: TurnSettings, full: ContextLengthError) -> tuple[str, Turn]:
        """Copy the newest messages that fit into a new conversation, and continue there."""
        settings = await self._resolved(settings)
        async with self._idle_conversation(id) as conversation:
            path = conversation.path()
            view = narrower(path, view_of(path), "", settings, full)
            if view is None:
                raise full
            if path[-1].role == ASSISTANT:
                require_continuable(path[-1], settings)
            archive = await in_page_thread(self._store.archive, self._owner, id)
            (copy,) = await in_page_thread(self._store.restore, self._owner, [_copy_from(archive, path, view.begins)])
        leaf = (await self.conversation(copy)).leaf
        assert leaf is not None, "it has the last message"
        again = self.retry if path[-1].role == USER else self.resume
        try:
            return copy, await again(copy, leaf, settings, remedy="drop")
        except BaseException:
            await in_page_thread(self._store.deleted.erase, self._owner, copy)
            raise

    async def undo(self, id: str) -> Node:
        """End the path before the user's last message, and return the message for editing."""
        async with self._idle_conversation(id) as conversation:
            message = next((node for node in reversed(conversation.path()) if node.role == USER), None)
            if message is None:
                raise InvalidRequestError("There is nothing to undo in this conversation.")
            await in_page_thread(self._store.end_path_at, self._owner, id, message.parent)
            return message

    async def select_version(self, id: str, node: int) -> None:
        await in_page_thread(self._store.select_version, self._owner, id, node)

    async def batches(self, id: str, node: int) -> list[str]:
        """Return a message's tokens, except for a beginning written by a person.

        During generation, the returned list grows.
        """
        return await self.batches_in(await self.conversation(id), node)

    async def batches_in(self, conversation: Conversation, node: int) -> list[str]:
        """Return the tokens of a message without loading the conversation again, which is slow."""
        turn = self.running(conversation, node)
        return (
            await in_page_thread(self._store.tokens, self._owner, conversation.id, node)
            if turn is None
            else turn.batches
        )

    async def stop(self, id: str, node: int) -> None:
        turn = self.running(await self.conversation(id), node)
        if turn is not None:
            await turn.stop()

    def running(self, conversation: Conversation, node: int | None = None) -> Turn | None:
        """Return the running answer at a node (default: the end of the selected path)."""
        wanted = conversation.leaf if node is None else node
        return self._turns.find(wanted) if wanted in conversation.nodes else None

    @asynccontextmanager
    async def _idle_conversation(self, id: str, node: int | None = None) -> AsyncIterator[Conversation]:
        """Lock a conversation without a running answer."""
        async with self._turns.lock(id):
            conversation = await self.conversation(id)
            if self.running(conversation) is not None or self.running(conversation, node) is not None:
                raise InvalidRequestError(
                    "An answer is being generated in this conversation: stop it, or wait until it is complete."
                )
            yield conversation

    async def _resolved(self, settings: TurnSettings, pictures: Sequence[Picture] = ()) -> TurnSettings:
        """Fill in model and seed, for reproducible answers. Raises before anything is saved."""
        settings.check()
        model = settings.model or (await self._assistant.cards())[0].name
        if settings.reasoning != "off":
            cards = await self._assistant.cards()
            if any(card.name == model and not card.reasoning for card in cards):
                raise InvalidRequestError(
                    f"{model} does not reason before it answers: set Reasoning to Off.", param="reasoning"
                )
        if pictures and any(card.name == model and not card.images for card in await self._assistant.cards()):
            raise InvalidRequestError(f"{model} sees no images: choose another model.", param="model")
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
        continued: int | None = None,
        begins: int | None = None,
        remedy: Remedy | None = None,
    ) -> Turn:
        """Store a new answer and start generating after ``text``, whose tokens are ``batches``.

        The model reads the same messages as for ``origin``, or the messages from ``begins`` on.
        """
        conversation = await self.conversation(id)
        path = [] if parent is None else conversation.path(parent)
        earlier = None if origin is None else conversation.nodes[origin]
        view = view_of(path if earlier is None else [*path, earlier]) if begins is None else ModelView()
        if begins is None and earlier is not None:
            begins = earlier.begins
        node = await in_page_thread(
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
            continued=continued,
            begins=begins,
            summary=view.summary if begins is not None else "",
            batches=batches,
        )

        async def save(narrower: ModelView) -> None:
            assert narrower.begins is not None, "a narrower view begins at a message"
            await in_page_thread(self._store.set_view, node, narrower.begins, narrower.summary)

        fitting = ContextFitting(path, text, settings, view, remedy or view.remedy, save)
        turn = Turn(self._store, node, text, batches)
        return self._turns.start(id, turn, self._assistant, fitting.messages(), settings, fitting)

    async def _add(
        self,
        id: str,
        parent: int | None,
        role: str,
        text: str,
        origin: int | None = None,
        pictures: Sequence[Picture] = (),
    ) -> int:
        end = FinishReason.STOP
        return await in_page_thread(
            self._store.add, self._owner, id, parent, role, text, end=end, origin=origin, pictures=pictures
        )


def _copy_from(archive: Archive, path: Sequence[Node], begins: int | None) -> Archive:
    """Return a conversation of the path's messages from ``begins`` on.

    Usage is omitted: the recorded counts are for a longer prompt.
    """
    first = next(place for place, node in enumerate(path) if node.id == begins)
    kept = path[first:]
    numbers = {node.id: number for number, node in enumerate(kept, 1)}
    nodes = {
        number: replace(
            node,
            id=number,
            parent=number - 1 or None,
            origin=None,
            branched=None,
            begins=None,
            summary="",
            usage=None,
            chosen=number + 1 if number < len(kept) else None,
        )
        for number, node in enumerate(kept, 1)
    }
    title = f"{archive.conversation.title[: TITLE_CHARACTERS - len(FORKED)]}{FORKED}"
    conversation = replace(archive.conversation, title=title, leaf=len(kept), nodes=nodes)
    return Archive(conversation, {numbers[node.id]: archive.tokens[node.id] for node in kept})


def require_continuable(node: Node, settings: TurnSettings) -> None:
    if settings.answer_format != "free":
        raise InvalidRequestError(
            "An answer cannot be continued under an answer format: regenerate it, or choose the format free."
        )
    if node.details is not None and node.details.calls:
        raise InvalidRequestError("An answer with tool calls cannot be continued: regenerate it instead.")


def _require_content(text: str, pictures: Sequence[Picture]) -> None:
    if not text.strip() and not pictures:
        raise InvalidRequestError("The message is empty: write something first.")


def _find(conversation: Conversation, node: int, role: str | None = None) -> Node:
    found = conversation.nodes.get(node)
    if found is None or role not in (None, found.role):
        raise InvalidRequestError(
            "This conversation has no such answer." if role else "This conversation has no such message."
        )
    return found


def _title(text: str) -> str:
    """Return the first line of text without leading Markdown marks, shortened to a title."""
    first = " ".join(text.strip().partition("\n")[0].split())
    line = first.lstrip("#>`~ ") or first
    return line if len(line) <= TITLE_CHARACTERS else line[: TITLE_CHARACTERS - 1].rstrip() + "…"
