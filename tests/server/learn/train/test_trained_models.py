"""Tests of the three models: trained as defined, and the same in the engine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import LlamaForCausalLM

from pellucid.engine.decoders.byte_window_model import BYTES, histories
from pellucid.engine.decoders.decoder import Decoder
from pellucid.engine.decoders.ngram_byte_model import NGramModel
from pellucid.learn.train import gpt_model, logistic_trainer, ngram_trainer, tokenizers
from pellucid.learn.train.bits_per_byte import bits_per_byte
from pellucid.learn.train.gpt_model import GPT, GPTShape
from pellucid.learn.train.logistic_trainer import LogisticPlan
from pellucid.models.load import load
from pellucid.models.store import Store
from pellucid.system.progress import Silent
from support.learn.slow_reference_models import SlowKneserNey
from support.learn.training_texts import as_bytes, text_of
from support.models.model_files import logprobs
from support.models.recording_progress import Following


@pytest.mark.parametrize("order", [3, 5])
def test_probabilities_are_those_of_the_definition(order: int) -> None:
    """Tables of sorted numbers have the probabilities of Kneser-Ney with dictionaries."""
    texts = [text_of(2000, seed=1), text_of(900, seed=2), "ab"]
    arrays = [as_bytes(text) for text in texts]
    tables = [ngram_trainer.continuation_table(arrays, length) for length in range(order - 1)] + [
        ngram_trainer.count_table(arrays, order - 1)
    ]
    slow = SlowKneserNey([text.encode() for text in texts], order)

    read = (text_of(150, seed=9) + "zq\u00e4!").encode()
    found = NGramModel(tables, torch.device("cpu")).probabilities(histories(torch.tensor(list(read)), order - 1))

    for index, byte in enumerate(read):
        assert float(found[index, byte]) == pytest.approx(slow.probability(read[:index], byte), rel=1e-5)


def test_validation_chooses_the_order() -> None:
    """The chosen order has the fewest bits per byte on the validation text."""
    train, validation = [as_bytes(text_of(6000, seed=1))], [as_bytes(text_of(1500, seed=2))]
    chosen = ngram_trainer.fit(train, validation, most=6)
    by_order = {}
    for order in range(3, 7):
        tables = [ngram_trainer.continuation_table(train, length) for length in range(order - 1)] + [
            ngram_trainer.count_table(train, order - 1)
        ]
        by_order[order] = bits_per_byte(NGramModel(tables, torch.device("cpu")), validation)
    assert len(chosen.tables) == min(by_order, key=by_order.__getitem__)
    assert bits_per_byte(chosen, validation) == min(by_order.values())


def test_discounts_are_chen_and_goodmans() -> None:
    """Counts of counts 4, 2, 1, 1 have the formula's discounts; too few have half a count."""
    counts = np.array([1] * 4 + [2] * 2 + [3] + [4])
    y = 4 / (4 + 2 * 2)
    assert ngram_trainer.discounts(counts) == pytest.approx(
        [0, 1 - 2 * y * 2 / 4, 2 - 3 * y * 1 / 2, 3 - 4 * y * 1 / 1]
    )
    assert ngram_trainer.discounts(np.array([1000])).tolist() == [0, 0.5, 0.5, 0.5]


def test_texts_shorter_than_the_longest_run() -> None:
    """Texts of a few bytes make a model of a lower order."""
    model = ngram_trainer.fit([as_bytes("ab"), as_bytes("ac")], [as_bytes("ab")])
    assert len(model.tables) == 2
    assert bits_per_byte(model, [as_bytes("ab")]) < 8


PLAN = LogisticPlan(reach=4, bits=10, passes=2, steps=100, rate=0.1)
TRAIN, TEST = [as_bytes(text_of(8000, seed=1)), as_bytes(text_of(900, seed=2))], [as_bytes(text_of(2000, seed=3))]


def test_it_learns() -> None:
    """A seed repeats weights far better than byte frequencies, from all positions or the most."""
    following = Following()
    fitted = logistic_trainer.fit(TRAIN, PLAN, 0, following)

    assert fitted.seen == 2 * sum(map(len, TRAIN))
    assert following.bars[-1].done == following.bars[-1].total == fitted.seen
    assert bits_per_byte(fitted.model, TEST) < 1.3
    one = logistic_trainer.fit(TRAIN, replace(PLAN, reach=1), 0, Silent()).model
    assert bits_per_byte(one, TEST) > 1.8

    again, other = (logistic_trainer.fit(TRAIN, PLAN, seed, Silent()).model.weights for seed in (0, 1))
    assert torch.equal(fitted.model.weights.weight, again.weight)
    assert torch.equal(fitted.model.weights.bias, again.bias)
    assert not torch.equal(fitted.model.weights.weight, other.weight)


def test_most_places(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training stops at the plan's positions, except for the rest of a piece."""
    monkeypatch.setattr(logistic_trainer, "PIECE_POSITIONS", 700)
    assert 1000 <= logistic_trainer.fit(TRAIN, replace(PLAN, most=1000), 0, Silent()).seen < 1700


def test_a_text_of_two_bytes() -> None:
    """A text of two different bytes has a single classifier for both probabilities."""
    text = as_bytes("ab" * 2000)
    model = logistic_trainer.fit([text], replace(PLAN, reach=2), 0, Silent()).model
    probabilities = model.head(histories(torch.from_numpy(text[:10]), 2)).softmax(-1)
    assert probabilities[5, ord("b")] > 0.95
    assert probabilities[6, ord("a")] > 0.95
    assert 0 < probabilities[5, :BYTES].min() < 1e-3


def test_a_shorter_plan() -> None:
    """A share of the time takes a share of the positions and steps."""
    plan = LogisticPlan().shortened(0.1)
    assert (plan.most, plan.steps) == (250_000, 100)
    assert LogisticPlan().shortened(1.0) == LogisticPlan()


SHAPE = GPTShape(layers=2, hidden=64, heads=2, intermediate=96, context=64)


def random_model() -> GPT:
    model = GPT(SHAPE, 257, seed=1)
    with torch.no_grad():
        draw = torch.Generator().manual_seed(2)
        for parameter in model.parameters():
            parameter.add_(
                0.05 * torch.randn(parameter.shape, generator=draw)
            )  # Norms are changed too, because every part has to matter.
    return model


def test_the_folder_says_what_was_trained(tmp_path: Path) -> None:
    """The saved model has the training's probabilities and size in every library."""
    model, ids = random_model(), torch.randint(257, (40,), generator=torch.Generator().manual_seed(3)).tolist()
    folder = tmp_path / "gpt"
    folder.mkdir()
    gpt_model.write(folder, SHAPE, model.state_dict(), marker=256)
    tokenizers.write(folder, "bytes", 257, ())
    expected = model(torch.tensor([ids]))[0].log_softmax(-1).detach()

    theirs = LlamaForCausalLM.from_pretrained(folder)
    torch.testing.assert_close(theirs(torch.tensor([ids])).logits[0].log_softmax(-1), expected, atol=1e-4, rtol=0)
    loaded = load(str(folder), device="cpu", quant="none", store=Store(tmp_path / "cache"), progress=Silent())
    assert isinstance(loaded.model, Decoder)
    assert (loaded.model.context, loaded.model.vocab_size) == (64, 257)
    tolerance = 1e-4 if loaded.model.dtype == torch.float32 else 0.2
    torch.testing.assert_close(logprobs(loaded.model, ids), expected, atol=tolerance, rtol=0)
    assert (
        SHAPE.parameters(257) == sum(parameter.numel() for parameter in model.parameters()) == theirs.num_parameters()
    )


def test_it_looks_back_only() -> None:
    """Later tokens do not change the prediction at an earlier token."""
    model, ids = random_model(), torch.randint(257, (1, 20))
    changed = ids.clone()
    changed[0, 12:] = 7
    assert torch.allclose(model(ids)[0, :12], model(changed)[0, :12], atol=1e-5)
    assert not torch.allclose(model(ids)[0, 12:], model(changed)[0, 12:], atol=1e-2)


def test_a_seed_gives_the_weights() -> None:
    """The weights depend on the seed alone."""
    first = GPT(SHAPE, 257, seed=5).state_dict()
    torch.rand(3)
    second, other = GPT(SHAPE, 257, seed=5).state_dict(), GPT(SHAPE, 257, seed=6).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["embedding"], other["embedding"])


def test_dropout_is_for_training_alone() -> None:
    """Dropout is active in training only."""
    model, ids = GPT(replace(SHAPE, dropout=0.3), 257, seed=1), torch.randint(257, (1, 20))
    assert not torch.equal(model(ids), model(ids))
    model.eval()
    assert torch.equal(model(ids), model(ids))
