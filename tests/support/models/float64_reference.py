"""Exact log-probabilities, to measure the rounding errors of two float32 computations.

Two correct computations differ, because each machine adds in a different order, so a bound from a
machine fails on the next machine. Both computations are therefore compared with the same decoder in
float64, with a rounding 2**29 times smaller. Pellucid's error may be at most ``ALLOWANCE`` times
the error of the transformers library.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedModel

ALLOWANCE = 4.0
"""Rounding errors grow alike in every order of addition (Higham and Mary 2019, doi
10.1137/18M1226312); their maxima scatter by less.
"""

PLAUSIBLE = 1e-3
"""Larger errors are no rounding of float32 over some dozen layers, but a wrong exact decoder."""


@torch.inference_mode()
def exact_logprobs(model: PreTrainedModel, ids: list[int]) -> Tensor:
    """Return float64 logprobs (len(ids), vocab) for the Llama family without scaled RoPE."""
    config = model.config
    weights: dict[str, Tensor] = model.state_dict()
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    theta: float = config.rope_parameters["rope_theta"]
    waves: Tensor = theta ** -(torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)
    angles = torch.arange(len(ids), dtype=torch.float64)[:, None] * waves.repeat(2)
    cos, sin = angles.cos(), angles.sin()
    places = torch.arange(len(ids))
    distance = places[:, None] - places
    seen = (distance >= 0) & (distance < (getattr(config, "sliding_window", None) or len(ids)))

    def linear(x: Tensor, name: str) -> Tensor:
        bias = weights.get(f"{name}.bias")
        return F.linear(x, weights[f"{name}.weight"].double(), None if bias is None else bias.double())

    def norm(x: Tensor, name: str) -> Tensor:
        scaled: Tensor = x * torch.rsqrt(x.square().mean(-1, keepdim=True) + config.rms_norm_eps)
        return scaled * weights[f"{name}.weight"].double()

    def heads(x: Tensor, name: str, normed: str | None) -> Tensor:
        """Return (heads, len(ids), head_dim), rotated unless ``normed`` is None."""
        y = linear(x, name).view(len(ids), -1, head_dim).transpose(0, 1)
        if normed is None:
            return y
        y = norm(y, normed) if f"{normed}.weight" in weights else y
        first, second = y.chunk(2, dim=-1)
        return y * cos + torch.cat((-second, first), dim=-1) * sin

    x = weights["model.embed_tokens.weight"][torch.tensor(ids)].double()
    for number in range(config.num_hidden_layers):
        layer = f"model.layers.{number}"
        y = norm(x, f"{layer}.input_layernorm")
        q = heads(y, f"{layer}.self_attn.q_proj", f"{layer}.self_attn.q_norm")
        k = heads(y, f"{layer}.self_attn.k_proj", f"{layer}.self_attn.k_norm")
        v = heads(y, f"{layer}.self_attn.v_proj", None)
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=seen, enable_gqa=True)
        x = x + linear(attended.transpose(0, 1).flatten(1), f"{layer}.self_attn.o_proj")
        y = norm(x, f"{layer}.post_attention_layernorm")
        x = x + linear(
            F.silu(linear(y, f"{layer}.mlp.gate_proj")) * linear(y, f"{layer}.mlp.up_proj"), f"{layer}.mlp.down_proj"
        )
    return linear(norm(x, "model.norm"), "lm_head").log_softmax(-1)
