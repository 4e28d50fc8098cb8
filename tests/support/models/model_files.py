"""Writes small models and tokenizers: GGUF, Hugging Face folders, sentencepiece and BPE."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import sentencepiece
import tokenizers
from numpy.typing import NDArray
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers
from torch import Tensor
from transformers import PretrainedConfig, PreTrainedModel

from pellucid.engine.model import Model
from pellucid.models.families.registry import BY_ARCHITECTURE
from support.models.flat_batches import new_storage, run_parts
from support.models.recurrent_model_files import recurrent_metadata, recurrent_tensors, rms_norm_eps

Array = NDArray[Any]

MARKERS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|fim_prefix|>",
    "<|fim_suffix|>",
    "<|fim_middle|>",
    "<|fim|>",
)
CORPUS = [
    "def greet(name):\n    return f'hello {name}'\n",
    "for i in range(10):\n    print(i, i * i)\n\n\n",
    "The quick brown fox jumps over the lazy dog, and the dog sleeps on.\n",
    "class Reader:\n    def __init__(self, path):\n        self.path = path\n",
    "numbers 1 22 333 4444 and words like naïve, café, Straße\n",
] * 20


def byte_level_bpe(vocab_size: int = 320) -> tokenizers.Tokenizer:
    """Make a byte-level BPE tokenizer with :data:`MARKERS`, half of them not special, as Qwen."""
    backend = tokenizers.Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(MARKERS), initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    backend.train_from_iterator(CORPUS, trainer)
    backend.add_special_tokens([tokenizers.AddedToken(marker, special=True) for marker in MARKERS[:3]])
    backend.add_tokens([tokenizers.AddedToken(marker, special=False, normalized=False) for marker in MARKERS[3:]])
    return backend


def spaced_bpe(
    normalizer: normalizers.Normalizer | None, pre_tokenizer: pre_tokenizers.PreTokenizer | None
) -> tokenizers.Tokenizer:
    """Make a BPE tokenizer on U+2581 with byte fallback, as in Llama's ``tokenizer.json``."""
    words = [
        "<unk>",
        "<s>",
        "</s>",
        *(f"<0x{byte:02X}>" for byte in range(256)),
        "▁",
        *"abcdefghijklmnopqrstuvwxyz",
        "▁a",
        "th",
        "▁th",
        "he",
    ]
    words += ["▁▁", "[INST]"]
    vocab = {word: id for id, word in enumerate(words)}
    merges = [("▁", "a"), ("t", "h"), ("▁", "th"), ("h", "e"), ("▁", "▁")]
    backend = tokenizers.Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    if normalizer is not None:
        backend.normalizer = normalizer
    if pre_tokenizer is not None:
        backend.pre_tokenizer = pre_tokenizer
    backend.add_special_tokens(["<unk>", "<s>", "</s>", "[INST]"])
    return backend


def train_sentencepiece(**options: Any) -> bytes:
    """Train a sentencepiece BPE model with byte fallback, prefix space and user-defined pieces."""
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS),
        model_writer=out,
        **{
            "model_type": "bpe",
            "vocab_size": 420,
            "byte_fallback": True,
            "character_coverage": 0.99,
            "normalization_rule_name": "identity",
            "remove_extra_whitespaces": False,
            # Sentencepiece's spelling of four spaces.
            "user_defined_symbols": ["<|turn|>", "▁▁▁▁"],
            "minloglevel": 2,
            **options,
        },
    )
    return out.getvalue()


def write_folder(folder: Path, backend: tokenizers.Tokenizer, config: Mapping[str, Any] | None = None) -> Path:
    """Write a folder with ``tokenizer.json`` and ``tokenizer_config.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    backend.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", **(config or {})})
    )
    return folder


def write_gguf(
    path: Path,
    model: PreTrainedModel,
    arch: str,
    backend: tokenizers.Tokenizer | None = None,
    *,
    arch_name: str | None = None,
    extra: Mapping[str, np.ndarray[Any, np.dtype[np.float32]]] | None = None,
    parts: int = 1,
    split: int = 0,
    zeros: Mapping[str, gguf.GGMLQuantizationType] | None = None,
    encode: Callable[[str, Array], tuple[Array, gguf.GGMLQuantizationType | None]] | None = None,
    add_tokenizer: Callable[[gguf.GGUFWriter], None] | None = None,
    **metadata: Any,
) -> Path:
    """Write a model to a GGUF file, with query and key rows in GGUF's order.

    ``arch_name`` is the stated architecture, ``extra`` has more tensors, ``parts`` is the stated
    number of files, ``split`` is the most tensors of a file (0: any number), and ``metadata`` has
    more keys, with two underscores for a dot. Tensors in ``zeros`` have only zeros, in blocks of
    the given type; ``encode`` gives the bytes and the type of all other tensors.
    """
    config = model.config
    writer = gguf.GGUFWriter(path, arch_name or arch, split_max_tensors=split)
    if parts > 1:
        writer.add_uint16("split.count", parts)
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    own = {**_own_metadata(model), **recurrent_metadata(config), **metadata}
    if "feed_forward_length" not in own:
        writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    if "attention__head_count_kv" not in own:
        writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)
    writer.add_layer_norm_rms_eps(rms_norm_eps(config))
    writer.add_rope_freq_base(rope_theta(config))
    for key, value in own.items():
        full = f"{arch}.{key.replace('__', '.')}"
        (
            writer.add_string
            if isinstance(value, str)
            else writer.add_bool
            if isinstance(value, bool)
            else writer.add_array
            if isinstance(value, list)
            else writer.add_float32
            if isinstance(value, float)
            else writer.add_uint32
        )(full, value)
    if backend is not None:
        add_byte_level(writer, backend)
    if add_tokenizer is not None:
        add_tokenizer(writer)
    for name, tensor in (_gguf_tensors(model, arch, head_dim) | dict(extra or {})).items():
        kind = (zeros or {}).get(name)
        if kind is not None:
            tensor = np.zeros(gguf.quant_shape_to_byte_shape(tensor.shape, kind), np.uint8)
        elif encode is not None:
            tensor, kind = encode(name, tensor)
        writer.add_tensor(name, tensor, raw_dtype=kind)
    _close(writer)
    return path


def add_byte_level(writer: gguf.GGUFWriter, backend: tokenizers.Tokenizer, pre: str = "gpt-2") -> None:
    """Add a byte-level tokenizer as GGUF metadata."""
    model = json.loads(backend.to_str())["model"]
    added = {token.content: token for token in backend.get_added_tokens_decoder().values()}
    words = sorted(backend.get_vocab(), key=lambda word: backend.token_to_id(word) or 0)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(words)
    control, text = gguf.TokenType.CONTROL, gguf.TokenType.NORMAL
    writer.add_token_types(
        [
            text if word not in added else control if added[word].special else gguf.TokenType.USER_DEFINED
            for word in words
        ]
    )
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]])
    writer.add_eos_token_id(words.index("<|im_end|>"))


def write_vocabulary(path: Path, **fields: Any) -> Path:
    """Write a GGUF file with a tokenizer alone; ``fields`` are ``tokenizer.ggml`` metadata."""
    writer = gguf.GGUFWriter(path, "llama")
    for key, value in fields.items():
        full = f"tokenizer.ggml.{key}"
        if isinstance(value, bool):
            writer.add_bool(full, value)
        elif isinstance(value, list):
            writer.add_array(full, value)
        else:
            (writer.add_string if isinstance(value, str) else writer.add_uint32)(full, value)
    _close(writer)
    return path


def _close(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _gguf_tensors(model: PreTrainedModel, arch: str, head_dim: int) -> dict[str, np.ndarray[Any, np.dtype[np.float32]]]:
    known = "qwen3moe" if arch == "mellum" else arch  # The package does not know Mellum 2, whose names are the same.
    stated = next(stated for stated, name in gguf.MODEL_ARCH_NAMES.items() if name == known)
    names = gguf.get_tensor_name_map(stated, model.config.num_hidden_layers)
    tensors: dict[str, np.ndarray[Any, np.dtype[np.float32]]] = {}
    for name, tensor in recurrent_tensors(model):
        if ".experts." in name:
            tensors |= _expert_tensors(name, tensor, in_turn=arch == "gpt-oss")
            continue
        if name == "lm_head.weight" and model.config.tie_word_embeddings:
            continue
        saved = name.replace("_moe.router.weight", "_moe.router.layer.weight")
        stored = names.get_name(saved, try_suffixes=(".weight", ".bias"))
        assert stored is not None, name
        stored = stored if stored.endswith((".weight", ".bias")) else f"{stored}.weight"
        stored = stored.replace(".ssm_a.weight", ".ssm_a").replace(".ssm_dt.weight", ".ssm_dt.bias")
        if "linear_attn" not in name:
            tensor = tensor + BY_ARCHITECTURE[arch].shift(name)
        if BY_ARCHITECTURE[arch].adjacent_pairs and (".q_proj." in name or ".k_proj." in name):
            tensor = _interleaved(tensor, tensor.shape[0] // head_dim)
        tensors[stored] = tensor.float().numpy()
    rope = model.config.rope_parameters
    for kind in ("short", "long"):
        if f"{kind}_factor" in rope:
            tensors[f"rope_factors_{kind}.weight"] = np.array(rope[f"{kind}_factor"], np.float32)
    return tensors


def _expert_tensors(name: str, tensor: Tensor, *, in_turn: bool) -> dict[str, np.ndarray[Any, np.dtype[np.float32]]]:
    """Return the matrices (experts, rows, columns) and biases (experts, rows) of a layer's experts.

    With ``in_turn``, the columns of gate and gated rows come in turn, and matrices are transposed.
    """
    prefix, end = f"blk.{name.split('.')[2]}.ffn", "bias" if name.endswith("bias") else "weight"
    if in_turn and tensor.dim() == 3:
        tensor = tensor.transpose(1, 2)
    if "down_proj" in name:
        return {f"{prefix}_down_exps.{end}": tensor.numpy().copy()}
    gate, up = (tensor[:, ::2], tensor[:, 1::2]) if in_turn else tensor.chunk(2, dim=1)
    return {f"{prefix}_gate_exps.{end}": gate.numpy().copy(), f"{prefix}_up_exps.{end}": up.numpy().copy()}


def rope_theta(config: PretrainedConfig) -> float:
    """Return the base of the rotation, of layers that see the whole text if others differ."""
    parameters: dict[str, Any] = config.rope_parameters
    theta: float = parameters.get("full_attention", parameters)["rope_theta"]
    return theta


def _own_metadata(model: PreTrainedModel) -> dict[str, Any]:
    """Return a family's own metadata, as llama.cpp's conversion writes the metadata."""
    config = model.config
    if getattr(config, "num_local_experts", None) and config.model_type != "granitemoe":
        return (
            _windows(config)
            | _yarn(config)
            | {
                "expert_count": config.num_local_experts,
                "expert_used_count": config.num_experts_per_tok,
                "expert_feed_forward_length": getattr(config, "moe_intermediate_size", config.intermediate_size),
            }
        )
    if config.model_type in ("granite", "granitemoe"):
        experts = getattr(config, "num_local_experts", 0)
        return ({"expert_count": experts, "expert_used_count": config.num_experts_per_tok} if experts else {}) | {
            "embedding_scale": config.embedding_multiplier,
            "attention__scale": config.attention_multiplier,
            "residual_scale": config.residual_multiplier,
            "logit_scale": config.logits_scaling,
        }
    if config.model_type == "olmo3":
        return {"attention__sliding_window": config.sliding_window}
    if config.model_type == "gemma2":
        return {
            "attention__sliding_window": config.sliding_window,
            "attn_logit_softcapping": config.attn_logit_softcapping,
            "final_logit_softcapping": config.final_logit_softcapping,
        }
    if config.model_type == "gemma3_text":
        return {
            "attention__sliding_window": config.sliding_window,
            "rope__scaling__type": "linear",
            "rope__scaling__factor": config.rope_parameters["full_attention"]["factor"],
        }
    if config.model_type == "phi3":
        rope = config.rope_parameters
        original = rope["original_max_position_embeddings"]
        stretch = config.max_position_embeddings / original
        return {
            "attention__sliding_window": config.sliding_window,
            "rope__dimension_count": 2 * len(rope["short_factor"]),
            "rope__scaling__original_context_length": original,
            "rope__scaling__attn_factor": math.sqrt(1 + math.log(stretch) / math.log(original)),
        }
    if config.model_type == "glm4":
        return {"rope__dimension_count": int(config.head_dim * config.rope_parameters["partial_rotary_factor"])}
    if config.model_type == "ministral3":
        rope = config.rope_parameters
        return {
            "attention__temperature_scale": rope["llama_4_scaling_beta"],
            "rope__dimension_count": config.head_dim,
            "rope__scaling__yarn_beta_fast": rope["beta_fast"],
            "rope__scaling__yarn_beta_slow": rope["beta_slow"],
            "rope__scaling__yarn_log_multiplier": rope["mscale_all_dim"],
            **_yarn(config),
        }
    return {}


def _yarn(config: PretrainedConfig) -> dict[str, Any]:
    """Return the metadata of positions scaled by yarn."""
    rope = config.rope_parameters
    if rope.get("rope_type") != "yarn":
        return {}
    return {
        "rope__scaling__type": "yarn",
        "rope__scaling__factor": rope["factor"],
        "rope__scaling__original_context_length": rope["original_max_position_embeddings"],
    }


def _windows(config: PretrainedConfig) -> dict[str, Any]:
    """Return the metadata of windows by layer."""
    if config.model_type == "gpt_oss":
        return {"attention__sliding_window": config.sliding_window}
    if config.model_type != "mellum":
        return {}
    return {
        "attention__sliding_window": config.sliding_window,
        "attention__sliding_window_pattern": [kind == "sliding_attention" for kind in config.layer_types],
    }


def _interleaved(tensor: Tensor, heads: int) -> Tensor:
    """Reorder rows from the half-split layout of rotary pairs to GGUF's adjacent pairs."""
    halves = tensor.reshape(heads, 2, tensor.shape[0] // heads // 2, *tensor.shape[1:])
    return halves.swapaxes(1, 2).reshape(tensor.shape).contiguous()


def logprobs(model: Model, ids: list[int]) -> Tensor:
    """Return log-probabilities (len(ids), vocab) after each token, for an empty cache."""
    (logprobs,) = run_parts(model, new_storage(model, 1, len(ids)), [(0, 0, ids)])
    return logprobs
