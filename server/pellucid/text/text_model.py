"""Models with tokenizer and chat template."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TypeVar

from pellucid.door.users import CurrentRequest
from pellucid.engine.port import Engine
from pellucid.errors import InvalidRequestError, NotFoundError
from pellucid.models.served_model import ServedModel
from pellucid.models.tokenizers.tokenizer import Tokenizer
from pellucid.models.vision.encoded_image import EncodedImage
from pellucid.text.detokenizer import decode
from pellucid.text.healing import Healer
from pellucid.text.model_thread import ModelThread
from pellucid.text.prompts import HUGE_TEXT_CHARACTERS, ChatTemplate, Prompt, refuse_longer, with_bos
from pellucid.text.reasoning import ReasoningForm, reasoning_form
from pellucid.text.structured.grammar_cache import GrammarCompiler
from pellucid.text.tool_calls.call_constraint import CallConstraints
from pellucid.text.tool_calls.call_reader import CallReader, call_format, call_ids
from pellucid.vocabulary.message import Message
from pellucid.vocabulary.model_card import ModelCard
from pellucid.vocabulary.query import ChatQuery, ScoreQuery

T = TypeVar("T")

LONG_TEXT_CHARACTERS = 20_000
"""Tokenizing this length takes about ten milliseconds; longer texts are tokenized off the event
loop.
"""

_huge_texts = ThreadPoolExecutor(1, thread_name_prefix="pellucid-huge-text")


class TextModel:
    """A model of an engine with text processing, partly shared by all models of one base."""

    def __init__(self, model: ServedModel, engine: Engine, base: TextModel | None = None) -> None:
        self.engine = engine
        self._base = base
        self.model = model
        self.name = model.name
        self.holders: list[CurrentRequest] = []
        """The requests of the running uses of the model: only an unused model is unloaded."""
        self.leaving = False  # The model will be unloaded at the end of the last use.
        self.last_used = time.monotonic()
        self.tokenizer: Tokenizer = model.tokenizer
        self.template: ChatTemplate = ChatTemplate(
            model.tokenizer, model.name, None if base is None else base.template, model.vision
        )
        # Sorts the vocabulary, here during loading rather than on the event loop.
        self.healer: Healer = Healer(model.tokenizer) if base is None else base.healer
        self.reasoning: ReasoningForm | None = reasoning_form(model.tokenizer, self.template.source)
        self.thread: ModelThread = ModelThread(model.name) if base is None else base.thread
        self.markers = frozenset(model.tokenizer.special.values())
        """Ids that end an infill, because no marker belongs inside a text."""

    @property
    def context(self) -> int:
        """The maximum number of tokens per sequence; the base's after the adapter was unloaded."""
        try:
            return self.engine.context(self.name)
        except NotFoundError:
            if self._base is None:
                raise
            return self._base.context

    @property
    def takes_files(self) -> bool:
        return self.model.infill is not None and self.model.infill.file is not None

    @cached_property
    def grammars(self) -> GrammarCompiler:
        return self._base.grammars if self._base is not None else GrammarCompiler(self.tokenizer)

    @cached_property
    def call_constraints(self) -> CallConstraints:
        """The constraints of tool calls."""
        source = self.template.source
        return CallConstraints(self.grammars, self.tokenizer, call_format(source, self.name), source)

    def encode(self, text: str, *, special: bool, context: int | None = None) -> list[int]:
        """Return the ids of a text, after the BOS if the model needs a BOS.

        Raises ContextLengthError, without tokenizing, for a huge text that certainly exceeds
        ``context``.
        """
        refuse_longer(self.tokenizer, [text], context)
        return with_bos(self.tokenizer, self.tokenizer.encode(text, special=special))

    def detokenize(self, ids: Sequence[int]) -> str:
        """Return the text of ids, with markers."""
        self.check_ids(ids)
        return decode(self.tokenizer, ids)

    def read(self, query: ScoreQuery, context: int | None, images: Sequence[EncodedImage] = ()) -> tuple[Prompt, bool]:
        """Return the prompt to score, and whether an added BOS is first. Raises like ``encode``."""
        text = query.text
        if isinstance(text, str):
            refuse_longer(self.tokenizer, [text], context)
            bare = self.tokenizer.encode(text, special=query.special)
            ids = with_bos(self.tokenizer, bare)
            return Prompt(ids), len(ids) > len(bare)
        messages = [item for item in text if isinstance(item, Message)]
        if messages:
            return self.template.encode(
                messages,
                continue_last=query.continue_last,
                tools=query.tools,
                context=context,
                reasoning=query.reasoning,
                images=images,
            ), False
        return Prompt([item for item in text if isinstance(item, int)]), False

    def call_reader(self, query: ChatQuery, prompt: Sequence[int]) -> CallReader | None:
        """Return the reader of the calls in an answer, or None without offered functions."""
        if not query.shown_tools:
            return None
        return CallReader(
            call_format(self.template.source, self.name),
            self.tokenizer.special,
            query.shown_tools,
            call_ids(prompt),
            bare=not query.continues_text,
            single=query.single_call,
        )

    def check_ids(self, ids: Sequence[int]) -> None:
        wrong = next((id for id in ids if not 0 <= id < self.tokenizer.vocab_size), None)
        if wrong is not None:
            raise InvalidRequestError(
                f"Token {wrong} does not exist in {self.name}: use ids from 0 to {self.tokenizer.vocab_size - 1}.",
                param="tokens",
            )

    def check_experts(self, asked: bool) -> None:
        if asked and not self.model.facts.experts:
            raise InvalidRequestError(f"{self.name} reports no experts: omit experts.", param="experts")

    def card(self) -> ModelCard:
        file = self.model.calibration
        calibration, note = (
            (None, None) if file is None else file.read()
        )  # Read for each card: the file may be made while the server runs.
        edits, edits_note = (None, None) if file is None else file.of_edits().read()
        return ModelCard(
            name=self.name,
            context=self.context,
            infill=self.model.infill is not None,
            chat=self.template.available,
            weight_bytes=self.model.facts.weight_bytes,
            description=self.model.facts.description,
            licence=self.model.entry.licence if self.model.entry is not None else None,
            chat_template=self.tokenizer.chat_template if self.template.available else None,
            files=self.takes_files,
            next_edit=self.model.next_edit,
            experts=self.model.facts.experts,
            reasoning=self.reasoning is not None,
            images=self.model.vision is not None,
            base=self.model.base,
            adapter=None if self.model.adapter is None else self.model.adapter.name,
            revision=None if file is None else file.key,
            calibration=calibration,
            calibration_note=note,
            edit_calibration=edits,
            edit_calibration_note=edits_note,
        )


async def run_tokenizer(served: TextModel, size: int, encode: Callable[[], T]) -> T:
    """Return the result of ``encode`` for ``size`` characters, without blocking the event loop.

    Only a short text is encoded on the event loop, and only by a tokenizer of this process.
    """
    if served.tokenizer.apart or size > LONG_TEXT_CHARACTERS:
        return await run_off_loop(served, size, encode)
    return encode()


async def run_template(served: TextModel, size: int, encode: Callable[[], T]) -> T:
    return await (run_tokenizer(served, size, encode) if served.template.process is None else served.thread.run(encode))


async def run_off_loop(served: TextModel, size: int, work: Callable[[], T], longest_wait: float | None = None) -> T:
    """Run ``work`` with a model's tokenizer without blocking the event loop or further models.

    Raises QueueFullError if a tokenizer in a separate process is busy for more than
    ``longest_wait`` seconds.
    """
    if served.tokenizer.apart:
        return await served.thread.run(work, longest_wait)
    if size > HUGE_TEXT_CHARACTERS:
        return await asyncio.get_running_loop().run_in_executor(_huge_texts, work)
    return await asyncio.to_thread(work)
