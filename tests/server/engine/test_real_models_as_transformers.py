"""The law on a real model: float32 against transformers, and int8 against float32.

The model is the smallest of the catalog; in `make trials` the default model.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from pellucid.config import load_settings
from pellucid.engine import weight_packing
from pellucid.engine.model import Model
from pellucid.engine.model_worker import EngineSettings
from pellucid.engine.request import Request
from pellucid.models.families import gguf_decoder
from pellucid.models.formats.gguf import GGUF
from pellucid.models.load import LoadedModel, load, with_int8_cache
from pellucid.models.store import Store
from pellucid.system.progress import Silent
from pellucid.vocabulary.query import Priority, SamplingParams, Terms
from support.models.float64_reference import ALLOWANCE, PLAUSIBLE, exact_logprobs
from support.models.tiny_models import reference_logprobs
from support.models.worker_driver import Job, WorkerDriver, assert_lawful
from support.trial_counts import IS_TRIAL

pytestmark = pytest.mark.model

NAME = "qwen2.5-coder-0.5b-instruct" if IS_TRIAL else "smollm2-135m-instruct"

CODE = "import heapq\n\n\ndef dijkstra(graph, start):\n    distances = {start: 0}\n"
TEXTS = [
    CODE,
    CODE + "    while queue:\n",
    CODE + "    for node in graph:\n        ",
    "<|fim_prefix|><|fim_suffix|>\n    return total\n<|fim_middle|>def add_all(numbers):\n    ",
    "<|im_start|>user\nWhat is a cache?<|im_end|>\n<|im_start|>assistant\n",
    "Der Fluß fließt, 流れる — 🌊 and it ends in the",
]


@pytest.fixture(scope="module")
def store() -> Store:
    return Store(load_settings().cache)


@pytest.fixture(scope="module")
def served(store: Store) -> LoadedModel:
    return load(NAME, store=store, progress=Silent())


@pytest.fixture(scope="module")
def reference(store: Store) -> PreTrainedModel:
    """The same weights in transformers, in float32."""
    path = store.pull(NAME, Silent())
    model: Any = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)
    assert isinstance(model, PreTrainedModel)
    return model


@pytest.fixture(scope="module")
def float32(store: Store) -> Model:
    """The same weights in the lean decoder, in float32."""
    file = GGUF(Path(store.pull(NAME, Silent())))
    config = gguf_decoder.read_config(file)
    packed = weight_packing.pack(config, gguf_decoder.read_weights(file), "float32")
    return weight_packing.build(config, packed, "float32", "cpu")


def requests(served: LoadedModel, max_tokens: int) -> Iterator[Request]:
    """Yield greedy requests with shared beginnings, scored from the middle on."""
    for number, text in enumerate(TEXTS):
        ids = served.tokenizer.encode(text, special=True)
        params = SamplingParams(max_tokens=max_tokens, top_logprobs=5)
        yield Request(ids, params, Terms(Priority(number % 3)), served.tokenizer.eos_ids, score_from=len(ids) // 2)


def crowd(model: Model, work: list[Request], chunk: int) -> list[Job]:
    """Run the requests together: a new request every second step, few slots, small chunks."""
    driver = WorkerDriver(model, EngineSettings(slots=3, context=512, chunk=chunk))
    for request in work:
        driver.submit(request)
        driver.step()
        driver.step()
    driver.finish()
    return driver.jobs


def test_float32_is_transformers(served: LoadedModel, reference: PreTrainedModel, float32: Model) -> None:
    """Crowded requests in float32 get transformers' greedy tokens, and logprobs up to rounding."""
    jobs = crowd(float32, list(requests(served, max_tokens=3)), chunk=11)
    ours, theirs = [], []
    for job in jobs[::4]:  # float64 is slow.
        ids = [*job.sequence.request.prompt, *job.generated]
        exact = exact_logprobs(reference, ids)
        ours += [
            abs(score.logprob - float(exact[score.position - 1, score.id]))
            for score in job.scores
            if score.logprob is not None
        ]
        theirs.append(float((reference_logprobs(reference, ids) - exact).abs().max()))
    print(f"largest error of a logprob in float32: {max(ours):.2e}, of transformers {max(theirs):.2e}")
    assert max(theirs) < PLAUSIBLE
    assert max(ours) <= ALLOWANCE * max(theirs)
    for job in jobs:
        assert_lawful(job, reference, tolerance=(ALLOWANCE + 1) * max(theirs))
    assert any(job.finish and job.finish.usage.cached for job in jobs)


def test_served_is_the_same_alone_and_in_a_crowd(served: LoadedModel) -> None:
    """As served, tokens and logprobs do not depend on company or on the chunks of a prompt."""
    work = list(requests(served, max_tokens=12))
    together = crowd(served.model, work, chunk=9)
    for request, job in zip(work, together, strict=True):
        alone = WorkerDriver(served.model, EngineSettings(slots=1, context=512, chunk=512)).run(request)
        assert alone.generated == job.generated
        for a, b in zip(alone.scores, job.scores, strict=True):
            assert (a.id, a.position, a.rank) == (b.id, b.position, b.rank)
            assert a.logprob == pytest.approx(b.logprob, abs=2e-5)


def test_served_is_close_to_float32(served: LoadedModel, reference: PreTrainedModel) -> None:
    """Logprobs as served differ from float32 by little on average."""
    differences: list[float] = []
    for request in requests(served, max_tokens=0):
        whole = Request(request.prompt, request.params, request.terms, score_from=0)
        job = WorkerDriver(served.model, EngineSettings(slots=1, context=512)).run(whole)
        logprobs = reference_logprobs(reference, list(request.prompt))
        for score in job.scores[1:]:
            assert score.logprob is not None
            differences.append(abs(score.logprob - float(logprobs[score.position - 1, score.id])))
    print(
        f"logprobs as served against float32: mean {statistics.mean(differences):.3f}, largest {max(differences):.2f}"
    )
    assert statistics.mean(differences) < 0.15


def test_an_int8_cache_is_close(served: LoadedModel) -> None:
    """Logprobs with an int8 cache are within 1.5 of the exact cache's, and 0.1 on average."""
    ids = served.tokenizer.encode(Path(__file__).read_text(encoding="utf-8"))[:1000]
    request, settings = Request(ids, SamplingParams(max_tokens=0), score_from=1), EngineSettings(slots=1, context=1024)
    exact, int8 = (WorkerDriver(each.model, settings).run(request) for each in (served, with_int8_cache(served)))
    pairs = zip(exact.scores, int8.scores, strict=True)
    differences = [abs(one.logprob - other.logprob) for one, other in pairs if one.logprob and other.logprob]
    assert len(differences) > 900
    assert 0 < statistics.mean(differences) < 0.1
    assert max(differences) < 1.5
