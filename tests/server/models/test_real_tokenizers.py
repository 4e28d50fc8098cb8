"""The tokenizers of the real models give the ids of transformers."""

from __future__ import annotations

import random
import unicodedata
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from pellucid.config import load_settings
from pellucid.models.formats.gguf import GGUF
from pellucid.models.store import Store
from pellucid.models.tokenizers import gguf_tokenizer, tokenizer
from pellucid.system.progress import Silent
from support.trial_counts import trial_count

pytestmark = pytest.mark.model


QWEN, SMOL = "qwen2.5-coder-0.5b-instruct", "smollm2-135m-instruct"


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


@pytest.fixture(scope="module")
def store() -> Store:
    return Store(load_settings().cache)


def texts(count: int) -> list[str]:
    """Return random texts in NFC, because transformers normalises texts to NFC."""
    choose = random.Random(1)
    made = ("".join(choose.choices(PIECES, k=choose.randint(1, 14))) for _ in range(count))
    return [
        *(unicodedata.normalize("NFC", text) for text in made),
        *(path.read_text() for path in Path(tokenizer.__file__).parent.glob("*.py")),
    ]


def test_qwen_ids_are_those_of_transformers(store: Store) -> None:
    """With markers parsed the ids equal transformers' ids; without, the bytes join to the text."""
    path = store.pull(QWEN, Silent())
    ours = gguf_tokenizer.read_tokenizer(GGUF(path))
    theirs = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    for text in texts(trial_count(600)):
        assert ours.encode(text, special=True) == theirs.encode(text, add_special_tokens=False)
        plain = ours.encode(text)
        assert b"".join(map(ours.token_bytes, plain)) == text.encode()
        assert not any(map(ours.is_special, plain))


def test_smollm_splits_digits_and_keeps_bytes(store: Store) -> None:
    """SmolLM2 encodes every digit separately, and the tokens' bytes join to the text."""
    ours = gguf_tokenizer.read_tokenizer(GGUF(store.pull(SMOL, Silent())))
    for text in texts(trial_count(200)):
        assert b"".join(map(ours.token_bytes, ours.encode(text))) == text.encode()
    assert [ours.token_bytes(id) for id in ours.encode("x = 2048")] == [b"x", b" =", b" ", b"2", b"0", b"4", b"8"]
