"""Folders of tiny models of images and texts with random weights, and pictures."""

from __future__ import annotations

import base64
import copy
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
import torch
from PIL import Image
from transformers import AutoConfig, AutoModelForImageTextToText, PreTrainedModel

from support.models.model_files import byte_level_bpe, write_folder
from support.models.tiny_models import fill_at_random

TOKENS = ("<image>", "<begin>", "<end>", "<fake_token_around_image>", "<global-img>", "<row_1_col_1>", "<row_1_col_2>")
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% for part in message.content %}"
    "{% if part.type == 'image' %}MARKER{% else %}{{ part.text }}{% endif %}{% endfor %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_VISION = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
_SQUARE = _VISION | {"image_size": 32, "patch_size": 8}
_TEXT = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 512,
    "bos_token_id": 0,
    "eos_token_id": 0,
}
_AXES = {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 3, 3]}}
_GRID_VISION = {"depth": 1, "embed_dim": 32, "intermediate_size": 32, "num_heads": 2, "patch_size": 8}
_TILES = {
    "image_processor_type": "SmolVLMImageProcessor",
    "size": {"longest_edge": 64},
    "max_image_size": {"longest_edge": 32},
}
_SQUARES = {"image_processor_type": "Gemma3ImageProcessor", "size": {"height": 32, "width": 32}}
_GRID = {
    "image_processor_type": "Qwen2VLImageProcessor",
    "patch_size": 8,
    "merge_size": 2,
    "temporal_patch_size": 2,
    "size": {"shortest_edge": 256, "longest_edge": 8192},
}
KINDS: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "smolvlm": ({"scale_factor": 2}, _TEXT | {"model_type": "llama"}, _SQUARE, _TILES),
    "gemma3": (
        {"mm_tokens_per_image": 4},
        _TEXT | {"sliding_window": 24, "layer_types": ["sliding_attention"] * 2 + ["full_attention"]},
        _SQUARE,
        _SQUARES,
    ),
    "qwen2_vl": ({}, _TEXT | _AXES, _GRID_VISION | {"hidden_size": 64}, _GRID),
    "qwen3_5": (
        {},
        _TEXT
        | {
            "layer_types": ["linear_attention", "full_attention", "linear_attention"],
            "head_dim": 32,
            "linear_num_key_heads": 2,
            "linear_num_value_heads": 4,
            "linear_key_head_dim": 16,
            "linear_value_head_dim": 16,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 1e4,
                "partial_rotary_factor": 0.5,
                "mrope_section": [3, 3, 2],
                "mrope_interleaved": True,
            },
        },
        {
            "depth": 1,
            "hidden_size": 32,
            "intermediate_size": 32,
            "num_heads": 2,
            "patch_size": 8,
            "out_hidden_size": 64,
            "num_position_embeddings": 16,
            "deepstack_visual_indexes": [],
        },
        _GRID,
    ),
    "qwen2_5_vl": ({}, _TEXT | _AXES, _GRID_VISION | {"hidden_size": 32, "out_hidden_size": 64}, _GRID),
}
"""The fields of config.json, of the text and the image model, and of preprocessor_config.json."""


def write_image_model(folder: Path, kind: str = "smolvlm") -> PreTrainedModel:
    """Write a folder of one of KINDS, with weights of 16 bits; return the model in float32."""
    outer, text, vision, pictures = KINDS[kind]
    backend = byte_level_bpe()
    backend.add_special_tokens([tokenizers.AddedToken(token, special=True) for token in TOKENS])
    ids = {token: backend.token_to_id(token) for token in TOKENS}
    begin = {"gemma3": {"boi_token_index": ids["<begin>"], "eoi_token_index": ids["<end>"]}}.get(kind, {})
    image = {("image_token_index" if kind == "gemma3" else "image_token_id"): ids["<image>"]}
    fields = {"text_config": text | {"vocab_size": backend.get_vocab_size()}, "vision_config": vision, **outer}
    config = AutoConfig.for_model(kind, **fields, **begin, **image)
    marker = "<begin>" if kind == "gemma3" else "<image>"
    write_folder(folder, backend, {"chat_template": TEMPLATE.replace("MARKER", marker), "eos_token": "<|im_end|>"})
    build: Callable[..., PreTrainedModel] = AutoModelForImageTextToText.from_config
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = fill_at_random(build(config, attn_implementation="eager", dtype=torch.float32))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.bfloat16())
    copy.deepcopy(model).bfloat16().save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(pictures))
    return model


def picture(seed: int | None = 0, width: int = 80, height: int = 40, format: str = "PNG") -> bytes:
    """Return the file of a picture of random, coarse squares; a black picture without a seed."""
    pixels = np.random.default_rng(seed).integers(0, 1 if seed is None else 256, (4, 8, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).resize((width, height), Image.Resampling.NEAREST).save(file, format)
    return file.getvalue()


def data_url(file: bytes, format: str = "png") -> str:
    return f"data:image/{format};base64,{base64.b64encode(file).decode()}"
