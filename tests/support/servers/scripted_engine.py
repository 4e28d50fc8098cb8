"""A tokenizer of bytes and a few words, and a scripted engine, for tests without a model."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from concurrent.futures import Future

import numpy as np

from pellucid.engine.port import HiddenVector
from pellucid.engine.request import Admission, Request
from pellucid.engine.status import SlotStatus, Totals, WorkerStatus
from pellucid.engine.token_scores import TokenScore
from pellucid.models.catalog import InfillFormat
from pellucid.models.tokenizers.tokenizer import Conventions, PrefixSpace, Tokenizer, Vocabulary
from pellucid.text.assistant import LocalAssistant
from pellucid.vocabulary.finish import Finish, FinishReason, Usage
from support.models.served_models import served_model

MARKERS = (
    *("<|begin|>", "<|end|>", "<|im_start|>", "<|im_end|>", "<|pre|>", "<|suf|>", "<|mid|>", "<|file|>", "<|repo|>"),
)
BEGIN, END, IM_START, IM_END, PRE, SUF, MID, FILE, REPO = range(256, 256 + len(MARKERS))
WORDS = (b"re", b"ret", b"return", b" return", b"    ", b"   ", b"print(", b'("', b"def", "é".encode(), "日本".encode())
FIRST_WORD = 256 + len(MARKERS)
FORMAT = InfillFormat("spm2", "<|pre|>", "<|suf|>", "<|mid|>", "<|file|>", "<|repo|>")
USAGE = Usage(cached=1, computed=2, generated=3)
ADMISSION = Admission(cached=1, queued=0.5)


def byte_tokenizer(
    *,
    add_bos: bool = False,
    chat_template: str | None = None,
    prefix: PrefixSpace = PrefixSpace.NEVER,
    words: Sequence[bytes] = WORDS,
) -> Tokenizer:
    """Return a tokenizer of bytes, markers and words, with the longest words from the left."""
    by_length = sorted(
        ((word, FIRST_WORD + index) for index, word in enumerate(words)), key=lambda entry: -len(entry[0])
    )

    def encode(text: str) -> list[int]:
        data, ids = text.encode(), []
        while data:
            word, id = next(((word, id) for word, id in by_length if data.startswith(word)), (data[:1], data[0]))
            ids.append(id)
            data = data[len(word) :]
        return ids

    special = {text: 256 + index for index, text in enumerate(MARKERS)}
    pieces = [bytes([byte]) for byte in range(256)] + [text.encode() for text in MARKERS] + list(words)
    vocabulary = Vocabulary(lambda: list(pieces), len(pieces), special)
    return Tokenizer(encode, vocabulary, Conventions(BEGIN, add_bos, frozenset({END, IM_END}), chat_template, prefix))


class ScriptedEngine:
    """Generates the script's ids, scores prompts, records requests, and counts closed streams."""

    def __init__(
        self, script: Sequence[int] = (), context: int = 512, reason: FinishReason = FinishReason.STOP
    ) -> None:
        self.script = list(script)
        self.requests: list[Request] = []
        self.closed = 0
        self.generated = 0
        self.failure: Exception | None = None
        self._context = context
        self._reason = reason

    def context(self, model: str) -> int:
        """Return the maximum number of tokens in a sequence."""
        return self._context

    async def generate(self, model: str, request: Request) -> AsyncGenerator[Admission | TokenScore | Finish]:
        """Yield the script up to ``max_tokens`` or a stop id."""
        self.requests.append(request)
        position = len(request.prompt)
        reason = self._reason
        try:
            yield ADMISSION
            if request.score_from is not None:
                for index, id in enumerate(request.prompt[request.score_from :], request.score_from):
                    yield TokenScore(id, index, -1.0 if index else None, 1 if index else None, 0.5 if index else None)
            for id in self.script:
                if id in request.stop_ids:
                    reason = FinishReason.STOP
                    break
                if position == len(request.prompt) + request.params.max_tokens:
                    reason = FinishReason.LENGTH
                    break
                self.generated += 1
                top = ((id, -0.5), (IM_END, -1.5))[: request.params.top_logprobs]
                yield TokenScore(id, position, -0.5, 1, 0.25, top, 0.1, 1.0)
                position += 1
            yield Finish(reason, USAGE)
        finally:
            self.closed += 1

    def status(self, model: str) -> WorkerStatus:
        return WorkerStatus((SlotStatus(0, 0, busy=False),), 0, 0, 64, 0, 1, 0, 0, Totals())

    def uses_predictions(self, model: str) -> bool:
        """Return False, because answers are scripted."""
        return False

    def hidden_size(self, model: str) -> int:
        return 2

    async def sum_hidden(self, model: str, request: Request) -> tuple[HiddenVector, Finish]:
        """Return the same sum for every prompt."""
        return np.array([3.0, 4.0]), Finish(FinishReason.LENGTH, USAGE)

    def remove_model(self, name: str) -> Future[None]:
        """Return a completed removal."""
        done: Future[None] = Future()
        done.set_result(None)
        return done

    def close(self) -> None:
        """Do nothing."""


def scripted_assistant(
    engine: ScriptedEngine, tokenizer: Tokenizer | None = None, infill: InfillFormat | None = FORMAT
) -> LocalAssistant:
    """Return an assistant with a model named scripted, which generates the engine's script."""
    return LocalAssistant(engine, [served_model("scripted", tokenizer or byte_tokenizer(), infill)])
