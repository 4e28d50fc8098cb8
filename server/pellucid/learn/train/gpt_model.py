"""A small GPT with the architecture of Llama and tied embeddings.

The weights are saved under Llama's names and run on the engine's own decoder.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from pellucid.engine.decoders.decoder_config import DecoderConfig
from pellucid.engine.decoders.rotary_positions import rotary_tables

EPSILON = 1e-5
ROPE_THETA = 10_000.0


@dataclass(frozen=True, slots=True)
class GPTShape:
    layers: int
    hidden: int
    heads: int
    intermediate: int
    context: int
    dropout: float = 0.0

    def parameters(self, vocabulary: int) -> int:
        """Return the number of weights, counting the tied embedding once."""
        layer = 4 * self.hidden**2 + 3 * self.hidden * self.intermediate + 2 * self.hidden
        return self.layers * layer + self.hidden + vocabulary * self.hidden


class TransformerBlock(nn.Module):
    def __init__(self, shape: GPTShape) -> None:
        super().__init__()
        self.shape = shape
        self.input_norm = nn.Parameter(torch.ones(shape.hidden))
        self.qkv = nn.Linear(shape.hidden, 3 * shape.hidden, bias=False)
        self.o = nn.Linear(shape.hidden, shape.hidden, bias=False)
        self.post_norm = nn.Parameter(torch.ones(shape.hidden))
        self.gate_up = nn.Linear(shape.hidden, 2 * shape.intermediate, bias=False)
        self.down = nn.Linear(shape.intermediate, shape.hidden, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Transform x (B, T, hidden); cos and sin are (T, head_dim)."""
        shape = self.shape
        batch, length, _ = x.shape
        qkv = self.qkv(_norm(x, self.input_norm)).view(batch, length, 3 * shape.heads, -1)
        turned, v = qkv.split([2 * shape.heads, shape.heads], dim=2)
        q, k = _rotate(turned, cos, sin).transpose(1, 2).chunk(2, dim=1)
        out = _attend(q, k, v.transpose(1, 2))
        x = x + self._dropped(self.o(out.transpose(1, 2).reshape(batch, length, shape.hidden)))
        gate, up = self.gate_up(_norm(x, self.post_norm)).chunk(2, dim=-1)
        return x + self._dropped(self.down(F.silu(gate) * up))

    def _dropped(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.shape.dropout, self.training) if self.shape.dropout else x


class GPT(nn.Module):
    cos: Tensor
    sin: Tensor

    def __init__(self, shape: GPTShape, vocabulary: int, seed: int) -> None:
        super().__init__()
        self.shape = shape
        self.vocabulary = vocabulary
        self.embedding = nn.Parameter(torch.empty(vocabulary, shape.hidden))
        self.blocks = nn.ModuleList([TransformerBlock(shape) for _ in range(shape.layers)])
        self.norm = nn.Parameter(torch.ones(shape.hidden))
        cos, sin = rotary_tables(decoder_config(shape, vocabulary), shape.context)
        self.register_buffer("cos", torch.from_numpy(cos), persistent=False)
        self.register_buffer("sin", torch.from_numpy(sin), persistent=False)
        self._draw(torch.Generator().manual_seed(seed))

    def forward(self, ids: Tensor) -> Tensor:
        """Return logits (B, T, vocabulary) of ids (B, T)."""
        x = F.embedding(ids, self.embedding)
        cos, sin = self.cos[: ids.shape[1], None], self.sin[: ids.shape[1], None]
        for block in self.blocks:
            x = block(x, cos, sin)
        return F.linear(_norm(x, self.norm), self.embedding)

    def loss(self, ids: Tensor, reduction: str = "mean") -> Tensor:
        """Return the loss in nats per token for ids (B, T + 1)."""
        logits = self(ids[:, :-1])
        return F.cross_entropy(logits.flatten(0, 1).float(), ids[:, 1:].flatten(), reduction=reduction)

    @torch.no_grad()
    def _draw(self, generator: torch.Generator) -> None:
        """Preserve variance, with smaller matrices that add to the residual stream."""
        self.embedding.normal_(std=0.02, generator=generator)
        for block in self.blocks:
            assert isinstance(block, TransformerBlock)
            for linear in (block.qkv, block.gate_up):
                linear.weight.normal_(std=linear.in_features**-0.5, generator=generator)
            for linear in (block.o, block.down):
                linear.weight.normal_(std=(2 * self.shape.layers * linear.in_features) ** -0.5, generator=generator)


def decoder_config(shape: GPTShape, vocabulary: int) -> DecoderConfig:
    return DecoderConfig(
        vocab_size=vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        layers=shape.layers,
        heads=shape.heads,
        kv_heads=shape.heads,
        head_dim=shape.hidden // shape.heads,
        rms_norm_eps=EPSILON,
        rope_theta=ROPE_THETA,
        context=shape.context,
    )


def write(folder: Path, shape: GPTShape, weights: dict[str, Tensor], marker: int) -> None:
    """Write config.json and model.safetensors into an existing folder.

    ``marker`` is the id that begins and ends texts. Write errors are not caught.
    """
    save_file(llama_names(weights, shape), folder / "model.safetensors", {"format": "pt"})
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": len(weights["embedding"]),
        "hidden_size": shape.hidden,
        "intermediate_size": shape.intermediate,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.heads,
        "head_dim": shape.hidden // shape.heads,
        "max_position_embeddings": shape.context,
        "rms_norm_eps": EPSILON,
        "rope_parameters": {"rope_type": "default", "rope_theta": ROPE_THETA},
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": True,
        "bos_token_id": marker,
        "eos_token_id": marker,
        "dtype": "float32",
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def llama_names(weights: dict[str, Tensor], shape: GPTShape) -> dict[str, Tensor]:
    found = {"model.embed_tokens.weight": weights["embedding"], "model.norm.weight": weights["norm"]}
    for number in range(shape.layers):
        ours, theirs = f"blocks.{number}.", f"model.layers.{number}."
        found[theirs + "input_layernorm.weight"] = weights[ours + "input_norm"]
        found[theirs + "post_attention_layernorm.weight"] = weights[ours + "post_norm"]
        found[theirs + "self_attn.o_proj.weight"] = weights[ours + "o.weight"]
        found[theirs + "mlp.down_proj.weight"] = weights[ours + "down.weight"]
        for name, part in zip("qkv", weights[ours + "qkv.weight"].chunk(3), strict=True):
            found[theirs + f"self_attn.{name}_proj.weight"] = part
        for name, part in zip(("gate", "up"), weights[ours + "gate_up.weight"].chunk(2), strict=True):
            found[theirs + f"mlp.{name}_proj.weight"] = part
    return {name: tensor.contiguous().cpu() for name, tensor in found.items()}


def _attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Compute causal attention of q, k and v (B, heads, T, head_dim).

    On a CPU, torch's kernel takes a third of a step including backward for such short windows,
    explicit attention a tenth.
    """
    if q.device.type != "cpu":
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)
    later = torch.ones(q.shape[2], q.shape[2], dtype=torch.bool).triu(1)
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    shares: Tensor = scores.float().masked_fill(later, float("-inf")).softmax(-1)
    return shares.to(v.dtype) @ v


def _norm(x: Tensor, weight: Tensor) -> Tensor:
    return F.rms_norm(x, (x.shape[-1],), weight, EPSILON)


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-second, first), dim=-1) * sin
