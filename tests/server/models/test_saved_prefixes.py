"""Prefixes on disk are reread at the next start, private, atomic, and only used if valid."""

from __future__ import annotations

import errno
import gc
import json
import logging
import os
import shutil
import stat
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file

from pellucid.engine.decoders.decoder_config import DecoderConfig, LayerKind
from pellucid.engine.decoders.torch_model import as_array
from pellucid.engine.kv_cache.kv_snapshot import Content, KVSnapshot
from pellucid.engine.local_engine import LocalEngine
from pellucid.engine.model import CacheShape
from pellucid.engine.model_worker import EngineSettings
from pellucid.engine.native.native_decoder import NativeDecoder
from pellucid.engine.weight_packing import pack
from pellucid.errors import ModelError
from pellucid.models import packed_weights_file
from pellucid.models import saved_prefixes as module
from pellucid.models.load import LoadedModel, load
from pellucid.models.packed_weights_file import DamagedFileError, PackedWeights, read_packed, write_packed
from pellucid.models.saved_prefixes import PrefixFile, prefix_key
from pellucid.models.store import Store
from pellucid.models.tensor_file import TensorFile
from pellucid.system.progress import Silent
from support.models.computed_prompt_tokens import answer
from support.models.model_files import byte_level_bpe, write_gguf
from support.models.tiny_decoders import EXPERTS, QWEN2, batch, in_blocks, random_text
from support.models.tiny_models import random_ids, tiny_llama

SHAPE = CacheShape(layers=2, kv_heads=1, head_dim=4, dtype="float16")
VOCAB = 320
REASONS = {
    "ids": "their token ids, salts or checksums are damaged",
    "checksums": "their token ids, salts or checksums are damaged",
    "shape": "a content has the shape",
    "length": "40 token ids do not make",
}
"""Logged reasons for files that safetensors itself accepts."""

SETTINGS = EngineSettings(slots=2, context=200, chunk=64)


@pytest.fixture(autouse=True)
def logged(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """Return the log lines since the last call."""

    def logged() -> list[str]:
        messages = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
        caplog.clear()
        return messages

    return logged


@pytest.fixture
def file(tmp_path: Path) -> PrefixFile:
    """A missing prefix file of an existing model."""
    return prefix_file(tmp_path)


def prefix_file(folder: Path, key: str = "key") -> PrefixFile:
    source = folder / "model.gguf"
    source.touch()
    return PrefixFile(folder / "cache" / "prefixes" / "tiny+form.safetensors", key, SHAPE, source)


def prefix(length: int, seed: int = 0) -> KVSnapshot:
    size = (2 * SHAPE.layers, SHAPE.kv_heads, length, SHAPE.head_dim)
    content = np.random.default_rng(seed).standard_normal(size).astype(np.float16)
    return KVSnapshot(np.array(random_ids(length, seed)), content)


def same(a: KVSnapshot, b: KVSnapshot) -> bool:
    loaded = a.ensure_loaded() and b.ensure_loaded()
    return loaded and np.array_equal(a.ids, b.ids) and np.array_equal(a.loaded(), b.loaded())


class TestFile:
    def test_comes_back(self, file: PrefixFile) -> None:
        """Prefixes are read as written, in order and to the bit, even after a second save."""
        saved = [prefix(40, 1), prefix(70, 2), prefix(33, 3)]
        file.write(saved)
        again = file.read()
        file.write(again)
        for found in (again, file.read()):
            assert all(same(a, b) for a, b in zip(saved, found, strict=True))
        assert [path.name for path in file.path.parent.iterdir()] == [file.path.name]

    def test_contents_are_read_when_they_are_looked_at(self, file: PrefixFile, logged: Callable[[], list[str]]) -> None:
        """Contents are read and verified at first use, and damaged contents are not saved again."""
        file.write([prefix(40, 1), prefix(50, 2)])
        damage(file.path, "1")
        good, bad = file.read()
        assert (good.content, bad.content) == (None, None)
        assert (good.ensure_loaded(), bad.ensure_loaded()) == (True, False)
        file.write([bad, good])
        assert logged() == ["1 of 2 prefixes are damaged on the disk and are not saved again."]
        (again,) = file.read()
        assert same(again, good)

    def test_no_file_stays_open(self, file: PrefixFile) -> None:
        """The file is closed after all contents are read: Windows does not replace an open file."""

        def opened() -> list[TensorFile]:
            return [each for each in gc.get_objects() if type(each) is TensorFile and each.path == file.path]

        file.write([prefix(40, 1), prefix(50, 2)])
        found = file.read()
        assert opened()
        assert all(each.ensure_loaded() for each in found)
        assert not opened()

    def test_what_was_read_stays(self, file: PrefixFile) -> None:
        """Overwriting, shortening or replacing the file changes no loaded prefix."""
        file.write([prefix(40, 1), prefix(50, 2)])
        read, unread = file.read()
        assert read.ensure_loaded()
        with file.path.open("rb+") as opened:
            opened.truncate(100)
        assert not unread.ensure_loaded()
        assert same(read, prefix(40, 1))
        file.write([prefix(40, 1), prefix(50, 2)])
        before = file.read()
        prefix_file(file.path.parents[2]).write([prefix(60, 3)])
        assert [same(a, b) for a, b in zip(before, [prefix(40, 1), prefix(50, 2)], strict=True)] == [True, True]

    @pytest.mark.skipif(os.name != "posix", reason="files have modes on POSIX only")
    def test_is_its_owner_s(self, file: PrefixFile) -> None:
        """Only the owner can read the file, at every moment and with any umask."""
        modes: list[int] = []

        def save(tensors: object, path: Path, metadata: object) -> None:
            modes.append(stat.S_IMODE(path.stat().st_mode))
            save_file(tensors, path, metadata)  # type: ignore[arg-type]

        mask = os.umask(0)
        try:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(module, "save_file", save)
                file.write([prefix(40)])
        finally:
            os.umask(mask)
        assert [*modes, stat.S_IMODE(file.path.stat().st_mode)] == [0o600, 0o600]

    def test_nothing_to_save(self, file: PrefixFile) -> None:
        """Without prefixes there is no file, and an existing file is deleted."""
        file.write([])
        assert not file.path.exists()
        file.write([prefix(40)])
        file.write([])
        assert not file.path.exists()

    def test_nothing_is_saved_of_a_model_that_was_removed(self, file: PrefixFile, tmp_path: Path) -> None:
        """A server does not save prefixes of a model removed during serving."""
        file.write([prefix(40)])
        (tmp_path / "model.gguf").unlink()
        file.write([prefix(40), prefix(50)])
        assert not file.path.exists()

    def test_rest_of_a_killed_process(self, file: PrefixFile) -> None:
        """A killed process's unfinished file is deleted at the next start."""
        file.path.parent.mkdir(parents=True)
        part = file.path.with_name(f"{file.path.name}.17.part")
        part.touch()
        assert file.read() == []
        assert not part.exists()


def damage(path: Path, name: str) -> None:
    """Change a bit of a tensor in the file."""
    needle = load_file(path)[name].tobytes()
    data = bytearray(path.read_bytes())
    at = data.index(needle) + len(needle) // 2
    data[at] ^= 1
    path.write_bytes(data)


def rewrite(path: Path, content: Content) -> None:
    """Write an undamaged file with 40 token ids and this content."""
    ids = np.arange(40)
    arrays = {"ids": ids, "0": content}
    specs = {name: (array.dtype, array.shape) for name, array in arrays.items()}
    metadata = {"key": "key", "salts": '[""]', "checksums": "[0]", "checksum": module._checksum(ids, specs, [""], [0])}
    save_file(arrays, path, metadata)


class TestInvalid:
    @pytest.mark.parametrize(
        "how", ["cut short", "empty", "no file of ours", "ids", "checksums", "shape", "length", "folder"]
    )
    def test_damaged_file(self, file: PrefixFile, logged: Callable[[], list[str]], how: str) -> None:
        """A damaged file is deleted with a log line; a folder at the path is reported."""
        file.write([prefix(40), prefix(50)])
        data = file.path.read_bytes()
        match how:
            case "cut short":
                file.path.write_bytes(data[:-100])
            case "empty":
                file.path.write_bytes(b"")
            case "no file of ours":
                save_file({"x": np.zeros(1)}, file.path, {"key": "key"})
            case "ids":
                damage(file.path, "ids")
            case "checksums":
                tensors = load_file(file.path)
                with safe_open(file.path, framework="np") as opened:
                    save_file(tensors, file.path, opened.metadata() | {"checksums": "[null, null]"})
            case "shape":
                rewrite(file.path, np.zeros((2, 1, 40, 4), np.float16))
            case "length":
                rewrite(file.path, np.zeros((4, 1, 39, 4), np.float16))
            case "folder":
                file.path.unlink()
                file.path.mkdir()
        assert file.read() == []
        first, *rest = logged()
        reason = REASONS.get(how, "")
        assert first.startswith(f"The saved prefixes in {file.path} cannot be used ({reason}")
        assert len(rest) == (how == "folder")
        assert file.path.exists() == (how == "folder")

    def test_another_key(self, file: PrefixFile, tmp_path: Path, logged: Callable[[], list[str]]) -> None:
        """Prefixes of a different model, kernel or version are deleted."""
        file.write([prefix(40)])
        assert prefix_file(tmp_path, "another").read() == []
        assert logged() == [
            f"The saved prefixes in {file.path} cannot be used "
            "(they were made by another model, kernel or version) and are deleted."
        ]
        assert not file.path.exists()

    def test_what_makes_the_key(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Each dependency of keys and values changes the key."""

        def key(
            source: str = "source",
            config: DecoderConfig | None = QWEN2,
            form: str = "int8-native",
            shape: CacheShape = SHAPE,
        ) -> str:
            return prefix_key(source, config, form, shape)

        keys = [key(), key("other"), key(form="float32")]
        others = (None, replace(QWEN2, rope_theta=5.0), replace(QWEN2, kinds=(LayerKind(7),) * 2))
        keys += [key(config=config) for config in others]
        for change in ({"layers": 3}, {"kv_heads": 2}, {"head_dim": 8}, {"dtype": "bfloat16"}):
            fields = {
                "layers": 2,
                "kv_heads": 1,
                "head_dim": 4,
                "dtype": "float16",
                "device": SHAPE.device,
            } | change
            keys.append(key(shape=CacheShape(**fields)))  # type: ignore[arg-type]
        for target, value, form in (
            ("calls.build", lambda: "kernels-other.so", "int8-native"),
            ("VERSION", 0, "int8-native"),
            ("version", lambda _: "0.0", "float32"),
        ):
            with monkeypatch.context() as patch:
                patch.setattr(f"pellucid.models.saved_prefixes.{target}", value)
                keys.append(key(form=form))
        assert len(set(keys)) == len(keys)
        assert key() == keys[0]


class TestDisk:
    def test_no_space(self, file: PrefixFile, monkeypatch: pytest.MonkeyPatch, logged: Callable[[], list[str]]) -> None:
        """Without enough space writing does not begin, and the old file stays."""
        file.write([prefix(40, 1)])
        monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
        file.write([prefix(40, 2)])
        (line,) = logged()
        assert line.startswith("The prefix cache was not saved: ")
        assert "1.0 kB free" in line
        assert [found.ids.tolist() for found in file.read()] == [random_ids(40, 1)]

    @pytest.mark.parametrize(
        "error", [OSError(errno.ENOSPC, "No space left on device"), SafetensorError("No space left (os error 28)")]
    )
    def test_disk_that_fills_up(
        self, file: PrefixFile, monkeypatch: pytest.MonkeyPatch, logged: Callable[[], list[str]], error: Exception
    ) -> None:
        """A disk that fills up during writing costs the saved file and a log line."""

        def fill(_tensors: object, path: Path, _metadata: object) -> None:
            path.write_bytes(b"half")
            raise error

        monkeypatch.setattr(module, "save_file", fill)
        file.write([prefix(40)])
        (line,) = logged()
        assert line.startswith("The prefix cache was not saved: ")
        assert "free some space" in line
        assert list(file.path.parent.iterdir()) == []

    @pytest.mark.parametrize("call", ["mkdir", "replace"])
    def test_folder_that_cannot_be_written_to(
        self, file: PrefixFile, monkeypatch: pytest.MonkeyPatch, logged: Callable[[], list[str]], call: str
    ) -> None:
        """An unwritable folder costs the saved file and a log line."""

        def fail(*_: object, **__: object) -> None:
            raise PermissionError(errno.EACCES, "Permission denied")

        monkeypatch.setattr(Path, call, fail)
        file.write([prefix(40)])
        (line,) = logged()
        assert line.startswith(
            f"The prefix cache was not saved: {file.path.parent} cannot be written to (Permission denied)"
        )
        assert list(file.path.parent.glob("*")) == []


class TestTwoEngines:
    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        return Store(tmp_path / "cache")

    @pytest.fixture
    def loaded(self, tmp_path: Path, store: Store) -> Callable[[], LoadedModel]:
        """Return a function that loads a tiny model as at a start."""
        path = write_gguf(tmp_path / "tiny.gguf", tiny_llama(vocab_size=VOCAB), "llama", byte_level_bpe(VOCAB))
        return lambda: load(str(path), device="cpu", store=store, progress=Silent())

    @pytest.fixture
    def start(self, loaded: Callable[[], LoadedModel]) -> Callable[[], LocalEngine]:
        """Return a function that starts an engine with the previous engine's prefixes."""

        def start() -> LocalEngine:
            model = loaded()
            assert model.prefixes is not None
            return LocalEngine({"tiny": model.model}, SETTINGS, saved={"tiny": model.prefixes})

        return start

    async def test_second_start_computes_the_last_token(self, start: Callable[[], LocalEngine]) -> None:
        """After a restart, prompts compute only the last token, with the same answers."""
        prompts = [random_ids(90 + seed, seed) for seed in range(5)]
        first = start()
        cold = [await answer(first, prompt) for prompt in prompts]
        warm = [await answer(first, prompt) for prompt in prompts]
        first.close()
        second = start()
        try:
            again = [await answer(second, prompt) for prompt in prompts]
        finally:
            second.close()
        assert [computed for computed, _ in cold] == [len(prompt) for prompt in prompts]
        assert [computed for computed, _ in again] == [1] * 5
        assert again == warm

    async def test_nothing_new_is_not_written(self, start: Callable[[], LocalEngine], store: Store) -> None:
        """A start without new prefixes does not write the file."""
        engine = start()
        await answer(engine, random_ids(90))
        engine.close()
        (path,) = (store.root / "prefixes").iterdir()
        before = path.stat().st_ino, path.stat().st_mtime_ns
        start().close()
        assert (path.stat().st_ino, path.stat().st_mtime_ns) == before

    async def test_changed_model(self, start: Callable[[], LocalEngine], tmp_path: Path) -> None:
        """A model's prefixes are not used for a different model with the same name."""
        prompt = random_ids(90)
        engine = start()
        await answer(engine, prompt)
        engine.close()
        other = write_gguf(tmp_path / "tiny.gguf", tiny_llama(1, vocab_size=VOCAB), "llama", byte_level_bpe(VOCAB))
        os.utime(other, ns=(1, 1))
        engine = start()
        try:
            assert (await answer(engine, prompt))[0] == len(prompt)
        finally:
            engine.close()

    async def test_removed_with_the_model(self, start: Callable[[], LocalEngine], store: Store, tmp_path: Path) -> None:
        """Removing a model deletes the saved prefixes and counts the bytes."""
        engine = start()
        await answer(engine, random_ids(90))
        engine.close()
        (path,) = (store.root / "prefixes").iterdir()
        size = path.stat().st_size
        with safe_open(path, framework="pt") as saved:
            assert "0" in saved.keys()  # noqa: SIM118 - not a mapping
        packed = sum(file.stat().st_size for file in (store.root / "packed").iterdir())
        assert store.remove(str(tmp_path / "tiny.gguf"), Silent()) == size + packed
        assert not path.exists()


def read(path: Path, made_of: str = "model") -> PackedWeights:
    return read_packed(path, made_of, lambda _: None)


def two_arrays() -> dict[str, Content]:
    return {"a": np.ones(200, np.float32), "b": np.arange(200, dtype=np.uint8)}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A packed file with two tensors."""
    write_packed(tmp_path / "some.safetensors", two_arrays().items(), "model")
    return tmp_path / "some.safetensors"


def test_tensors_are_those_that_were_saved(tmp_path: Path) -> None:
    """Every dtype and shape is read back bit by bit, at a multiple of 64 bytes."""
    arrays: dict[str, Content] = {
        "bytes": np.arange(300).astype(np.uint8).reshape(3, 100),
        "halves": np.linspace(-1, 1, 35).astype(np.float16).reshape(7, 5),
        "floats": np.linspace(-1, 1, 11).astype(np.float32),
        "bfloat16": as_array(torch.randn(3, 1, 2).bfloat16()),
        "int8": np.arange(-5, 5, dtype=np.int8),
        "int32": np.arange(9, dtype=np.int32),
        "empty": np.empty((0, 4), np.float32),
    }
    write_packed(tmp_path / "some.safetensors", arrays.items(), "model")
    found = read(tmp_path / "some.safetensors").tensors
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        assert np.array_equal(found[name], array)
        assert array.size == 0 or found[name].ctypes.data % 64 == 0


def test_experts_are_mapped_if_memory_is_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Experts that exceed the free memory stay in the file, with the same bits."""
    arrays = pack(EXPERTS, in_blocks(EXPERTS).items(), "int8-native")
    write_packed(tmp_path / "some.safetensors", arrays.items(), "model")
    whole = read(tmp_path / "some.safetensors")
    monkeypatch.setattr(packed_weights_file, "available_memory", lambda _: 1 << 10)
    found = read(tmp_path / "some.safetensors")
    assert found.checksum == whole.checksum
    mapped = {name for name, array in found.tensors.items() if isinstance(array, np.memmap)}
    assert {name.split(".")[2] for name in mapped if name.startswith("layers.")} == {"gate_up", "down"}
    part = batch([(0, 0, random_text(EXPERTS, 9))])
    models = [NativeDecoder(EXPERTS, each.tensors) for each in (whole, found)]
    first, second = (model.forward(part, model.new_storage(1, 16)) for model in models)
    assert np.array_equal(first, second)


@pytest.mark.parametrize("keep", [0, 5, 20, 400])
def test_a_file_that_was_cut_short_is_damaged(path: Path, keep: int) -> None:
    """A truncated file is reported as damaged."""
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DamagedFileError):
        read(path)


def test_checksum_is_of_the_tensors_alone(path: Path, tmp_path: Path) -> None:
    """The checksum depends only on names, dtypes, shapes and contents."""
    base = two_arrays()
    same = {"other source": base, "model": dict(reversed(base.items()))}
    different: list[dict[str, Content]] = [
        {"a": base["a"], "c": base["b"]},
        {"a": base["a"], "b": base["b"].view(np.int8)},
        {"a": base["a"].reshape(20, 10), "b": base["b"]},
        {"a": base["a"], "b": base["b"][::-1]},
        {"a": base["a"]},
    ]
    first = read(path).checksum
    for made_of, tensors in same.items():
        write_packed(tmp_path / "same", tensors.items(), made_of)
        assert read(tmp_path / "same", made_of).checksum == first
    for tensors in different:
        write_packed(tmp_path / "different", tensors.items(), "model")
        assert read(tmp_path / "different").checksum != first


@pytest.mark.parametrize("metadata", [{}, {"made_of": "model"}, {"made_of": "another", "checksum": "0"}])
def test_file_of_another_model_or_without_a_checksum_is_refused(tmp_path: Path, metadata: dict[str, str]) -> None:
    """A file of a different model, or with a wrong checksum, is refused."""
    save_file({"a": np.ones(20, np.float32)}, tmp_path / "some.safetensors", metadata)
    with pytest.raises(DamagedFileError, match=r"made of another model|checksum is wrong"):
        read(tmp_path / "some.safetensors")


def test_shapes_are_checked_before_the_data_is_read(path: Path) -> None:
    """Tensors that do not fit are refused by the header, with the reason."""

    def check(specs: Any) -> None:
        assert specs == {"a": (np.float32, (200,)), "b": (np.uint8, (200,))}
        raise ModelError("the tensor a is too long")

    with pytest.raises(DamagedFileError, match="the tensor a is too long"):
        read_packed(path, "model", check)


def test_unknown_dtype_is_damage(path: Path) -> None:
    """A dtype outside of packed files is refused in a sentence."""
    save_file({"a": np.ones(20, np.complex64)}, path, {"made_of": "model", "checksum": "0"})
    with pytest.raises(DamagedFileError, match="the tensor 'a' has the dtype C64"):
        read(path)


@pytest.mark.parametrize("length", [1 << 20, 1 << 40, (1 << 64) - 1])
def test_huge_header_is_damage(path: Path, length: int) -> None:
    """A header longer than the file is refused without allocation."""
    path.write_bytes(struct.pack("<Q", length) + path.read_bytes()[8:])
    with pytest.raises(DamagedFileError):
        read(path)


def test_overlapping_tensors_are_damage(path: Path) -> None:
    """Overlapping tensors and unused bytes are damage."""
    (size,) = struct.unpack("<Q", path.read_bytes()[:8])
    whole = path.read_bytes()
    header = json.loads(whole[8 : 8 + size])
    header["b"]["data_offsets"] = [0, 200]
    changed = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(changed)) + changed + whole[8 + size :])
    with pytest.raises(DamagedFileError):
        read(path)
