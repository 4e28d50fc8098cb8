"""Kept states of recurrent layers in the engine: interrupted steps, waiting, and removed models."""

from __future__ import annotations

from typing import NoReturn

import pytest

from pellucid.engine.kv_cache import state_buffers
from pellucid.engine.local_engine import LocalEngine
from pellucid.engine.model import Batch, InterruptedStepError, KVStorage
from pellucid.engine.model_worker import EngineSettings
from pellucid.engine.request import Request
from pellucid.vocabulary.query import SamplingParams
from support.models.tiny_models import random_ids, tiny_llama, tiny_qwen35, to_decoder
from support.models.worker_driver import WorkerDriver, assert_lawful

REFERENCE = tiny_qwen35()
GREEDY = SamplingParams(max_tokens=6, temperature=0.0)


def driver(chunk: int) -> WorkerDriver:
    return WorkerDriver(to_decoder(REFERENCE), EngineSettings(slots=4, context=256, chunk=chunk))


def test_an_interrupted_step_leaves_no_state(monkeypatch: pytest.MonkeyPatch) -> None:
    """After an interrupted step, the sequence continues from the state before the step."""

    def interrupted(batch: Batch, kv: KVStorage) -> NoReturn:
        raise InterruptedStepError

    worker = driver(chunk=20)
    job = worker.submit(Request(random_ids(60), GREEDY))
    worker.step()
    before = worker.worker.cache.bytes
    with monkeypatch.context() as patch:
        patch.setattr(worker.worker.model, "forward", interrupted)
        worker.step()
    assert worker.worker.cache.bytes == before
    worker.finish()
    assert len(job.generated) == 6
    assert_lawful(job, REFERENCE)


def test_waiting_for_a_common_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request waits for a running prefill only until a state that the request can use."""
    monkeypatch.setattr(state_buffers, "MIN_INTERVAL", 64)
    monkeypatch.setattr(state_buffers, "MAX_INTERVAL", 64)
    common = random_ids(140)
    worker = driver(chunk=16)
    worker.submit(Request([*common, *random_ids(60, seed=1)], GREEDY))
    worker.step()
    with_state = worker.submit(Request([*common, *random_ids(5, seed=2)], GREEDY))
    without = worker.submit(Request([*common[:60], *random_ids(5, seed=3)], GREEDY))
    worker.step()
    assert (with_state.sequence.slot is None, without.sequence.slot is None) == (True, False)
    worker.finish()
    # The running prompt had computed so many tokens; 16 more are not worth a wait.
    assert (with_state.sequence.cached, without.sequence.cached) == (112, 16)


def test_nothing_is_parked_after_a_model_left() -> None:
    """The memory of a removed model does not let a model with states park mere keys and values."""
    models = {"recurrent": to_decoder(REFERENCE), "plain": to_decoder(tiny_llama())}
    engine = LocalEngine(models, EngineSettings(slots=1, context=128))
    try:
        engine.remove_model("plain").result(timeout=60)
        assert engine.status("recurrent").parked_limit == 0
    finally:
        engine.close()
