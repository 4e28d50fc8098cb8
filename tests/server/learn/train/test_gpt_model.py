"""Tests of the GPT: the same model in training, in the engine and in transformers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from transformers import LlamaForCausalLM

from pellucid.engine.decoders.decoder import Decoder
from pellucid.learn.train import gpt_model, tokenizers
from pellucid.learn.train.gpt_model import GPT, GPTShape
from pellucid.models.load import load
from pellucid.models.store import Store
from pellucid.system.progress import Silent
from support.models.model_files import logprobs

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
