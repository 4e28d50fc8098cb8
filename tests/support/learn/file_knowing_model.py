"""A fake model that knows the files, and is right with a known probability."""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field, replace
from math import log
from pathlib import Path

from pellucid.errors import PellucidError
from pellucid.models.calibrations import CalibrationFile
from pellucid.text.served_models import ServedModels
from pellucid.vocabulary.finish import Finish, FinishReason, OnUsage, Usage
from pellucid.vocabulary.model_card import ModelCard
from pellucid.vocabulary.query import CompletionQuery
from pellucid.vocabulary.token import Alternative, Token
from support.models.served_models import served_model
from support.servers.scripted_engine import FORMAT, ScriptedEngine, byte_tokenizer
from support.silent_assistant import SilentAssistant

MODEL = "knowing"


@dataclass
class KnowingAssistant(SilentAssistant):
    """Is right with the square of the tokens' probability.

    ``dies_after`` is the number of answers before a failure, and ``weights`` identify the training.
    """

    files: Mapping[str, str]
    kept: Path
    always: bool | None = None
    dies_after: int | None = None
    weights: str = "these-weights"
    asked: list[tuple[str, str | None]] = field(default_factory=list)

    @property
    def models(self) -> ServedModels:
        served = served_model(MODEL, byte_tokenizer(), FORMAT)
        return ServedModels(ScriptedEngine(), [replace(served, calibration=CalibrationFile(self.kept, self.weights))])

    async def cards(self) -> list[ModelCard]:
        return self.models.cards()

    async def complete(
        self, query: CompletionQuery, *, on_usage: OnUsage | None = None
    ) -> AsyncGenerator[Token | Finish]:
        prefix, suffix = query.prefix, query.suffix
        assert isinstance(prefix, str)
        if self.dies_after is not None and len(self.asked) >= self.dies_after:
            raise PellucidError("The model fell over: pick it up.")
        self.asked.append((prefix, suffix))
        (text,) = [text for name, text in self.files.items() if name in str(query.terms.key)]
        truth = text[len(prefix) : text.index(suffix, len(prefix)) if suffix else len(text)]
        dice = hashlib.sha256(f"{prefix}|{suffix}".encode()).digest()
        p = 0.15 + 0.8 * dice[0] / 255
        right = dice[1] / 255 < p * p if self.always is None else self.always
        generated = truth if right else "wrong_" + truth
        for number, piece in enumerate(re.findall(r"\w+|\s+|.", generated)[: query.params.max_tokens]):
            top = (Alternative(number, piece, piece.encode(), log(p)), Alternative(999, "?", b"?", log((1 - p) / 2)))
            yield Token(number, piece, piece.encode(), number, log(p), 1, 0.5, top, rest=(1 - p) / 2, sampled=1.0)
        yield Finish(FinishReason.STOP, Usage())


class NoEngine:
    """An engine without resources."""

    closed = 0

    def close(self) -> None:
        self.closed += 1
