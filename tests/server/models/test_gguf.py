"""GGUF files are read as written, and unreadable files are reported in one sentence."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

from pellucid.engine import weight_packing
from pellucid.engine.decoders.quantized_blocks import floats
from pellucid.engine.model import Model
from pellucid.engine.native import calls
from pellucid.errors import ModelError
from pellucid.models.families import gguf_decoder
from pellucid.models.formats import gguf_blocks
from pellucid.models.formats.gguf import GGUF
from pellucid.models.formats.gguf_grids import GRIDS
from support.models.model_files import Array, logprobs, write_gguf
from support.models.random_gguf_blocks import random_rows
from support.models.tiny_models import (
    random_ids,
    reference_logprobs,
    tiny_gemma,
    tiny_gemma2,
    tiny_gemma3,
    tiny_glm4,
    tiny_gpt_oss,
    tiny_granite,
    tiny_granite_moe,
    tiny_lfm2,
    tiny_llama,
    tiny_mellum2,
    tiny_ministral3,
    tiny_mixtral,
    tiny_olmo2,
    tiny_olmo3,
    tiny_olmoe,
    tiny_phi3,
    tiny_qwen2,
    tiny_qwen3,
    tiny_qwen3_moe,
    tiny_qwen35,
    tiny_smollm3,
)
from support.trial_counts import trial_count

LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}


def build(path: Path) -> Model:
    file = GGUF(path)
    config = gguf_decoder.read_config(file)
    packed = weight_packing.pack(config, gguf_decoder.read_weights(file), "float32")
    return weight_packing.build(config, packed, "float32", "cpu")


@pytest.mark.parametrize(
    ("arch", "make"),
    [
        ("llama", tiny_llama),
        ("qwen2", tiny_qwen2),
        ("qwen3", tiny_qwen3),
        ("granite", tiny_granite),
        ("smollm3", tiny_smollm3),
        ("olmo2", tiny_olmo2),
        ("olmo2", tiny_olmo3),
        ("phi3", tiny_phi3),
        ("mistral3", tiny_ministral3),
        ("gemma", partial(tiny_gemma, tie_word_embeddings=True)),
        ("gemma2", partial(tiny_gemma2, query_pre_attn_scalar=16, tie_word_embeddings=True)),
        ("gemma3", tiny_gemma3),
        ("glm4", tiny_glm4),
        ("qwen3moe", tiny_qwen3_moe),
        ("mellum", tiny_mellum2),
        ("gpt-oss", tiny_gpt_oss),
        ("llama", tiny_mixtral),
        ("olmoe", tiny_olmoe),
        ("granitemoe", tiny_granite_moe),
        ("lfm2", tiny_lfm2),
        ("qwen35", tiny_qwen35),
    ],
)
def test_logits_are_those_of_transformers(tmp_path: Path, arch: str, make: Callable[[], PreTrainedModel]) -> None:
    """A model from GGUF keeps the logits: permuted rows, biases, norms and tied heads included."""
    model, ids = make(), random_ids(40)
    found = logprobs(build(write_gguf(tmp_path / "model.gguf", model, arch)), ids)
    torch.testing.assert_close(found, reference_logprobs(model, ids), rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", gguf_blocks.READERS)
def test_blocks_have_the_values_of_their_format(kind: str) -> None:
    """Any bytes of a block are the format's numbers, up to a scale rounded to a half."""
    stored = random_rows(kind, 6, 1024)
    expected = gguf.quants.dequantize(stored, gguf.GGMLQuantizationType[kind])
    found = gguf_blocks.as_blocks(stored, kind)
    assert found is not None
    np.testing.assert_allclose(found.dequantized(), expected, rtol=0, atol=5e-4 * float(np.abs(expected).max()))


@pytest.mark.parametrize("kind", GRIDS)
def test_values_in_grids_are_exact(kind: str) -> None:
    """Numbers in grids times float32 scales are the format's weights, bit for bit, in 5 bits."""
    stored = random_rows(kind, 6, 1024)
    expected = gguf.quants.dequantize(stored, gguf.GGMLQuantizationType[kind])
    grid, found = GRIDS[kind], gguf_blocks.as_blocks(stored, kind)
    assert found is not None
    numbers, scale = grid.read(kind, stored.reshape(-1, grid.size))
    values = grid.table[numbers].astype(np.float32).reshape(*scale.shape, -1) - 128
    np.testing.assert_array_equal((values * scale[..., None]).reshape(expected.shape), expected)
    np.testing.assert_allclose(found.dequantized(), expected, rtol=2**-11, atol=62 * 2**-25)
    assert found.bits + 16 / found.shared <= 5


@pytest.mark.parametrize("kind", ["Q8_1", "Q8_K", "Q1_0", "I32", "I64"])
def test_an_unsupported_type_is_named(tmp_path: Path, kind: str) -> None:
    """A tensor of a type without weights, or of an unknown type, is refused with its type."""
    type, path = gguf.GGMLQuantizationType[kind], tmp_path / "model.gguf"
    write_gguf(path, tiny_llama(hidden_size=256), "llama", zeros={"blk.0.attn_q.weight": type})
    with pytest.raises(ModelError, match=rf"'blk\.0\.attn_q\.weight' as {kind}, which is not supported: use another"):
        list(gguf_decoder.read_weights(GGUF(path), blocks=True))
    info = b"blk.0.attn_q.weight" + struct.pack("<IQQ", 2, 256, 64)
    path.write_bytes(path.read_bytes().replace(info + struct.pack("<I", type), info + struct.pack("<I", 99)))
    with pytest.raises(ModelError, match=r"'blk\.0\.attn_q\.weight' as the unknown ggml type 99: use another file"):
        list(gguf_decoder.read_weights(GGUF(path), blocks=True))


@pytest.mark.parametrize("kind", ["F16", "BF16"])
def test_halves_stay_halves(tmp_path: Path, kind: str) -> None:
    """Weights of 16 bits are neither copied nor converted, and give the logits of their floats."""
    path, type = tmp_path / "model.gguf", gguf.GGMLQuantizationType[kind]

    def encode(name: str, tensor: Array) -> tuple[Array, gguf.GGMLQuantizationType | None]:
        return (gguf.quants.quantize(tensor, type), type) if tensor.ndim > 1 else (tensor, None)

    write_gguf(path, tiny_qwen3(hidden_size=64, intermediate_size=96), "qwen3", encode=encode)
    halves = dict(gguf_decoder.read_weights(GGUF(path), blocks=True))
    for name, weight in gguf_decoder.read_weights(GGUF(path)):
        stored = halves[name]
        assert isinstance(stored, np.ndarray)
        assert stored.dtype == (np.float32 if stored.ndim == 1 else np.float16 if kind == "F16" else np.uint16)
        assert not stored.flags.owndata
        np.testing.assert_array_equal(floats(stored), weight)
    if not calls.available():
        pytest.skip(calls.reason())
    config, ids = gguf_decoder.read_config(GGUF(path)), random_ids(40)
    packed = weight_packing.pack(config, halves.items(), "half-native")
    model = weight_packing.build(config, packed, "half-native", "cpu")
    torch.testing.assert_close(logprobs(model, ids), logprobs(build(path), ids), rtol=0, atol=1e-2)
    assert model.weight_bytes < 2.1 * sum(math.prod(weight.shape) for weight in halves.values())


def test_linear_scaling_is_honoured(tmp_path: Path) -> None:
    """Linear scaling of positions is applied."""
    model = tiny_llama(rope_parameters={"rope_type": "linear", "factor": 4.0, "rope_theta": 10000.0})
    path = write_gguf(tmp_path / "model.gguf", model, "llama", rope__scaling__type="linear", rope__scaling__factor=4.0)
    ids = random_ids(40)
    torch.testing.assert_close(logprobs(build(path), ids), reference_logprobs(model, ids), rtol=0, atol=1e-4)


def test_yarn_scaling_is_honoured(tmp_path: Path) -> None:
    """YaRN's frequencies, and its factor of the scores, are applied."""
    scaling = {"rope_type": "yarn", "factor": 4.0, "rope_theta": 10000.0, "original_max_position_embeddings": 16}
    model = tiny_llama(rope_parameters=scaling)
    path = write_gguf(
        tmp_path / "model.gguf",
        model,
        "llama",
        rope__scaling__type="yarn",
        rope__scaling__factor=4.0,
        rope__scaling__original_context_length=16,
    )
    ids = random_ids(40)
    torch.testing.assert_close(logprobs(build(path), ids), reference_logprobs(model, ids), rtol=0, atol=1e-4)


def test_llama3_scaling_is_found_in_its_divisors(tmp_path: Path) -> None:
    """Llama 3's scaling is inferred from GGUF's divisors, and unknown divisors are refused."""
    model = tiny_llama(rope_parameters=LLAMA3)
    kept = model.model.rotary_emb.inv_freq
    divisors = (1.0 / 10000.0 ** (torch.arange(0, 16, 2).float() / 16) / kept).numpy()
    ids = random_ids(40)
    path = write_gguf(tmp_path / "model.gguf", model, "llama", extra={"rope_freqs.weight": divisors})
    assert gguf_decoder.read_config(GGUF(path)).rope_scaling is not None
    torch.testing.assert_close(logprobs(build(path), ids), reference_logprobs(model, ids), rtol=0, atol=1e-4)
    path = write_gguf(tmp_path / "other.gguf", model, "llama", extra={"rope_freqs.weight": divisors[::-1].copy()})
    with pytest.raises(ModelError, match="scales its positions in an unknown way"):
        gguf_decoder.read_config(GGUF(path))


@pytest.mark.parametrize("kind", ["F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"])
def test_quantized_tensors_are_read_as_their_format_says(tmp_path: Path, kind: str) -> None:
    """Blocks have the values of the format, for any number of rows and dimensions."""
    values = np.random.default_rng(0).standard_normal((3, 5, 64), np.float32)
    type = gguf.GGMLQuantizationType[kind]
    stored = values.astype(np.float16) if kind == "F16" else gguf.quants.quantize(values, type)
    writer = gguf.GGUFWriter(tmp_path / "one.gguf", "llama")
    writer.add_tensor("one", stored, raw_dtype=None if kind == "F16" else type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    found = GGUF(tmp_path / "one.gguf").floats("one")
    expected = stored.astype(np.float32) if kind == "F16" else gguf.quants.dequantize(stored, type)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(expected, found)


def test_metadata_of_every_type(tmp_path: Path) -> None:
    """Every type of metadata is read as written, and a request for a wrong type is an error."""
    written: dict[str, Any] = {
        "a": 7,
        "b": -3,
        "c": 0.5,
        "d": True,
        "e": "text ▁",
        "f": [1, 2, 3],
        "g": ["x", "é"],
        "h": [0.5, 1.5],
    }
    writer = gguf.GGUFWriter(tmp_path / "meta.gguf", "llama")
    for key, value in written.items():
        kind = gguf.GGUFValueType.get_type(value)
        writer.add_key_value(
            key, value, kind, gguf.GGUFValueType.get_type(value[0]) if isinstance(value, list) else None
        )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    file = GGUF(tmp_path / "meta.gguf")
    stored = {key: value.tolist() if isinstance(value, np.ndarray) else value for key, value in file.metadata.items()}
    assert {key: stored[key] for key in written} == written
    assert file.list_of("g", str) == ["x", "é"]
    assert file.get("missing", 5) == 5
    with pytest.raises(ModelError, match="has a str under e; it must be a int"):
        file.get("e", 0)
    with pytest.raises(ModelError, match="under g whose items are not all int"):
        file.list_of("g", int)
    with pytest.raises(ModelError, match="no missing"):
        file.require("missing", int)


@pytest.mark.parametrize("kept", [0, 3, 4, 20, 100, 300, 0.3, 0.9, -1])
def test_truncated_file_is_one_sentence(tmp_path: Path, kept: float) -> None:
    """A file cut in the header or in the tensors is reported in one sentence."""
    path = write_gguf(tmp_path / "model.gguf", tiny_qwen2(), "qwen2")
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data)) if isinstance(kept, float) else kept])
    with pytest.raises(
        ModelError, match=r"model\.gguf (is damaged or truncated|is truncated|is not a GGUF|cannot be read)"
    ) as caught:
        list(gguf_decoder.read_weights(GGUF(path)))
    assert "\n" not in str(caught.value)


def test_damaged_header_is_never_anything_but_a_model_error(tmp_path: Path) -> None:
    """Changed bytes in the header give a ModelError or a readable file, but no crash."""
    path = write_gguf(tmp_path / "model.gguf", tiny_qwen2(), "qwen2")
    whole, random = path.read_bytes(), np.random.default_rng(0)
    for _ in range(trial_count(400)):
        data = bytearray(whole)
        for at in random.integers(4, 3000, 3):
            data[at] = int(random.integers(0, 256))
        path.write_bytes(data)
        try:
            list(gguf_decoder.read_weights(GGUF(path)))
        except ModelError as error:
            assert str(path) in str(error)  # noqa: PT017 - a file that is still readable is as good


def test_lists_nested_without_end_are_one_sentence(tmp_path: Path) -> None:
    """Endlessly nested lists are reported as damage."""
    nested = struct.pack("<IQ", 9, 1) * 100_000
    path = tmp_path / "deep.gguf"
    path.write_bytes(
        b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 1) + b"x" + struct.pack("<I", 9) + nested
    )
    with pytest.raises(ModelError, match=r"deep\.gguf is damaged or truncated"):
        GGUF(path)


def test_a_split_model_is_opened_by_the_first_file(tmp_path: Path) -> None:
    """All files are read; other first files, missing, foreign and truncated files are refused."""
    model, ids = tiny_qwen2(), random_ids(40)
    for name in ("model", "other"):
        write_gguf(tmp_path / f"{name}.gguf", model, "qwen2", split=15)
    first, second, third = (tmp_path / f"model-0000{number}-of-00003.gguf" for number in (1, 2, 3))
    torch.testing.assert_close(logprobs(build(first), ids), reference_logprobs(model, ids), rtol=0, atol=1e-4)
    assert GGUF(first).paths == [first, second, third]
    with pytest.raises(ModelError, match=r"model-00002-of-00003\.gguf is file 2 of a model: name the first file"):
        gguf_decoder.read_config(GGUF(second))
    data = third.read_bytes()
    third.write_bytes(data[:-40])
    with pytest.raises(ModelError, match=r"model-00003-of-00003\.gguf is truncated"):
        GGUF(first).check_complete()
    second.replace(third)
    with pytest.raises(ModelError, match=r"model-00002-of-00003\.gguf cannot be read"):
        GGUF(first)
    third.replace(second)
    (tmp_path / "other-00002-of-00003.gguf").replace(third)
    with pytest.raises(ModelError, match=r"model-00003-of-00003\.gguf does not belong to"):
        GGUF(first)


def test_foreign_files_are_refused(tmp_path: Path) -> None:
    """A file of a foreign kind, version, byte order or architecture, or a part, is refused."""
    path = tmp_path / "model.gguf"
    path.write_bytes(b"PK\x03\x04" + bytes(100))
    with pytest.raises(ModelError, match="is not a GGUF file"):
        GGUF(path)
    path.write_bytes(b"GGUF" + struct.pack(">IQQ", 3, 0, 0))
    with pytest.raises(ModelError, match="versions 2 and 3, little-endian"):
        GGUF(path)
    with pytest.raises(ModelError, match=r"missing\.gguf cannot be read"):
        GGUF(tmp_path / "missing.gguf")
    with pytest.raises(ModelError, match="architecture 'gemma3n'"):
        gguf_decoder.read_config(GGUF(write_gguf(tmp_path / "gemma.gguf", tiny_llama(), "llama", arch_name="gemma3n")))
    with pytest.raises(ModelError, match="'longrope'"):
        gguf_decoder.read_config(
            GGUF(write_gguf(tmp_path / "longrope.gguf", tiny_llama(), "llama", rope__scaling__type="longrope"))
        )
    with pytest.raises(ModelError, match="4 of 16 dimensions"):
        gguf_decoder.read_config(
            GGUF(write_gguf(tmp_path / "partial.gguf", tiny_llama(), "llama", rope__dimension_count=4))
        )
    with pytest.raises(ModelError, match=r"must be named like model-00001-of-00003\.gguf: rename all files"):
        GGUF(write_gguf(tmp_path / "split.gguf", tiny_llama(), "llama", parts=3))


def test_tensor_that_the_decoder_has_no_use_for_is_refused(tmp_path: Path) -> None:
    """A tensor without a use would change the output, so the file is refused."""
    path = write_gguf(
        tmp_path / "model.gguf", tiny_llama(), "llama", extra={"blk.0.ffn_norm_exps.weight": np.ones(4, np.float32)}
    )
    with pytest.raises(ModelError, match=r"blk\.0\.ffn_norm_exps\.weight"):
        list(gguf_decoder.read_weights(GGUF(path)))
