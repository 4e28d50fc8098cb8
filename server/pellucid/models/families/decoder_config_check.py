"""Range checks of decoder configurations from files."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

from pellucid.engine.decoders.decoder_config import DecoderConfig, DeltaNet
from pellucid.errors import ModelError
from pellucid.models.families.experts import MAX_EXPERTS
from pellucid.models.families.family import MAX_LAYERS, MAX_POSITIONS

MAX_TOKENS = 1 << 22
"""Maximum size of a vocabulary: sixteen times the largest published size."""
_BOUNDS: dict[str, tuple[int, int]] = {
    "vocab_size": (1, MAX_TOKENS),
    "hidden_size": (1, 1 << 17),
    "intermediate_size": (1, 1 << 20),
    "layers": (1, MAX_LAYERS),
    "heads": (1, 1 << 12),
    "kv_heads": (1, 1 << 12),
    "head_dim": (2, 1 << 12),
    "context": (1, MAX_POSITIONS),
}
_STATE_NUMBERS = 1 << 28
"""Maximum numbers of the states of all layers: seven times as many as of Qwen3.5 27B."""
_YARN = ("beta_fast", "beta_slow", "attention_factor", "mscale", "mscale_all_dim")
"""Optional numbers, of which 0 is the same as no number."""
_TABLE_NUMBERS = 1 << 27
"""Maximum numbers in a rotary table: a million positions of the widest usual head."""


def check(path: Path, config: DecoderConfig) -> DecoderConfig:
    """Raise ModelError for an impossible shape, before memory is allocated.

    Return the configuration; the context is limited to the positions of a rotary table.
    """
    for name, (low, high) in _BOUNDS.items():
        value = getattr(config, name)
        if not low <= value <= high:
            raise _refused(path, f"its {name} is {value}, but must be from {low} to {high}")
    if config.heads % config.kv_heads:
        raise _refused(path, f"its {config.heads} heads are not a multiple of its {config.kv_heads} key heads")
    if config.head_dim % 2:
        raise _refused(path, f"its head_dim is {config.head_dim}, which is odd")
    if config.rotary_width % 2 or not 0 < config.rotary_width <= config.head_dim:
        raise _refused(path, f"it rotates {config.rotary_width} of the {config.head_dim} dimensions of a head")
    if not 0 <= config.rms_norm_eps <= 1:  # Refuse NaN, too.
        raise _refused(path, f"its rms_norm_eps is {config.rms_norm_eps}")
    if not 1 <= config.rope_theta <= 1e15:
        raise _refused(path, f"its rope_theta is {config.rope_theta}")
    for kind in config.kinds:
        if kind.window is not None and not 1 <= kind.window <= MAX_POSITIONS:
            raise _refused(path, f"its sliding_window is {kind.window}")
    if config.experts is not None and not 1 <= config.experts.active <= config.experts.count <= MAX_EXPERTS:
        raise _refused(path, f"its tokens use {config.experts.active} of {config.experts.count} experts")
    _check_recurrence(path, config)
    _check_scaling(path, config)
    return replace(config, context=min(config.context, max(1, _TABLE_NUMBERS // config.head_dim)))


def _check_recurrence(path: Path, config: DecoderConfig) -> None:
    """Check what the family's own ranges leave open."""
    delta = config.recurrence
    if delta is None:
        return
    if not config.attention_layers:
        raise _refused(path, "none of its layers has attention")
    if isinstance(delta, DeltaNet) and delta.value_heads % delta.key_heads:
        heads = f"{delta.value_heads} value heads are not a multiple of its {delta.key_heads} key heads"
        raise _refused(path, f"its {heads}")
    if config.state_size > _STATE_NUMBERS:
        raise _refused(path, f"the states have {config.state_size} numbers, but at most {_STATE_NUMBERS} may be")


def _check_scaling(path: Path, config: DecoderConfig) -> None:
    scaling = config.rope_scaling
    if scaling is None or scaling["rope_type"] == "longrope":  # Checked by the family.
        return
    needed = ["factor"]
    if scaling["rope_type"] == "llama3":
        needed += ["low_freq_factor", "high_freq_factor", "original_max_position_embeddings"]
    if scaling["rope_type"] == "yarn":
        stated = [key for key, value in scaling.items() if key in _YARN and value not in (None, 0)]
        needed += ["original_max_position_embeddings", *stated]
        if config.rope_theta == 1:
            raise _refused(path, "its rope_theta is 1, with which yarn cannot scale positions")
    for key in needed:
        value = scaling.get(key)
        if (
            isinstance(value, (bool, str))
            or value is None
            or not math.isfinite(value)
            or not 0 < value <= MAX_POSITIONS
        ):
            raise _refused(path, f"its rope_scaling lacks a positive number for {key}")
    if "low_freq_factor" in needed and scaling["low_freq_factor"] == scaling["high_freq_factor"]:
        raise _refused(path, "the two frequency factors of its rope_scaling are the same")


def _refused(path: Path, fault: str) -> ModelError:
    return ModelError(f"{path} is damaged: it describes an impossible model, since {fault}.")
