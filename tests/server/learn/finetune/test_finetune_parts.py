"""Tests of samples, loss, answers and figures of finetuning."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from pellucid.engine.token_mask import ids_in
from pellucid.learn.corpus import Document
from pellucid.learn.finetune.before_after import ComparisonRow, compare
from pellucid.learn.finetune.forgetting_texts import Kind
from pellucid.learn.finetune.greedy_generation import MAX_LINE, first_lines
from pellucid.learn.finetune.held_out_evaluation import (
    Effort,
    FileFigures,
    HeldOutEvaluation,
    HeldOutFigures,
    open_figures,
)
from pellucid.learn.finetune.repository_files import JUDGED
from pellucid.learn.finetune.training import loss
from pellucid.learn.finetune.training.base_model import Base
from pellucid.learn.finetune.training.cursors import MAX_BLOCK, SourcePage, TextSpan
from pellucid.learn.finetune.training.loss import batch_loss, label_weights
from pellucid.learn.finetune.training.samples import MAX_MIDDLE, InfillExample, Sample, SampleStream
from pellucid.learn.finetune.training.trainable_adapter import TrainableAdapter
from pellucid.learn.finetune.transformers_scorer import TorchReader
from pellucid.learn.score_text import read
from pellucid.models.catalog import Order
from pellucid.system.progress import Silent
from support.models.tiny_models import random_ids, reference_logprobs


def judgement(bits: Sequence[float], exact: Sequence[int]) -> HeldOutFigures:
    files = tuple(
        FileFigures(
            f"{number}.py", b, 1000, (0.9, 0.6), (1, 0), asked=10, exact=e, similarity=e + 1.0, typed=100, saved=2 * e
        )
        for number, (b, e) in enumerate(zip(bits, exact, strict=True))
    )
    return HeldOutFigures(files, {"prose": files[:3]})


def rows_of(before: HeldOutFigures, after: HeldOutFigures) -> dict[str, ComparisonRow]:
    return {row.name: row for row in compare(before, after)}


def test_a_difference_in_every_file() -> None:
    """Fewer bits in every file are better, failed lines worse, and equal figures no difference."""
    found = rows_of(judgement([900, 1000, 1100, 950], [5, 6, 5, 4]), judgement([700, 820, 880, 760], [3, 4, 2, 3]))

    assert found["bits per byte"].verdict == "better"
    assert found["bits per byte"].before == pytest.approx(3950 / 4000)
    assert found["bits per byte"].difference.value == pytest.approx(-790 / 4000)
    assert found["lines completed exactly"].verdict == "worse"
    assert found["keystrokes saved"].verdict == "worse"
    assert found["calibration error"].verdict == "no difference shown"
    assert found["calibration error"].before == pytest.approx((0.1 + 0.6) / 2)
    assert found["bits per byte, English prose"].units == 3


def test_no_difference_if_files_disagree() -> None:
    """A better mean is no difference if files disagree."""
    found = rows_of(judgement([900, 1000, 1100, 950], [5, 5, 5, 5]), judgement([600, 1050, 1120, 990], [9, 4, 5, 4]))

    assert found["bits per byte"].after < found["bits per byte"].before
    assert found["bits per byte"].verdict == "no difference shown"
    assert found["lines completed exactly"].verdict == "no difference shown"


def test_one_file_shows_nothing() -> None:
    """A single file has no interval, and JSON has null."""
    row = rows_of(judgement([900], [5]), judgement([100], [9]))["bits per byte"]

    assert row.verdict == "no difference shown"
    assert json.loads(json.dumps(row.record()))["difference"] == {
        "value": pytest.approx(-0.8),
        "low": None,
        "high": None,
    }
    assert np.isinf(row.difference.low)


PROGRAM = '''def area(width, height):
    """Of a rectangle, in m²."""
    if width < 0:
        raise ValueError("ä")
    return width * height


print(area(2, 3))
'''
OTHER = "func area(w int) {\n\tif w < 0 {\n\t\tpanic(w)\n\t}\n\treturn w\n}\n"


def spans_of(name: str, text: str, count: int = 300) -> set[tuple[str, str]]:
    page = SourcePage(name, text)
    found = (page.choose(Random(number), 0, len(text)) for number in range(count))
    return {(span.kind, text[span.begin : span.end]) for span in found if span is not None}


def test_python_blocks_are_its_statements() -> None:
    """A block of a Python file is a whole statement, with columns counted in characters."""
    blocks = {text for kind, text in spans_of("area.py", PROGRAM) if kind == "block"}

    assert blocks == {
        PROGRAM[: PROGRAM.index("\n\n\n")],
        '"""Of a rectangle, in m²."""',
        'if width < 0:\n        raise ValueError("ä")',
        'raise ValueError("ä")',
        "return width * height",
        "print(area(2, 3))",
    }


def test_other_blocks_are_lines_indented_alike() -> None:
    """A block without Python syntax ends where the indentation falls below the first line's."""
    blocks = {text for kind, text in spans_of("area.go", OTHER) if kind == "block"}

    assert {"panic(w)", "return w", "if w < 0 {\n\t\tpanic(w)\n\t}\n\treturn w", OTHER.rstrip()} <= blocks
    assert {text for kind, text in spans_of("bad.py", OTHER) if kind == "block"} == blocks


def test_lines_are_written_from_their_indentation() -> None:
    """A line is filled in from its indentation or from within, up to the last visible character."""
    found = spans_of("area.py", PROGRAM)
    lines = {line.strip() for line in PROGRAM.splitlines() if line.strip()}

    assert {text for kind, text in found if kind == "line"} == lines
    assert all(
        any(line.endswith(text) and line != text for line in lines) for kind, text in found if kind == "rest of line"
    )
    assert {kind for kind, _ in found} == {"line", "rest of line", "block", "random"}


@given(st.text(alphabet="ab \n\r\té(:{", max_size=60), st.integers(0, 1000), st.sampled_from(["x.py", "x.c"]))
def test_a_span_says_something_in_the_text(text: str, seed: int, name: str) -> None:
    """A span is within the text, not blank and not too long; None if the text is blank."""
    span = SourcePage(name, text).choose(Random(seed), 0, len(text))

    if span is None:
        assert not text.strip()
    else:
        assert 0 <= span.begin < span.end <= len(text)
        assert text[span.begin : span.end].strip()
        assert span.kind != "block" or text[span.begin : span.end].count("\n") < MAX_BLOCK


def plain_line(base: Base, prompt: InfillExample) -> str:
    """Return the same line, computed from scratch for each token."""
    ids, data = list(prompt.ids), b""
    healing = prompt.healing
    typed = len(prompt.typed)
    for _ in range(MAX_LINE + (healing.steps if healing is not None else 0)):
        logprobs = reference_logprobs(base.model, ids)[-1]
        allowed = healing.allowed() if healing is not None else None
        id = int(logprobs.argmax()) if allowed is None else max(ids_in(allowed), key=logprobs.tolist().__getitem__)
        if healing is not None and allowed is not None:
            healing.advance(id)
        if id in ENDS:
            break
        ids.append(id)
        data += base.tokenizer.token_bytes(id)
        if b"\n" in data[typed:]:
            break
    return data[typed:].split(b"\n", 1)[0].decode(errors="replace").rstrip()


ENDS = frozenset({0, 1, 2})


@pytest.mark.slow
@pytest.mark.parametrize("marked", [True, False], ids=["infill", "prefix only"])
def test_lines_together_are_those_alone(
    base: Base, sampler: SampleStream, documents: list[Document], marked: bool
) -> None:
    """Prompts of different lengths, padded and healed, get the same answers as alone."""
    sampler = sampler if marked else SampleStream(base.tokenizer, None, 96)
    text = documents[0].text
    begin = text.index("found.append")
    spans = [TextSpan(begin + at, begin + 21, "line") for at in (0, 6)] + [TextSpan(40, 50, "line")]

    together = first_lines(base.model, base.tokenizer, [sampler.prompt(text, span, 80) for span in spans], ENDS)

    for answer, span in zip(together, spans, strict=True):
        assert answer == plain_line(base, sampler.prompt(text, span, 80))


class BrokenOffError(Exception):
    pass


def test_judged_files_are_not_judged_again(
    base: Base, sampler: SampleStream, documents: list[Document], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interrupted evaluation resumes after the last complete figures with the same key."""
    path = tmp_path / "before.jsonl"
    judge = HeldOutEvaluation(base.model, sampler, Effort(tokens=100, cursors=1, lines=1, window=64), 0, Silent())
    files = documents[:3]
    general: dict[Kind, list[Document]] = {"prose": [Document("alpha.py", "A text of the same name.")]}
    expected = judge.judge("judging", files, general)

    def keep(files: list[Document], general: dict[Kind, list[Document]]) -> HeldOutFigures:
        with open_figures(path, "key") as kept:
            return judge.judge("judging", files, general, kept=kept)

    judged: list[str] = []
    plain = HeldOutEvaluation._read

    def reading(self: HeldOutEvaluation, document: Document) -> FileFigures:
        if judged == ["alpha.py", "bravo.py"]:
            raise BrokenOffError
        judged.append(document.name)
        return plain(self, document)

    monkeypatch.setattr(HeldOutEvaluation, "_read", reading)
    with pytest.raises(BrokenOffError):
        keep(files, general)
    path.write_text(path.read_text()[:-9])
    judged.clear()

    found = keep(files[:2], {})
    assert judged == ["bravo.py"]
    assert found.files == expected.files[:2]

    judged.append("")
    assert keep(files, general) == expected
    assert keep(files, general) == expected
    assert judged == ["bravo.py", "", "charlie.py", "alpha.py"]

    with open_figures(path, "other") as kept:
        assert not kept.records


def test_effort_is_a_bound(
    base: Base, sampler: SampleStream, documents: list[Document], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The largest number of judged files takes the intended characters, cursors and lines."""
    read: list[int] = []
    cursors = lines = 0

    def reading(self: HeldOutEvaluation, document: Document) -> FileFigures:
        read.append(len(document.text))
        return FileFigures(document.name, 1.0, 1, (0.5,), (1,))

    def answers(self: HeldOutEvaluation, text: str, spans: Sequence[TextSpan]) -> list[str]:
        nonlocal cursors, lines
        cursors += sum(span.kind == "rest of line" for span in spans)
        # A request is made at each word of a line.
        lines += any(span.kind == "line" for span in spans)
        return [""] * len(spans)

    monkeypatch.setattr(HeldOutEvaluation, "_read", reading)
    monkeypatch.setattr(HeldOutEvaluation, "_fill_in", answers)
    effort = Effort()
    files = [Document(f"{number}.py", documents[0].text * 10) for number in range(JUDGED)]

    judgement = HeldOutEvaluation(base.model, sampler, effort, 0, Silent()).judge("judging", files, {})

    assert len(judgement.files) == JUDGED
    assert effort.tokens * 3 <= sum(read) <= effort.tokens * 3.3
    assert (cursors, lines) == (effort.cursors, effort.lines)


SAMPLES = [
    Sample(tuple(random_ids(30, seed=1)), 1, "text"),
    Sample(tuple(random_ids(21, seed=2)), 15, "infill"),
    Sample(tuple(random_ids(12, seed=3)), 11, "infill"),
]


def test_loss_and_gradient_are_those_of_cross_entropy(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    """A padded batch, with logits of a few rows at a time, has the samples' loss and gradient."""
    monkeypatch.setattr(loss, "LOGIT_ROWS", 7)
    adapter = TrainableAdapter(base, rank=4, seed=0)
    for parameter in adapter.parameters.values():
        torch.nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(5))
    weights = label_weights(SAMPLES)

    total, parts = batch_loss(adapter.model, SAMPLES, weights)
    total.backward()  # type: ignore[no-untyped-call]
    found = {
        name: parameter.grad.clone() for name, parameter in adapter.parameters.items() if parameter.grad is not None
    }
    for parameter in adapter.parameters.values():
        parameter.grad = None
    plain = torch.zeros(())
    for sample, weight, part in zip(SAMPLES, weights, parts, strict=True):
        ids = torch.tensor(sample.ids)
        logits = base.model(input_ids=ids[None], use_cache=False).logits[0, sample.labelled - 1 : -1]
        nats = F.cross_entropy(logits, ids[sample.labelled :], reduction="sum")
        assert part == pytest.approx(float(nats.detach()), rel=1e-4)
        plain = plain + weight * nats
    plain.backward()  # type: ignore[no-untyped-call]

    assert float(total.detach()) == pytest.approx(float(plain.detach()), rel=1e-5)
    assert set(found) == set(adapter.parameters)
    for name, parameter in adapter.parameters.items():
        torch.testing.assert_close(found[name], parameter.grad, rtol=1e-3, atol=1e-5)


def test_each_kind_counts_by_its_samples() -> None:
    """Two infills of seven labels weigh two thirds of a step, however many labels the text has."""
    text, first, second = label_weights(SAMPLES)

    assert text * 29 == pytest.approx(1 / 3)
    assert first == second
    assert first * 7 == pytest.approx(2 / 3)


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


async def test_reading_says_what_the_library_says(base: Base, documents: list[Document]) -> None:
    """Each token's logprob, rank and first-choice probability follow from the model's logits."""
    text = documents[0].text[:150]
    ids = base.tokenizer.encode(text)
    expected = reference_logprobs(base.model, ids)[:-1]
    targets = torch.tensor(ids[1:])

    reading = await read(TorchReader(base.model, base.tokenizer), text, window=200)

    logprobs = expected.gather(1, targets[:, None])[:, 0]
    assert reading.logprobs == pytest.approx(logprobs.numpy(), abs=1e-4)
    assert reading.ranks.tolist() == ((expected > logprobs[:, None]).sum(1) + 1).tolist()
    assert reading.confidences == pytest.approx(expected.max(1).values.exp().numpy(), abs=1e-4)
    assert reading.bytes == len(text.encode()) - len(base.tokenizer.token_bytes(ids[0]))
