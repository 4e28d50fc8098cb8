"""Models of other programs are found, and used in place."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from pellucid.errors import ModelError
from pellucid.models.load import load, served_name, stored_step_bytes
from pellucid.models.other_programs import FoundModel, found_models
from pellucid.models.store import Store, local_path
from pellucid.system.progress import Silent
from support.models.model_files import byte_level_bpe, write_gguf
from support.models.tiny_models import tiny_qwen2

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home folder, and no variable of another program."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("OLLAMA_MODELS", "LLAMA_CACHE", "HF_HOME", "HF_HUB_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def add_to_ollama(root: Path, name: str, content: bytes, host: str = "registry.ollama.ai/library") -> Path:
    """Store a model as ollama does, and return the file."""
    model, _, tag = name.partition(":")
    digest = hashlib.sha256(content).hexdigest()
    manifest, file = root / "manifests" / host / model / tag, root / "blobs" / f"sha256-{digest}"
    for path in (manifest, file):
        path.parent.mkdir(parents=True, exist_ok=True)
    layers = [
        {"mediaType": "application/vnd.ollama.image.template", "digest": "sha256:other"},
        {"mediaType": "application/vnd.ollama.image.model", "digest": f"sha256:{digest}", "size": len(content)},
    ]
    manifest.write_text(json.dumps({"schemaVersion": 2, "layers": layers}))
    file.write_bytes(content)
    return file


def write(path: Path, size: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    return path


def test_nothing_is_found_in_an_empty_home() -> None:
    """Without folders of other programs, there are no models."""
    assert found_models() == []


def test_models_of_each_program(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files, split files and folders are found once, and no parts, projectors or broken files."""
    add_to_ollama(home / ".ollama/models", "coder:7b", b"12345")
    add_to_ollama(home / ".ollama/models", "other:latest", b"1", host="hf.co/org")
    library = home / ".ollama/models/manifests/registry.ollama.ai/library"
    write(library / "broken/latest", 7)
    (write(library / "deep/latest", 1)).write_text("[" * 100_000)
    outside = {"mediaType": "application/vnd.ollama.image.model", "digest": "../../outside"}
    (write(library / "outside/latest", 1)).write_text(json.dumps({"layers": [outside]}))
    write(home / ".ollama/models/outside", 9)
    studio = write(home / ".lmstudio/models/org/repo/model [v1]-00001-of-00002.gguf", 10)
    write(studio.with_name("model [v1]-00002-of-00002.gguf"), 20)
    write(studio.with_name("mmproj-model.gguf"), 5)
    (studio.parent / "gone.gguf").symlink_to("x" * 300)
    write(studio.with_name("color \x1b[31m.gguf"), 5)
    monkeypatch.setenv("LLAMA_CACHE", str(home / "llama"))
    plain = write(home / "llama/tiny.gguf", 40)
    snapshot = home / ".cache/huggingface/hub/models--org--name/snapshots/abc"
    write(snapshot / "config.json", 2)
    write(snapshot / "model-1.safetensors", 50)
    write(snapshot.parents[1] / "refs/config.json", 1)
    assert found_models() == [
        FoundModel("ollama", "ollama:hf.co/org/other:latest", 1),
        FoundModel("ollama", "ollama:coder:7b", 5),
        FoundModel("LM Studio", str(studio), 30),
        FoundModel("llama.cpp", str(plain), 40),
        FoundModel("huggingface_hub", str(snapshot), 50),
    ]


def test_a_model_of_ollama_is_served_by_its_name(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name of ollama, with or without the tag latest, loads the file in place."""
    monkeypatch.setenv("OLLAMA_MODELS", str(home / "elsewhere"))
    written = write_gguf(home / "tiny.gguf", tiny_qwen2(vocab_size=320), "qwen2", byte_level_bpe())
    file = add_to_ollama(home / "elsewhere", "tiny:latest", written.read_bytes())
    loaded = load("ollama:tiny", device="cpu", store=Store(home / "store"), progress=Silent())
    assert (loaded.name, loaded.path) == ("ollama:tiny", file)
    assert stored_step_bytes(loaded.files) > 0
    assert served_name("ollama:tiny@int4") == "ollama:tiny@int4"
    with pytest.raises(ModelError, match=r"There is no model ollama:huge:7b: see pellucid models list\."):
        local_path("ollama:huge:7b")


def test_list(run: Run, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The list ends with the models of other programs, as arguments of --model."""
    monkeypatch.setenv("PELLUCID_CACHE", str(home / "cache"))
    monkeypatch.setenv("COLUMNS", "200")
    add_to_ollama(home / ".ollama/models", "coder:7b", b"12345")
    code, out, _ = run("models", "list")
    assert code == 0
    assert [line.split() for line in out.splitlines()[-2:]] == [
        ["Downloaded", "by", "other", "programs,", "for", "example", "for", "pellucid", "serve", "--model:"],
        ["ollama", "5", "bytes", "ollama:coder:7b"],
    ]
