"""Holds a model together with what turns text into its ids and back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TypeVar

from pellucid.errors import InvalidRequestError
from pellucid.models.served_model import ServedModel
from pellucid.models.tokenizers.tokenizer import Tokenizer
from pellucid.text.healing import Healer
from pellucid.text.model_thread import ModelThread
from pellucid.text.prompts import HUGE_TEXT_CHARACTERS, ChatTemplate, refuse_longer, with_bos
from pellucid.text.structured.grammar_compiler import GrammarCompiler
from pellucid.text.tool_calls.call_constraint import CallConstraints
from pellucid.text.tool_calls.call_reader import CallReader, call_format, call_ids
from pellucid.tokens import ChatQuery, Message, ModelCard, ScoreQuery

T = TypeVar("T")

LONG_TEXT_CHARACTERS = 20_000
"""Texts of this length take some ten milliseconds to tokenize; longer ones are tokenized off the
event loop.
"""

_huge_texts = ThreadPoolExecutor(1, thread_name_prefix="pellucid-huge-text")


class TextModel:
    """A served model with its tokenizer, chat template, healer and grammars.

    Models with an adapter share these with their base.
    """

    def __init__(self, model: ServedModel, base: TextModel | None = None) -> None:
        self._base = base
        self.model = model
        self.name = model.name
        self.tokenizer: Tokenizer = model.tokenizer
        self.template: ChatTemplate = ChatTemplate(model.tokenizer, model.name, None if base is None else base.template)
        # Sorts the vocabulary, which is done while models load rather than on the event loop.
        self.healer: Healer = Healer(model.tokenizer) if base is None else base.healer
        self.thread: ModelThread = ModelThread(model.name) if base is None else base.thread
        self.markers = frozenset(model.tokenizer.special.values())
        """Ids that end an infill, as no marker belongs in the middle of a text."""

    @property
    def takes_files(self) -> bool:
        """True if an infill may have pieces of other files."""
        return self.model.infill is not None and self.model.infill.file is not None

    @cached_property
    def grammars(self) -> GrammarCompiler:
        """The grammars that answers of this model have."""
        return self._base.grammars if self._base is not None else GrammarCompiler(self.tokenizer)

    @cached_property
    def call_constraints(self) -> CallConstraints:
        """The constraints of tool calls.

        Raises InvalidRequestError if calls in the model's format cannot be read.
        """
        source = self.template.source
        return CallConstraints(self.grammars, self.tokenizer, call_format(source, self.name), source)

    def encode(self, text: str, *, special: bool, context: int | None = None) -> list[int]:
        """Return the ids of a text, with the BOS in front if the model wants one.

        Raises ContextLengthError, without tokenizing it, for a huge text that certainly has more
        tokens than ``context``.
        """
        refuse_longer(self.tokenizer, [text], context)
        return with_bos(self.tokenizer, self.tokenizer.encode(text, special=special))

    def read(self, query: ScoreQuery, context: int | None) -> tuple[list[int], bool]:
        """Return the ids of a text, ids or a chat to score, and whether the first one is a BOS that was put in front.

        Raises ContextLengthError as ``encode`` does.
        """
        text = query.text
        if isinstance(text, str):
            refuse_longer(self.tokenizer, [text], context)
            bare = self.tokenizer.encode(text, special=query.special)
            ids = with_bos(self.tokenizer, bare)
            return ids, len(ids) > len(bare)
        messages = [item for item in text if isinstance(item, Message)]
        if messages:
            return self.template.encode(
                messages, continue_last=query.continue_last, tools=query.tools, context=context
            ), False
        return [item for item in text if isinstance(item, int)], False

    def call_reader(self, query: ChatQuery, prompt: Sequence[int]) -> CallReader | None:
        """Return the reader of the calls in the answer to a prompt, or None if the model was shown no functions.

        Raises InvalidRequestError if calls in the model's format cannot be read.
        """
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
        """Raise InvalidRequestError for an id that the model does not have."""
        wrong = next((id for id in ids if not 0 <= id < self.tokenizer.vocab_size), None)
        if wrong is not None:
            raise InvalidRequestError(
                f"Token {wrong} does not exist in {self.name}: use ids from 0 to {self.tokenizer.vocab_size - 1}.",
                param="tokens",
            )

    def card(self, context: int) -> ModelCard:
        """Return the model's card, with its calibration as it is now."""
        file = self.model.calibration
        calibration, note = (
            (None, None) if file is None else file.read()
        )  # read each time: it may be made while the server runs
        edits, edits_note = (None, None) if file is None else file.of_edits().read()
        return ModelCard(
            name=self.name,
            context=context,
            infill=self.model.infill is not None,
            chat=self.template.available,
            weight_bytes=self.model.facts.weight_bytes,
            description=self.model.facts.description,
            licence=self.model.entry.licence if self.model.entry is not None else None,
            chat_template=self.tokenizer.chat_template if self.template.available else None,
            files=self.takes_files,
            next_edit=self.model.next_edit,
            base=self.model.base,
            adapter=None if self.model.adapter is None else self.model.adapter.name,
            revision=None if file is None else file.key,
            calibration=calibration,
            calibration_note=note,
            edit_calibration=edits,
            edit_calibration_note=edits_note,
        )


async def run_tokenizer(served: TextModel, size: int, encode: Callable[[], T]) -> T:
    """Return the result of ``encode``, which tokenizes ``size`` characters, without blocking the event loop for long.

    A tokenizer with a process of its own is waited for on the model's own thread, and a long text
    is tokenized on a shared one.
    """
    if served.tokenizer.apart:
        return await served.thread.run(encode)
    return await run_in_thread(size, encode) if size > LONG_TEXT_CHARACTERS else encode()


async def run_template(served: TextModel, size: int, encode: Callable[[], T]) -> T:
    """Return the result of ``encode``, which also renders the chat template: one with a process of its own runs on the model's thread."""
    return await (run_tokenizer(served, size, encode) if served.template.process is None else served.thread.run(encode))


async def run_in_thread(size: int, encode: Callable[[], T]) -> T:
    """Return the result of ``encode``, which tokenizes ``size`` characters, in a thread: all huge texts in the same one."""
    if size > HUGE_TEXT_CHARACTERS:
        return await asyncio.get_running_loop().run_in_executor(_huge_texts, encode)
    return await asyncio.to_thread(encode)
