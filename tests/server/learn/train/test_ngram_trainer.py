"""Tests of the n-gram model: the definition, and an order chosen by validation."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pellucid.engine.decoders.byte_window_model import histories
from pellucid.engine.decoders.ngram_model import NGramModel
from pellucid.learn.train import ngram_trainer
from pellucid.learn.train.bits_per_byte import bits_per_byte
from support.learn.slow_reference_models import SlowKneserNey
from support.learn.training_texts import as_bytes, text_of


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
