"""Background generation of answers, which continue without a viewer."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from weakref import WeakValueDictionary

from pellucid.client.assistant_protocol import Assistant
from pellucid.errors import ContextLengthError, PellucidError
from pellucid.vocabulary.finish import Finish, FinishReason, Usage
from pellucid.vocabulary.message import Message
from pellucid.vocabulary.token import Token
from pellucid_webui.conversations.answer_details import StoredDetails, details_of
from pellucid_webui.conversations.compact_tokens import pack, records_in, unpack
from pellucid_webui.conversations.markdown.json_as_code import json_as_code
from pellucid_webui.conversations.markdown.markdown_to_html import IncrementalMarkdown
from pellucid_webui.conversations.model_view import ContextFitting
from pellucid_webui.conversations.storage.store import ConversationStore
from pellucid_webui.conversations.turn_settings import TurnSettings
from pellucid_webui.page_threads import in_page_thread

logger = logging.getLogger(__name__)

TICK_SECONDS = 0.05
"""Time between batches: faster updates cannot be seen."""

IDLE_SECONDS = 2.0
"""Maximum time between two updates, so that the browser notices a lost connection."""

MAX_OVERFLOWED = 1000
"""Conversations whose last answer was discarded because the messages were too long."""

FAILED = "Generation failed. The text so far is kept."

SERVER_STOPPED = "The server was stopped before the answer was complete."

UNEXPECTED = "Internal server error; see the server log. The text so far is kept."


@dataclass(frozen=True, slots=True)
class Overflow:
    """A path of ``tokens`` tokens, too long for the context of ``limit`` tokens."""

    leaf: int | None
    tokens: int
    limit: int
    is_narrowest: bool


class Turn:
    """An answer, saved as the node ``node`` of the store.

    The answer starts with ``text``, whose tokens are stored already.

    Attributes:
        text, reasoning, batches, usage, end: The current state.
        error: A sentence about the failure.
        is_unsaved: Whether the store could not save the end, for example on a full disk.
        status: A sentence about the work before the answer begins.
        too_long: The refusal of the messages' length; the answer is being discarded.
        overflow: Set after the answer was discarded because the messages were too long.
        action: The page's action that started the answer, unless the action was a new message.
        started, first_token: Times by the clock.
        generated: The number of tokens.
    """

    def __init__(
        self,
        store: ConversationStore,
        node: int,
        text: str = "",
        batches: Sequence[str] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.node = node
        self.text = text
        self.reasoning = "".join(record.get("q", "") for batch in batches for record in records_in(batch))
        self.batches = list(batches)
        self.usage = Usage()
        self.end: FinishReason | None = None
        self.error: str | None = None
        self.is_unsaved = False
        self.status = ""
        self.too_long: ContextLengthError | None = None
        self.overflow: Overflow | None = None
        self.action: Mapping[str, object] = {}
        self.started = clock()
        self.first_token: float | None = None
        self.generated = 0
        self._store = store
        self._clock = clock
        self._stop_reason: str | None = None
        self._unsaved: list[Token] = []
        self._is_json = self._may_call = False
        self._finish: Finish | None = None
        self._is_narrowest = False
        self._markdown = IncrementalMarkdown()
        self._rendered: tuple[int, list[str]] = (0, [])
        self._rendering = threading.Lock()
        self._changed = asyncio.Event()
        self._generating: asyncio.Task[FinishReason] | None = None
        self._saving: asyncio.Task[None] | None = None

    @property
    def rate(self) -> float | None:
        usage = self.usage
        return (usage.generated - 1) / usage.decode if usage.generated > 1 and usage.decode else None

    @property
    def blocks(self) -> list[str]:
        """The text so far as HTML blocks, rendered once for all tabs.

        Highlighting waits for another process, so use a thread.
        """
        with self._rendering:
            text = self.text
            if self._rendered[0] != len(text):
                self._rendered = len(text), self._markdown.blocks(json_as_code(text) if self._is_json else text)
            return self._rendered[1]

    def start(
        self,
        assistant: Assistant,
        messages: Sequence[Message],
        settings: TurnSettings,
        done: Callable[[], None],
        fitting: ContextFitting | None = None,
    ) -> None:
        """Start generating; call ``done`` at the end."""
        self._is_json, self._may_call = settings.answer_format != "free", bool(settings.tools.strip())
        # Two tasks: if the first task is cancelled, the second task still saves the rest and the
        # end.
        self._generating = asyncio.create_task(self._generate(assistant, messages, settings, fitting))
        self._saving = asyncio.create_task(self._save_all(self._generating))
        self._saving.add_done_callback(lambda _: done())

    async def stop(self, reason: str | None = None) -> None:
        """Stop and wait for the end; ``reason`` becomes the answer's error."""
        if self._generating is not None and not self._generating.done():
            self._stop_reason = reason
        if self._generating is not None and self._saving is not None:
            self._generating.cancel()
            await asyncio.wait([self._saving])

    async def wait(self) -> None:
        if self._saving is not None:
            await asyncio.wait([self._saving])

    async def updates(self) -> AsyncIterator[None]:
        """Yield now, after changes, and at least every IDLE_SECONDS, up to the end."""
        while True:
            changed, ended = self._changed, self.end is not None
            yield
            if ended:
                return
            # Unlike wait_for in Python 3.11, timeout() never loses a cancellation.
            with suppress(TimeoutError):
                async with asyncio.timeout(IDLE_SECONDS):
                    await changed.wait()

    async def _generate(
        self, assistant: Assistant, messages: Sequence[Message], settings: TurnSettings, fitting: ContextFitting | None
    ) -> FinishReason:
        """Generate the answer, with fewer messages if the model refuses the length."""
        while True:
            try:
                return await self._stream(assistant, messages, settings)
            except ContextLengthError as error:
                if fitting is None or self.generated:
                    raise
                self._is_narrowest = fitting.is_narrowest(error)
                messages = await fitting.make_room(assistant, error, self._report)

    def _report(self, status: str) -> None:
        self.status = status
        self._notify()

    async def _stream(self, assistant: Assistant, messages: Sequence[Message], settings: TurnSettings) -> FinishReason:
        stream = assistant.chat(settings.query(messages, continue_last=bool(self.text)), on_usage=self._set_usage)
        async with aclosing(stream) as items:
            async for item in items:
                if isinstance(item, Finish):
                    self.usage, self._finish = item.usage, item
                    self.error = (item.error or FAILED) if item.reason is FinishReason.ERROR else None
                    return item.reason
                if self.first_token is None:
                    self.first_token = self._clock()
                self.generated += 1
                self._unsaved.append(item)
        raise AssertionError("the last item of a stream is a Finish")

    def _set_usage(self, usage: Usage) -> None:
        self.usage = usage

    async def _save_all(self, generating: asyncio.Task[FinishReason]) -> None:
        """Save new tokens once per tick, and finally the end."""
        end = FinishReason.ERROR
        try:
            is_complete = False
            while not is_complete:
                done, _ = await asyncio.wait([generating], timeout=TICK_SECONDS)
                is_complete = bool(done)
                await self._save()
            end = self._outcome(generating)
            if self.too_long is not None:
                leaf = await in_page_thread(self._store.discard, self.node)
                self.overflow = Overflow(leaf, self.too_long.prompt_tokens, self.too_long.context, self._is_narrowest)
                return
            details = await in_page_thread(self._details)
            await in_page_thread(self._store.finish, self.node, end, self.usage, self.error, details)
        except PellucidError as error:  # Stop an answer that the store cannot save.
            self.error, end = str(error), FinishReason.ERROR
            self.is_unsaved = True
        finally:
            generating.cancel()
            self.end = end
            self._notify()

    async def _save(self) -> None:
        tokens, self._unsaved = self._unsaved, []
        if not tokens:
            return
        text, batch = "".join(token.text for token in tokens), pack(tokens)
        self.text += text
        self.reasoning += "".join(token.reasoning or "" for token in tokens)
        self.batches.append(batch)
        await in_page_thread(self._store.append, self.node, text, batch)
        self._notify()

    def _details(self) -> StoredDetails | None:
        if not (self._is_json or self._may_call or self.reasoning):
            return None
        return details_of(unpack(self.batches), self._finish, is_json=self._is_json)

    def _outcome(self, generating: asyncio.Task[FinishReason]) -> FinishReason:
        if generating.cancelled():
            self.error = self._stop_reason
            return FinishReason.CANCELLED
        error = generating.exception()
        if error is None:
            return generating.result()
        if isinstance(error, ContextLengthError) and not self.generated:
            self.too_long = error
        if not isinstance(error, PellucidError):
            logger.error("An answer failed.", exc_info=error)
        self.error = str(error) if isinstance(error, PellucidError) else UNEXPECTED
        return FinishReason.ERROR

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


class Turns:
    def __init__(self) -> None:
        self._running: dict[int, Turn] = {}
        self._last: OrderedDict[str, Turn] = OrderedDict()
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def lock(self, conversation: str) -> asyncio.Lock:
        """Return the lock for starting an answer: concurrent requests could start two."""
        return self._locks.setdefault(conversation, asyncio.Lock())

    def start(
        self,
        conversation: str,
        turn: Turn,
        assistant: Assistant,
        messages: Sequence[Message],
        settings: TurnSettings,
        fitting: ContextFitting | None = None,
    ) -> Turn:
        self._running[turn.node] = self._last[conversation] = turn
        turn.start(assistant, messages, settings, lambda: self._forget(conversation, turn), fitting)
        return turn

    def find(self, node: int | None) -> Turn | None:
        turn = None if node is None else self._running.get(node)
        return turn if turn is not None and turn.end is None else None

    async def wait_until_idle(self) -> None:
        while self._running:
            await asyncio.gather(*(turn.wait() for turn in list(self._running.values())))

    async def aclose(self) -> None:
        await asyncio.gather(*(turn.stop(SERVER_STOPPED) for turn in list(self._running.values())))

    async def overflowed(self, conversation: str) -> Turn | None:
        """Return the last answer of a conversation, if its messages were too long."""
        turn = self._last.get(conversation)
        if turn is not None and turn.too_long is not None:
            await turn.wait()  # The store has discarded the answer before the overflow is known.
        return turn if turn is not None and turn.overflow is not None else None

    def _forget(self, conversation: str, turn: Turn) -> None:
        self._running.pop(turn.node, None)
        if turn.overflow is None and self._last.get(conversation) is turn:
            del self._last[conversation]
        overflowed = [id for id, last in self._last.items() if last.overflow is not None]
        for id in overflowed[:-MAX_OVERFLOWED]:
            del self._last[id]
