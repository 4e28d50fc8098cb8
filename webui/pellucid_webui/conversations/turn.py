"""Answers on their way: they go on whoever looks, are saved as they come, and end at once when told to."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing, suppress
from weakref import WeakValueDictionary

from pellucid.client.protocol import Assistant
from pellucid.errors import PellucidError
from pellucid.tokens import Finish, FinishReason, Message, Token, Usage
from pellucid_webui.conversations.compact_tokens import pack
from pellucid_webui.conversations.conversation import TurnSettings
from pellucid_webui.conversations.markdown import IncrementalMarkdown
from pellucid_webui.conversations.store import ConversationStore

logger = logging.getLogger(__name__)

TICK_SECONDS = 0.05
"""How often tokens are saved and shown: an eye sees no more."""

IDLE_SECONDS = 2.0
"""Longest wait of a reader of an answer before it checks whether it is still needed."""

FAILED = "The generation failed. What had come is kept."

SERVER_STOPPED = "The server was stopped in the middle of it."

UNEXPECTED = "The server failed at this answer; its log says how. What had come is kept."


class Turn:
    """One answer, which is the node ``node`` of the store. It begins with ``text``, of which the store has the tokens already.

    ``text``, ``batches``, ``usage`` and ``end`` are as far as it has come. ``error`` is what went wrong, in a sentence.
    ``begun`` and ``first`` are when it was asked for and when its first token came, by the clock; ``said`` counts tokens.
    """

    def __init__(
        self, store: ConversationStore, node: int, text: str = "", batches: Sequence[str] = (), clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.node = node
        self.text = text
        self.batches = list(batches)
        self.usage = Usage()
        self.end: FinishReason | None = None
        self.error: str | None = None
        self.begun = clock()
        self.first: float | None = None
        self.said = 0
        self._store = store
        self._clock = clock
        self._because: str | None = None
        self._heard: list[Token] = []
        self._growing = IncrementalMarkdown()
        self._drawn: tuple[int, list[str]] = (0, [])
        self._news = asyncio.Event()
        self._listening: asyncio.Task[FinishReason] | None = None
        self._saving: asyncio.Task[None] | None = None

    @property
    def rate(self) -> float | None:
        """Tokens a second from the first one on; None before there are two."""
        usage = self.usage
        return (usage.generated - 1) / usage.decode if usage.generated > 1 and usage.decode else None

    @property
    def blocks(self) -> list[str]:
        """The text so far as blocks of HTML, which are made once for all tabs that look."""
        if self._drawn[0] != len(self.text):
            self._drawn = len(self.text), self._growing.blocks(self.text)
        return self._drawn[1]

    def start(self, assistant: Assistant, messages: Sequence[Message], settings: TurnSettings, done: Callable[[], None]) -> None:
        """Have it said; ``done`` is called when it has ended."""
        # Two tasks: whenever the first one is cancelled, the second one saves what there is and tells that this is all.
        self._listening = asyncio.create_task(self._listen(assistant, messages, settings))
        self._saving = asyncio.create_task(self._save_all(self._listening))
        self._saving.add_done_callback(lambda _: done())

    async def stop(self, because: str | None = None) -> None:
        """End it with what there is; ``because`` is told as what went wrong."""
        if self._listening is not None and not self._listening.done():
            self._because = because
        if self._listening is not None and self._saving is not None:
            self._listening.cancel()
            await asyncio.wait([self._saving])

    async def ended(self) -> None:
        """Wait for its end."""
        if self._saving is not None:
            await asyncio.wait([self._saving])

    async def updates(self) -> AsyncIterator[None]:
        """Yield now, after each change, and at least every IDLE_SECONDS, up to the end. Changes in the meantime count as one.

        Without that limit a reader that was superseded, or whose tab was closed, would wait until the model has read the prompt.
        """
        while True:
            news, ended = self._news, self.end is not None
            yield
            if ended:
                return
            with suppress(TimeoutError):
                await asyncio.wait_for(news.wait(), IDLE_SECONDS)

    async def _listen(self, assistant: Assistant, messages: Sequence[Message], settings: TurnSettings) -> FinishReason:
        """Collect tokens until the answer ends; why it did."""
        stream = assistant.chat(
            messages,
            settings.sampling(),
            model=settings.model or None,
            continue_last=bool(self.text),
            on_usage=self._note,
        )
        async with aclosing(stream) as items:
            async for item in items:
                if isinstance(item, Finish):
                    self.usage = item.usage
                    self.error = (item.error or FAILED) if item.reason is FinishReason.ERROR else None
                    return item.reason
                if self.first is None:
                    self.first = self._clock()
                self.said += 1
                self._heard.append(item)
        raise AssertionError("the last item of a stream is a Finish")

    def _note(self, usage: Usage) -> None:
        self.usage = usage

    async def _save_all(self, listening: asyncio.Task[FinishReason]) -> None:
        """Save what is heard every now and then, and how it ended."""
        end = FinishReason.ERROR
        try:
            all_heard = False
            while not all_heard:
                ended, _ = await asyncio.wait([listening], timeout=TICK_SECONDS)
                all_heard = bool(ended)
                await self._save()
            end = self._outcome(listening)
            await asyncio.to_thread(self._store.finish, self.node, end, self.usage, self.error)
        except PellucidError as error:  # of the store: what cannot be kept is not gone on with
            self.error, end = str(error), FinishReason.ERROR
        finally:
            listening.cancel()
            self.end = end
            self._tell()

    async def _save(self) -> None:
        """Save what has come since the last time, and tell who looks."""
        tokens, self._heard = self._heard, []
        if not tokens:
            return
        text, batch = "".join(token.text for token in tokens), pack(tokens)
        self.text += text
        self.batches.append(batch)
        await asyncio.to_thread(self._store.append, self.node, text, batch)
        self._tell()

    def _outcome(self, listening: asyncio.Task[FinishReason]) -> FinishReason:
        """How it ended; what went wrong is told."""
        if listening.cancelled():
            self.error = self._because
            return FinishReason.CANCELLED
        error = listening.exception()
        if error is None:
            return listening.result()
        if not isinstance(error, PellucidError):
            logger.error("an answer failed", exc_info=error)
        self.error = str(error) if isinstance(error, PellucidError) else UNEXPECTED
        return FinishReason.ERROR

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()


class Turns:
    """The answers that are on their way now, by their nodes."""

    def __init__(self) -> None:
        self._running: dict[int, Turn] = {}
        self._begun: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def alone(self, conversation: str) -> asyncio.Lock:
        """To be held while an answer is begun in a conversation: of two that are asked for at once, one is first."""
        return self._begun.setdefault(conversation, asyncio.Lock())

    def start(self, turn: Turn, assistant: Assistant, messages: Sequence[Message], settings: TurnSettings) -> Turn:
        """Have an answer said."""
        self._running[turn.node] = turn
        turn.start(assistant, messages, settings, lambda: self._forget(turn))
        return turn

    def find(self, node: int | None) -> Turn | None:
        """The answer that is written to a node, if it is on its way."""
        turn = None if node is None else self._running.get(node)
        return turn if turn is not None and turn.end is None else None

    async def quiet(self) -> None:
        """Wait until no answer is on its way."""
        while self._running:
            await asyncio.gather(*(turn.ended() for turn in list(self._running.values())))

    async def aclose(self) -> None:
        """End all, because the server leaves."""
        await asyncio.gather(*(turn.stop(SERVER_STOPPED) for turn in list(self._running.values())))

    def _forget(self, turn: Turn) -> None:
        self._running.pop(turn.node, None)
