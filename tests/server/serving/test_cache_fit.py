"""The form and the length of a KV cache follow the settings and the free memory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pellucid.config import Settings, load_settings
from pellucid.engine.model import Model
from pellucid.engine.native import calls
from pellucid.engine.native.native_decoder import NativeDecoder
from pellucid.engine.weight_packing import pack
from pellucid.errors import ConfigError, UnavailableError
from pellucid.models.load import LoadedModel
from pellucid.serving import cache_fit
from pellucid.serving.assemble import assemble
from pellucid.serving.assemble_front import check_front
from pellucid.serving.cache_fit import fit_cache, room_for_caches
from pellucid.system.progress import Silent
from support.models.loaded_models import loaded_model
from support.models.model_files import byte_level_bpe, write_gguf
from support.models.tiny_decoders import QWEN2, dequantized, in_blocks
from support.models.tiny_models import tiny_llama
from support.servers.scripted_engine import byte_tokenizer

pytestmark = pytest.mark.process

CONFIG = replace(QWEN2, context=8192)
EXACT, INT8 = 2 * 2 * 2 * 16 * 2, 2 * 2 * 2 * (16 + 4)
"""Bytes of a token: keys and values of two layers with two heads of sixteen numbers."""


class Notes(Silent):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture
def native() -> LoadedModel:
    if not calls.available():
        pytest.skip(calls.reason())
    return named(NativeDecoder(CONFIG, pack(CONFIG, in_blocks(CONFIG).items(), "int8-native")))


def named(model: Model) -> LoadedModel:
    return loaded_model("tiny", model, byte_tokenizer())


def fit(loaded: LoadedModel, room: int | None, **settings: Any) -> tuple[str, int, list[str]]:
    """Return the dtype of the cache, the context and the notes, for two slots."""
    notes = Notes()
    fitted, context = fit_cache(load_settings(slots=2, **settings), loaded, room, 2, notes)
    return fitted.model.cache_shape.dtype, context, notes.notes


def test_numbers_are_taken_as_they_are(native: LoadedModel) -> None:
    """Without auto, the context is the setting's, up to the model's own, and no note is written."""
    assert fit(native, None, context=500) == ("float16", 500, [])
    assert fit(native, None, context=99_999, kv_cache="int8") == ("int8", 8192, [])


def test_the_context_fits_the_memory(native: LoadedModel) -> None:
    """An automatic context is the model's own, or else the most thousands of tokens that fit."""
    assert fit(native, 2 * 8192 * EXACT, context="auto")[:2] == ("float16", 8192)
    assert fit(native, 2 * 8192 * EXACT - 1, context="auto")[:2] == ("float16", 7168)
    dtype, context, notes = fit(native, 2 * 1024 * INT8, context="auto", kv_cache="int8")
    assert (dtype, context) == ("int8", 1024)
    assert notes == [
        "tiny: context 1024 of at most 8192 tokens, KV cache in int8. 2 slots take up to 328 kB; the free memory has "
        "328 kB for caches."
    ]
    with pytest.raises(UnavailableError, match=r"has 0 bytes for the KV cache of tiny, too little for 2 slots"):
        fit(native, -5, context="auto")


def test_int8_where_memory_asks_for_it(native: LoadedModel) -> None:
    """An automatic cache is exact if the wanted context fits, else int8."""
    for context, wanted in (("auto", 8192), (4096, 4096)):
        whole, half = 2 * wanted * EXACT, 2 * wanted * INT8
        assert fit(native, whole, context=context, kv_cache="auto")[:2] == ("float16", wanted)
        assert fit(native, whole - 1, context=context, kv_cache="auto")[:2] == ("int8", wanted)
        assert fit(native, half, context=context, kv_cache="auto")[:2] == ("int8", wanted)
    assert fit(native, 2 * 2048 * INT8, context="auto", kv_cache="auto")[:2] == ("int8", 2048)


def test_a_model_of_torch_has_no_int8_cache() -> None:
    """A model without the kernels keeps the exact cache by auto, and is refused with int8."""
    loaded = named(dequantized(CONFIG, in_blocks(CONFIG)))
    assert fit(loaded, 2 * 4096 * 2 * EXACT, context="auto", kv_cache="auto")[:2] == ("float32", 4096)
    with pytest.raises(ConfigError, match="but tiny is computed by torch: use kv_cache exact"):
        fit(loaded, None, kv_cache="int8")


def test_room_is_what_is_free_for_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Caches get 3/4 of the free memory, within the models' memory, less the prefixes."""
    monkeypatch.setattr(cache_fit, "available_memory", lambda _: 8000 * 2**20)
    settings: dict[str, Any] = {"context": "auto", "prefix_memory": 100, "model_memory": 6500}
    assert room_for_caches(load_settings(**settings), 400 * 2**20) == 5900 * 2**20
    assert room_for_caches(load_settings(**settings), 700 * 2**20) == 5700 * 2**20
    assert room_for_caches(load_settings(context=4096), 0) is None
    assert room_for_caches(load_settings(kv_cache="auto"), 0) is not None

    monkeypatch.setattr(cache_fit, "available_memory", lambda _: None)
    with pytest.raises(ConfigError, match="does not tell how much memory is free: set context to a number"):
        room_for_caches(load_settings(**settings), 0)


def test_models_of_a_server_share_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each model of a server has a context of its own, from an equal share of the free memory."""
    names = []
    for name, context in (("small", 2048), ("large", 16384)):
        model = tiny_llama(vocab_size=320, max_position_embeddings=context)
        names.append(str(write_gguf(tmp_path / f"{name}.gguf", model, "llama", byte_level_bpe(320))))
    settings = load_settings(cache=tmp_path / "cache", context="auto", slots=1, prefix_memory=0, model_memory=1024)
    first, _ = assemble(settings, names, Silent())
    bytes_per_token = first.model("large").cache_shape.bytes_per_token
    first.close()
    assert [first.context(name) for name in ("small", "large")] == [2048, 16384]

    monkeypatch.setattr(cache_fit, "available_memory", lambda _: 2 * 4096 * bytes_per_token * 4 // 3)
    second, _ = assemble(settings, names, Silent())
    second.close()
    assert [second.context(name) for name in ("small", "large")] == [2048, 4096]


def test_remote_engines_have_their_own_cache() -> None:
    """A form of the cache is refused for remote engines."""
    settings: Settings = load_settings(models=("x=y",), engines=("http://a",), kv_cache="int8")
    with pytest.raises(ConfigError, match="--kv-cache is for models of this process"):
        check_front(settings)
