"""Compares answers with references: BLEU, chrF, ROUGE and BERTScore."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging as absl_logging
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from pellucid.errors import InvalidRequestError
from pellucid.learn.evaluate.benchmark_files import drawn, fingerprint, json_lines
from pellucid.learn.evaluate.measures.bertscore import Encoder
from pellucid.learn.evaluate.model_session import ModelSession
from pellucid.learn.evaluate.subjects import Ability
from pellucid.learn.evaluate.suite_protocol import (
    Facts,
    FigureFormat,
    Independent,
    Measure,
    Rows,
    Statistic,
    Suite,
    mean,
)
from pellucid.vocabulary.message import Message
from pellucid.vocabulary.query import SamplingParams

# Absl's handler closes any other stream when logging is reconfigured.
absl_logging.get_absl_handler().python_handler.stream = sys.__stderr__

NAME = "text"

MAX_TOKENS = 256
ROUGES = {"rouge1": "ROUGE-1 F1", "rouge2": "ROUGE-2 F1", "rougeL": "ROUGE-L F1"}
NO_ENCODER = "BERTScore was skipped: it needs an encoder; name its folder with --encoder."


@dataclass(frozen=True, slots=True)
class ReferencePrompt(Independent):
    id: str
    prompt: str
    reference: str
    encoder: Encoder | None

    async def ask(self, session: ModelSession) -> Facts:
        params = SamplingParams(max_tokens=MAX_TOKENS)
        if session.subject.chat:
            answer = await session.chat([Message("user", self.prompt)], params)
        else:
            answer = await session.complete(self.prompt, params=params)
        text = answer.text.strip()
        facts: Facts = {"answer": text, "reference": self.reference, "ended": answer.ended}
        scores = RougeScorer(list(ROUGES), use_stemmer=False).score(self.reference, text)
        facts |= {name: scores[name].fmeasure for name in ROUGES}
        if self.encoder is not None:
            facts["bertscore"] = (await asyncio.to_thread(self.encoder.compare, text, self.reference)).f1
            facts["bertscore name"] = self.encoder.name
        return facts


class TextSimilarity(Suite):
    """The suite: prompts in JSON lines, {"prompt", "reference"}."""

    name = NAME
    needs = frozenset({Ability.COMPLETE})

    def __init__(self, references: Path, limit: int | None, encoder: Path | None) -> None:
        if not references.exists():
            raise InvalidRequestError(f"{references} does not exist: name a file of JSON lines with --references.")
        records = json_lines(references, ("prompt", "reference"))
        self._encoder = None if encoder is None else Encoder(encoder)
        name = None if self._encoder is None else self._encoder.name
        prompts = [
            ReferencePrompt(str(number), one["prompt"], one["reference"], self._encoder)
            for number, one in enumerate(records, 1)
        ]
        self.asked = drawn(prompts, limit)
        self.settings = {"references": fingerprint(references), "encoder": name}

    def notes(self, session: ModelSession, facts: Sequence[Facts]) -> list[str]:
        asked = "as a chat" if session.subject.chat else "as plain completions, because the model has no chat template"
        ended = sum(one["ended"] for one in facts)
        notes = [
            f"Asked {asked}, greedy, at most {MAX_TOKENS} tokens; {ended} of {len(facts)} answers ended by themselves.",
            f"BLEU's signature is {signature(BLEU(), facts)}, chrF's {signature(CHRF(), facts)}.",
            "ROUGE considers only letters and digits, so it says little about code.",
        ]
        return notes if self._encoder is not None else [*notes, NO_ENCODER]


def signature(metric: BLEU | CHRF, facts: Sequence[Facts]) -> str:
    metric.corpus_score([one["answer"] for one in facts], [[one["reference"] for one in facts]])
    return str(metric.get_signature())


def measures(facts: Sequence[Facts]) -> Sequence[Measure]:
    found = [
        Measure("BLEU", _corpus(lambda: BLEU(effective_order=False)), FigureFormat.NUMBER),
        Measure("chrF", _corpus(CHRF), FigureFormat.NUMBER),
        *(mean(label, _take(name)) for name, label in ROUGES.items()),
    ]
    name = next((one["bertscore name"] for one in facts if "bertscore" in one), None)
    if name is not None:
        found.append(
            mean(f"{name}, F1", _take("bertscore"), form=FigureFormat.NUMBER, applies=lambda one: "bertscore" in one)
        )
    return found


def _take(name: str) -> Callable[[Facts], float]:
    return lambda one: float(one[name])


def _corpus(build: Callable[[], BLEU | CHRF]) -> Callable[[Sequence[Facts]], Statistic]:
    """Score a corpus by additive counts per answer, so that a resample costs only a sum."""

    def prepare(facts: Sequence[Facts]) -> Statistic:
        metric: Any = build()
        counts = np.array(
            metric._extract_corpus_statistics([one["answer"] for one in facts], [[one["reference"] for one in facts]])
        )

        def statistic(rows: Rows) -> float:
            return float(metric._compute_score_from_stats(counts[rows].sum(0).tolist()).score)

        return statistic

    return prepare
