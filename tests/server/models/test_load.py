"""Loading models from folders and GGUF files, with packing at the first start."""

from __future__ import annotations

import copy
import errno
import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gguf
import pytest
import torch
from safetensors.torch import save_file
from transformers import GPT2Config, PreTrainedModel
from transformers.utils import logging

from pellucid.engine.decoders.decoder import Decoder
from pellucid.engine.decoders.decoder_config import DecoderConfig
from pellucid.engine.native import calls
from pellucid.errors import AdapterError, ConfigError, ModelError, NotFoundError
from pellucid.models.adapter_folder import local_adapter, read_card, stored_adapters
from pellucid.models.catalog import DEFAULT_MODEL
from pellucid.models.families import gguf_decoder
from pellucid.models.load import load, served_name, stored_step_bytes
from pellucid.models.store import Store, as_argument, local_path
from pellucid.system.progress import Silent
from support.models.float64_reference import ALLOWANCE, exact_logprobs
from support.models.model_files import byte_level_bpe, logprobs, write_folder, write_gguf
from support.models.recording_progress import Following
from support.models.tiny_adapters import random_adapter, write_adapter
from support.models.tiny_decoders import QWEN2
from support.models.tiny_models import (
    random_ids,
    reference_logprobs,
    tiny,
    tiny_llama,
    tiny_mistral,
    tiny_qwen2,
    tiny_qwen3,
)

VOCAB = 320


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache")


def save(model: PreTrainedModel, folder: Path, **options: Any) -> Path:
    model.save_pretrained(folder, **options)
    return write_folder(folder, byte_level_bpe(VOCAB))


def change_config(folder: Path, **fields: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


@pytest.mark.parametrize(
    "make", [tiny_llama, tiny_mistral, tiny_qwen2, tiny_qwen3], ids=["llama", "mistral", "qwen2", "qwen3"]
)
def test_folder_agrees_with_transformers(tmp_path: Path, store: Store, make: Any) -> None:
    """A folder of each family of the lean decoder, whole or sharded, has transformers' logprobs."""
    model, ids = make(vocab_size=VOCAB), random_ids(40)
    for name, options in {"whole": {}, "sharded": {"max_shard_size": "60KB"}}.items():
        folder = save(model, tmp_path / name, **options)
        loaded = load(str(folder), device="cpu", quant="none", store=store, progress=Silent())
        assert isinstance(loaded.model, Decoder)
        assert (loaded.name, loaded.entry, loaded.path) == (name, None, folder)
        exact = exact_logprobs(model, ids)
        theirs = reference_logprobs(copy.deepcopy(model).to(loaded.model.dtype), ids)
        assert (logprobs(loaded.model, ids) - exact).abs().max() <= ALLOWANCE * (theirs - exact).abs().max()


def test_gguf_brings_its_tokenizer_and_infill_format(tmp_path: Path, store: Store) -> None:
    """A GGUF file is a complete model with weights, tokenizer, and an infill format by markers."""
    path = write_gguf(tmp_path / "tiny.gguf", tiny_llama(vocab_size=VOCAB), "llama", byte_level_bpe(VOCAB))
    loaded = load(str(path), device="cpu", store=store, progress=Silent())
    assert loaded.name == "tiny"
    assert loaded.tokenizer.vocab_size == loaded.model.vocab_size == VOCAB
    assert loaded.infill is not None
    assert loaded.infill.markers == ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>")


def test_kernels_are_kept_with_the_models(tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiled kernels are kept in the same store as the packed model."""
    folders: list[Path] = []
    monkeypatch.setattr(calls, "keep_in", folders.append)
    path = write_gguf(tmp_path / "tiny.gguf", tiny_llama(vocab_size=VOCAB), "llama", byte_level_bpe(VOCAB))
    load(str(path), device="cpu", store=store, progress=Silent())
    assert folders == [store.root / "kernels"]


def test_second_start_reads_no_weights(tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """After packing, the source's tensors are not read again until the source changes."""
    path = write_gguf(tmp_path / "tiny.gguf", tiny_llama(vocab_size=VOCAB), "llama", byte_level_bpe(VOCAB))
    first = load(str(path), device="cpu", store=store, progress=Silent())
    monkeypatch.setattr(gguf_decoder, "read_weights", lambda file: pytest.fail("the weights were read again"))
    second = load(str(path), device="cpu", store=store, progress=Silent())
    ids = random_ids(20)
    torch.testing.assert_close(logprobs(second.model, ids), logprobs(first.model, ids), rtol=0, atol=0)
    monkeypatch.undo()
    other = write_gguf(tmp_path / "tiny.gguf", tiny_llama(1, vocab_size=VOCAB), "llama", byte_level_bpe(VOCAB))
    os.utime(other, ns=(1, 1))
    third = load(str(other), device="cpu", store=store, progress=Silent())
    assert not torch.allclose(logprobs(third.model, ids), logprobs(first.model, ids))
    # The packed file of the old source is deleted.
    assert len(list((store.root / "packed").iterdir())) == 1


def test_one_model_in_two_forms(tmp_path: Path, store: Store) -> None:
    """A quant in a model's name gives a separate form, so that both forms can be served."""
    model = tiny_llama(vocab_size=VOCAB, hidden_size=64, intermediate_size=96)
    path = write_gguf(tmp_path / "tiny.gguf", model, "llama", byte_level_bpe(VOCAB))
    exact, rounded = (
        load(f"{path}@{quant}", device="cpu", quant="auto", store=store, progress=Silent())
        for quant in ("none", "int8")
    )
    assert (exact.name, rounded.name) == ("tiny@none", "tiny@int8")
    assert exact.path == rounded.path == path
    ids = random_ids(20)
    assert not torch.equal(logprobs(exact.model, ids), logprobs(rounded.model, ids))
    with pytest.raises(ModelError, match="@int5 does not exist"):
        load(f"{path}@int5", device="cpu", store=store, progress=Silent())


def test_packing_is_followed_to_its_end(tmp_path: Path, store: Store) -> None:
    """The progress of packing names the model and ends near the total."""
    path = write_gguf(tmp_path / "tiny.gguf", tiny_llama(vocab_size=VOCAB), "llama", byte_level_bpe(VOCAB))
    following = Following()
    load(str(path), device="cpu", store=store, progress=following)
    (bar,) = following.bars
    assert bar.label.startswith("packing tiny")
    assert bar.total is not None
    assert 0.5 * bar.total < bar.done < 2 * bar.total


def test_broken_packing_leaves_nothing(tmp_path: Path, store: Store) -> None:
    """A truncated source leaves no packed file, whole or partial."""
    path = write_gguf(tmp_path / "tiny.gguf", tiny_llama(vocab_size=VOCAB), "llama", byte_level_bpe(VOCAB))
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(ModelError, match="truncated"):
        load(str(path), device="cpu", store=store, progress=Silent())
    assert list((store.root / "packed").iterdir()) == []


def test_full_disk_is_reported_before_anything_is_written(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Packing does not begin without enough space on the disk."""
    path = write_gguf(tmp_path / "tiny.gguf", tiny_llama(vocab_size=VOCAB), "llama", byte_level_bpe(VOCAB))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(ModelError, match=r"has 1\.0 kB free, but .* are needed"):
        load(str(path), device="cpu", store=store, progress=Silent())
    assert list((store.root / "packed").iterdir()) == []


@pytest.mark.parametrize("call", ["fsync", "mkdir"])
def test_disk_that_fails_is_reported(tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """A disk error during packing is one sentence, and no packed file remains."""
    path = write_gguf(tmp_path / "tiny.gguf", tiny_llama(vocab_size=VOCAB), "llama", byte_level_bpe(VOCAB))
    make = Path.mkdir

    def fail(*args: Any, **options: Any) -> None:
        if isinstance(args[0], Path) and args[0].name != "packed":
            return make(*args, **options)
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(*{"fsync": (os, "fsync"), "mkdir": (Path, "mkdir")}[call], fail)
    with pytest.raises(ModelError, match=r"packed cannot be written to \(Input/output error\): make it writable"):
        load(str(path), device="cpu", store=store, progress=Silent())
    assert list((store.root / "packed").glob("*")) == []


def test_packed_weights_of_a_local_model_can_be_removed(tmp_path: Path, store: Store) -> None:
    """Removing a local model by path deletes the packed weights and keeps the file."""
    path = write_gguf(tmp_path / "tiny.gguf", tiny_llama(vocab_size=VOCAB), "llama", byte_level_bpe(VOCAB))
    load(str(path), device="cpu", store=store, progress=Silent())
    assert store.remove(str(path), Silent()) > 0
    assert list((store.root / "packed").iterdir()) == []
    assert path.exists()


def test_other_families_run_by_transformers(tmp_path: Path, store: Store, capfd: pytest.CaptureFixture[str]) -> None:
    """A model outside the decoder's family runs on transformers, unquantized and without bars."""
    model = tiny(
        GPT2Config(vocab_size=VOCAB, n_embd=32, n_layer=2, n_head=2, n_positions=64, bos_token_id=0, eos_token_id=1)
    )
    folder = save(model, tmp_path / "gpt2")
    following = Following()
    capfd.readouterr()
    loaded = load(str(folder), device="cpu", store=store, progress=following)
    assert capfd.readouterr().err == ""
    assert [bar.label for bar in following.bars] == ["loading gpt2"]
    # Progress bars stay enabled for the rest of the process.
    assert logging.is_progress_bar_enabled()
    ids = random_ids(30)
    torch.testing.assert_close(logprobs(loaded.model, ids), reference_logprobs(model, ids), rtol=0, atol=1e-4)
    assert loaded.tokenizer.vocab_size == VOCAB
    with pytest.raises(ConfigError, match="use quant none"):
        load(str(folder), device="cpu", quant="int8", store=store, progress=Silent())


def test_what_cannot_be_loaded_is_one_sentence(tmp_path: Path, store: Store) -> None:
    """Missing, pickled, quantized and damaged models and unknown names get a sentence each."""
    folder = save(tiny_llama(vocab_size=VOCAB), tmp_path / "model", max_shard_size="60KB")
    shard = sorted(folder.glob("*.safetensors"))[0]

    def sentence(name: str, error: type[Exception] = ModelError, **options: str) -> str:
        with pytest.raises(error) as caught:
            load(name, **{"device": "cpu", **options}, store=store, progress=Silent())
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "does not exist" in sentence(str(tmp_path / "nothing.gguf"))
    assert "has no config.json" in sentence(str(tmp_path))
    assert "no model 'qwen2.5-coder': did you mean qwen2.5-coder-" in sentence("qwen2.5-coder", NotFoundError)
    assert "must be auto, cpu, cuda, cuda:N, mps, xpu or xpu:N" in sentence(str(folder), ConfigError, device="tpu")
    assert "CUDA devices" in sentence(str(folder), ConfigError, device="cuda:99")
    assert "must be auto, none, half, int8 or int4" in sentence(str(folder), ConfigError, quant="int3")
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-10])
    assert "damaged, truncated or malicious" in sentence(str(folder))
    shard.unlink()
    assert "is missing" in sentence(str(folder))
    for path in folder.glob("*.safetensors*"):
        path.unlink()
    (folder / "pytorch_model.bin").write_bytes(b"")
    assert "can contain code" in sentence(str(folder))
    change_config(folder, quantization_config={"quant_method": "gptq"})
    assert "has safetensors quantized by 'gptq', which are not supported: use the unquantized" in sentence(str(folder))
    change_config(folder, quantization_config=None)
    save_file({"model.norm.weight": torch.zeros(4, dtype=torch.float8_e4m3fn)}, folder / "model.safetensors")
    assert "the tensor 'model.norm.weight' has the dtype F8_E4M3: use the unquantized" in sentence(str(folder))
    (folder / "config.json").write_text("[]")
    assert "has a list" in sentence(str(folder))


@pytest.mark.parametrize("tied", [True, False])
def test_stored_bytes_of_a_step(tmp_path: Path, tied: bool) -> None:
    """A step reads all stored weights of a GGUF file or folder, except a separate embedding."""
    model: Any = tiny_llama(vocab_size=VOCAB, tie_word_embeddings=tied).bfloat16()
    weights = {id(weight): weight.numel() for weight in model.parameters()}
    read = sum(weights.values()) - (0 if tied else model.get_input_embeddings().weight.numel())
    folder = save(model, tmp_path / "tiny")
    file = write_gguf(tmp_path / "tiny.gguf", model.float(), "llama", byte_level_bpe(VOCAB))
    assert stored_step_bytes((folder / "config.json", folder / "model.safetensors")) == 2 * read
    assert stored_step_bytes((file,)) == 4 * read


def test_stored_bytes_of_blocks(tmp_path: Path) -> None:
    """Blocks of GGUF include scales: 256 weights take 144 bytes in Q4_K and 210 in Q6_K."""
    model = tiny_llama(vocab_size=VOCAB, hidden_size=256, tie_word_embeddings=True)
    zeros = {"blk.0.attn_q.weight": gguf.GGMLQuantizationType.Q4_K, "token_embd.weight": gguf.GGMLQuantizationType.Q6_K}
    plain = write_gguf(tmp_path / "plain.gguf", model, "llama", byte_level_bpe(VOCAB))
    file = write_gguf(tmp_path / "tiny.gguf", model, "llama", byte_level_bpe(VOCAB), zeros=zeros)
    assert stored_step_bytes((plain,)) - stored_step_bytes((file,)) == 64 * (1024 - 144) + VOCAB * (1024 - 210)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def write_model(folder: Path) -> Path:
    tiny_llama(vocab_size=VOCAB).save_pretrained(folder)
    return write_folder(folder, byte_level_bpe(VOCAB))


def test_names_of_the_catalog_are_never_folders(here: Path) -> None:
    """A folder named like a model of the catalog is served only as a path."""
    write_model(here / DEFAULT_MODEL)
    assert local_path(DEFAULT_MODEL) is None
    assert served_name(f"{DEFAULT_MODEL}@int4") == f"{DEFAULT_MODEL}@int4"
    assert local_path(f"./{DEFAULT_MODEL}") == here / DEFAULT_MODEL


def test_the_error_of_a_bare_folder_name_gives_its_path(here: Path, store: Store) -> None:
    """A name without a slash is never a folder, but the error gives an existing folder's path."""
    write_model(here / "mine")
    with pytest.raises(NotFoundError, match=r"There is no model 'mine'; to use the folder .* write \./mine"):
        load("mine", device="cpu", store=store, progress=Silent())
    assert load("./mine", device="cpu", store=store, progress=Silent()).path == here / "mine"
    with pytest.raises(NotFoundError, match="There is no model 'other': `pellucid models list` shows"):
        load("other", device="cpu", store=store, progress=Silent())


def test_a_folder_comes_before_a_model_of_the_hub(here: Path, store: Store) -> None:
    """``run/gpt`` is an existing folder, with a note; ``./run/gpt`` needs no note."""
    write_model(here / "run" / "gpt")
    progress = Following()
    assert load("run/gpt", device="cpu", store=store, progress=progress).path == here / "run" / "gpt"
    (note,) = progress.notes
    assert note.startswith(f"run/gpt is the folder {here / 'run' / 'gpt'}, not a model on the hub")
    progress = Following()
    load("./run/gpt", device="cpu", store=store, progress=progress)
    assert progress.notes == []
    shutil.rmtree(here / "run")
    assert local_path("run/gpt") is None


def test_the_working_directory_itself_can_be_a_model(here: Path) -> None:
    """``.`` and ``..`` are the usual folders."""
    write_model(here)
    assert local_path(".") == here
    (here / "deeper").mkdir()
    assert local_path("deeper/..") == here


@pytest.mark.parametrize(
    ("path", "written"),
    [("mine", "./mine"), ("run/gpt", "run/gpt"), ("/abs", "/abs"), ("./mine", "./mine"), ("../mine", "../mine")],
)
def test_a_path_is_written_as_it_is_read(path: str, written: str) -> None:
    """A path printed by a command is read back as a path, not as a name."""
    assert as_argument(Path(path)) == written


def test_adapters_of_the_store_are_never_folders_here(here: Path, store: Store) -> None:
    """An adapter's name is looked up in the store; a folder here must be written as ``./name``."""
    config: DecoderConfig = QWEN2
    write_adapter(here / "mine", random_adapter(config))
    with pytest.raises(NotFoundError, match=r"to use the folder .* write \./mine"):
        local_adapter(store, "mine")
    stored = write_adapter(store.adapters / "mine", random_adapter(config))
    assert local_adapter(store, "mine") == stored
    assert local_adapter(store, "./mine") == here / "mine"


def test_an_adapter_whose_description_is_a_loop_is_listed(store: Store) -> None:
    """An adapter with a looping adapter_config.json is listed, and reading reports the problem."""
    folder = write_adapter(store.adapters / "mine", random_adapter(QWEN2))
    (folder / "adapter_config.json").unlink()
    (folder / "adapter_config.json").symlink_to("adapter_config.json")
    assert stored_adapters(store) == [folder]
    with pytest.raises(AdapterError, match=r"adapter_config\.json cannot be read"):
        read_card(folder)
