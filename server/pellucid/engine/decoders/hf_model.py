"""Any transformers causal language model on the engine's flat batches and KV storage.

Transformers models compute attention through an interface, and store keys and values in a cache
object; this module implements both. A model may keep other state (recurrent states, position
biases). So every model first runs a short text, and the logits must match the logits of the
library's own attention without a cache.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AttentionInterface,
    AutoConfig,
    AutoModelForCausalLM,
    PretrainedConfig,
    PreTrainedModel,
)

from pellucid.engine.decoders.attention import Scoring, attend, store
from pellucid.engine.decoders.torch_model import TensorStorage, TorchModel, dtype_name
from pellucid.engine.model import Batch, BatchSpan, CacheShape, KVStorage, TokenCost
from pellucid.errors import ModelError

ATTENTION = "pellucid"

LOCAL_DATA = {"trust_remote_code": False, "local_files_only": True}
"""Options whenever transformers reads a folder: no foreign code, and no download."""

LOADING_ERRORS = (OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError, ImportError, SafetensorError)

_PROBE_LENGTH = 12
_PROBE_CUTS = (7, 4)
"""Positions at which the two probe texts are cut, to test chunks and mixed positions."""
_PROBE_SLOTS = (2, 0)
_MAX_ROUNDING = 0.3
"""Maximum relative error of 16-bit probe logits.

In bfloat16, up to 0.1 was measured; a wrong attention gives far more.
"""


class FlatCache:
    """A cache object for one forward pass that writes through to the storage."""

    def __init__(self, spans: tuple[BatchSpan, ...], kv: TensorStorage) -> None:
        self.spans = spans
        self.windows: dict[int, int | None] = {}
        self._kv = kv
        self._views: dict[int, tuple[Tensor, Tensor]] = {}

    def update(self, k: Tensor, v: Tensor, layer_idx: int, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Store a layer's keys and values (1, kv_heads, T, head_dim), and return both unchanged.

        A layer with fewer or smaller heads uses part of the storage.
        """
        keys = self._kv.keys[layer_idx][:, : k.shape[1], :, : k.shape[3]]
        values = self._kv.values[layer_idx][:, : v.shape[1], :, : v.shape[3]]
        store(keys, values, k[0].transpose(0, 1), v[0].transpose(0, 1), self.spans)
        self._views[layer_idx] = keys, values
        return k, v

    def layer(self, layer_idx: int) -> tuple[Tensor, Tensor] | None:
        """Return a layer's keys and values (slots, kv_heads, capacity, head_dim), if stored."""
        return self._views.get(layer_idx)

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Return 0: positions are given, and a flat batch has no common length."""
        return 0


class _ShapeCache:
    """A cache object that keeps only the shapes (batch, kv_heads, T, head_dim)."""

    def __init__(self) -> None:
        self.shapes: dict[int, tuple[torch.Size, torch.Size]] = {}
        self.dtype = torch.float32

    def update(self, k: Tensor, v: Tensor, layer_idx: int, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        self.shapes[layer_idx] = k.shape, v.shape
        self.dtype = k.dtype
        return k, v

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return 0

    def get_query_offset(self, layer_idx: int = 0) -> int:
        return 0

    def get_mask_sizes(self, query_length: int, layer_idx: int = 0) -> tuple[int, int]:
        return query_length, 0


def flat_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    flat: FlatCache | None = None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attend over the storage: query (1, heads, T, head_dim) to (1, T, heads, head_dim).

    ``key`` and ``value`` are already in the storage.
    """
    unsupported = {
        "an attention mask": attention_mask,
        "a position bias": kwargs.get("position_bias"),
    }
    for name, given in unsupported.items():
        if given is not None:
            raise ModelError(
                f"{type(module).__name__} uses {name}, which this engine does not support: use another model."
            )
    layer_idx: Any = getattr(module, "layer_idx", None)
    stored = flat.layer(layer_idx) if flat is not None else None
    if flat is None or stored is None:
        raise ModelError(
            f"{type(module).__name__} attends to keys that it did not put into the cache: use another model."
        )
    flat.windows[layer_idx] = sliding_window
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    run: Callable[..., Tensor] = partial(_attend_latent, module) if hasattr(module, "expand_kv") else attend
    out = run(
        query[0].transpose(0, 1),
        *stored,
        flat.spans,
        Scoring(scale, sliding_window, softcap or 0.0, kwargs.get("s_aux")),
    )
    return out[None], None


def _attend_latent(
    module: nn.Module, q: Tensor, first: Tensor, second: Tensor, spans: tuple[BatchSpan, ...], scoring: Scoring
) -> Tensor:
    """Attend over latents expanded by the module.

    This is multi-head latent attention (DeepSeek-V2, arXiv 2405.04434).
    """
    expand: Callable[..., tuple[Tensor, Tensor]] = module.expand_kv  # type: ignore[assignment]
    outs = []
    for span in spans:
        keys, values = expand(*(latents[span.slot : span.slot + 1, :, : span.end] for latents in (first, second)))
        rows = slice(span.offset, span.offset + span.count)
        outs.append(attend(q[rows], keys, values, (replace(span, slot=0, offset=0),), scoring))
    return torch.cat(outs)


AttentionInterface.register(ATTENTION, flat_attention)


class HFModel(TorchModel):
    """A causal model of the transformers library.

    The hidden states of ``forward`` are the logits in the model's dtype: model classes compute
    logits in different ways (scales, caps, biases). The batch's rows bound the memory.
    """

    hidden_size = None

    def __init__(self, model: PreTrainedModel) -> None:
        """Take over a loaded model, which is unusable without this class afterwards.

        Raises ModelError if the engine cannot run the model like the library.
        """
        self.name = type(model).__name__
        if not model._supports_attention_backend:
            raise ModelError(f"{self.name} does not support other attention implementations: use another model.")
        model.train(False)
        self._model = model
        self._config: PretrainedConfig = model.config.get_text_config()
        self.dtype = model.dtype
        self.device = model.device
        parameters = inspect.signature(model.forward).parameters
        self._cache_name = "cache" if "cache" in parameters else "past_key_values"
        self.context = _context(self._config, self.name)
        self.weight_bytes = sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers()))
        self.cost = _cost(model)
        self.description = f"{dtype_name(self.dtype)} weights, {self.name} of transformers on {self.device}"
        try:
            self._shape, self.vocab_size = self._probe()
        except ModelError:
            raise
        except Exception as error:  # Foreign code may raise any error.
            raise ModelError(
                f"{self.name} does not run on this engine's cache ({reason_of(error)}): use another model."
            ) from error

    @classmethod
    def load(cls, path: Path, device: str, dtype: torch.dtype) -> HFModel:
        """Load a folder of config.json and safetensors files, without downloads or foreign code."""
        check_folder(path)
        load: Callable[..., Any] = AutoModelForCausalLM.from_pretrained  # With output_loading_info: a pair.
        try:
            model, report = load(
                path,
                dtype=dtype,
                attn_implementation=ATTENTION,
                use_safetensors=True,
                output_loading_info=True,
                **LOCAL_DATA,
            )
        except LOADING_ERRORS as error:
            raise ModelError(
                f"{path} cannot be read as a model ({reason_of(error)}): download it again, or use another model."
            ) from error
        absent = sorted(report["missing_keys"]) + [str(key) for key in report["mismatched_keys"]]
        if absent:
            raise ModelError(
                f"{path} lacks {len(absent)} weights of its model (for example {absent[0]}): download it again."
            )
        return cls(model.to(device))

    @property
    def cache_shape(self) -> CacheShape:
        return self._shape

    @torch.inference_mode()
    def forward(self, batch: Batch, kv: KVStorage) -> Tensor:
        assert isinstance(kv, TensorStorage)
        return self._run(*self.indices(batch), FlatCache(batch.spans, kv))

    def head(self, hidden: Tensor) -> Tensor:
        return hidden

    def _run(self, ids: Tensor, positions: Tensor, rows: Tensor, flat: FlatCache) -> Tensor:
        logits: Tensor = self._model(
            input_ids=ids[None],
            position_ids=positions[None],
            logits_to_keep=rows,  # Rows are selected before the head.
            use_cache=True,
            flat=flat,
            **{self._cache_name: flat},
        ).logits
        return logits[0]

    @torch.inference_mode()
    def _probe(self) -> tuple[CacheShape, int]:
        """Return the cache's shape and the number of logits, from two short texts run both ways.

        Raises ModelError if the logits differ.
        """
        embedding: Any = self._model.get_input_embeddings()
        ids = (torch.arange(2 * _PROBE_LENGTH, device=self.device) * 7919 % embedding.num_embeddings).view(
            2, _PROBE_LENGTH
        )
        shapes = _ShapeCache()
        self._model.set_attn_implementation("eager")
        expected: Tensor = self._model(input_ids=ids, use_cache=True, **{self._cache_name: shapes}).logits.float()
        self._model.set_attn_implementation(ATTENTION)
        layers = len(shapes.shapes)
        if sorted(shapes.shapes) != list(range(layers)) or not layers:
            raise ModelError(
                f"{self.name} keeps keys and values only for the layers {sorted(shapes.shapes)}: use another model."
            )
        sizes = [size for pair in shapes.shapes.values() for size in pair]
        shape = CacheShape(
            layers,
            max(size[1] for size in sizes),
            max(size[3] for size in sizes),
            dtype_name(shapes.dtype),
            str(self.device),
        )
        got = torch.empty_like(expected)
        windows = self._run_probe(ids, shape, got)
        error = float((got - expected).norm() / (expected - expected.mean(-1, keepdim=True)).norm())
        if not error <= (1e-3 if self.dtype == torch.float32 else _MAX_ROUNDING):  # Refuse NaN, too.
            raise ModelError(
                f"{self.name} computes other logits on this engine than in transformers ({error:.0%} off): "
                "use another model."
            )
        _check_windows(self._config, windows, self.name)
        return shape, expected.shape[-1]

    def _run_probe(self, ids: Tensor, shape: CacheShape, logits: Tensor) -> dict[int, int | None]:
        """Fill ``logits`` (2, length, vocab) from two texts in two batches; return the windows."""
        kv = TensorStorage(shape, max(_PROBE_SLOTS) + 1, _PROBE_LENGTH)
        first, second = _PROBE_CUTS
        windows: dict[int, int | None] = {}
        for ranges in (((0, first), (0, second)), ((first, _PROBE_LENGTH), (second, _PROBE_LENGTH))):
            offsets = (0, ranges[0][1] - ranges[0][0])
            spans = tuple(
                BatchSpan(slot, start, end - start, offset)
                for slot, (start, end), offset in zip(_PROBE_SLOTS, ranges, offsets, strict=True)
            )
            texts = torch.cat([ids[text, span.start : span.end] for text, span in enumerate(spans)])
            positions = torch.cat([torch.arange(span.start, span.end, device=self.device) for span in spans])
            flat = FlatCache(spans, kv)
            out = self._run(texts, positions, torch.arange(len(texts), device=self.device), flat)
            for text, span in enumerate(spans):
                logits[text, span.start : span.end] = out[span.offset : span.offset + span.count]
            windows = flat.windows
        return windows


def _cost(model: PreTrainedModel) -> TokenCost | None:
    """Return the cost by the weights of all modules but embeddings (mixture of experts: None)."""
    modules = dict(model.named_modules())
    computing = [module for module in modules.values() if not isinstance(module, nn.Embedding)]
    weights = {id(weight): weight for module in computing for weight in module.parameters(recurse=False)}
    if any("experts" in name.split(".") for name in modules) or any(weight.dim() > 2 for weight in weights.values()):
        return None
    head: Any = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    matrices = sum(weight.numel() for weight in weights.values() if weight.dim() > 1)
    in_head = head.weight.numel() if head is not None and id(head.weight) in weights else 0
    return TokenCost(
        sum(weight.nbytes for weight in weights.values()), matrices - in_head, in_head, dtype_name(model.dtype)
    )


def _context(config: PretrainedConfig, name: str) -> int:
    """Return the maximum number of tokens.

    LongRoPE is limited to the length up to which all sequences have the same frequencies.
    """
    context = getattr(config, "max_position_embeddings", None)
    if not isinstance(context, int):
        raise ModelError(f"{name} does not state its context (max_position_embeddings): use another model.")
    rope = getattr(config, "rope_parameters", None) or {}
    kinds = [rope, *(kind for kind in rope.values() if isinstance(kind, dict))]
    return min(
        [
            context,
            *(int(kind["original_max_position_embeddings"]) for kind in kinds if kind.get("rope_type") == "longrope"),
        ]
    )


def _check_windows(config: PretrainedConfig, windows: dict[int, int | None], name: str) -> None:
    """Raise ModelError unless attention received all configured windows.

    The probe cannot test windows, because the text fits any window.
    """
    kinds = getattr(config, "layer_types", None)
    if kinds is None:
        if getattr(config, "sliding_window", None) and not any(windows.values()):
            raise ModelError(f"{name} has a sliding window but does not pass it to its attention: use another model.")
        return
    for layer, window in windows.items():
        if kinds[layer] not in ("full_attention", "sliding_attention") or (kinds[layer] == "sliding_attention") != (
            window is not None
        ):
            raise ModelError(
                f"Layer {layer} of {name} is of the kind {kinds[layer]} with a window of {window}: use another model."
            )


def check_folder(path: Path) -> None:
    """Raise ModelError for an unsupported folder."""
    try:
        settings = json.loads((path / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} has no readable config.json: {error}") from error
    kind = settings.get("model_type")
    try:
        config: PretrainedConfig = AutoConfig.from_pretrained(path, **LOCAL_DATA)
    except (OSError, ValueError, KeyError, TypeError) as error:
        if "auto_map" in settings:
            raise ModelError(f"{path} needs its own Python code, which is never run: use another model.") from error
        raise ModelError(
            f"transformers does not know the type {kind!r} of {path}: use another model, or a newer transformers."
        ) from error
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise ModelError(f"{path} is not a causal language model that transformers knows (its model_type is {kind!r}).")
    if "quantization_config" in settings:
        raise ModelError(
            f"{path} has quantized safetensors, which are not supported: use the unquantized model, or a GGUF file."
        )
    if not any(path.glob("*.safetensors")):
        raise ModelError(
            f"{path} has no *.safetensors file, and weights in other formats can contain code: "
            "convert them to safetensors."
        )


def reason_of(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__).rstrip(".")
