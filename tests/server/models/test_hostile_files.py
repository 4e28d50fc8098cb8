"""Hostile model files are refused in a sentence, within bounded time and memory, or harmless."""

from __future__ import annotations

import base64
import itertools
import json
import os
import signal
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Regex, normalizers, pre_tokenizers
from tokenizers import Tokenizer as Backend
from tokenizers import models as backends
from transformers import GPT2Config

from pellucid.errors import ModelError, PellucidError
from pellucid.models.formats.gguf import GGUF
from pellucid.models.load import load
from pellucid.models.store import Store
from pellucid.models.tokenizers import sentencepiece_proto
from pellucid.models.tokenizers.folder_tokenizer import read_tokenizer
from pellucid.models.tokenizers.linear_time_tokenizers import is_harmless
from pellucid.system import isolated_python, limited_process
from pellucid.system.progress import Silent
from support.find_children import children_of
from support.models import hostile_model_files
from support.models.model_files import byte_level_bpe, train_sentencepiece, write_folder
from support.models.tiny_models import tiny, tiny_llama
from support.trial_counts import trial_count

VOCAB = 320
MEMORY = 1 << 30
"""Bytes for a case on top of the tests' memory, enforced in a separate process."""
CASES = trial_count(200)


def folder(path: Path, **config: Any) -> Path:
    """Return a complete small model with these changes in the configuration."""
    tiny_llama(vocab_size=VOCAB).save_pretrained(path)
    write_folder(path, byte_level_bpe(VOCAB))
    return change(path / "config.json", **config).parent


def change(path: Path, **fields: Any) -> Path:
    path.write_text(json.dumps(json.loads(path.read_text() if path.exists() else "{}") | fields))
    return path


def open_model(path: Path) -> Callable[[], None]:
    """Return a case that loads and uses a model with a separate cache."""
    return lambda: hostile_model_files.load_and_use(path, path.parent, "none")


def outcome(case: Callable[[], None]) -> str:
    """Run a case in a process, and return "loaded", the sentence of a refusal, or the failure."""
    tally = hostile_model_files.run_cases([case], memory=MEMORY)
    (ending,) = tally.endings
    return tally.examples[ending].partition(": ")[2] if ending == "refused" else ending


HOSTILE_NUMBERS: list[tuple[str, Any]] = [
    ("num_hidden_layers", 2**64),
    ("num_hidden_layers", 0),
    ("num_attention_heads", -4),
    ("num_key_value_heads", 3),
    ("hidden_size", True),
    ("hidden_size", "64"),
    ("head_dim", 17),
    ("vocab_size", 10**15),
    ("max_position_embeddings", 0),
    ("rms_norm_eps", float("nan")),
    ("rope_parameters", {"rope_type": "default", "rope_theta": float("inf")}),
    ("rope_parameters", {"rope_type": "linear", "rope_theta": 1e4, "factor": 0}),
    ("rope_parameters", 7),
    ("eos_token_id", True),
    ("eos_token_id", {"a": 1}),
]


@pytest.mark.parametrize(("key", "value"), HOSTILE_NUMBERS, ids=[f"{key}={value}" for key, value in HOSTILE_NUMBERS])
def test_numbers_that_no_model_has_are_refused(tmp_path: Path, key: str, value: Any) -> None:
    """A configuration with impossible numbers is refused in one sentence, before allocation."""
    path = folder(tmp_path / "model", **{key: value})
    with pytest.raises(ModelError, match=r"config\.json") as caught:
        load(str(path), device="cpu", quant="none", store=Store(tmp_path / "cache"), progress=Silent())
    assert "\n" not in str(caught.value)


def test_ids_that_no_token_has_are_no_tokens(tmp_path: Path) -> None:
    """End ids outside of the vocabulary are ignored."""
    path = folder(tmp_path / "model", eos_token_id=[5, -9, 10**12])
    change(path / "generation_config.json", eos_token_id=2**63)
    tokenizer = read_tokenizer(path, VOCAB)
    assert 5 in tokenizer.eos_ids
    assert all(0 <= id < VOCAB for id in tokenizer.eos_ids)


def test_markers_beyond_the_weights_stay_text(tmp_path: Path) -> None:
    """A marker with an id beyond the embedding is not parsed, but stays text."""
    path = folder(tmp_path / "model")
    token = {"content": "<|beyond|>", "special": True}
    change(path / "tokenizer_config.json", added_tokens_decoder={str(VOCAB + 5): token})
    tokenizer = read_tokenizer(path, VOCAB)
    assert tokenizer.vocab_size == VOCAB
    assert max(tokenizer.encode("a<|beyond|>", special=True)) < VOCAB


@pytest.mark.process
def test_nested_json_is_one_sentence(tmp_path: Path) -> None:
    """Deeply nested JSON is refused with the file's name."""
    path = folder(tmp_path / "model")
    for name in ("generation_config.json", "tokenizer.json", "config.json"):
        kept = (path / name).read_bytes()
        (path / name).write_text("[" * 100_000 + "]" * 100_000)
        assert name in outcome(open_model(path))
        (path / name).write_bytes(kept)
    assert outcome(open_model(path)) == "loaded"


@pytest.mark.process
def test_only_regular_files_are_read(tmp_path: Path) -> None:
    """A FIFO, an endless device or a folder at a file's path is a sentence, not an endless wait."""
    path = folder(tmp_path / "model")
    puts: list[Callable[[Path], None]] = [os.mkfifo, lambda at: at.symlink_to("/dev/zero"), Path.mkdir]
    names = ["chat_template.jinja", "tokenizer.json", "generation_config.json", "config.json", "model.safetensors"]
    for name, put in zip(names, itertools.cycle(puts)):
        kept = path / name
        away = kept.rename(tmp_path / "away") if kept.exists() else None
        put(kept)
        assert name in outcome(open_model(path))
        kept.rmdir() if kept.is_dir() else kept.unlink()
        if away is not None:
            away.rename(kept)


@pytest.mark.process
def test_shards_lie_in_their_folder(tmp_path: Path) -> None:
    """An index with a file outside of the folder, or without a file, is refused by name."""
    path = folder(tmp_path / "model")
    for name in ("../outside.safetensors", "/etc/passwd", {"a": 1}, "x\0.safetensors"):
        change(path / "model.safetensors.index.json", weight_map={"a": name})
        assert "index.json" in outcome(open_model(path))


@pytest.mark.process
def test_a_map_of_characters_that_panics_ends_its_own_process(tmp_path: Path) -> None:
    """A damaged character map that makes the library panic is a sentence; encoding continues."""
    charsmap = hostile_model_files.charsmap()
    path = _unigram(tmp_path, charsmap)
    tokenizer = read_tokenizer(path)
    assert tokenizer.apart
    assert tokenizer.encode("ab")
    for damage in (charsmap[:4] + b"\xff" * 400 + charsmap[404:], charsmap[:-200_000], b"\xff" * 64):
        with pytest.raises(ModelError, match=r"tokenizer\.json") as caught:
            read_tokenizer(_unigram(tmp_path, damage)).encode("\ufb01 \u00bd \u3042\u3099 ab")
        assert "\n" not in str(caught.value)
    assert tokenizer.encode("ab")


def _unigram(tmp_path: Path, charsmap: bytes) -> Path:
    """Return a Unigram tokenizer with this map, checked by the library only during use."""
    backend = hostile_model_files.unigram()
    path = write_folder(tmp_path / f"unigram{len(list(tmp_path.iterdir()))}", backend)
    data = json.loads((path / "tokenizer.json").read_text())
    data["normalizer"]["normalizers"][0]["precompiled_charsmap"] = base64.b64encode(charsmap).decode()
    (path / "tokenizer.json").write_text(json.dumps(data))
    return path


@pytest.mark.process
def test_a_pattern_that_backtracks_is_stopped(tmp_path: Path) -> None:
    """A backtracking pattern is stopped by a time limit, and later texts are still encoded."""
    backend = byte_level_bpe(VOCAB)
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"(\s|\s)*(\s|\s)*x|."), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer = read_tokenizer(write_folder(tmp_path / "slow", backend))
    assert tokenizer.encode("def")
    began = time.process_time()
    with pytest.raises(ModelError, match=r"failed on a text of \d+ characters"):
        tokenizer.encode(" " * 50_000)
    assert time.process_time() - began < 1, "the server itself computes nothing meanwhile"
    assert tokenizer.encode("def")


@pytest.mark.process
def test_steps_that_multiply_a_text_are_stopped(tmp_path: Path) -> None:
    """Replacements that multiply a text end a separate process and spare the server's memory."""
    backend = byte_level_bpe(VOCAB)
    backend.normalizer = normalizers.Sequence([normalizers.Replace("a", "a" * 1000) for _ in range(4)])
    tokenizer = read_tokenizer(write_folder(tmp_path / "large", backend))
    with pytest.raises(ModelError, match="failed on a text of 8 characters"):
        tokenizer.encode("aaaaaaaa")
    assert tokenizer.encode("bbb")


@pytest.mark.process
def test_a_tokenizers_process_has_no_files_or_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tokenizer's process has no files, no sockets and none of the server's settings."""
    monkeypatch.setenv("PELLUCID_API_KEY", "hunter2")
    before = children_of(os.getpid())
    tokenizer = read_tokenizer(_unigram(tmp_path, hostile_model_files.charsmap()))
    (process,) = children_of(os.getpid()) - before
    child = Path("/proc", str(process))
    assert tokenizer.encode("ab")
    assert b"hunter2" not in (child / "environ").read_bytes()
    assert sorted(path.name for path in (child / "fd").iterdir()) == ["0", "1", "2"]
    limits = {line[:26].strip(): line[26:].split()[:2] for line in (child / "limits").read_text().splitlines()}
    assert limits["Max open files"] == ["3", "3"]
    assert limits["Max core file size"] == ["0", "0"]
    assert limits["Max address space"] == [str(2**31)] * 2


@pytest.mark.process
def test_a_tokenizers_process_that_stops_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is idle and does not answer is ended by a limit of wall time."""
    monkeypatch.setattr(limited_process, "WALL_FACTOR", 0.01)
    process = limited_process.LimitedProcess("test_hostile_files", [], None, 30)
    monkeypatch.setattr(isolated_python, "BOOTSTRAP", "import time; time.sleep(600)")
    with pytest.raises(limited_process.ProcessFailedError, match="longer than 0 s"):
        process.start()


@pytest.mark.process
def test_a_tokenizers_process_that_was_killed_costs_no_text(tmp_path: Path) -> None:
    """A killed process is replaced before the next text."""
    before = children_of(os.getpid())
    tokenizer = read_tokenizer(_unigram(tmp_path, hostile_model_files.charsmap()))
    ids = tokenizer.encode("ab")
    (process,) = children_of(os.getpid()) - before
    os.kill(process, signal.SIGKILL)
    os.waitid(os.P_PID, process, os.WEXITED | os.WNOWAIT)
    assert tokenizer.encode("ab") == ids


@pytest.mark.process
@pytest.mark.parametrize("answer", ["'[1]'", "'x'", "'[' * 100_000", "'\"' + 'x' * 300_000"])
def test_a_tokenizers_process_that_was_taken_over(monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    """An invalid or endless answer is an error of the tokenizer, and ends the process."""
    monkeypatch.setattr(limited_process, "MAX_ANSWER_BYTES", 200_000)
    program = f"import sys, time; sys.stdin.readline(); print({answer}, flush=True); time.sleep(600)"
    monkeypatch.setattr(isolated_python, "BOOTSTRAP", program)
    process = limited_process.LimitedProcess("no module", [], None, 30)
    before = children_of(os.getpid())
    with pytest.raises(limited_process.ProcessFailedError, match="it gave no valid answer"):
        process.start()
    assert children_of(os.getpid()) <= before


@pytest.mark.process
def test_ids_that_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer without token ids, from a compromised process, is an error."""
    tokenizer = read_tokenizer(_unigram(tmp_path, hostile_model_files.charsmap()))
    answers: list[object] = [None, {}, "ab", [1, "2"], [True], [None], [[1]]]
    for answer in answers:
        monkeypatch.setattr(limited_process.LimitedProcess, "ask", lambda *_, answer=answer: answer)
        with pytest.raises(ModelError, match="it gave no valid answer"):
            tokenizer.encode("ab")


def test_what_common_tokenizers_are_made_of_needs_no_process() -> None:
    """Byte-pair merging after known patterns is harmless; unknown steps need a process."""
    harmless = json.loads(byte_level_bpe(VOCAB).to_str())
    assert is_harmless(harmless, frozenset())
    pattern = {"type": "Split", "pattern": {"Regex": "(a+)+b"}, "behavior": "Isolated", "invert": False}
    assert not is_harmless(harmless | {"pre_tokenizer": pattern}, frozenset())
    assert is_harmless(harmless | {"pre_tokenizer": pattern}, frozenset({"(a+)+b"}))
    replace = {"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}
    assert not is_harmless(harmless | {"normalizer": replace}, frozenset())
    assert not is_harmless(json.loads(Backend(backends.Unigram()).to_str()), frozenset())


def test_long_varints_take_no_time() -> None:
    """An endless number in a sentencepiece model is refused after ten bytes, in no time."""
    began = time.process_time()
    with pytest.raises(ModelError, match="damaged"):
        sentencepiece_proto.read(b"\xff" * 1_000_000)
    assert time.process_time() - began < 1
    assert sentencepiece_proto.read(train_sentencepiece())[0]


@pytest.mark.process
def test_a_sparse_array_takes_no_memory(tmp_path: Path) -> None:
    """A sparse array of 300 MB in a file is refused without a copy and without a list."""
    path = tmp_path / "sparse.gguf"
    count = 300_000_000
    key = b"tokenizer.ggml.token_type"
    head = b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", len(key)) + key + struct.pack("<IIQ", 9, 1, count)
    with path.open("wb") as file:
        file.write(head)
        file.truncate(len(head) + count)

    def case() -> None:
        GGUF(path).list_of("tokenizer.ggml.token_type", int)

    assert "has a list of 300000000 int8" in outcome(case)


@pytest.mark.process
def test_strings_without_end_take_no_memory(tmp_path: Path) -> None:
    """A sparse list of a hundred million empty strings is refused after a bounded number."""
    path = tmp_path / "strings.gguf"
    count = 100_000_000
    head = b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 1) + b"x" + struct.pack("<IIQ", 9, 8, count)
    with path.open("wb") as file:
        file.write(head)
        file.truncate(len(head) + 8 * count)

    def case() -> None:
        GGUF(path)

    assert "has more text than" in outcome(case)


@pytest.mark.process
def test_models_of_other_families_are_no_larger_than_their_files(tmp_path: Path) -> None:
    """A configuration's sizes are checked against the weights before transformers allocates."""
    path = tmp_path / "gpt2"
    tiny(GPT2Config(vocab_size=VOCAB, n_embd=32, n_layer=2, n_head=2, n_positions=64)).save_pretrained(path)
    write_folder(path, byte_level_bpe(VOCAB))
    kept = (path / "config.json").read_bytes()
    for fields in (
        {"n_layer": 2**40},
        {"n_positions": 2**30},
        {"vocab_size": 10**9},
        {"n_layer": 3000},
        {"n_inner": "x"},
    ):
        change(path / "config.json", **fields)
        assert "gpt2" in outcome(open_model(path))
        (path / "config.json").write_bytes(kept)
    change(path / "config.json", auto_map={"AutoModelForCausalLM": "evil.Model"}, model_type="evil")
    (path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    assert "its own Python code, which is never run" in outcome(open_model(path))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "name", ["\0", "a" * 300, "./" + "a" * 300, "~nobody-has-this-name/x", "org/" + "a" * 300, "./\0.gguf"]
)
def test_names_that_cannot_be_paths_are_one_sentence(tmp_path: Path, name: str) -> None:
    """A name with an invalid path is refused like an unknown name."""
    with pytest.raises(PellucidError) as caught:
        load(name, device="cpu", store=Store(tmp_path / "cache"), progress=Silent())
    assert "\n" not in str(caught.value)
    assert "\0" not in str(caught.value)


@pytest.mark.process
@pytest.mark.parametrize("kind", hostile_model_files.MAKERS)
def test_mutated_files_are_loaded_or_refused(tmp_path: Path, kind: str) -> None:
    """A changed model file is loaded or refused in time, without a traceback, crash or hang."""
    cases = hostile_model_files.MAKERS[kind](tmp_path, CASES, 13)
    tally = hostile_model_files.run_cases(cases, deadline=60)
    assert not tally.failures, hostile_model_files.report(kind, tally, time.monotonic())
    assert sum(tally.endings.values()) == CASES
    assert set(tally.endings) == {"loaded", "refused"}


def test_mutated_adapters_break_no_list(tmp_path: Path) -> None:
    """A changed adapter is loaded or refused, and lists and models still work."""
    tally = hostile_model_files.adapter_trial(tmp_path, CASES, 13)
    assert not tally.failures, hostile_model_files.report("adapters", tally, time.monotonic())
    assert set(tally.endings) == {"loaded", "refused"}
