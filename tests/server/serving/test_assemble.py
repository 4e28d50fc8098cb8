"""Impossible settings are reported before models are loaded or memory is allocated."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from pellucid.config import Settings, load_settings
from pellucid.engine.kv_cache.host_storage import HostStorage
from pellucid.engine.kv_cache.kv_snapshot import KVSnapshot
from pellucid.engine.model import CacheShape, Model
from pellucid.errors import ConfigError
from pellucid.models.load import LoadedModel, load
from pellucid.models.store import Store
from pellucid.serving import assemble as module
from pellucid.serving.assemble import assemble, assemble_server
from pellucid.system.progress import Silent
from support.models.loaded_models import loaded_model
from support.models.model_files import byte_level_bpe, write_gguf
from support.models.tiny_models import tiny_llama
from support.servers.scripted_engine import byte_tokenizer


def test_two_models_of_one_name_are_refused_before_loading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two files with the same model name are both named in the error, and not loaded."""
    monkeypatch.setattr(module, "load", lambda name, **options: pytest.fail(f"{name} was loaded"))
    paths = [tmp_path / folder / "model.gguf" for folder in "xy"]
    for path in paths:
        path.parent.mkdir()
        path.touch()

    with pytest.raises(ConfigError) as caught:
        assemble(load_settings(cache=tmp_path / "cache"), [str(path) for path in paths], Silent())

    assert str(caught.value).startswith(f"{paths[0]} and {paths[1]} would both be served as model: ")


def test_cache_that_does_not_fit_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error for an oversized cache names the bytes, `--slots` and `--context`."""
    shape = CacheShape(layers=1, kv_heads=1024, head_dim=2**20, dtype="float32")
    model = cast(
        "Model",
        SimpleNamespace(
            context=4096,
            cache_shape=shape,
            vocab_size=300,
            weight_bytes=0,
            reports_experts=False,
            description="huge",
            new_storage=partial(HostStorage, shape),
        ),
    )

    def load(name: str, **options: Any) -> LoadedModel:
        return loaded_model(name, model, byte_tokenizer())

    monkeypatch.setattr(module, "load", load)
    size = 1024 * 4096 * 2 * 1024 * 2**20 * 4

    with pytest.raises(
        ConfigError, match=rf"\({size} bytes\), which cannot be allocated: use fewer --slots or a smaller --context\.$"
    ):
        assemble(load_settings(cache=tmp_path / "cache", slots=1024), ["huge"], Silent())


@pytest.fixture
def two_models(tmp_path: Path) -> list[str]:
    model, tokenizer = tiny_llama(vocab_size=320), byte_level_bpe(320)
    return [str(write_gguf(tmp_path / f"{name}.gguf", model, "llama", tokenizer)) for name in ("first", "second")]


def test_models_share_the_memory_for_prefixes(tmp_path: Path, two_models: list[str]) -> None:
    """The models share the memory for prefixes equally."""
    engine, _ = assemble(load_settings(cache=tmp_path / "cache", context=64, prefix_memory=10), two_models, Silent())
    engine.close()

    assert [engine.status(name).parked_limit for name in ("first", "second")] == [5 * 2**20] * 2


@pytest.mark.parametrize(
    ("setting", "read", "kept"),
    [({}, True, True), ({"prefix_save": False}, False, False), ({"prefix_memory": 0}, False, True)],
    ids=["saved", "not saved", "no memory"],
)
def test_what_is_saved(tmp_path: Path, two_models: list[str], setting: dict[str, Any], read: bool, kept: bool) -> None:
    """A server reads saved prefixes; --no-prefix-save deletes prefixes, no memory keeps them."""
    settings = load_settings(cache=tmp_path / "cache", context=64, models=two_models[:1])
    path, size = write_prefix(settings, two_models[0])

    engine = assemble_server(settings.model_copy(update=setting), Silent()).engine
    parked = engine.status("first").parked_bytes
    engine.close()

    assert (parked == size, path.exists()) == (read, kept)
    assert read or parked == 0


def test_saved_prefixes_are_a_server_s(tmp_path: Path, two_models: list[str]) -> None:
    """A command without a server neither reads nor changes saved prefixes."""
    settings = load_settings(cache=tmp_path / "cache", context=64)
    path, _ = write_prefix(settings, two_models[0])
    before = path.read_bytes()

    engine, _ = assemble(settings, two_models[:1], Silent())
    parked = engine.status("first").parked_bytes
    engine.close()

    assert (parked, path.read_bytes()) == (0, before)


def write_prefix(settings: Settings, model: str) -> tuple[Path, int]:
    """Save a prefix of 40 tokens; return the file, and the bytes of the KV cache."""
    loaded = load(model, device="cpu", quant="auto", store=Store(settings.cache), progress=Silent())
    assert loaded.prefixes is not None
    shape = loaded.model.cache_shape
    dtype = np.uint16 if shape.dtype == "bfloat16" else np.dtype(shape.dtype)  # Numpy has no bfloat16.
    content = np.zeros((2 * shape.layers, shape.kv_heads, 40, shape.head_dim), dtype)
    loaded.prefixes.write([KVSnapshot(np.arange(40), content)])
    return loaded.prefixes.path, content.nbytes
