"""Tests of the base model: the same results as the stored model, for every family."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import GPT2Config

from pellucid.engine.decoders.torch_model import as_tensor
from pellucid.errors import InvalidRequestError, ModelError, NotFoundError, NotSupportedError
from pellucid.learn.finetune.training.base_model import build, read_base, training_dtype
from pellucid.models.families import folder_decoder, gguf_decoder
from pellucid.models.formats.gguf import GGUF
from pellucid.models.store import Store
from pellucid.system.progress import Silent
from support.models.model_files import write_gguf
from support.models.tiny_models import (
    random_ids,
    reference_logprobs,
    tiny,
    tiny_dense_hybrid,
    tiny_gemma,
    tiny_gemma2,
    tiny_gemma3,
    tiny_granite,
    tiny_llama,
    tiny_ministral3,
    tiny_mistral,
    tiny_olmo2,
    tiny_olmo3,
    tiny_qwen2,
    tiny_qwen3,
    tiny_smollm3,
)

MAKERS = {
    "llama": tiny_llama,
    "mistral": tiny_mistral,
    "qwen2": tiny_qwen2,
    "qwen3": tiny_qwen3,
    "granite": tiny_granite,
    "granitemoehybrid": tiny_dense_hybrid,
    "smollm3": tiny_smollm3,
    "olmo2": tiny_olmo2,
    "olmo3": tiny_olmo3,
    "ministral3": tiny_ministral3,
    "gemma": tiny_gemma,
    "gemma2": tiny_gemma2,
    "gemma3_text": tiny_gemma3,
}


@pytest.mark.parametrize("name", MAKERS)
def test_a_folder_has_the_same_logits(tmp_path: Path, name: str) -> None:
    """A model built from a folder's weights has the logits of the saved model."""
    model, ids = MAKERS[name](), random_ids(40)
    model.save_pretrained(tmp_path)
    config = folder_decoder.read_config(tmp_path)
    assert config is not None

    family = folder_decoder.family_of(tmp_path)
    weights = {name: as_tensor(weight) - family.shift(name) for name, weight in folder_decoder.read_weights(tmp_path)}
    built = build(family, config, weights)

    torch.testing.assert_close(reference_logprobs(built, ids), reference_logprobs(model, ids), rtol=0, atol=1e-4)
    assert not any(parameter.requires_grad for parameter in built.parameters())


@pytest.mark.parametrize("family", ["llama", "qwen2"])
def test_a_gguf_file_has_the_same_logits(tmp_path: Path, family: str) -> None:
    """A GGUF file has the same logits, although Llama's queries and keys are permuted."""
    model, ids = MAKERS[family](), random_ids(40)
    file = GGUF(write_gguf(tmp_path / "model.gguf", model, family))
    config = gguf_decoder.read_config(file)
    weights = {
        name: as_tensor(weight) for name, weight in gguf_decoder.read_weights(file) if isinstance(weight, np.ndarray)
    }

    torch.testing.assert_close(
        reference_logprobs(build(gguf_decoder.family_of(file), config, weights), ids),
        reference_logprobs(model, ids),
        rtol=0,
        atol=1e-4,
    )


@pytest.mark.parametrize(("instructions", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_bfloat16_is_for_processors_with_instructions_for_it(
    instructions: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """bfloat16 needs its own instructions, not only AVX512."""
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: instructions)

    assert training_dtype(torch.device("cpu")) == dtype


def test_a_missing_weight_is_named(tmp_path: Path) -> None:
    """Weights that do not fit the model are rejected in one sentence."""
    tiny_llama().save_pretrained(tmp_path)
    config = folder_decoder.read_config(tmp_path)
    assert config is not None
    weights = {name: as_tensor(weight) for name, weight in folder_decoder.read_weights(tmp_path)}
    del weights["layers.1.mlp.up_proj.weight"]

    with pytest.raises(ModelError, match=r"mlp\.up_proj"):
        build(folder_decoder.family_of(tmp_path), config, weights)


def test_what_cannot_be_trained(tmp_path: Path) -> None:
    """An unknown name, an unknown family and a quant are each rejected with a remedy."""
    store = Store(tmp_path / "cache")
    other = tmp_path / "other"
    tiny(GPT2Config(vocab_size=64, n_positions=32, n_embd=16, n_layer=1, n_head=2)).save_pretrained(other)

    def read(name: str) -> Any:
        return read_base(name, "cpu", store=store, progress=Silent())

    with pytest.raises(NotFoundError, match="did you mean smollm2"):
        read("smollm2-135m")
    with pytest.raises(
        NotSupportedError, match=r"cannot be trained: use a model of llama, mistral, qwen2, qwen3, granite"
    ):
        read(str(other))
    with pytest.raises(InvalidRequestError, match="remove @int4 from"):
        read("smollm2-135m-instruct@int4")
