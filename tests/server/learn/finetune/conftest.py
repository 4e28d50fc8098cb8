"""A small repository, and a tiny model to tune on the repository."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pellucid.engine.decoders.torch_model import as_tensor
from pellucid.learn.corpus import Document
from pellucid.learn.finetune.training.base_model import Base, build
from pellucid.learn.finetune.training.samples import SampleStream
from pellucid.models.catalog import infill_formats
from pellucid.models.families import folder_decoder
from pellucid.models.tokenizers import folder_tokenizer
from support.models.model_files import byte_level_bpe, write_folder
from support.models.tiny_models import tiny_llama

VOCAB = 320

MODULE = '''"""Module {number} of the accounts."""


class Account{number}:
    """Money of one kind."""

    def __init__(self, owner, balance={number}):
        self.owner = owner
        self.balance = balance

    def deposit(self, amount):
        if amount <= {number}:
            raise ValueError("amount {word} must be above {number}")
        self.balance += amount
        return self.balance


def {word}_of(accounts, {word}):
    found = []
    for account in accounts:
        if account.{word} == {word}:
            found.append(account)
    return sorted(found, key=lambda account: account.{word})
'''
_NAMES = (
    "alpha bravo charlie delta echo foxtrot golf hotel india juliet "
    "kilo lima mike november oscar papa quebec romeo sierra tango"
)
WORDS = _NAMES.split()


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create a folder of twenty similar modules without near-duplicates."""
    folder = tmp_path_factory.mktemp("repository")
    for number, word in enumerate(WORDS):
        others = "\n".join(
            f"{other}_{word} = {{{other!r}: {number * at}}}" for at, other in enumerate(WORDS) if (at + number) % 3
        )
        (folder / f"{word}.py").write_text(MODULE.format(number=number, word=word) + "\n\n" + others + "\n")
    return folder


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create a tiny Llama with a byte-level tokenizer with infill markers."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    tiny_llama(vocab_size=VOCAB, max_position_embeddings=512).save_pretrained(folder)
    return write_folder(folder, byte_level_bpe(VOCAB))


@pytest.fixture
def new_base(model_folder: Path) -> Callable[[], Base]:
    """Return a function that loads the tiny model in float32, ready for training."""

    def make() -> Base:
        config = folder_decoder.read_config(model_folder)
        assert config is not None
        weights = {name: as_tensor(weight) for name, weight in folder_decoder.read_weights(model_folder)}
        model = build(folder_decoder.family_of(model_folder), config, weights)
        tokenizer = folder_tokenizer.read_tokenizer(model_folder, VOCAB)
        return Base(str(model_folder), "0" * 16, tokenizer, infill_formats()["qwen"].within(tokenizer.special), model)

    return make


@pytest.fixture
def base(new_base: Callable[[], Base]) -> Base:
    return new_base()


@pytest.fixture
def sampler(base: Base) -> SampleStream:
    """Return samples of at most 96 tokens for the tiny model."""
    return SampleStream(base.tokenizer, base.infill, 96)


@pytest.fixture(scope="session")
def documents(repository: Path) -> list[Document]:
    return [Document(path.name, path.read_text()) for path in sorted(repository.glob("*.py"))]
