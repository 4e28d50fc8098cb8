"""Tests of the edits that a next-edit model proposes: requests, suggestions and refusals."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from pellucid.completion.edits import next_edits
from pellucid.completion.edits.candidate import NEUTRAL, Candidate
from pellucid.completion.edits.edit_gate import LEAST, default_gate
from pellucid.completion.edits.edit_history import Edit, EditHistory, joined
from pellucid.completion.edits.edit_judge import NOT_CALIBRATED
from pellucid.completion.edits.edit_memory import NextEdit
from pellucid.completion.edits.next_edit_models import sweep, zeta
from pellucid.completion.edits.next_edit_models.edit_window import (
    FILE_STEP,
    MAX_DIFF_CHARACTERS,
    MAX_DIFF_LINES,
    MAX_FILE_CHARACTERS,
    MAX_WINDOW_CHARACTERS,
    EditWindow,
    Rewrite,
    edit_window,
    read_answer,
)
from pellucid.completion.edits.next_edit_models.proposals import FORMS, LEAST_TOKENS, PromptForm
from pellucid.completion.edits.next_edits import NextEdits
from pellucid.completion.model_choice import ModelChoice
from pellucid.completion.settings import GateLevel
from pellucid.errors import ContextLengthError, NotFoundError, PellucidError, QueueFullError, UnavailableError
from pellucid.models.calibrations import NOT_OWN
from pellucid.models.catalog import catalog, next_edit_forms
from pellucid.vocabulary.finish import Finish, FinishReason, OnUsage, Usage
from pellucid.vocabulary.model_card import ModelCard
from pellucid.vocabulary.query import CompletionQuery, Priority, ScoreQuery
from pellucid.vocabulary.token import Token
from support.silent_assistant import SilentAssistant

A, B = "file:///p/a.py", "file:///p/b.py"
OLD = "unit = 'mm'\nscale = 10\n\n\nlabel = f'{scale} mm'\nprint(label)\n"
NEW = OLD.replace("mm", "cm", 1)
"""The change of the unit is repeated nowhere."""

CURSOR = (0, 9)
ANSWER = "unit = 'cm'\nscale = 1\n\n\nlabel = f'{scale} cm'\nprint(label)\n"
"""The model's answer from the cursor's line on."""

SCALE = (1, ("scale = 10",), ("scale = 1",))
LABEL = (4, ("label = f'{scale} mm'",), ("label = f'{scale} cm'",))


@dataclass
class Proposer(SilentAssistant):
    """A model with a scripted answer; an event in the answer makes the model wait.

    A text is read as a single token: ``logprobs`` maps a part of the text to the logprob, else -1.
    ``ended`` counts the waits that are over.
    """

    answer: Sequence[Token | Finish | Exception | asyncio.Event] = ()
    logprobs: dict[str, float] = field(default_factory=dict)
    form: str | None = "sweep"
    other: str | None = None
    asked: list[CompletionQuery] = field(default_factory=list)
    read: list[ScoreQuery] = field(default_factory=list)
    losses: int = 0
    is_connected: bool = True
    started: int = 0
    ended: int = 0

    @property
    def connected(self) -> Proposer | None:
        return self if self.is_connected else None

    async def client(self) -> Proposer:
        self.started += 1
        return self

    def lost(self, client: object) -> None:
        self.losses += 1

    async def cards(self) -> list[ModelCard]:
        return [ModelCard(name, 4096, next_edit=form) for name, form in (("coder", self.form), ("other", self.other))]

    async def complete(
        self, query: CompletionQuery, *, on_usage: OnUsage | None = None
    ) -> AsyncGenerator[Token | Finish]:
        self.asked.append(query)
        for item in self.answer:
            if isinstance(item, Exception):
                raise item
            if isinstance(item, asyncio.Event):
                try:
                    await item.wait()
                finally:
                    self.ended += 1
            else:
                yield item

    async def score(self, query: ScoreQuery) -> AsyncGenerator[Token | Finish]:
        self.read.append(query)
        assert isinstance(query.text, str)
        yield token(query.text, next((value for text, value in self.logprobs.items() if text in query.text), -1.0))
        yield Finish(FinishReason.STOP, Usage())


def token(text: str, logprob: float = -1.0, data: bytes | None = None) -> Token:
    return Token(7, text, text.encode() if data is None else data, 0, logprob, 1, 0.5, (), rest=0.0, sampled=1.0)


def answer(text: str = ANSWER, reason: FinishReason = FinishReason.STOP) -> list[Token | Finish]:
    return [token(text), Finish(reason, Usage())]


def edits(model: Proposer, before: str = OLD, after: str = NEW) -> NextEdits:
    history = EditHistory()
    history.note(A, before)
    history.note(A, after)
    return NextEdits(history, ModelChoice(model), clock=lambda: 0.0)


def places(found: Sequence[NextEdit]) -> list[tuple[int, tuple[str, ...], tuple[str, ...]]]:
    return [(one.change.first, one.change.old, one.change.new) for one in found]


async def test_the_proposal_is_suggested() -> None:
    """Each change of the answer is an edit, and a note says that the model is not calibrated."""
    made = edits(Proposer(answer(), {"scale = 1\n": 1.0}))
    found = await made.suggest(A, NEW, cursor=CURSOR)
    assert places(found) == [SCALE, LABEL]
    assert [(one.log_odds, one.probability) for one in found] == [
        (2.0, default_gate().probability(2.0 + found[0].change.nats)),
        (0.0, default_gate().probability(found[1].change.nats)),
    ]
    assert made.memory.note == NOT_CALIBRATED.format("coder")
    assert made.memory.find(found[0].id) == found[0]


async def test_what_the_model_is_asked() -> None:
    """The prompt is sent with its markers, in the background, and the answer is bounded."""
    model = Proposer(answer())
    await edits(model).suggest(A, NEW, cursor=CURSOR)
    (query,) = model.asked
    below = "scale = 10\n\n\nlabel = f'{scale} mm'\nprint(label)\n"
    assert query.prefix == (
        f"<|file_sep|>a.py\nunit = 'cm'\n{below}"
        "<|file_sep|>a.py.diff\noriginal:\nunit = 'mm'\nupdated:\nunit = 'cm'\n"
        f"<|file_sep|>original/a.py:1:6\nunit = 'mm'\n{below}"
        f"<|file_sep|>current/a.py:1:6\nunit = 'c<|cursor|>m'\n{below}"
        "<|file_sep|>updated/a.py:1:6\n"
    )
    assert (query.special, query.suffix, query.terms.priority, query.model) == (
        True,
        None,
        Priority.BACKGROUND,
        "coder",
    )
    assert (query.params.temperature, query.terms.deadline, query.params.max_tokens) == (0, None, LEAST_TOKENS)


async def test_both_are_read_under_the_models_own_prompt() -> None:
    """Old and new lines are read under the prompt and the answer's lines above, up to equal lines.

    The last line above is read again, as tokens may join its end with the indentation or the
    blank lines that follow.
    """
    model = Proposer(answer())
    await edits(model).suggest(A, NEW, cursor=CURSOR)
    prompt = model.asked[0].prefix
    assert isinstance(prompt, str)
    above = "unit = 'cm'\n"
    assert [query.gap and (query.gap.prefix, query.gap.suffix, query.gap.special) for query in model.read] == [
        *[(prompt, None, True)] * 2,
        *[(prompt + above + "scale = 1\n\n", None, True)] * 2,
    ]
    assert [query.text for query in model.read] == [
        above + "scale = 1\n\n\n",
        above + "scale = 10\n\n\n",
        "\nlabel = f'{scale} cm'\nprint(label)\n",
        "\nlabel = f'{scale} mm'\nprint(label)\n",
    ]
    assert {query.terms.priority for query in model.read} == {Priority.BACKGROUND}


@pytest.mark.parametrize(("stop", "end"), [(None, "<|endoftext|>"), ("<|file_sep|>", "<|file_sep|>")])
async def test_a_change_of_the_last_line_is_read_with_the_end(stop: str | None, end: str) -> None:
    """The end of the answer is read after the last line, or fewer lines would be more probable."""
    model = Proposer([token(NEW + "print(unit)\n"), Finish(FinishReason.STOP, Usage(), stop)])
    await edits(model).suggest(A, NEW, cursor=CURSOR)
    assert [query.text for query in model.read] == [f"print(label)\nprint(unit)\n{end}", f"print(label)\n{end}"]


async def test_a_marker_ends_the_answer() -> None:
    """A file marker ends the answer, and any other marker makes the answer invalid."""
    model = Proposer([token(ANSWER), token("", data=b"<|file_sep|>"), token("other.py\n")])
    assert places(await edits(model).suggest(A, NEW, cursor=CURSOR)) == [SCALE, LABEL]
    model = Proposer([token(ANSWER), token("", data=b"<|fim_middle|>"), token("other.py\n")])
    assert await edits(model).suggest(A, NEW, cursor=CURSOR) == []


@pytest.mark.parametrize(("form", "expected"), [("zeta-2", []), ("sweep", ["NO_EDITS"])])
async def test_the_answer_for_no_edits(form: str, expected: list[str]) -> None:
    """``NO_EDITS`` is Zeta's refusal and is ordinary text in the answer of another model."""
    model = Proposer(answer("NO_EDITS\n"), {"NO_EDITS": 9.0}, form=form)
    found = await edits(model).suggest(A, NEW, cursor=CURSOR)
    assert [line for one in found for line in one.change.new] == expected


async def test_items_without_text() -> None:
    """An unknown marker invalidates the answer, and a part of a character joins the next token."""
    model = Proposer(
        [token("unit = "), token("", data=b"<unknown>"), token("'cm'\n"), Finish(FinishReason.STOP, Usage())]
    )
    assert await edits(model).suggest(A, NEW, cursor=CURSOR) == []
    assert model.read == []
    changed = NEW.replace("print(label)", "print('é')")
    begun, rest = changed.split("é")
    model = Proposer(
        [token(begun), token("", data=b"\xc3"), token("é" + rest, data=b"\xa9"), Finish(FinishReason.STOP, Usage())]
    )
    assert places(await edits(model).suggest(A, NEW, cursor=CURSOR)) == [(5, ("print(label)",), ("print('é')",))]


@pytest.mark.parametrize("level", GateLevel)
async def test_levels(level: GateLevel) -> None:
    """The quieter the level, the more probable a suggested proposal is."""
    for logprob in (-3.0, -1.0, 2.0):
        found = await edits(Proposer(answer(), {"scale = 1\n": logprob})).suggest(A, NEW, level, CURSOR)
        nats = Candidate(A, 0, (), (), NEUTRAL).nats
        assert (SCALE in places(found)) == (default_gate().probability(logprob + 1 + nats) >= LEAST[level])


@pytest.mark.parametrize(
    "text",
    [
        NEW,
        NEW + "\n\n",
        NEW.removesuffix("\n"),
        NEW.replace("\n", "\r\n"),
        "",
        "\n",
        NEW.replace("cm", "c<|cursor|>m", 1),
    ],
)
async def test_no_edit(text: str) -> None:
    """A repeated window is no edit, whatever its line ends, blank last lines and cursor marks."""
    model = Proposer(answer(text))
    assert await edits(model).suggest(A, NEW, cursor=CURSOR) == []
    assert (len(model.asked), model.read) == (1, [])


async def test_the_last_edit_is_never_taken_back() -> None:
    """A proposal never undoes the last edit, and the answer's remaining changes are suggested."""
    model = Proposer(answer(OLD))
    assert await edits(model).suggest(A, NEW, cursor=CURSOR) == []
    assert model.read == []
    model = Proposer(answer(OLD.replace("print", "show")))
    assert places(await edits(model).suggest(A, NEW, cursor=CURSOR)) == [(5, ("print(label)",), ("show(label)",))]


TAKEN_BACK = {
    "a line that was changed": ("a\nfoo(1)\nb\n", "a\nfoo(2)\nb\n", "a\nfoo(1)\nB\n", True),
    "with a change above": ("a\nfoo(1)\nb\n", "a\nfoo(2)\nb\n", "A\nAA\nfoo(1)\nb\n", True),
    "a line that was inserted": ("a\nb\n", "a\nnew\nb\n", "a\nB\n", True),
    "a line that was deleted": ("a\ngone\nb\n", "a\nb\n", "a\ngone\nB\n", True),
    "a blank line that was filled": ("a\n\nb\n", "a\nnew\nb\n", "a\n\nB\n", True),
    "a line that is continued": ("a\n\nb\n", "a\nfoo(\nb\n", "a\nfoo(1)\n\nB\n", False),
    "an inserted line that is continued": ("a\nb\n", "a\ndef f\nb\n", "a\ndef f():\n    pass\nB\n", False),
    "a line that is changed further": ("a\nfoo(1)\nb\n", "a\nfoo(2)\nb\n", "a\nfoo(3)\nB\n", False),
    "a line that stays": ("a\nfoo(1)\nb\n", "a\nfoo(2)\nb\n", "A\nfoo(2)\nfoo(1)\n", False),
}


@pytest.mark.parametrize(("before", "after", "text", "refused"), TAKEN_BACK.values(), ids=TAKEN_BACK)
def test_the_last_edit_taken_back_with_other_changes(before: str, after: str, text: str, refused: bool) -> None:
    """A change that undoes the last edit among neighbouring lines is refused, unlike progress."""
    history = EditHistory()
    history.note(A, before)
    history.note(A, after)
    window = edit_window(A, "a.py", after, history.edits(), (1, 0))
    assert window is not None
    assert (read_answer(window, 0, text) == []) == refused


def test_lines_above_after_a_refused_change() -> None:
    """A change after a refused change is read below the user's text, not below the answer's."""
    history = EditHistory()
    history.note(A, OLD)
    history.note(A, NEW)
    window = edit_window(A, "a.py", NEW, history.edits(), CURSOR)
    assert window is not None
    (rewrite,) = read_answer(window, 0, OLD.replace("print", "show"))
    assert list(rewrite.above) == NEW.split("\n")[:5]


@pytest.mark.parametrize(
    "reason", [FinishReason.LENGTH, FinishReason.DEADLINE, FinishReason.SUPERSEDED, FinishReason.CANCELLED]
)
async def test_an_answer_that_was_cut_short(reason: FinishReason) -> None:
    """An answer cut short proposes nothing, as a part would delete the remaining lines."""
    model = Proposer(answer("unit = 'cm'\n", reason))
    assert await edits(model).suggest(A, NEW, cursor=CURSOR) == []
    assert model.read == []


@pytest.mark.parametrize("marker", ["<|file_sep|>", "<|cursor|>", "<|endoftext|>", "<tool_call>", "</tool_call>"])
async def test_markers_in_the_text(marker: str) -> None:
    """A document or edit with a marker is not sent, and an answer with a marker is not used."""
    model = Proposer(answer())
    spelled = f"{NEW}text = '{marker}'\n"
    assert await edits(model, OLD, spelled).suggest(A, spelled, cursor=CURSOR) == []
    made = edits(model, f"'{marker}'\n", "''\n")
    assert await made.suggest(A, "''\n", cursor=(0, 1)) == []
    assert model.asked == []
    if marker != "<|cursor|>":
        assert await edits(Proposer(answer(ANSWER.replace("1", marker)))).suggest(A, NEW, cursor=CURSOR) == []


async def test_markers_that_are_not_sent() -> None:
    """Only markers in the sent text prevent a request, also in the name of the file."""
    far = NEW + "x = 1\n" * 100 + "text = '<|cursor|>'\n"
    model = Proposer(answer())
    made = edits(model)
    await made.suggest(A, far, cursor=CURSOR)
    assert len(model.asked) == 1
    made.history = EditHistory()
    for text in ("'<|cursor|>'\n\n\n\n" + OLD, "''\n\n\n\n" + OLD, "''\n\n\n\n" + NEW):
        made.history.note(A, text)
    for uri in map("file:///p/{}.py".format, range(sweep.DIFFS)):
        made.history.note(uri, "a\n")
        made.history.note(uri, "b\n")
    await made.suggest(A, "''\n\n\n\n" + NEW, cursor=(4, 9))
    assert len(model.asked) == 2
    await made.suggest("file:///p/<|cursor|>.py", NEW, cursor=CURSOR)
    assert len(model.asked) == 2


async def test_a_marker_at_the_cursor() -> None:
    """A marker divided by the cursor is not sent, as the old lines are read without the cursor."""
    model = Proposer(answer(), form="zeta-2")
    before, after = (text.replace("scale = 10", "scale = '<filename>'") for text in (OLD, NEW))
    await edits(model, before, after).suggest(A, after, cursor=(1, 12))
    assert model.asked == []


async def test_with_repeated_edits() -> None:
    """Proposals are suggested next to repeated edits, and equal changes are suggested once."""
    before = "x = total(a)\n\ny = total(b)\n\n\nz = 1\n"
    after = before.replace("total", "mean", 1)
    proposed = after.replace("total", "mean").replace("z = 1", "z = 2")
    model = Proposer(answer(proposed))
    made = edits(model, before, after)
    assert places(await made.suggest(A, after)) == [
        (2, ("y = total(b)",), ("y = mean(b)",)),
        (5, ("z = 1",), ("z = 2",)),
    ]
    assert made.memory.note == f"{NOT_OWN} {NOT_CALIBRATED.format('coder')}"
    assert [query.gap is not None and query.gap.special for query in model.read] == [False] * 2 + [True] * 4


REPEATED = "x = total(a)\n\ny = total(b)\n\n\nz = 1\n"
"""A text with a change of the first line that is repeated in the third line."""


@pytest.mark.parametrize(
    ("failure", "losses"),
    [
        (QueueFullError("The queue is full: try again."), 0),
        (NotFoundError("There is no model: serve it."), 0),
        (PellucidError("Internal server error."), 0),
        (UnavailableError("The server is gone: start it."), 1),
    ],
)
async def test_a_failure_leaves_the_repeated_edits(failure: PellucidError, losses: int) -> None:
    """Repeated edits are suggested if the proposing model fails, and the note has its sentence."""
    after = REPEATED.replace("total", "mean", 1)
    model = Proposer([failure])
    made = edits(model, REPEATED, after)
    assert places(await made.suggest(A, after)) == [(2, ("y = total(b)",), ("y = mean(b)",))]
    assert (made.memory.note, model.losses) == (f"{NOT_OWN} {failure}", losses)


async def test_repeated_edits_do_not_wait_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Repeated edits do not wait for a slow proposal, but a proposal alone is awaited."""
    monkeypatch.setattr(next_edits, "PROPOSAL_SECONDS", 0.0)
    after = REPEATED.replace("total", "mean", 1)
    model = Proposer([asyncio.Event()])
    # The test fails instead of hanging.
    async with asyncio.timeout(60):
        found = await edits(model, REPEATED, after).suggest(A, after)
    assert places(found) == [(2, ("y = total(b)",), ("y = mean(b)",))]
    assert model.ended == 1
    assert places(await edits(Proposer(answer())).suggest(A, NEW, cursor=CURSOR)) == [SCALE, LABEL]


async def test_no_server_is_started_for_proposals() -> None:
    """A proposal uses only a connected server, and a repeated edit may start the server."""
    model = Proposer(answer(), is_connected=False)
    assert await edits(model).suggest(A, NEW, cursor=CURSOR) == []
    assert (model.started, model.asked) == (0, [])
    after = REPEATED.replace("total", "mean", 1)
    await edits(model, REPEATED, after).suggest(A, after)
    assert model.started == 1


async def test_changes_after_one_that_is_not_shown() -> None:
    """Changes after a hidden change are neither read nor suggested."""
    model = Proposer(answer(), {"scale = 1\n": -9.0})
    made = edits(model)
    assert await made.suggest(A, NEW, cursor=CURSOR) == []
    assert len(model.read) == 2
    after = REPEATED.replace("total", "mean", 1)
    other = after.replace("total(b)", "mean(c)").replace("z = 1", "z = 2")
    assert places(await edits(Proposer(answer(other)), REPEATED, after).suggest(A, after)) == [
        (2, ("y = total(b)",), ("y = mean(b)",))
    ]


async def test_the_same_insertion_is_suggested_once() -> None:
    """A change both repeated and proposed is a single edit, and later changes are suggested."""
    before, after = "add(first)\nadd(second)\n\n\nz = 1\n", "add(first)\nlog(first)\nadd(second)\n\n\nz = 1\n"
    proposed = after.replace("add(second)\n", "add(second)\nlog(second)\n").replace("z = 1", "z = 2")
    found = await edits(Proposer(answer(proposed.removeprefix("add(first)\n"))), before, after).suggest(A, after)
    assert places(found) == [(3, (), ("log(second)",)), (5, ("z = 1",), ("z = 2",))]


async def test_dismissed() -> None:
    """A dismissed proposal and the answer's later changes are not suggested again."""
    made = edits(Proposer(answer()))
    scale, label = await made.suggest(A, NEW, cursor=CURSOR)
    made.memory.dismiss(label)
    assert places(await made.suggest(A, NEW, cursor=CURSOR)) == [SCALE]
    made.memory.dismiss(scale)
    assert await made.suggest(A, NEW, cursor=CURSOR) == []


@pytest.mark.parametrize(
    ("form", "other", "asked"),
    [(None, "sweep", "other"), ("sweep", "zeta-2", "coder"), (None, None, None), ("new", None, None)],
)
async def test_which_model_is_asked(form: str | None, other: str | None, asked: str | None) -> None:
    """The completing model proposes if its form is known, else another served model proposes."""
    model = Proposer(answer(), form=form, other=other)
    await edits(model).suggest(A, NEW, cursor=CURSOR)
    assert [query.model for query in model.asked] == ([] if asked is None else [asked])
    assert {query.model for query in model.read} == ({asked} if asked else set())


async def test_which_model_completes() -> None:
    """The first model without next-edit training, else the first model, completes by default."""
    for form, other, expected in [
        ("sweep", None, "other"),
        (None, None, "coder"),
        ("sweep", "sweep", "coder"),
        (None, "sweep", "coder"),
    ]:
        model = Proposer(form=form, other=other)
        assert (await ModelChoice(model).find(model)).name == expected
        assert (await ModelChoice(model, "coder").find(model)).name == "coder"


async def test_the_cursor() -> None:
    """The cursor defaults to the end of the last edit, in the edited document only."""
    model = Proposer(answer())
    made = edits(model)
    await made.suggest(A, NEW)
    prompt = model.asked[0].prefix
    assert isinstance(prompt, str)
    assert "current/a.py:1:6\nunit = 'cm'<|cursor|>\n" in prompt
    assert await made.suggest(B, "x = 1\n") == []
    assert len(model.asked) == 1
    await made.suggest(B, "x = 1\n", cursor=(0, 5))
    assert model.asked[1].prefix == (
        "<|file_sep|>b.py\nx = 1\n<|file_sep|>a.py.diff\noriginal:\nunit = 'mm'\nupdated:\nunit = 'cm'\n"
        "<|file_sep|>original/b.py:1:1\nx = 1\n"
        "<|file_sep|>current/b.py:1:1\nx = 1<|cursor|>\n<|file_sep|>updated/b.py:1:1\n"
    )


async def test_edits_that_must_not_be_sent() -> None:
    """Edits of a file that is ignored by now are not in the prompt."""
    model = Proposer(answer())
    made = edits(model)
    made.history.note(B, "key = 1\n")
    made.history.note(B, "key = 2\n")
    made.history.note(A, NEW.replace("label)", "scale)"))
    made._may_send = lambda uri, text: uri != B
    await made.suggest(A, NEW.replace("label)", "scale)"))
    prompt = model.asked[0].prefix
    assert isinstance(prompt, str)
    assert ("a.py.diff" in prompt, "b.py.diff" in prompt) == (True, False)


def test_long_edits_are_not_read() -> None:
    """A large paste does not replace the edits before the paste in the prompt."""
    small = [Edit(A, index, (), (f"line {index}",)) for index in range(5)]
    large = [Edit(B, 0, (), ("x",) * (MAX_DIFF_LINES + 1)), Edit(B, 0, ("x" * (MAX_DIFF_CHARACTERS + 1),), ())]
    window = edit_window(A, "a.py", "x\n", [*small, *large], (0, 0))
    assert window is not None
    assert window.recent(3) == small[2:]


def test_the_characters_of_all_edits() -> None:
    """The last edits are read if all edits together are too long."""
    third = "x" * (MAX_DIFF_CHARACTERS // 3)
    edits = [Edit(A, index, (), (third,)) for index in range(4)]
    window = edit_window(A, "a.py", "x\n", edits, (0, 0))
    assert window is not None
    assert window.recent(6) == edits[2:]


def test_the_longest_prompts() -> None:
    """Prompt and answer of long changed lines fit a context of 8,192 tokens as a rule."""
    lines = [f"{index} = {'x' * 90}" for index in range(400)]
    edits = [
        *(Edit(B, index, (), tuple(lines[:9])) for index in range(9)),
        Edit(A, 195, tuple(lines[195:205]), tuple(lines[195:205])),
    ]
    paste = [Edit(A, 200, tuple(lines[:300]), (lines[200],))]
    for form in FORMS.values():
        for last in (edits, paste):
            window = edit_window(A, "a.py", "\n".join(lines), last, (200, 50))
            assert window is not None
            assert sum(len(text) for _, text in form.prompt(window)) < 16_500


def test_zeta_reads_what_follows_the_window() -> None:
    """The text after Zeta's window ends with one line feed, and is never empty."""
    for size, expected in [(15, "line 11\nline 12\nline 13\nline 14\n"), (5, "\n")]:
        window = edit_window(A, "a.py", "".join(f"line {index}\n" for index in range(size)), (), (0, 0))
        assert window is not None
        assert zeta.prompt(window)[:2] == [("<[fim-suffix]>", expected), ("<[fim-prefix]>", "")]


async def test_a_window_that_is_too_long_for_the_model() -> None:
    """A refused prompt leaves the proposal out with a note, and a lost server is reported."""
    model = Proposer([ContextLengthError(5000, 4096)])
    made = edits(model)
    assert await made.suggest(A, NEW, cursor=CURSOR) == []
    assert made.memory.note == str(ContextLengthError(5000, 4096))
    model = Proposer([UnavailableError("The server is gone: start it.")])
    with pytest.raises(UnavailableError, match="start it"):
        await edits(model).suggest(A, NEW, cursor=CURSOR)
    assert model.losses == 1


def test_the_window() -> None:
    """The window has ten whole lines on either side of the cursor, or fewer long lines."""
    lines = [f"line {index}" for index in range(100)]
    window = edit_window(A, "a.py", "\n".join(lines) + "\n", (), (50, 3))
    assert window is not None
    assert (window.first, window.end, window.surroundings()) == (40, 61, (0, 100))
    many = [edit_window(A, "a.py", "line\n" * 1000, (), (line, 0)) for line in (400, 410, 430)]
    assert [one and one.surroundings() for one in many] == [(350, 461), (350, 471), (375, 491)]
    long = "\n".join([*lines[:45], "x" * (MAX_WINDOW_CHARACTERS - 50), *lines[46:]])
    window = edit_window(A, "a.py", long, (), (50, 3))
    assert window is not None
    assert 45 < window.first < window.line < window.end <= 61
    wide = edit_window(A, "a.py", "\n".join(["y" * 200] * 300), (), (150, 0))
    assert wide is not None
    first, end = wide.surroundings()
    assert (end - first) * 201 <= MAX_FILE_CHARACTERS < (end - first + FILE_STEP) * 201
    assert edit_window(A, "a.py", "x" * (MAX_WINDOW_CHARACTERS + 1), (), (0, 0)) is None
    assert edit_window(A, "a.py", "\n \n", (), (1, 0)) is None


def test_the_cursor_is_in_the_text() -> None:
    """A cursor outside the text is moved to the end of the line or of the text."""
    for cursor, place, last in [((9, 9), (1, 0), 2), ((0, 9), (0, 2), 1), ((1, 0), (1, 0), 2)]:
        window = edit_window(A, "a.py", "ab\n", (), cursor)
        assert window is not None
        assert ((window.line, window.column), window.end) == (place, last)


def test_lines_inserted_above_the_cursor() -> None:
    """The model also writes the lines between an insertion and the cursor."""
    history = EditHistory()
    history.note(A, "a\nb\nc\nd\n")
    history.note(A, "a\nnew\nb\nc\nd\n")
    for cursor, begin in [((3, 0), 1), ((1, 3), 1), ((0, 0), 0)]:
        window = edit_window(A, "a.py", "a\nnew\nb\nc\nd\n", history.edits(), cursor)
        assert window is not None
        assert sweep.answer_begin(window) == begin


def test_near_changes_are_one() -> None:
    """Changes with one line between them are a single edit, and with two lines two edits."""
    window = edit_window(A, "a.py", "a\nb\nc\nd\ne\nf\n", (), (0, 0))
    assert window is not None
    found = read_answer(window, 0, "A\nb\nC\nd\ne\nF\n")
    assert [(one.change.first, one.change.old, one.change.new) for one in found] == [
        (0, ("a", "b", "c"), ("A", "b", "C")),
        (5, ("f",), ("F",)),
    ]
    assert [(one.above, one.below, one.ends) for one in found] == [
        ((), ("d",), False),
        (("A", "b", "C", "d", "e"), (), True),
    ]


RECORDED: list[dict[str, Any]] = json.loads(
    (Path(__file__).parent / "recorded" / "answers.json").read_text(encoding="utf-8")
)

NOWHERE = 10**6
"""The line of an edit outside the buffer, as recorded windows are equal before and after edits."""

CHANGES = {
    ("03-python-decorator-complete", "sweep-next-edit-0.5B"): [(3, 0, 9)],
    ("06-python-str-to-list-field", "sweep-next-edit-0.5B"): [(12, 1, 1)],
    ("19-typescript-add-decorator", "sweep-next-edit-0.5B"): [(3, 0, 1)],
    ("29-suppress-ts-user", "sweep-next-edit-0.5B"): [],
    ("08-typescript-list-to-dict", "sweep-next-edit-1.5B"): [(14, 1, 1), (18, 3, 3)],
    ("10-go-map-value-to-slice", "sweep-next-edit-1.5B"): [(16, 1, 1)],
    ("13-typescript-callback-to-promise", "sweep-next-edit-1.5B"): [(14, 5, 4)],
    ("17-go-complete-comment", "sweep-next-edit-1.5B"): [(15, 2, 1), (19, 1, 1), (23, 1, 1)],
    ("25-python-fix-import-typo", "sweep-next-edit-1.5B"): [(6, 1, 2)],
    ("27-suppress-python-config", "sweep-next-edit-1.5B"): [],
    ("03-python-decorator-complete", "zeta-2"): [(2, 1, 1)],
    ("12-go-positional-to-options", "zeta-2"): [(25, 1, 7)],
    ("34-suppress-ts-emitter", "zeta-2"): [],
    ("36-python-inheritance-to-composition", "zeta-2"): [(18, 1, 1), (21, 1, 1)],
}
"""The changes in each answer: first lines, and the numbers of old and new lines."""


@dataclass(frozen=True)
class Recording:
    """A plugin's request as a window of this project, with the recorded prompt and answer."""

    window: EditWindow
    form: PromptForm
    prompt: str
    answer: str

    @property
    def rewrites(self) -> list[Rewrite]:
        return read_answer(self.window, self.form.answer_begin(self.window), self.answer.replace(self.form.cursor, ""))


def recording(record: dict[str, Any]) -> Recording:
    edits = [Edit(f"file:///{one['path']}", NOWHERE, tuple(one["old"]), tuple(one["new"])) for one in record["edits"]]
    line, column = record["cursor"]
    window = edit_window(
        f"file:///{record['path']}", record["path"], "\n".join(record["buffer"]), edits, (line, column)
    )
    assert window is not None
    # The plugin's windows are larger.
    first, end = record["window"]
    form = FORMS["zeta-2" if record["model"] == "zeta-2" else "sweep"]
    return Recording(
        replace(window, first=first, end=end), form, "\n".join(record["prompt"]), "\n".join(record["answer"])
    )


@pytest.fixture(params=RECORDED, ids=lambda record: f"{record['model']}:{record['scenario']}")
def record(request: pytest.FixtureRequest) -> dict[str, Any]:
    found: dict[str, Any] = request.param
    return found


def test_the_prompt_is_the_recorded_one(record: dict[str, Any]) -> None:
    """The prompt has the recorded characters exactly."""
    one = recording(record)
    assert "".join(marker + text for marker, text in one.form.prompt(one.window)) == one.prompt


def test_the_changes_are_those_of_the_answer(record: dict[str, Any]) -> None:
    """The changes turn the document into the answer, and a repeated window has no change."""
    one = recording(record)
    changes = [rewrite.change for rewrite in one.rewrites]
    assert [(change.first, len(change.old), len(change.new)) for change in changes] == CHANGES[
        record["scenario"], record["model"]
    ]
    lines = list(one.window.lines)
    for change in reversed(changes):
        assert tuple(lines[change.first : change.first + len(change.old)]) == change.old
        lines[change.first : change.first + len(change.old)] = change.new
    begin = one.form.answer_begin(one.window)
    expected = (
        joined(one.window.lines[:begin])
        + one.answer.replace(one.form.cursor, "")
        + joined(one.window.lines[one.window.end :])
    )
    assert joined(lines).rstrip() == expected.rstrip()


def test_what_is_read_makes_the_answer(record: dict[str, Any]) -> None:
    """A change's lines above, new lines and lines below are consecutive lines of the answer."""
    one = recording(record)
    for rewrite in one.rewrites:
        text = joined((*rewrite.above, *rewrite.change.new, *rewrite.below))
        assert one.answer.replace(one.form.cursor, "").startswith(text)


def test_every_form_of_the_catalog_is_known() -> None:
    """Each form in the catalog has a prompt, and the recordings' licence is next to the answers."""
    assert set(FORMS) == set(next_edit_forms())
    assert {entry.next_edit.name for entry in catalog().values() if entry.next_edit} == set(FORMS)
    assert "MIT License" in (Path(__file__).parent / "recorded" / "LICENSE").read_text(encoding="utf-8")
