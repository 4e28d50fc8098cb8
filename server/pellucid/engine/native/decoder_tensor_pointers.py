"""The arrays of a model, described to C."""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Mapping
from ctypes import c_int64
from dataclasses import asdict
from typing import TypeAlias

import numpy as np

from pellucid.engine.decoders.decoder_config import (
    FLOATS,
    GATES,
    MATRICES,
    DecoderConfig,
    DeltaNet,
    Experts,
    Floats,
    LayerKind,
)
from pellucid.engine.native.kernel_layout import BLOCK, FORMS, GROUP, Array, stored_bits
from pellucid.engine.native.native_structs import (
    MAX_PARTS,
    DecoderParts,
    LowRanks,
    Matrix,
    NativeLayer,
    Recurrence,
    Weights,
)

RotaryTables: TypeAlias = Mapping[float | None, tuple[Floats, Floats]]
"""Cosines and sines of the rotations of a decoder; see ``DecoderConfig.rope_thetas``."""

_NO_WINDOW = 2**31 - 1
"""More positions than a sequence has: C compares positions of 32 bits."""


class DecoderTensorPointers:
    """Keeps the arrays alive to which the structures point."""

    def __init__(
        self, config: DecoderConfig, packed: Mapping[str, Array], low_rank: Mapping[str, Mapping[str, Array]]
    ) -> None:
        self._config = config
        self._packed = packed
        self._low_rank = low_rank
        self._adapters: list[LowRanks] = []
        self._tables: RotaryTables = {}
        self._has_floats = False
        self._axes = np.asarray(config.rope_axes, np.int64)
        self._layers = (NativeLayer * config.layers)(
            *(self._layer(prefix, kind) for prefix, kind in config.layer_prefixes)
        )
        states = itertools.count(0, config.layer_state_size)
        for layer in self._layers:
            layer.state = next(states) if layer.recurrent else 0
        head = self._matrix("head" if "head.0.number" in self._packed else "embedding")
        embedding, experts = self._matrix("embedding"), config.experts or Experts(0, 0)
        self.decoder = DecoderParts(
            layers=config.layers,
            hidden=config.hidden_size,
            intermediate=config.intermediate_size,
            heads=config.heads,
            kv_heads=config.kv_heads,
            head_dim=config.head_dim,
            vocab=head.blocks * BLOCK,  # The width of logits, including padding
            rotated=config.rotary_width,
            gate=GATES.index(config.gate),
            experts=experts.count,
            active=experts.active,
            normalized=experts.normalized,
            has_floats=self._has_floats,
            low=max((adapter.projections * adapter.padded for adapter in self._adapters), default=0),
            eps=config.rms_norm_eps,
            embedding_scale=config.embedding_scale,
            attention_scale=config.score_scale,
            residual_scale=config.residual_scale,
            logit_scale=config.logit_scale,
            score_cap=config.score_cap,
            logit_cap=config.logit_cap,
            query_growth=config.query_growth,
            query_interval=config.query_interval,
            gates_attention=config.gates_attention,
            recurrence=_recurrence(config),
            norm=self._pointer("norm.weight"),
            axis=self._axes.ctypes.data if config.rope_axes else None,
            embedding=embedding,
            head=head,
            layer=self._layers,
        )

    def rotate_by(self, tables: RotaryTables) -> None:
        """Point to these tables, and keep the tables alive."""
        if self._tables is tables:
            return
        self._tables = tables
        for layer, kind in zip(self._layers, self._config.layer_kinds, strict=True):
            if kind.rotates:
                layer.cosine, layer.sine = (table.ctypes.data for table in tables[kind.rope_theta])

    def _layer(self, prefix: str, kind: LayerKind) -> NativeLayer:
        matrices = {name: self._matrix(prefix + name, kind) for name in MATRICES}
        floats = {name: self._pointer(f"{prefix}{name}.weight") for name in (*FLOATS, "router", "key_balance")}
        floats["router_bias"] = self._pointer(f"{prefix}router.bias")
        return NativeLayer(
            **matrices,
            **floats,
            norms_heads=not self._config.norms_projections,
            window=min(kind.window or _NO_WINDOW, _NO_WINDOW),
            recurrent=kind.recurrent,
        )

    def _matrix(self, name: str, kind: LayerKind | None = None) -> Matrix:
        parts = [self._weights(f"{name}.{i}") for i in range(MAX_PARTS) if f"{name}.{i}.number" in self._packed]
        return Matrix(
            part=(Weights * MAX_PARTS)(*parts),
            bias=self._pointer(f"{name}.bias"),
            parts=len(parts),
            interleaved=name.endswith("gate_up"),
            blocks=sum(part.blocks for part in parts),
            groups=parts[0].groups,
            adapter=None if kind is None else self._adapter(name, kind),
        )

    def _adapter(self, name: str, kind: LayerKind) -> ctypes._Pointer[LowRanks] | None:
        low_rank = self._low_rank.get(name)
        if low_rank is None:
            return None
        parts, shapes = self._config.parts(kind)[name.rpartition(".")[2]], self._config.matrix_shapes(kind)
        blocks = [shapes[part][0] // BLOCK for part in parts]
        self._adapters.append(
            LowRanks(
                down=low_rank["down"].ctypes.data,
                factor=low_rank["factor"].ctypes.data,
                up=low_rank["up"].ctypes.data,
                projections=len(parts),
                interleaved=name.endswith("gate_up"),
                rank=low_rank["up"].shape[1],
                padded=len(low_rank["factor"]) // len(parts),
                end=(c_int64 * MAX_PARTS)(*itertools.accumulate(blocks)),
            )
        )
        return ctypes.pointer(self._adapters[-1])

    def _weights(self, name: str) -> Weights:
        number = self._packed[f"{name}.number"]
        blocks, groups = number.shape[:2]
        if number.dtype != np.uint8:
            self._has_floats = True
            is_bfloat = number.dtype == np.uint16
            return Weights(self._pointer(f"{name}.number"), None, None, None, blocks, groups, 16, GROUP, is_bfloat)
        bits, shared = stored_bits(number), GROUP // self._packed[f"{name}.scale"].shape[2]
        arrays = [self._pointer(f"{name}.{field}") for field in ("number", "scale", "minimum", "table")]
        form = (bits, shared, arrays[2] is not None, arrays[3] is not None)
        assert form in FORMS, (name, form)
        return Weights(*arrays, blocks, groups, bits, shared)

    def _pointer(self, name: str) -> int | None:
        array = self._packed.get(name)
        if array is None:
            return None
        assert array.flags.c_contiguous, name
        assert array.dtype in (np.uint8, np.uint16, np.float16, np.float32), name
        return array.ctypes.data


def _recurrence(config: DecoderConfig) -> Recurrence:
    found = config.recurrence
    return Recurrence() if found is None else Recurrence(kind=1 + isinstance(found, DeltaNet), **asdict(found))
