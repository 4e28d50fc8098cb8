"""Damaged files of the cache are packed or computed again, and change no answer."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from pellucid.engine.kv_cache.kv_snapshot import KVSnapshot
from pellucid.engine.local_engine import LocalEngine
from pellucid.engine.model import CacheShape
from pellucid.engine.model_worker import EngineSettings
from pellucid.engine.token_scores import TokenScore
from pellucid.errors import ModelError
from pellucid.models.load import LoadedModel, load
from pellucid.models.saved_prefixes import PrefixFile
from pellucid.models.store import Store
from pellucid.system.progress import Silent
from support.models.computed_prompt_tokens import answer
from support.models.model_files import byte_level_bpe, logprobs, write_gguf
from support.models.safetensors_damage import mutations
from support.models.tiny_models import random_ids, tiny_llama
from support.trial_counts import trial_count

VOCAB = 320


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model with a single small layer."""
    tiny = tiny_llama(vocab_size=VOCAB, hidden_size=32, intermediate_size=32, num_hidden_layers=1)
    return write_gguf(tmp_path / "tiny.gguf", tiny, "llama", byte_level_bpe(VOCAB))


def start(model: Path | str, store: Store) -> LoadedModel:
    return load(str(model), device="cpu", store=store, progress=Silent())


def packed_file(store: Store) -> Path:
    (path,) = (store.root / "packed").iterdir()
    return path


@pytest.mark.slow
def test_damaged_packed_files(model: Path, store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """A damaged packed file is refused in one sentence and repacked, without a changed bit."""
    ids = random_ids(20)
    expected = logprobs(start(model, store).model, ids)
    path = packed_file(store)
    whole = path.read_bytes()
    # The header's entries come in any order.
    data = whole[-(len(whole) // 2) :]
    for what, damaged in mutations(whole, trial_count(500), seed=13):
        path.write_bytes(damaged)
        caplog.clear()
        loaded = start(model, store)
        (message,) = (record.getMessage() for record in caplog.records)
        assert message.startswith(f"The packed weights in {path} are damaged ("), what
        assert message.endswith("): they are deleted and packed again."), what
        assert "\n" not in message, what
        assert path.read_bytes().endswith(data), what
        assert torch.equal(logprobs(loaded.model, ids), expected), what


def test_packed_file_of_another_model_is_not_served(
    tmp_path: Path, model: Path, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """An intact packed file of a different model is refused by the recorded origin."""
    ids = random_ids(20)
    expected = logprobs(start(model, store).model, ids)
    path = packed_file(store)
    another = Store(tmp_path / "another")
    other = tiny_llama(1, vocab_size=VOCAB, hidden_size=32, intermediate_size=32, num_hidden_layers=1)
    start(write_gguf(tmp_path / "other.gguf", other, "llama", byte_level_bpe(VOCAB)), another)
    shutil.copy(packed_file(another), path)
    assert torch.equal(logprobs(start(model, store).model, ids), expected)
    assert "it was made of another model" in caplog.text


@pytest.mark.skipif(os.name != "posix", reason="named pipes are of POSIX")
def test_what_is_no_file_is_packed_over(model: Path, store: Store) -> None:
    """A named pipe at the packed file's path is replaced; a folder raises an error."""
    start(model, store)
    path = packed_file(store)
    path.unlink()
    os.mkfifo(path)
    start(model, store)
    assert path.is_file()
    path.unlink()
    path.mkdir()
    with pytest.raises(ModelError, match="packed cannot be written to"):
        start(model, store)


def test_weights_that_cannot_be_read_back_are_a_sentence(
    model: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that loses just written data ends the start with a sentence, not an endless loop."""
    monkeypatch.setattr(
        "pellucid.system.atomic_files.publish", lambda part, path: path.write_bytes(part.read_bytes()[:-1])
    )
    with pytest.raises(ModelError, match=r"cannot be read back \(.*\): check the disk\.$"):
        start(model, store)


SHAPE = CacheShape(layers=2, kv_heads=1, head_dim=4, dtype="float16")


def prefix(length: int, seed: int) -> KVSnapshot:
    size = (2 * SHAPE.layers, SHAPE.kv_heads, length, SHAPE.head_dim)
    content = np.random.default_rng(seed).standard_normal(size).astype(np.float16)
    return KVSnapshot(np.array(random_ids(length, seed)), content)


def test_damaged_prefix_files(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """From a damaged prefix file only intact prefixes are used, and the damage is logged."""
    (tmp_path / "model").touch()
    file = PrefixFile(tmp_path / "prefixes.safetensors", "key" * 20, SHAPE, tmp_path / "model")
    saved = [prefix(40, 1), prefix(70, 2), prefix(33, 3)]
    file.write(saved)
    whole = file.path.read_bytes()
    for what, damaged in mutations(whole, trial_count(500), seed=17):
        file.path.write_bytes(damaged)
        caplog.clear()
        found = file.read()
        intact = [one for one in found if one.ensure_loaded()]
        if found:
            assert len(intact) < len(found) == len(saved), what
            file.write(found)
        (message,) = (record.getMessage() for record in caplog.records)
        assert "damaged" in message or "cannot be used" in message, what
        for one in intact:
            (original,) = (other for other in saved if other.ids.tolist() == one.ids.tolist())
            assert np.array_equal(one.loaded(), original.loaded()), what


def test_prefixes_belong_to_the_weights_that_computed_them(model: Path, store: Store) -> None:
    """Prefixes are bound to the checksum of the weights, whatever the source's name and time."""
    prompt = random_ids(90)

    def served() -> tuple[int, list[TokenScore]]:
        loaded = start(model, store)
        assert loaded.prefixes is not None
        engine = LocalEngine(
            {"tiny": loaded.model}, EngineSettings(slots=2, context=200, chunk=64), saved={"tiny": loaded.prefixes}
        )
        try:
            return asyncio.run(answer(engine, prompt))
        finally:
            engine.close()

    def replace(data: bytes) -> None:
        """Change the source, with equal size and time, and delete the packed file."""
        model.write_bytes(data)
        os.utime(model, ns=(state.st_atime_ns, state.st_mtime_ns))
        packed_file(store).unlink()

    state, whole = model.stat(), model.read_bytes()
    right = served()
    assert served()[0] == 1  # The prefixes are saved.
    replace(whole[:-2000] + whole[-4000:-3000] + whole[-1000:])
    wrong = served()
    assert wrong[0] == len(prompt)
    assert wrong[1] != right[1]
    replace(whole)
    assert served() == right
