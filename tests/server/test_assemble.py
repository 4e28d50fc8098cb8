"""Putting models and engine together: what the settings ask for and cannot be is told before it does harm."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from pellucid import assemble as module
from pellucid.assemble import assemble
from pellucid.config import load_settings
from pellucid.engine.model import CacheShape, Model
from pellucid.errors import ConfigError
from pellucid.models.load import LoadedModel
from pellucid.models.progress import Silent
from scripted import byte_tokenizer


def test_two_models_of_one_name_are_refused_before_loading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two files that would be served under one name neither is loaded, and both are named."""
    monkeypatch.setattr(module, "load", lambda name, **options: pytest.fail(f"{name} was loaded"))
    paths = [tmp_path / folder / "model.gguf" for folder in "xy"]
    for path in paths:
        path.parent.mkdir()
        path.touch()

    with pytest.raises(ConfigError) as caught:
        assemble(load_settings(cache=tmp_path / "cache"), [str(path) for path in paths], Silent())

    assert str(caught.value).startswith(f"{paths[0]} and {paths[1]} would both be served as model: ")


def test_cache_that_does_not_fit_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache beyond any memory tells its bytes and the two settings that make it smaller."""
    shape = CacheShape(layers=1, kv_heads=1024, head_dim=2**20, dtype=torch.float32, device=torch.device("cpu"))
    model = cast("Model", SimpleNamespace(context=4096, cache_shape=shape))

    def load(name: str, **options: Any) -> LoadedModel:
        return LoadedModel(name, model, byte_tokenizer(), None, None, tmp_path)

    monkeypatch.setattr(module, "load", load)
    size = 1024 * 4096 * 2 * 1024 * 2**20 * 4

    with pytest.raises(ConfigError, match=rf"\({size} bytes\), which cannot be had: set fewer --slots or a smaller --context\.$"):
        assemble(load_settings(cache=tmp_path / "cache", slots=1024), ["huge"], Silent())
