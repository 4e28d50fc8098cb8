"""The Python interface: ``pellucid.load`` returns a model with complete, chat and score."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Coroutine, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

from pellucid.client.assistant_protocol import Assistant
from pellucid.client.http_client import Client
from pellucid.client.image_files import read_images
from pellucid.errors import InvalidRequestError, PellucidError, UnavailableError
from pellucid.serving.notebook_results import TokenTrace
from pellucid.vocabulary.finish import Finish, FinishReason
from pellucid.vocabulary.message import Message
from pellucid.vocabulary.query import ChatQuery, CompletionQuery, Extra, Reasoning, SamplingParams, ScoreQuery
from pellucid.vocabulary.token import Token

if TYPE_CHECKING:
    from pellucid.engine.port import Engine

CLOSED = "This model was closed before its answer was complete."
T = TypeVar("T")
Items = AsyncGenerator[Token | Finish]
Messages = str | Sequence[Message | Mapping[str, str]]


def load(name_or_url: str | None = None, *, api_key: str | None = None, **settings: Any) -> PythonModel:
    """Load a model in this process, or connect to the server at a URL. Blocks.

    ``name_or_url`` is a catalog name, hub id, folder or GGUF file, or a URL; by default the first
    model of the settings. ``settings`` are the settings of ``pellucid serve``, such as
    ``device="cpu"`` or ``quant="int8"``. ``api_key`` is for a server. Raises a PellucidError after
    a failure.
    """
    from pellucid.config import load_settings

    if name_or_url is not None and name_or_url.startswith(("http://", "https://")):
        if settings:
            raise InvalidRequestError(
                f"{', '.join(settings)} cannot be set for a server that is already running: omit it."
            )
        key = api_key if api_key is not None else load_settings().key_for(name_or_url)
        return PythonModel(Client(name_or_url.rstrip("/"), key), None)
    if api_key is not None:
        raise InvalidRequestError("api_key is for a server: give the server's URL, or omit api_key.")
    from pellucid.serving.assemble import assemble
    from pellucid.terminal.progress_bars import Bars

    chosen = load_settings(**({"prefix_memory": 0} | settings))
    with Bars() as progress:
        engine, assistant = assemble(chosen, [name_or_url or chosen.models[0]], progress)
    return PythonModel(assistant, engine)


class PythonModel:
    """A model for any thread or notebook cell.

    Sampling parameters are keywords, as in ``pellucid.vocabulary.query.SamplingParams``. Ctrl-C, or
    cancelling an async method, ends the generation. Use the model as a context manager, or call
    ``close``.
    """

    def __init__(self, assistant: Assistant, engine: Engine | None) -> None:
        self._assistant = assistant
        self._engine = engine
        self._closing = False
        self._loop = (
            asyncio.new_event_loop()
        )  # A notebook's own loop runs in the main thread, where sync calls would block the loop.
        self._thread = threading.Thread(target=self._loop.run_forever, name="pellucid-python", daemon=True)
        self._thread.start()

    def complete(
        self,
        prefix: str,
        suffix: str | None = None,
        *,
        files: Sequence[Extra] = (),
        model: str | None = None,
        **sampling: Any,
    ) -> TokenTrace:
        """Continue ``prefix`` or, with ``suffix``, fill the gap; ``files`` are further texts."""
        query = CompletionQuery(prefix, suffix, tuple(files), _params(sampling), model=model)
        return self._run(self._collect(self._assistant.complete(query), model))

    async def acomplete(
        self,
        prefix: str,
        suffix: str | None = None,
        *,
        files: Sequence[Extra] = (),
        model: str | None = None,
        **sampling: Any,
    ) -> TokenTrace:
        """Do the same as ``complete`` without blocking."""
        query = CompletionQuery(prefix, suffix, tuple(files), _params(sampling), model=model)
        return await self._await(self._collect(self._assistant.complete(query), model))

    def chat(
        self,
        messages: Messages,
        *,
        images: Sequence[str | Path] = (),
        model: str | None = None,
        reasoning: Reasoning | None = None,
        **sampling: Any,
    ) -> TokenTrace:
        """Answer a message or a conversation, with messages or dicts of role and content.

        ``images`` are files of pictures in front of the last message, for a model that sees images.
        """
        return self._run(self._chat(messages, images, model, reasoning, sampling))

    async def achat(
        self,
        messages: Messages,
        *,
        images: Sequence[str | Path] = (),
        model: str | None = None,
        reasoning: Reasoning | None = None,
        **sampling: Any,
    ) -> TokenTrace:
        """Do the same as ``chat`` without blocking."""
        return await self._await(self._chat(messages, images, model, reasoning, sampling))

    def score(self, text: str, *, model: str | None = None, top_logprobs: int = 0, windows: bool = False) -> TokenTrace:
        """Return the text's tokens with their probabilities."""
        query = ScoreQuery(text, model=model, top_logprobs=top_logprobs, windows=windows)
        return self._run(self._collect(self._assistant.score(query), model))

    async def ascore(
        self, text: str, *, model: str | None = None, top_logprobs: int = 0, windows: bool = False
    ) -> TokenTrace:
        """Do the same as ``score`` without blocking."""
        query = ScoreQuery(text, model=model, top_logprobs=top_logprobs, windows=windows)
        return await self._await(self._collect(self._assistant.score(query), model))

    def models(self) -> list[str]:
        """Return the names of the models, the default model first."""
        return [card.name for card in self._run(self._assistant.cards())]

    def close(self) -> None:
        """End running generations and free the model. A second call does nothing."""
        if self._loop.is_closed():
            return
        self._closing = True
        self._run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        if self._engine is not None:
            self._engine.close()

    async def _end(self) -> None:
        """Cancel all tasks, so that no caller in a different thread waits forever."""
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        if isinstance(self._assistant, Client):
            await self._assistant.aclose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def _chat(
        self,
        messages: Messages,
        images: Sequence[str | Path],
        model: str | None,
        reasoning: Reasoning | None,
        sampling: dict[str, Any],
    ) -> TokenTrace:
        sent, pictures = _conversation(messages), read_images(images)
        if pictures and sent:
            sent = (*sent[:-1], replace(sent[-1], images=(*pictures, *sent[-1].images)))
        query = ChatQuery(sent, _params(sampling), model=model, reasoning=reasoning)
        return await self._collect(self._assistant.chat(query), model)

    async def _collect(self, items: Items, model: str | None) -> TokenTrace:
        name = model or (await self._assistant.cards())[0].name
        tokens: list[Token] = []
        async with aclosing(items):
            async for item in items:
                if isinstance(item, Finish):
                    if item.reason is FinishReason.ERROR:
                        raise PellucidError(item.error or "The generation failed: see the log.")
                    return TokenTrace(tuple(tokens), item, name)
                tokens.append(item)
        raise AssertionError("the last item of a stream is a Finish")

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on this model's loop and wait; an interrupt cancels the coroutine."""
        future = asyncio.run_coroutine_threadsafe(work, self._open_loop(work))
        try:
            return future.result()
        except KeyboardInterrupt:
            future.cancel()
            raise
        except CancelledError:
            raise UnavailableError(CLOSED) from None

    async def _await(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._open_loop(work)))
        except asyncio.CancelledError:
            if self._closing:
                raise UnavailableError(CLOSED) from None
            raise

    def _open_loop(self, work: Coroutine[Any, Any, T]) -> asyncio.AbstractEventLoop:
        if self._loop.is_closed():
            work.close()
            raise InvalidRequestError("This model is closed: load it again.")
        return self._loop


def _conversation(messages: Messages) -> tuple[Message, ...]:
    if isinstance(messages, str):
        return (Message("user", messages),)
    try:
        return tuple(one if isinstance(one, Message) else _message(**one) for one in messages)
    except TypeError as error:
        raise InvalidRequestError(
            "Messages are texts with a role: send Message(role, content), or dicts with these two keys."
        ) from error


def _message(role: str, content: str) -> Message:
    return Message(role, content)


def _params(sampling: dict[str, Any]) -> SamplingParams:
    try:
        return SamplingParams(**sampling)
    except (TypeError, ValueError) as error:
        sentence = str(error).replace(
            "SamplingParams.__init__() got an unexpected keyword argument", "There is no sampling parameter"
        )
        raise InvalidRequestError(sentence if sentence.endswith(".") else f"{sentence}.") from error
