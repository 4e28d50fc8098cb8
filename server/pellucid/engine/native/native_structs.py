"""The structures of native/*.h and kernels.c for ctypes."""

from __future__ import annotations

from ctypes import POINTER, Structure, c_double, c_float, c_int64, c_void_p

from pellucid.engine.decoders.decoder_config import FLOATS

MAX_PARTS = 4
"""Maximum number of matrices computed as one."""


class Weights(Structure):
    """``weights`` of native/weights.h."""

    _fields_ = (
        *((name, c_void_p) for name in ("number", "scale", "minimum", "table")),
        *((name, c_int64) for name in ("blocks", "groups", "bits", "shared", "is_bfloat")),
    )


class LowRanks(Structure):
    """``adapter`` of native/adapter.h: an adapter's change of a matrix."""

    _fields_ = (
        *((name, c_void_p) for name in ("down", "factor", "up")),
        *((name, c_int64) for name in ("projections", "interleaved", "rank", "padded")),
        ("end", c_int64 * MAX_PARTS),
    )


class Matrix(Structure):
    """``matrix`` of native/matrix.h: matrices computed as one."""

    _fields_ = (
        ("part", Weights * MAX_PARTS),
        ("bias", c_void_p),
        *((name, c_int64) for name in ("parts", "interleaved", "blocks", "groups")),
        ("adapter", POINTER(LowRanks)),
    )


class NativeLayer(Structure):
    """``layer`` of native/kernels.c."""

    _fields_ = (
        *((name, Matrix) for name in ("qkv", "o", "gate_up", "down")),
        *((name, c_void_p) for name in (*FLOATS, "router", "router_bias", "key_balance")),
        ("norms_heads", c_int64),
        *((name, c_void_p) for name in ("cosine", "sine")),
        *((name, c_int64) for name in ("window", "recurrent", "state")),
    )


class Recurrence(Structure):
    """``recurrence`` of native/recurrence.h."""

    _fields_ = tuple(
        (name, c_int64) for name in ("kind", "taps", "key_heads", "value_heads", "key_dim", "value_dim", "tiled")
    )


class DecoderParts(Structure):
    """``decoder`` of native/kernels.c."""

    _fields_ = (
        *(
            (name, c_int64)
            for name in (
                *("layers", "hidden", "intermediate", "heads", "kv_heads", "head_dim", "vocab"),
                *("rotated", "gate", "experts", "active", "normalized", "has_floats", "low"),
            )
        ),
        *(
            (name, c_float)
            for name in (
                *("eps", "embedding_scale", "attention_scale", "residual_scale", "logit_scale"),
                *("score_cap", "logit_cap", "query_growth"),
            )
        ),
        *((name, c_int64) for name in ("query_interval", "gates_attention")),
        ("recurrence", Recurrence),
        *((name, c_void_p) for name in ("norm", "axis")),
        ("embedding", Matrix),
        ("head", Matrix),
        ("layer", POINTER(NativeLayer)),
    )


class NativeSpan(Structure):
    """``span`` of native/attention.h."""

    _fields_ = tuple(
        (name, c_int64) for name in ("slot", "start", "count", "offset", "state_from", "state_to", "whole")
    )


class NativeBatch(Structure):
    """``batch`` of native/kernels.c: the input of a pass, and the KV cache."""

    _fields_ = (
        *((name, c_int64) for name in ("tokens", "spans", "rows")),
        ("ids", c_void_p),
        ("span", POINTER(NativeSpan)),
        ("row", c_void_p),
        ("keys", POINTER(c_void_p)),
        ("values", POINTER(c_void_p)),
        *((name, c_int64) for name in ("slot_stride", "head_stride", "token_stride", "in_bytes")),
        ("states", c_void_p),
        ("state_stride", c_int64),
        *((name, c_void_p) for name in ("interrupt", "expert", "weight", "embedded", "axes")),
    )


class ScoreParts(Structure):
    """``score_job`` of native/logit_scores.h."""

    _fields_ = (
        *((name, c_int64) for name in ("rows", "vocab", "stride", "top")),
        *((name, c_void_p) for name in ("logits", "id", "rank", "logprob", "entropy", "top_id", "top_logprob")),
    )


class MaskParts(Structure):
    """``mask_job`` of native/token_mask.h."""

    _fields_ = (
        ("vocab", c_int64),
        *((name, c_void_p) for name in ("logits", "mask", "out")),
        *((name, c_int64) for name in ("best", "count")),
        ("total", c_double),
    )


class Share(Structure):
    """``share`` of native/memory_reading.h."""

    _fields_ = (("memory", c_void_p), *((name, c_int64) for name in ("bytes", "sum", "taken")))
