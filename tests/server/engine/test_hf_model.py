"""Models of the transformers library on flat batches keep the library's probabilities."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, PretrainedConfig, PreTrainedModel

from pellucid.engine.decoders.hf_model import HFModel
from pellucid.engine.model import TokenCost
from pellucid.errors import ModelError
from support.models.flat_batches import (
    CHUNKINGS,
    copy_prefix,
    new_storage,
    run_in_chunks,
)
from support.models.tiny_models import VOCAB_SIZE, random_ids, reference_logprobs, tiny, tiny_llama
from support.models.transformers_and_own_models import (
    assert_chunks_agree,
    assert_only_wanted_rows,
    assert_sequences_are_apart,
    close,
)

SHAPE: dict[str, Any] = {
    "vocab_size": VOCAB_SIZE,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": None,
}
EXPERTS: dict[str, Any] = {"moe_intermediate_size": 24, "num_experts_per_tok": 2, "norm_topk_prob": True}
LATENT: dict[str, Any] = {
    "num_key_value_heads": 4,
    "q_lora_rank": 24,
    "kv_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 16,
    "v_head_dim": 12,
    "n_routed_experts": 4,
    "n_shared_experts": 1,
    "n_group": 1,
    "topk_group": 1,
    "first_k_dense_replace": 1,
}
OWN: dict[str, dict[str, Any]] = {
    "gpt2": {},  # Learned positions.
    # A single key head.
    "gpt_bigcode": {"multi_query": True, "activation_function": "gelu_pytorch_tanh"},
    "gpt_neox": {"rotary_pct": 0.5},
    "starcoder2": {"sliding_window": 7},
    # A window in every second layer, soft caps on the scores and on the logits.
    "gemma2": {
        "head_dim": 16,
        "query_pre_attn_scalar": 20,
        "sliding_window": 7,
        "attn_logit_softcapping": 2.0,
        "final_logit_softcapping": 3.0,
    },
    "llama": {},
    "cohere": {"logit_scale": 0.3},
    # Sinks, and a window in every second layer.
    "gpt_oss": {"head_dim": 16, "num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": 7},
    "deepseek_v3": EXPERTS | LATENT,  # The cache holds latents of two sizes.
}
WINDOWED = ("starcoder2", "gemma2")


def configuration(kind: str, **overrides: Any) -> PretrainedConfig:
    config: PretrainedConfig = AutoConfig.for_model(kind, **(SHAPE | OWN.get(kind, {}) | overrides))
    return config


@cache
def models(kind: str) -> tuple[PreTrainedModel, HFModel]:
    """Return the library's model with the original attention, and the weights on flat batches."""
    return tiny(configuration(kind), seed=3), HFModel(tiny(configuration(kind), seed=3))


every_kind = pytest.mark.parametrize("kind", OWN)


@every_kind
@pytest.mark.parametrize("chunking", CHUNKINGS)
def test_chunks_agree_with_the_library(kind: str, chunking: str) -> None:
    """In any chunks, every token has the probabilities of a single pass without a cache."""
    assert_chunks_agree(*models(kind), chunking)


@every_kind
def test_sequences_do_not_see_each_other(kind: str) -> None:
    """Texts in flat batches, at different positions and in any slots, keep their probabilities."""
    assert_sequences_are_apart(*models(kind))


@every_kind
def test_a_copied_prefix_is_as_good_as_a_computed_one(kind: str) -> None:
    """A text continues after a copied prefix as after a computed prefix."""
    model, ours = models(kind)
    kv = new_storage(ours)
    first = random_ids(20, seed=5)
    second = first[:9] + random_ids(11, seed=6)
    run_in_chunks(ours, kv, 0, first, [20])
    copy_prefix(kv, source=0, target=3, length=9)
    close(run_in_chunks(ours, kv, 3, second, [4, 1, 6], start=9), reference_logprobs(model, second)[9:])


@every_kind
def test_only_wanted_rows_come_back_and_in_the_order_asked(kind: str) -> None:
    """Logits are returned for the wanted rows alone; keys are stored for all rows."""
    assert_only_wanted_rows(*models(kind))


@pytest.mark.parametrize("kind", WINDOWED)
def test_the_window_matters(kind: str) -> None:
    """Text outside of the window changes the probabilities, so the tests above can fail."""
    ids = random_ids(30, seed=1)
    windowed = reference_logprobs(models(kind)[0], ids)
    wide = reference_logprobs(tiny(configuration(kind, sliding_window=64), seed=3), ids)
    assert (windowed[7:] - wide[7:]).abs().amax(-1).min() > 1e-3


def test_half_precision_stays_near() -> None:
    """In bfloat16 the probabilities stay near the 32-bit values, and the logits are float32."""
    # The library's type hints exclude a dtype.
    halve: Any = tiny(configuration("gpt_neox"), seed=3).to
    ours = HFModel(halve(torch.bfloat16))
    ids = random_ids(30, seed=1)
    actual = run_in_chunks(ours, new_storage(ours), 1, ids, [17, *[1] * 13])
    assert ours.cache_shape.dtype == "bfloat16"
    assert actual.dtype == torch.float32
    assert (actual.exp() - reference_logprobs(models("gpt_neox")[0], ids).exp()).abs().max() < 0.02


def test_properties() -> None:
    """A model reports cache per token, context, vocabulary size, and weights without duplicates."""
    model, ours = models("gpt2")
    assert (ours.cache_shape.layers, ours.cache_shape.kv_heads, ours.cache_shape.head_dim) == (4, 4, 12)
    assert ours.context == 256
    assert ours.vocab_size == VOCAB_SIZE
    assert ours.weight_bytes == sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers()))
    assert ours.description == "float32 weights, GPT2LMHeadModel of transformers on cpu"


def test_cost_of_a_token() -> None:
    """A token reads a tied head but no embedding, and has no fixed cost with experts."""
    model, ours = models("gpt2")
    weights = {name: weight for name, weight in model.named_parameters() if "wpe" not in name}
    head = model.lm_head.weight.numel()
    body = sum(weight.numel() for weight in weights.values() if weight.dim() == 2) - head
    assert ours.cost == TokenCost(sum(weight.nbytes for weight in weights.values()), body, head, "float32")
    assert models("qwen3_moe")[1].cost is None


def test_longrope_ends_where_its_frequencies_would_change() -> None:
    """A LongRoPE model keeps the original context: a longer text would change all angles."""
    rope = {
        "rope_type": "longrope",
        "rope_theta": 10000.0,
        "short_factor": [1.1] * 6,
        "long_factor": [4.0] * 6,
        "original_max_position_embeddings": 64,
    }
    config = configuration("phi3", rope_parameters=rope, original_max_position_embeddings=64)
    ours = HFModel(tiny(config, seed=3))
    assert ours.context == 64


@pytest.mark.parametrize(
    ("kind", "overrides", "sentence"),
    [
        (
            "mpt",
            {"d_model": 48, "n_heads": 4, "n_layers": 2, "max_seq_len": 256},
            "MptForCausalLM does not support other attention implementations",
        ),
        (
            "diffllama",
            {"head_dim": 12},
            "DiffLlamaForCausalLM computes other logits on this engine than in transformers",
        ),
        (
            "phimoe",
            {"num_local_experts": 4, "sliding_window": 64},
            "PhimoeForCausalLM has a sliding window but does not pass it",
        ),
        (
            "qwen2_moe",
            EXPERTS | {"num_experts": 4, "use_sliding_window": True, "sliding_window": 64},
            "kind sliding_attention with a window of",
        ),
        ("nemotron", {}, "NemotronAttention attends to keys that it did not put into the cache"),
        (
            "lfm2",
            {"layer_types": ["conv", "full_attention"] * 2},
            "Lfm2ForCausalLM does not run on this engine's cache",
        ),
    ],
)
def test_what_cannot_be_run_rightly_is_refused(kind: str, overrides: dict[str, Any], sentence: str) -> None:
    """A model that would have different logits is refused with the reason."""
    shape = SHAPE if "d_model" not in overrides else {"vocab_size": VOCAB_SIZE}
    model = tiny(AutoConfig.for_model(kind, **(shape | overrides)), seed=3)
    with pytest.raises(ModelError, match=f"{sentence}.*: use another model"):
        HFModel(model)


def test_half_precision_hides_no_wrong_attention() -> None:
    """The permitted rounding in 16 bits is smaller than the error of a wrong attention."""
    halve: Any = tiny(configuration("diffllama", head_dim=12), seed=3).to
    with pytest.raises(ModelError, match="computes other logits on this engine than in transformers"):
        HFModel(halve(torch.bfloat16))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A saved GPT-NeoX."""
    models("gpt_neox")[0].save_pretrained(tmp_path)
    return tmp_path


def edit_config(folder: Path, **settings: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | settings))


def test_a_folder_is_loaded(folder: Path) -> None:
    """A saved model is loaded in the requested dtype, with the same probabilities."""
    ours = HFModel.load(folder, "cpu", torch.float32)
    ids = random_ids(30, seed=1)
    close(run_in_chunks(ours, new_storage(ours), 1, ids, [29, 1]), reference_logprobs(models("gpt_neox")[0], ids))
    assert HFModel.load(folder, "cpu", torch.bfloat16).cache_shape.dtype == "bfloat16"


def test_code_of_a_known_type_is_never_read(folder: Path) -> None:
    """Code in a model's folder is not read if the library has a class for the model."""
    edit_config(folder, auto_map={"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"})
    (folder / "evil.py").write_text("raise SystemExit('this code was run')\n")
    assert HFModel.load(folder, "cpu", torch.float32).name == "GPTNeoXForCausalLM"


def _no_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def _needs_code(folder: Path) -> None:
    edit_config(folder, model_type="evil", auto_map={"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"})
    (folder / "evil.py").write_text("raise SystemExit('this code was run')\n")


def _unknown(folder: Path) -> None:
    edit_config(folder, model_type="nothing-known")


def _not_causal(folder: Path) -> None:
    edit_config(folder, model_type="vit")


def _quantized(folder: Path) -> None:
    edit_config(folder, quantization_config={"quant_method": "gptq", "bits": 4})


def _pickled(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    torch.save(weights, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def _torn(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def _incomplete(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["gpt_neox.layers.1.mlp.dense_h_to_4h.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (_no_config, "has no readable config.json"),
        (_needs_code, "needs its own Python code, which is never run"),
        (_unknown, "transformers does not know the type 'nothing-known' of"),
        (_not_causal, "is not a causal language model that transformers knows \\(its model_type is 'vit'\\)"),
        (_quantized, "has quantized safetensors"),
        (_pickled, "has no \\*.safetensors file"),
        (_torn, "cannot be read as a model"),
        (_incomplete, "lacks 1 weights of its model \\(for example gpt_neox.layers.1.mlp.dense_h_to_4h.weight\\)"),
    ],
)
def test_a_folder_that_cannot_be_trusted_is_refused(folder: Path, spoil: Callable[[Path], None], sentence: str) -> None:
    """A folder's fault is named in one sentence, and no code of the folder runs."""
    spoil(folder)
    with pytest.raises(ModelError, match=sentence) as error:
        HFModel.load(folder, "cpu", torch.float32)
    assert str(folder) in str(error.value)
    assert "\n" not in str(error.value)


def test_the_decoders_own_family_runs_too() -> None:
    """A model of the lean decoder's family also runs here, with the same results."""
    ids = random_ids(20, seed=1)
    ours = HFModel(tiny_llama(seed=3))
    close(run_in_chunks(ours, new_storage(ours), 0, ids, [19, 1]), reference_logprobs(tiny_llama(seed=3), ids))
