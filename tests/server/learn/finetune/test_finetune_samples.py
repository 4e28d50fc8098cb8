"""Tests of the samples of finetuning."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from pellucid.learn.corpus import Document
from pellucid.learn.finetune.training.cursors import SourcePage, TextSpan
from pellucid.learn.finetune.training.samples import MAX_MIDDLE, Sample, SampleStream
from pellucid.models.catalog import Order


def spelled(sampler: SampleStream, ids: tuple[int, ...]) -> str:
    return b"".join(map(sampler.tokenizer.token_bytes, ids)).decode()


def test_infill_is_put_as_the_server_puts_it(sampler: SampleStream) -> None:
    """The suffix is first, then the prefix continues into the middle, which has a marked end."""
    text = "def greet(self):\n    return name\n"
    begin = text.index("lf):")

    sample = sampler.infilling(text, TextSpan(begin, begin + len("lf):"), "rest of line"), 96)

    assert sample is not None
    assert spelled(sampler, sample.ids) == (
        "<|fim_prefix|><|fim_suffix|>\n    return name\n<|fim_middle|>def greet(self):<|endoftext|>"
    )
    # The typed "se" is repeated.
    assert spelled(sampler, sample.ids[sample.labelled :]) == "self):<|endoftext|>"
    assert sampler.tokenizer.token_bytes(sample.ids[sample.labelled]) == b"self"


@pytest.mark.parametrize("order", ["psm", "spm", "spm2"])
def test_middle_is_always_last(sampler: SampleStream, documents: list[Document], order: Order) -> None:
    """In every order the labels are the middle after the healed text, up to a limit."""
    assert sampler.infill is not None
    sampler = replace(sampler, infill=replace(sampler.infill, order=order))
    ended = 0
    for document in documents[::5]:
        page = SourcePage(document.name, document.text)
        for seed in range(20):
            span = page.choose(Random(seed), 0, len(document.text))
            assert span is not None
            sample = sampler.infilling(document.text, span, 72)
            assert sample is not None
            assert len(sample.ids) <= sampler.context
            assert 1 <= sample.labels <= MAX_MIDDLE
            typed = sampler.prompt(document.text, span, 72).typed.decode()
            answer, end, _ = spelled(sampler, sample.ids[sample.labelled :]).partition("<|endoftext|>")
            wanted = typed + document.text[span.begin : span.end]
            assert document.text[: span.begin].endswith(typed)
            assert answer == wanted if end else wanted.startswith(answer)
            ended += bool(end)
    assert ended > 20


def test_texts_are_the_documents(sampler: SampleStream, documents: list[Document]) -> None:
    """The pieces of a document join to the whole, with the end of text, for every first cut."""
    for shift in (0, 17):
        pieces = list(sampler.texts(documents[0], shift))
        assert len(pieces) > 3
        assert all(len(sample.ids) <= sampler.context for sample, _ in pieces)
        assert "".join(spelled(sampler, sample.ids) for sample, _ in pieces) == documents[0].text + "<|endoftext|>"
        assert "".join(documents[0].text[where.start : where.stop] for _, where in pieces) == documents[0].text


def test_name_of_a_file_is_not_learnt(sampler: SampleStream) -> None:
    """A document begins with the file marker and the name, without labels."""
    assert sampler.infill is not None
    named = replace(sampler, infill=replace(sampler.infill, file="<|fim|>"))

    ((sample, _),) = named.texts(Document("src/a.py", "x = 1\n"))

    assert spelled(named, sample.ids[: sample.labelled]) == "<|fim|>src/a.py\n"
    assert spelled(named, sample.ids[sample.labelled :]) == "x = 1\n<|endoftext|>"


def test_half_of_an_epoch_are_infills(sampler: SampleStream, documents: list[Document]) -> None:
    """An epoch has a cursor for each piece of text; epochs differ, and each is reproducible."""
    documents = documents[:6]
    first, again, second = (sampler.epoch(documents, 7, number) for number in (0, 0, 1))

    assert first == again != second
    assert sum(sample.kind == "infill" for sample in first) == pytest.approx(len(first) / 2, abs=2)
    assert {sample.kind for sample in replace(sampler, infill=None).epoch(documents, 7, 0)} == {"text"}


def test_without_markers_the_prompt_is_the_prefix(sampler: SampleStream) -> None:
    """A model without markers gets only the prefix, and no end marker."""
    plain = replace(sampler, infill=None)

    sample = plain.infilling("x = 1\ny = 2\n", TextSpan(6, 11, "line"), 96)

    assert isinstance(sample, Sample)
    assert spelled(plain, sample.ids) == "x = 1\ny = 2"
