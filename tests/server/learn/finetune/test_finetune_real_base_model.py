"""Tests of a real base model: the engine's results, and training."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pellucid.config import load_settings
from pellucid.learn.finetune.training.base_model import read_base
from pellucid.learn.finetune.training.cursors import TextSpan
from pellucid.learn.finetune.training.samples import SampleStream
from pellucid.learn.finetune.training.schedule import FinetunePlan
from pellucid.learn.finetune.training.trainable_adapter import TrainableAdapter
from pellucid.learn.finetune.training.trainer import AdapterTrainer
from pellucid.models.load import load
from pellucid.models.store import Store
from pellucid.system.progress import Silent
from support.models.model_files import logprobs
from support.models.tiny_models import reference_logprobs

pytestmark = pytest.mark.model

SMOL = "smollm2-135m-instruct"
TEXT = (
    "def mean(numbers):\n    return sum(numbers) / len(numbers)\n\n\n"
    "def spread(numbers):\n    middle = mean(numbers)\n    return max("
)


def test_base_reads_as_the_engine_does(tmp_path: Path) -> None:
    """A base model reads like the unrounded engine, and an adapter memorizes a line soon."""
    store = Store(load_settings().cache)
    loaded = load(SMOL, device="cpu", quant="none", store=store, progress=Silent())
    base = read_base(SMOL, "cpu", store=store, progress=Silent())
    ids = base.tokenizer.encode(TEXT)
    targets = torch.tensor(ids[1:])[:, None]

    ours, theirs = (
        logprobs(loaded.model, ids)[:-1].gather(1, targets),
        reference_logprobs(base.model, ids)[:-1].gather(1, targets),
    )

    assert base.infill is None
    assert float((ours - theirs).abs().mean()) < 0.05
    assert float(theirs.mean()) == pytest.approx(float(ours.mean()), rel=0.01)

    sampler = SampleStream(base.tokenizer, base.infill, 64)
    line = "grandmother = frobnicate(the_whole_zoo)"
    sample = sampler.infilling(TEXT + line, TextSpan(len(TEXT), len(TEXT + line), "line"), 64)
    assert sample is not None
    adapter = TrainableAdapter(base, rank=8, seed=0)
    trainer = AdapterTrainer(adapter, sampler, FinetunePlan("key", steps=6, seed=0), tmp_path, Silent())
    optimizer = torch.optim.AdamW(adapter.parameters.values(), lr=2e-3)
    losses = []
    for _ in range(6):
        losses.append(trainer.step([sample]))
        optimizer.step()
        optimizer.zero_grad()

    assert losses[-1] < losses[0] / 2
