"""Speed and memory of the model, with random prompts in sequence."""

from __future__ import annotations

import random
import string
from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType

from pellucid.learn.evaluate.model_session import ModelSession
from pellucid.learn.evaluate.subjects import Ability
from pellucid.learn.evaluate.suite_protocol import (
    Better,
    Facts,
    FigureFormat,
    Independent,
    Measure,
    Question,
    Records,
    Suite,
    mean,
)
from pellucid.vocabulary.query import SamplingParams

NAME = "speed"

TRIALS = 8
PROMPT_WORDS = 100
"""A few hundred tokens. A small context gets fewer words."""
MAX_WORD_TOKENS = 8
TOKENS = 48

PROTOCOL = (
    f"{TRIALS} prompts of random letters, one at a time, each answered with {TOKENS} tokens sampled at temperature 1. "
    "Other load on this machine affects these speeds; pellucid bench measures them more carefully."
)
FLOPS = "FLOPs per token are twice the number of weights that it is multiplied by (2 N), without attention."


@dataclass(frozen=True, slots=True)
class SpeedTrial(Independent):
    id: str
    words: int

    async def ask(self, session: ModelSession) -> Facts:
        dice = random.Random(f"{NAME} {self.id}")  # noqa: S311 - no secret is drawn
        prompt = " ".join("".join(dice.choices(string.ascii_lowercase, k=5)) for _ in range(self.words))
        params = SamplingParams(max_tokens=TOKENS, temperature=1.0, seed=int(self.id), ignore_eos=True)
        await session.complete(prompt, params=params)
        subject, usage = session.subject, session.usage
        facts: Facts = {name: usage[name] for name in ("computed", "generated", "prefill_us", "decode_us")}
        held = subject.resident()
        optional = {
            "weights": subject.weight_bytes,
            "resident": held,
            "flops": subject.parameters and 2 * subject.parameters,
        }
        return facts | {name: value for name, value in optional.items() if value is not None}


class Speed(Suite):
    name = NAME
    needs = frozenset({Ability.COMPLETE, Ability.USAGE})
    at_once = 1
    timed = True
    settings = MappingProxyType({"trials": TRIALS, "words": PROMPT_WORDS, "tokens": TOKENS})

    async def questions(self, session: ModelSession, earlier: Records) -> Sequence[Question]:
        words = min(PROMPT_WORDS, (session.subject.context - TOKENS) // MAX_WORD_TOKENS)
        return [SpeedTrial(str(number), words) for number in range(TRIALS)]

    def notes(self, session: ModelSession, facts: Sequence[Facts]) -> list[str]:
        notes = [PROTOCOL, FLOPS] if any("flops" in one for one in facts) else [PROTOCOL]
        return (
            notes
            if any("resident" in one for one in facts)
            else [*notes, "The memory of the process was skipped, because it is unknown."]
        )


def measures(facts: Sequence[Facts]) -> Sequence[Measure]:
    """Return tokens divided by seconds. Prefill includes the first token of an answer."""
    return [
        mean("prefill", lambda one: one["computed"], lambda one: one["prefill_us"] / 1e6, form=FigureFormat.RATE),
        mean("decode", lambda one: one["generated"] - 1, lambda one: one["decode_us"] / 1e6, form=FigureFormat.RATE),
        _constant("weights", "weights", FigureFormat.BYTES),
        _constant("memory of the process", "resident", FigureFormat.BYTES),
        _constant("FLOPs per token", "flops", FigureFormat.COUNT),
    ]


def _constant(label: str, name: str, form: FigureFormat) -> Measure:
    return mean(label, lambda one: one[name], form=form, better=Better.LOWER, applies=lambda one: name in one)
