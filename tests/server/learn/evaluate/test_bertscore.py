"""Tests of BERTScore's formula with a small encoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertModel

from pellucid.errors import InvalidRequestError, ModelError
from pellucid.learn.evaluate.measures.bertscore import Encoder, Similarity
from support.models.model_files import write_folder

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "cat", "dog", "sat", "ran", "the"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create a tiny BERT with random weights."""
    folder = tmp_path_factory.mktemp("tiny-encoder")
    backend = Tokenizer(models.WordLevel({word: id for id, word in enumerate(WORDS)}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.add_special_tokens(WORDS[:4])
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    shape: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    shape |= {"intermediate_size": 32, "max_position_embeddings": 16}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        BertModel(BertConfig(vocab_size=len(WORDS), **shape)).save_pretrained(folder)
    return write_folder(
        folder, backend, {"cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]", "model_max_length": 16}
    )


def test_same_text(folder: Path) -> None:
    """A text is most similar to itself, and nothing is similar to an empty text."""
    encoder = Encoder(folder)
    same = encoder.compare("the cat sat", "the cat sat")
    assert (same.precision, same.recall, same.f1) == pytest.approx((1.0, 1.0, 1.0))
    assert encoder.compare("the cat sat", "dog ran").f1 < 0.999
    assert encoder.compare("", "the cat") == Similarity(0.0, 0.0)
    assert Similarity(0.0, 0.0).f1 == 0.0
    assert encoder.name == f"BERTScore ({folder.name}, last layer, no idf, no rescaling)"


def test_formula(folder: Path) -> None:
    """Precision averages the best cosines of the answer's tokens, recall of the reference's."""
    encoder = Encoder(folder)
    model = BertModel.from_pretrained(folder)
    model.train(False)

    def vectors(ids: list[int]) -> torch.Tensor:
        with torch.inference_mode():
            hidden: torch.Tensor = model(torch.tensor([[2, *ids, 3]])).last_hidden_state[0, 1:-1]
        return torch.nn.functional.normalize(hidden, dim=-1)

    one, other = vectors([8, 4]), vectors([5, 7, 8])  # "the cat" and "dog ran the"
    cosines = [[float(a @ b) for b in other] for a in one]
    found = encoder.compare("the cat", "dog ran the")
    assert found.precision == pytest.approx(sum(max(row) for row in cosines) / 2, abs=1e-5)
    assert found.recall == pytest.approx(sum(max(column) for column in zip(*cosines, strict=True)) / 3, abs=1e-5)


def test_long_texts_are_cut(folder: Path) -> None:
    """Text beyond the encoder's window is ignored."""
    encoder = Encoder(folder)
    assert encoder.compare("cat " * 100, "cat " * 14) == encoder.compare("cat " * 14, "cat " * 14)


def test_no_encoder(tmp_path: Path) -> None:
    """A folder without an encoder, or with an unreadable encoder, is refused."""
    with pytest.raises(
        InvalidRequestError, match=r"contains no encoder: name a folder with config.json, safetensors and a tokenizer"
    ):
        Encoder(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_text("damaged")
    with pytest.raises(ModelError, match="cannot be read"):
        Encoder(tmp_path)
