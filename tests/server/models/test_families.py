"""Reading of config.json: like the transformers library, or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file, save_file
from transformers import AutoConfig, AutoModelForImageTextToText, PreTrainedModel

from pellucid.engine.decoders.decoder_config import DecoderConfig, LayerKind
from pellucid.engine.weight_packing import build, pack
from pellucid.errors import ModelError, NotSupportedError
from pellucid.models.families import folder_decoder
from pellucid.models.families.folder_decoder import config_json, shape_by
from pellucid.models.families.registry import BY_MODEL_TYPE
from support.models.model_files import logprobs
from support.models.tiny_models import (
    random_ids,
    reference_logprobs,
    tiny_dense_hybrid,
    tiny_gemma3,
    tiny_glm4,
    tiny_gpt_oss,
    tiny_granite,
    tiny_granite_moe,
    tiny_lfm2,
    tiny_llama,
    tiny_mellum2,
    tiny_ministral3,
    tiny_mistral,
    tiny_mixtral,
    tiny_olmo3,
    tiny_olmoe,
    tiny_phi3,
    tiny_qwen2,
    tiny_qwen3_moe,
    tiny_qwen35,
    tiny_smollm3,
)
from support.models.transformers_and_own_models import close

PATH = Path("config.json")
YARN = {"rope_type": "yarn", "factor": 2.0}
SLIDING = ["sliding_attention", "full_attention"] * 2


def stated(model: PreTrainedModel, *without: str, **fields: Any) -> dict[str, Any]:
    """Return a model's config.json with other fields."""
    config: dict[str, Any] = json.loads(model.config.to_json_string(use_diff=False))
    return {name: value for name, value in config.items() if name not in without} | fields


def read(model: PreTrainedModel, *without: str, **fields: Any) -> DecoderConfig:
    shape = shape_by(PATH, stated(model, *without, **fields))
    assert shape is not None
    return shape


@pytest.mark.parametrize(
    ("make", "fields"),
    [
        (tiny_llama, {"partial_rotary_factor": 0.5}),
        (tiny_llama, {"rope_scaling": {"rope_type": "longrope", "short_factor": [1.0] * 8}}),
        (tiny_llama, {"hidden_act": "gelu"}),
        (tiny_dense_hybrid, {"num_local_experts": 8}),
        (tiny_dense_hybrid, {"layer_types": ["full_attention", "linear_attention", "full_attention"]}),
        (tiny_smollm3, {"layer_types": ["linear_attention"] * 4}),
        (tiny_olmo3, {"rope_parameters": {"full_attention": {}, "sliding_attention": YARN}}),
        (tiny_qwen3_moe, {"mlp_only_layers": [1]}),
        (tiny_qwen3_moe, {"decoder_sparse_step": 2}),
        (tiny_olmoe, {"clip_qkv": 8.0}),
        (tiny_gpt_oss, {"layer_types": ["chunked_attention"] * 3}),
        (tiny_gpt_oss, {"swiglu_limit": 5.0}),
        (tiny_mellum2, {"mlp_layer_types": ["dense", "sparse", "sparse"]}),
    ],
)
def test_other_shapes_are_left_to_transformers(make: Callable[[], PreTrainedModel], fields: dict[str, Any]) -> None:
    """The transformers library runs all shapes beyond the decoder."""
    assert shape_by(PATH, stated(make(), **fields)) is None


def test_layer_types_matter_where_transformers_obeys_them() -> None:
    """Llama and Mistral ignore ``layer_types``; Qwen, SmolLM3 and OLMo 3 have defaults."""
    assert read(tiny_llama(), layer_types=SLIDING[:3], sliding_window=5).kinds == ()
    assert read(tiny_mistral(), layer_types=SLIDING[:3]).kinds == (LayerKind(7),) * 3
    qwen = read(tiny_qwen2(), "layer_types", "max_window_layers", use_sliding_window=True, sliding_window=5)
    assert {kind.window for kind in qwen.layer_kinds} == {None}
    smollm3 = read(tiny_smollm3(), "layer_types", use_sliding_window=True, sliding_window=5)
    assert [(kind.window, kind.rotates) for kind in smollm3.kinds] == [(None, True)] * 3 + [(5, False)]
    assert [kind.window for kind in read(tiny_olmo3(), "layer_types").kinds] == [7, 7, 7, None]


def test_rotation() -> None:
    """Scaling may be added to a newer file, and sliding layers of OLMo 3 have their own base."""
    both = read(tiny_llama(), rope_scaling=YARN)
    assert both.rope_scaling == YARN | {"original_max_position_embeddings": 256}
    assert read(tiny_llama(), rope_scaling={"type": "linear", "factor": 2.0}).rope_scaling == {
        "rope_type": "linear",
        "factor": 2.0,
    }
    rope = {"full_attention": YARN | {"rope_theta": 1e6}, "sliding_attention": {"rope_theta": 1e4}}
    olmo = read(tiny_olmo3(), rope_parameters=rope)
    assert (olmo.rope_theta, olmo.rope_thetas) == (1e6, {None, 1e4})


@pytest.mark.parametrize(
    ("make", "fields", "sentence"),
    [
        (
            tiny_llama,
            {"rope_scaling": YARN | {"attention_factor": float("nan")}},
            "positive number for attention_factor",
        ),
        (tiny_llama, {"rope_scaling": YARN, "rope_theta": 1, "rope_parameters": None}, "rope_theta is 1"),
        (tiny_phi3, {"rope_scaling": {"attention_factor": float("nan")}}, "nan for attention_factor"),
        (tiny_phi3, {"rope_scaling": {"short_factor": [1.0, 0.0, 1.0, 1.0]}}, "as divisors of 4 angles"),
        (tiny_phi3, {"rope_scaling": {"short_factor": "many"}}, "'many' for short_factor"),
        (tiny_granite, {"logits_scaling": 0}, "0 for logits_scaling"),
        (tiny_smollm3, {"no_rope_layers": [2]}, "for no_rope_layers; it must be a list of 4 zeros and ones"),
        (tiny_olmo3, {"layer_types": ["full_attention"]}, "for layer_types; it must be a list of 4 names"),
        (tiny_mixtral, {"num_experts_per_tok": 5}, "its tokens use 5 of 4 experts"),
        (tiny_qwen3_moe, {"num_local_experts": 1 << 40}, "for num_local_experts"),
    ],
)
def test_bad_numbers_are_named(make: Callable[[], PreTrainedModel], fields: dict[str, Any], sentence: str) -> None:
    """A number without a sensible result is refused in one sentence."""
    with pytest.raises(ModelError, match=sentence) as caught:
        shape_by(PATH, stated(make(), **fields))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "make", [tiny_qwen3_moe, tiny_mixtral, tiny_olmoe, tiny_mellum2, tiny_granite_moe, tiny_gpt_oss]
)
def test_experts_of_a_folder(tmp_path: Path, make: Callable[[], PreTrainedModel]) -> None:
    """Experts in tensors of their own, in several files, have the library's probabilities."""
    model, ids = make(), random_ids(40)
    model.save_pretrained(tmp_path, max_shard_size="60KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    config = folder_decoder.read_config(tmp_path)
    assert config is not None
    packed = pack(config, folder_decoder.read_weights(tmp_path), "float32")
    close(logprobs(build(config, packed, "float32", "cpu"), ids), reference_logprobs(model, ids))


def test_a_missing_expert(tmp_path: Path) -> None:
    """A folder without a tensor of an expert is refused."""
    tiny_mixtral().save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    del tensors["model.layers.0.block_sparse_moe.experts.2.w1.weight"]
    save_file(tensors, tmp_path / "model.safetensors")
    config = folder_decoder.read_config(tmp_path)
    assert config is not None
    with pytest.raises(ModelError, match=r"lacks 1 tensors, the first of them 'layers\.0\.mlp\.gate_proj\.weight'"):
        pack(config, folder_decoder.read_weights(tmp_path), "float32")


def test_a_shape_is_written_whole_or_not_at_all() -> None:
    """A shape is refused if config.json cannot state the shape."""
    for make in (tiny_llama, tiny_mistral, tiny_qwen2, tiny_granite, tiny_smollm3, tiny_olmo3):
        model = make()
        assert config_json(BY_MODEL_TYPE[model.config.model_type], read(model), ())["model_type"]
    for model_type, shape in (
        ("granitemoehybrid", read(tiny_dense_hybrid(), position_embedding_type=None)),
        ("llama", replace(read(tiny_llama()), kinds=(LayerKind(), LayerKind(5), LayerKind()))),
        ("llama", replace(read(tiny_llama()), rotated_dims=8)),
        ("phi3", read(tiny_phi3())),
        ("glm4", read(tiny_glm4())),
        ("qwen3_moe", read(tiny_qwen3_moe())),
        ("lfm2", read(tiny_lfm2())),
        ("qwen3_5_text", read(tiny_qwen35())),
    ):
        with pytest.raises(NotSupportedError, match="cannot be trained or written to a folder"):
            config_json(BY_MODEL_TYPE[model_type], shape, ())


VISION: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
VISION_TYPES: dict[str, dict[str, Any]] = {
    "gemma3": {"image_size": 28, "patch_size": 14},
    "mistral3": {"model_type": "pixtral", "head_dim": 16},
}


@pytest.mark.parametrize("is_new", [False, True])
@pytest.mark.parametrize(("outer", "make"), [("gemma3", tiny_gemma3), ("mistral3", tiny_ministral3)])
def test_a_folder_with_images(
    tmp_path: Path, outer: str, make: Callable[..., PreTrainedModel], *, is_new: bool
) -> None:
    """The text model of a model of images and texts is read under older and newer names."""
    text = make(vocab_size=256, tie_word_embeddings=outer == "gemma3").config.to_dict()
    if outer == "gemma3" and not is_new:
        text |= {"rope_parameters": None, "rope_scaling": {"factor": 8.0, "rope_type": "linear"}}
    fields: dict[str, Any] = {"text_config": text, "vision_config": VISION | VISION_TYPES[outer]}
    fields["mm_tokens_per_image"] = 4
    if outer == "mistral3":
        fields["tie_word_embeddings"] = False
    build_with_images: Callable[..., PreTrainedModel] = AutoModelForImageTextToText.from_config
    model = build_with_images(AutoConfig.for_model(outer, **fields))
    model.save_pretrained(tmp_path)
    if is_new:
        stored = load_file(tmp_path / "model.safetensors")
        for old, new in (("language_model.", "model.language_model."), (".language_model.model.", ".language_model.")):
            stored = {name.replace(old, new): weight for name, weight in stored.items()}
        stored = {name.replace("model.language_model.lm_head", "lm_head"): weight for name, weight in stored.items()}
        save_file(stored, tmp_path / "model.safetensors")
    else:
        (tmp_path / "config.json").write_text(json.dumps({"model_type": outer, **fields}))

    config, ids = folder_decoder.read_config(tmp_path), random_ids(40)
    assert config is not None
    packed = pack(config, folder_decoder.read_weights(tmp_path), "float32")
    close(logprobs(build(config, packed, "float32", "cpu"), ids), reference_logprobs(model, ids))
