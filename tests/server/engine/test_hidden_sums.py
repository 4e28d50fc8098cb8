"""Sums of hidden states equal the library's in any company, and do not disturb requests."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from pellucid.engine.model_worker import EngineSettings
from pellucid.engine.request import Request
from pellucid.engine.sequence import HiddenSum
from pellucid.vocabulary.finish import Finish, FinishReason
from pellucid.vocabulary.query import BACKGROUND, SamplingParams
from support.models.tiny_models import random_ids, tiny_llama, tiny_mistral, tiny_qwen2, to_decoder
from support.models.worker_driver import Job, WorkerDriver, assert_lawful

REFERENCES = {"llama": tiny_llama(), "qwen2": tiny_qwen2(), "mistral": tiny_mistral()}

every_model = pytest.mark.parametrize("name", REFERENCES)


def driver_of(name: str, slots: int = 4, chunk: int = 16) -> WorkerDriver:
    return WorkerDriver(to_decoder(REFERENCES[name]), EngineSettings(slots=slots, context=128, chunk=chunk))


def pooled(ids: list[int]) -> Request:
    return Request(ids, SamplingParams(max_tokens=0), BACKGROUND, pool=True)


@torch.inference_mode()
def assert_sum(job: Job, reference: PreTrainedModel) -> None:
    """Assert that a pooled request computed all tokens and has the plain model's sum."""
    sums = [item.values for item in job.items if isinstance(item, HiddenSum)]
    finish = job.items[-1]
    assert isinstance(finish, Finish)
    ids = list(job.sequence.request.prompt)
    assert (finish.reason, finish.usage.cached, finish.usage.computed) == (FinishReason.LENGTH, 0, len(ids))
    expected: Tensor = reference.base_model(torch.tensor([ids])).last_hidden_state[0].double().sum(0)
    torch.testing.assert_close(torch.stack(sums).sum(0), expected, atol=1e-3, rtol=0)


@every_model
@pytest.mark.parametrize("length", [1, 16, 17, 100])
def test_alone(name: str, length: int) -> None:
    """The sum of a text equals the plain model's, in a single step or in chunks."""
    assert_sum(driver_of(name).run(pooled(random_ids(length, seed=5))), REFERENCES[name])


@every_model
def test_among_generations(name: str) -> None:
    """Sums in a batch with answers, scored texts and sums are the same as alone."""
    driver = driver_of(name)
    answers = [
        driver.submit(Request(random_ids(20 + i, seed=i), SamplingParams(max_tokens=12), score_from=i * 5))
        for i in range(2)
    ]
    driver.step()
    sums = [driver.submit(pooled(random_ids(length, seed=length))) for length in (9, 40)]
    driver.finish()

    for job in sums:
        assert_sum(job, REFERENCES[name])
    for job in answers:
        assert_lawful(job, REFERENCES[name])


def test_known_prefix_is_computed_again() -> None:
    """A text with a cached beginning is still computed from the first token."""
    driver, ids = driver_of("llama"), random_ids(60, seed=8)
    driver.run(Request(ids, SamplingParams(max_tokens=1)))

    assert_sum(driver.run(pooled(ids)), REFERENCES["llama"])


def test_many_sums_keep_the_cache() -> None:
    """Twenty sums in four slots keep the cached prefixes in all slots except one."""
    driver = driver_of("llama", slots=4)
    prompts = [random_ids(50, seed=seed) for seed in range(3)]
    for prompt in prompts:
        driver.run(Request(prompt, SamplingParams(max_tokens=1)))
    for seed in range(20):
        driver.run(pooled(random_ids(30, seed=100 + seed)))
    again = [driver.run(Request(prompt, SamplingParams(max_tokens=1))) for prompt in prompts]

    for job in again:
        assert_lawful(job, REFERENCES["llama"])
        assert job.finish is not None
        assert job.finish.usage.cached == 49


def test_cancelled() -> None:
    """A sum cancelled half-way frees the slot, and no later request continues the sum."""
    driver, ids = driver_of("llama", slots=1, chunk=8), random_ids(60, seed=9)
    job = driver.submit(pooled(ids))
    driver.step()
    driver.worker.cancel(job.sequence.number)
    driver.finish()

    assert job.finish is not None
    assert job.finish.reason is FinishReason.CANCELLED
    assert_lawful(driver.run(Request(ids, SamplingParams(max_tokens=4))), REFERENCES["llama"])
