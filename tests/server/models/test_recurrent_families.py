"""Files of models with recurrent layers, LFM2 and Qwen3.5, are read as written, or refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel

from pellucid.engine.decoders.decoder import Decoder
from pellucid.engine.decoders.decoder_config import DecoderConfig, DeltaNet, LayerKind, ShortConvolution
from pellucid.engine.decoders.lora_matrices import Adapter, LowRank
from pellucid.engine.decoders.quantized_blocks import Blocks
from pellucid.engine.native.kernel_layout import Form
from pellucid.engine.weight_packing import build, pack
from pellucid.errors import ModelError
from pellucid.models.families import folder_decoder, gguf_decoder
from pellucid.models.families.folder_decoder import shape_by
from pellucid.models.families.qwen35 import QWEN35
from pellucid.models.formats.gguf import GGUF
from pellucid.models.load import stored_step_bytes
from support.models.model_files import logprobs, write_gguf
from support.models.tiny_decoders import random_blocks
from support.models.tiny_models import random_ids, reference_logprobs, tiny_lfm2, tiny_qwen35
from support.models.transformers_and_own_models import close

PATH = Path("config.json")
Make = Callable[..., PreTrainedModel]


def stated(model: PreTrainedModel, **fields: Any) -> dict[str, Any]:
    """Return a model's config.json with other fields; None leaves a field out."""
    config: dict[str, Any] = json.loads(model.config.to_json_string(use_diff=False))
    return {name: value for name, value in (config | fields).items() if value is not None}


def read(model: PreTrainedModel, **fields: Any) -> DecoderConfig:
    shape = shape_by(PATH, stated(model, **fields))
    assert shape is not None
    return shape


def assert_same(folder: Path, model: PreTrainedModel) -> None:
    """Assert that the model in a folder has the library's probabilities."""
    config, ids = folder_decoder.read_config(folder), random_ids(40)
    assert config is not None
    packed = pack(config, folder_decoder.read_weights(folder), "float32")
    close(logprobs(build(config, packed, "float32", "cpu"), ids), reference_logprobs(model, ids))


@pytest.mark.parametrize("make", [tiny_lfm2, tiny_qwen35])
def test_folders(tmp_path: Path, make: Make) -> None:
    """A folder as saved by the transformers library has the library's probabilities."""
    model = make()
    model.save_pretrained(tmp_path)
    assert_same(tmp_path, model)


@pytest.mark.parametrize("tied", [False, True])
def test_a_folder_with_parts_for_images_and_several_tokens(tmp_path: Path, *, tied: bool) -> None:
    """Qwen3.5 as published has the text model inside, whose tensors and size alone are read."""
    model = tiny_qwen35(tie_word_embeddings=tied)
    model.save_pretrained(tmp_path)
    text = json.loads((tmp_path / "config.json").read_text())
    stored = load_file(tmp_path / "model.safetensors")
    alone = stored_step_bytes([tmp_path / "config.json"])
    inner = {name.replace("model.", "model.language_model.", 1): tensor for name, tensor in stored.items()}
    other = {f"{name}.weight": stored["model.norm.weight"].clone() for name in ("model.visual.patch_embed", "mtp.fc")}
    save_file(inner | other, tmp_path / "model.safetensors")
    whole = {"model_type": "qwen3_5", "text_config": text, "vision_config": {}, "tie_word_embeddings": tied}
    (tmp_path / "config.json").write_text(json.dumps(whole))
    assert_same(tmp_path, model)
    assert stored_step_bytes([tmp_path / "config.json"]) == alone


@pytest.mark.parametrize("make", [tiny_lfm2, tiny_qwen35])
def test_adapters_change_matrices_of_all_kinds(tmp_path: Path, make: Make) -> None:
    """An adapter of every matrix has the probabilities of weights with the changes added."""
    make().save_pretrained(tmp_path)
    config, draw = folder_decoder.read_config(tmp_path), np.random.default_rng(0)
    assert config is not None
    weights = {name: np.asarray(weight) for name, weight in folder_decoder.read_weights(tmp_path)}
    changes = {
        prefix + part: LowRank(
            draw.normal(0, 0.1, (2, columns)).astype(np.float32), draw.normal(0, 0.1, (rows, 2)).astype(np.float32)
        )
        for prefix, kind in config.layer_prefixes
        for part, (rows, columns) in config.matrix_shapes(kind).items()
    }
    changed = {f"{name}.weight": weights[f"{name}.weight"] + change.product for name, change in changes.items()}
    base, merged = (
        build(config, pack(config, tensors.items(), "float32"), "float32", "cpu")
        for tensors in (weights, weights | changed)
    )
    assert isinstance(base, Decoder)
    ids = random_ids(40)
    found = logprobs(base.adapted(Adapter(changes)), ids)
    close(found, logprobs(merged, ids))
    assert (found - logprobs(base, ids)).abs().max() > 0.1


def test_config_of_lfm2() -> None:
    """Names and defaults of older files are understood, like in the transformers library."""
    model, types = tiny_lfm2(), ["conv", "full_attention", "full_attention", "conv"]
    shape = read(model)
    assert shape.recurrence == ShortConvolution(4)
    assert [kind.recurrent for kind in shape.layer_kinds] == [type == "conv" for type in types]
    assert (shape.rms_norm_eps, shape.intermediate_size, shape.layer_state_size) == (1e-5, 96, 3 * 64)
    assert read(model, layer_types=None, full_attn_idxs=[1, 2]) == shape
    assert read(model, layer_types=None, full_attn_idxs=[1, 2], block_ff_dim=144, intermediate_size=1) == shape
    assert read(model, block_auto_adjust_ff_dim=False).intermediate_size == 144
    assert read(model, block_ffn_dim_multiplier=1.5).intermediate_size == 160


def test_config_of_qwen35() -> None:
    """Kinds of layers come from a list or an interval; a quarter of a head rotates by default."""
    model = tiny_qwen35()
    shape = read(model)
    assert shape.recurrence == DeltaNet(key_heads=2, value_heads=4, key_dim=16, value_dim=16, taps=4)
    assert (shape.rotated_dims, shape.gates_attention) == (8, True)
    assert [kind.recurrent for kind in shape.layer_kinds] == [True, False, True]
    plain = read(model, layer_types=None, num_hidden_layers=8, rope_parameters=None)
    assert [kind.recurrent for kind in plain.layer_kinds] == [True, True, True, False] * 2
    assert plain.rotated_dims == 4
    by_pairs = read(model, layer_types=None, full_attention_interval=2, num_hidden_layers=4)
    assert [kind.recurrent for kind in by_pairs.layer_kinds] == [True, False] * 2


@pytest.mark.parametrize(
    ("make", "fields"),
    [
        (tiny_lfm2, {"conv_bias": True}),
        (tiny_lfm2, {"layer_types": ["conv", "sliding_attention"] * 2}),
        (tiny_lfm2, {"rope_parameters": {"rope_type": "yarn", "factor": 2.0}}),
        (tiny_qwen35, {"hidden_act": "gelu"}),
        (tiny_qwen35, {"layer_types": ["linear_attention", "full_attention", "sliding_attention"]}),
        (tiny_qwen35, {"rope_parameters": {"rope_type": "yarn", "factor": 2.0}}),
    ],
)
def test_other_shapes_are_left_to_transformers(make: Make, fields: dict[str, Any]) -> None:
    """Variants that the decoder does not compute are not read as something else."""
    assert shape_by(PATH, stated(make(), **fields)) is None


@pytest.mark.parametrize(
    ("make", "fields", "sentence"),
    [
        (tiny_lfm2, {"conv_L_cache": 1}, "1 for conv_L_cache; it must be a whole number from 2 to 64"),
        (tiny_lfm2, {"conv_L_cache": 1 << 40}, "for conv_L_cache"),
        (tiny_lfm2, {"layer_types": ["conv"] * 4}, "none of its layers has attention"),
        (tiny_lfm2, {"layer_types": ["conv"]}, "for layer_types; it must be a list of 4 names"),
        (tiny_lfm2, {"layer_types": None, "full_attn_idxs": 3}, "3 for full_attn_idxs"),
        (tiny_lfm2, {"num_hidden_layers": 1 << 40}, "for num_hidden_layers"),
        (tiny_lfm2, {"block_multiple_of": 0}, "0 for block_multiple_of"),
        (tiny_lfm2, {"block_ffn_dim_multiplier": float("inf")}, "inf for block_ffn_dim_multiplier"),
        (tiny_lfm2, {"norm_eps": -1}, "-1 for norm_eps"),
        (tiny_qwen35, {"linear_conv_kernel_dim": 65}, "65 for linear_conv_kernel_dim"),
        (tiny_qwen35, {"linear_num_key_heads": 3}, "its 4 value heads are not a multiple of its 3 key heads"),
        (tiny_qwen35, {"linear_num_value_heads": 0}, "0 for linear_num_value_heads"),
        (tiny_qwen35, {"linear_key_head_dim": "many"}, "'many' for linear_key_head_dim"),
        (
            tiny_qwen35,
            {"linear_key_head_dim": 4096, "linear_value_head_dim": 4096, "linear_num_value_heads": 32},
            "the states have",
        ),
        (tiny_qwen35, {"layer_types": ["linear_attention"] * 3}, "none of its layers has attention"),
        (tiny_qwen35, {"layer_types": {}}, "for layer_types; it must be a list of 3 names"),
        (tiny_qwen35, {"layer_types": None, "full_attention_interval": 0}, "0 for full_attention_interval"),
        (tiny_qwen35, {"num_hidden_layers": 1 << 40}, "for num_hidden_layers"),
        (tiny_qwen35, {"model_type": "qwen3_5", "text_config": [1]}, "a list for text_config; it must be an object"),
    ],
)
def test_bad_numbers_of_a_folder_are_named(make: Make, fields: dict[str, Any], sentence: str) -> None:
    """A number without a sensible result is refused in one sentence."""
    with pytest.raises(ModelError, match=sentence) as caught:
        shape_by(PATH, stated(make(), **fields))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arch", "make", "metadata", "sentence"),
    [
        ("lfm2", tiny_lfm2, {"shortconv__l_cache": 65}, "65 for lfm2.shortconv.l_cache"),
        ("lfm2", tiny_lfm2, {"attention__head_count_kv": [0] * 4}, "its layers have no key heads"),
        ("lfm2", tiny_lfm2, {"attention__head_count_kv": [0, 2, 1, 0]}, "its layers have 1 or 2 key heads"),
        ("lfm2", tiny_lfm2, {"attention__head_count_kv": [0, 2, 2]}, "3 numbers of key heads; it must have 4"),
        ("lfm2", tiny_lfm2, {"attention__causal": False}, "makes embeddings, not text"),
        ("qwen35", tiny_qwen35, {"ssm__conv_kernel": 1}, "1 for qwen35.ssm.conv_kernel"),
        ("qwen35", tiny_qwen35, {"ssm__group_count": 0}, "0 for qwen35.ssm.group_count"),
        ("qwen35", tiny_qwen35, {"ssm__group_count": 3}, "4 value heads are not a multiple of its 3 key heads"),
        ("qwen35", tiny_qwen35, {"ssm__time_step_rank": 0}, "0 for qwen35.ssm.time_step_rank"),
        ("qwen35", tiny_qwen35, {"ssm__inner_size": 63}, "63 numbers in 4 heads of a delta net"),
        ("qwen35", tiny_qwen35, {"ssm__state_size": 1 << 30}, "for qwen35.ssm.state_size"),
        ("qwen35", tiny_qwen35, {"nextn_predict_layers": 3}, "3 for qwen35.nextn_predict_layers"),
        ("qwen35", tiny_qwen35, {"attention__recurrent_layers": [True]}, "kinds of 1 layers; it must be 3"),
        ("qwen35", tiny_qwen35, {"attention__recurrent_layers": [True] * 3}, "none of its layers has attention"),
    ],
)
def test_bad_numbers_of_a_gguf_file_are_named(
    tmp_path: Path, arch: str, make: Make, metadata: dict[str, Any], sentence: str
) -> None:
    """Metadata without a sensible result is refused in one sentence."""
    path = write_gguf(tmp_path / "model.gguf", make(), arch, **metadata)
    with pytest.raises(ModelError, match=sentence) as caught:
        gguf_decoder.read_config(GGUF(path))
    assert "\n" not in str(caught.value)


def test_a_gguf_file_with_a_block_that_predicts_several_tokens(tmp_path: Path) -> None:
    """The last blocks of a Qwen3.5 are no layers, and their tensors are skipped."""
    model, ids = tiny_qwen35(), random_ids(40)
    norm = np.ones(64, np.float32)
    path = write_gguf(
        tmp_path / "model.gguf",
        model,
        "qwen35",
        extra={"blk.3.attn_norm.weight": norm, "blk.3.nextn.enorm.weight": norm},
        block_count=4,
        nextn_predict_layers=1,
        attention__recurrent_layers=[True, False, True, False],
    )
    file = GGUF(path)
    config = gguf_decoder.read_config(file)
    assert config.layers == 3
    packed = pack(config, gguf_decoder.read_weights(file), "float32")
    close(logprobs(build(config, packed, "float32", "cpu"), ids), reference_logprobs(model, ids))
    path = write_gguf(tmp_path / "other.gguf", model, "qwen35", extra={"blk.3.attn_norm.weight": norm})
    with pytest.raises(ModelError, match=r"layers\.3\.input_layernorm\.weight"):
        pack(config, gguf_decoder.read_weights(GGUF(path)), "float32")


def test_a_gguf_file_may_state_an_interval_or_a_window(tmp_path: Path) -> None:
    """Without a list, every fourth layer has attention; attention of an LFM2 may have a window."""
    empty: list[bool] = []
    model = tiny_qwen35(layer_types=["linear_attention"] * 3 + ["full_attention"], num_hidden_layers=4)
    path = write_gguf(tmp_path / "model.gguf", model, "qwen35", attention__recurrent_layers=empty)
    kinds = gguf_decoder.read_config(GGUF(path)).layer_kinds
    assert [kind.recurrent for kind in kinds] == [True, True, True, False]
    path = write_gguf(tmp_path / "window.gguf", tiny_lfm2(), "lfm2", attention__sliding_window=7)
    kinds = gguf_decoder.read_config(GGUF(path)).layer_kinds
    assert kinds == (LayerKind(recurrent=True), LayerKind(7), LayerKind(7), LayerKind(recurrent=True))


def test_queries_and_gates_are_parted_in_blocks() -> None:
    """Blocks stay blocks when the rows of queries and gates are parted, with the same weights."""
    shape = read(tiny_qwen35())
    rows = 2 * shape.heads * shape.head_dim
    blocks = random_blocks((rows, 64), Form(4, 32, has_minimum=True))
    name = "layers.1.self_attn.q_proj.weight"
    found, expected = dict(QWEN35.parts(name, blocks, shape)), dict(QWEN35.parts(name, blocks.dequantized(), shape))
    assert list(found) == [name, "layers.1.self_attn.gate_proj.weight"]
    for part, weight in found.items():
        assert isinstance(weight, Blocks)
        np.testing.assert_array_equal(weight.dequantized(), expected[part])
    heads = blocks.dequantized().reshape(shape.heads, 2, shape.head_dim, 64)
    np.testing.assert_array_equal(expected[name].reshape(shape.heads, shape.head_dim, 64), heads[:, 0])
    assert [part for part, _ in QWEN35.parts(name, blocks.dequantized()[1:], shape)] == [name]
