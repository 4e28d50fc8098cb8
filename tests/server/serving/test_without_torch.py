"""The engine and the command line without torch and transformers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from transformers import GPT2Config, LlamaConfig

from support.models.model_files import byte_level_bpe, write_gguf
from support.models.tiny_models import tiny

BARE = """
import sys
sys.modules["torch"] = sys.modules["transformers"] = None  # As if missing.
from pellucid.cli.app import app
app(sys.argv[1:])
"""
NORMAL = "import sys; from pellucid.cli.app import app; app(sys.argv[1:])"
VOCAB = 320


def run(folder: Path, code: str, *arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        input=text,
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env=os.environ | {"PELLUCID_CACHE": str(folder / "cache"), "PELLUCID_PORT": "9"},
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small GGUF file for the kernels, the same weights in bfloat16, and a GPT-2."""
    folder = tmp_path_factory.mktemp("bare")
    config = LlamaConfig(
        vocab_size=VOCAB,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
    )
    model = tiny(config)
    write_gguf(folder / "small.gguf", model, "llama", byte_level_bpe(VOCAB))
    others = {"bfloat16": model.bfloat16(), "gpt2": tiny(GPT2Config(vocab_size=VOCAB, n_embd=32, n_layer=1, n_head=2))}
    for name, other in others.items():
        other.save_pretrained(folder / name)
        byte_level_bpe(VOCAB).save(str(folder / name / "tokenizer.json"))
    return folder


@pytest.mark.parametrize(
    ("model", "sampling"),
    [("./small.gguf", ["--temperature", "0.8", "--top-p", "0.9", "--seed", "7"]), ("./bfloat16", [])],
)
def test_completes_as_with_torch(folder: Path, model: str, sampling: list[str]) -> None:
    """A model is packed and completes a text, with the same tokens as with torch installed."""
    command = ["complete", "-", "-m", model, "--json", "--top-logprobs", "3", "--max-tokens", "6", *sampling]
    bare, normal = (run(folder, code, *command, text="naïve numbers 1 22") for code in (BARE, NORMAL))
    assert (bare.returncode, normal.returncode) == (0, 0), bare.stderr + normal.stderr
    tokens = [json.loads(line) for line in bare.stdout.splitlines()]
    assert len(tokens) == 7
    assert all(len(token["top"]) == 3 for token in tokens[:-1])
    assert [token.get("id") for token in tokens] == [json.loads(line).get("id") for line in normal.stdout.splitlines()]


@pytest.mark.parametrize(
    ("command", "needs"),
    [
        (["complete", "-", "-m", "./gpt2"], "gpt2 without the native kernels needs torch"),
        (["complete", "-", "-m", "./small.gguf@none"], "quant none on cpu needs torch"),
        (["bench", "-m", "./small.gguf"], "This command needs torch"),
        (["models", "export", "./small.gguf", "exported"], "This command needs torch"),
        (["finetune", ".", "--name", "x", "-m", "./small.gguf"], "This command needs"),
    ],
)
def test_what_needs_torch_says_so(folder: Path, command: list[str], needs: str) -> None:
    """Work that needs torch ends with a sentence naming the extra."""
    done = run(folder, BARE, *command, text="x")
    assert done.returncode == 1
    line = done.stderr.splitlines()[-1]
    assert needs in line
    assert 'pip install "pellucid[' in line


def test_doctor_says_so(folder: Path) -> None:
    """Doctor reports the missing torch, and the work for torch."""
    done = run(folder, BARE, "doctor")
    assert done.returncode == 0, done.stderr
    assert "not installed; the native kernels need none" in done.stdout
