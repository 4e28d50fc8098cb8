"""Drives a worker step by step without a thread, and compares results with the plain model."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from torch import Tensor
from transformers import PreTrainedModel

from pellucid.engine.model import Model
from pellucid.engine.model_worker import EngineSettings, ModelWorker
from pellucid.engine.request import Request
from pellucid.engine.sequence import Item, Sequence
from pellucid.engine.token_scores import TokenScore
from pellucid.vocabulary.finish import Finish, FinishReason
from support.models.tiny_models import reference_logprobs


@dataclass
class Clock:
    """A clock that only a test moves."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Job:
    """A submitted request and the results."""

    sequence: Sequence
    items: list[Item] = field(default_factory=list)

    @property
    def scores(self) -> list[TokenScore]:
        return [item for item in self.items if isinstance(item, TokenScore)]

    @property
    def generated(self) -> list[int]:
        return [score.id for score in self.scores if score.sampled is not None]

    @property
    def finish(self) -> Finish | None:
        return next((item for item in self.items if isinstance(item, Finish)), None)


class WorkerDriver:
    """A worker with a test's clock."""

    def __init__(self, model: Model, settings: EngineSettings) -> None:
        self.clock = Clock()
        self.worker = ModelWorker(model, settings, self.clock)
        self.jobs: list[Job] = []

    def submit(self, request: Request) -> Job:
        items: list[Item] = []
        sequence = Sequence(request, len(self.jobs), items.append, self.clock(), self.worker.context)
        job = Job(sequence, items)
        self.jobs.append(job)
        if request.terms.key is not None:
            self.worker.supersede(request.terms.key)
        self.worker.submit(sequence)
        return job

    def step(self) -> None:
        if self.worker.busy:
            self.worker.step()
        self.worker.check()

    def finish(self, limit: int = 2000) -> None:
        """Step until the worker is idle."""
        for _ in range(limit):
            if not self.worker.busy:
                return
            self.step()
        raise AssertionError(f"still busy after {limit} steps")

    def run(self, request: Request) -> Job:
        job = self.submit(request)
        self.finish()
        return job


def assert_lawful(job: Job, reference: PreTrainedModel, tolerance: float = 1e-4) -> float:
    """Assert that every token has the scores of the model without a cache, and greedy choices.

    Return the largest difference of a logprob.
    """
    prompt = list(job.sequence.request.prompt)
    ids = prompt + job.generated
    logprobs = reference_logprobs(reference, ids)
    worst = 0.0
    for score in job.scores:
        assert score.id == ids[score.position]
        if score.position == 0:
            assert (score.logprob, score.rank, score.entropy) == (None, None, None)
            continue
        worst = max(worst, _difference(score, logprobs[score.position - 1], tolerance))
        if (
            score.sampled is not None
            and job.sequence.request.params.temperature == 0
            and not job.sequence.request.params.logit_bias
        ):
            assert score.rank == 1
    positions = [score.position for score in job.scores]
    assert positions == sorted(set(positions)), "tokens came out of order or twice"
    _assert_complete(job, prompt)
    return worst


def _difference(score: TokenScore, logprobs: Tensor, tolerance: float) -> float:
    assert score.logprob is not None
    assert score.rank is not None
    assert score.entropy is not None
    difference = abs(score.logprob - float(logprobs[score.id]))
    assert difference < tolerance
    # A rank may differ only among equally probable tokens, up to rounding.
    better = int((logprobs > logprobs[score.id] + tolerance).sum())
    not_worse = int((logprobs > logprobs[score.id] - tolerance).sum())
    assert better < score.rank <= max(not_worse, 1)
    assert math.isclose(score.entropy, float(-(logprobs.exp() * logprobs).sum()), abs_tol=10 * tolerance)
    best = logprobs.topk(len(score.top)).values.tolist()
    assert all(abs(a - b) < tolerance for (_, a), b in zip(score.top, best, strict=True))
    assert all(abs(logprob - float(logprobs[id])) < tolerance for id, logprob in score.top)
    assert math.isclose(score.rest, 1 - sum(math.exp(logprob) for _, logprob in score.top), abs_tol=tolerance)
    return difference


def _assert_complete(job: Job, prompt: list[int]) -> None:
    """Assert that a request with a regular end has all wanted results."""
    finish = job.finish
    if finish is None or finish.reason not in (FinishReason.STOP, FinishReason.LENGTH):
        return
    request = job.sequence.request
    if request.score_from is not None:
        read = [score.position for score in job.scores if score.sampled is None]
        assert read == list(range(request.score_from, len(prompt)))
    if finish.reason is FinishReason.LENGTH:
        assert len(job.generated) == min(request.params.max_tokens, job.sequence.capacity - len(prompt))
    assert finish.usage.cached + finish.usage.computed == len(prompt)
    assert finish.usage.generated == len(job.generated)
