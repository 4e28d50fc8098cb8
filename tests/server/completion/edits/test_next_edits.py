"""Tests of suggested repeated edits, with a model of given logprobs."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Iterable
from dataclasses import dataclass, field

import pytest

from pellucid.completion.context.search_budget import SearchBudget
from pellucid.completion.edits.candidate import Candidate, Evidence
from pellucid.completion.edits.edit_gate import LEAST, EditGate, default_gate, gate_of
from pellucid.completion.edits.edit_history import EditHistory
from pellucid.completion.edits.edit_judge import BUDGET_SECONDS, DISMISSED, ELSEWHERE, READ, TOO_LATE, TOO_MANY
from pellucid.completion.edits.next_edits import NO_EDIT, NOT_FOUND, NOT_REPEATED, NextEdits
from pellucid.completion.model_choice import ModelChoice
from pellucid.completion.settings import GateLevel
from pellucid.errors import InvalidRequestError, QueueFullError, UnavailableError
from pellucid.models.calibrations import NOT_OWN
from pellucid.vocabulary.finish import Finish, FinishReason, Usage
from pellucid.vocabulary.model_card import ModelCard
from pellucid.vocabulary.query import Priority, ScoreQuery
from pellucid.vocabulary.token import Token
from support.silent_assistant import OwnProvider

A, B, C = "file:///p/a.py", "file:///p/b.py", "file:///p/c.py"
OLD = "x = total(a)\n\ny = total(b)\n\nz = total(c)\n"
NEW = OLD.replace("total", "mean", 1)
NATS = Candidate(A, 0, (), (), likeness=2 / 3).nats
"""The log odds for each place, apart from the reading."""


@dataclass
class Reader(OwnProvider):
    """Reads a text as a single token with the logprob of a part of the text, else -1."""

    logprobs: dict[str, float] = field(default_factory=dict)
    files: bool = True
    failure: Exception | None = None
    reason: FinishReason = FinishReason.STOP
    read: list[ScoreQuery] = field(default_factory=list)
    gate: EditGate | None = None
    seconds: float = 0.0

    async def cards(self) -> list[ModelCard]:
        return [
            ModelCard(
                "reader", 4096, files=self.files, edit_calibration=None if self.gate is None else self.gate.record
            )
        ]

    async def score(self, query: ScoreQuery) -> AsyncGenerator[Token | Finish]:
        if self.failure is not None:
            raise self.failure
        self.read.append(query)
        self.seconds += 0.5
        assert isinstance(query.text, str)
        logprob = next((value for text, value in self.logprobs.items() if text in query.text), -1.0)
        yield Token(7, query.text, query.text.encode(), 0, logprob, 1, 0.5, (), rest=0.0, sampled=1.0)
        yield Finish(self.reason, Usage())


def edits(reader: Reader, before: str = OLD, after: str = NEW) -> NextEdits:
    history = EditHistory()
    history.note(A, before)
    history.note(A, after)
    return NextEdits(history, ModelChoice(reader), clock=lambda: 0.0)


async def lines(
    made: NextEdits, level: GateLevel = GateLevel.NORMAL, text: str = NEW, uri: str = A
) -> list[tuple[int, tuple[str, ...]]]:
    return [(one.change.first, one.change.new) for one in await made.suggest(uri, text, level)]


async def test_the_model_decides_by_reading_both() -> None:
    """An edit is suggested where the new line is probable enough compared with the old line."""
    reader = Reader({"mean(b)": 0.0, "mean(c)": -20.0})
    assert await lines(edits(reader)) == [(2, ("y = mean(b)",))]
    (one,) = await edits(Reader({"mean(b)": 0.0, "mean(c)": -20.0})).suggest(A, NEW)
    assert (one.log_odds, one.probability) == (1.0, default_gate().probability(1.0 + one.change.nats))


async def test_what_the_model_reads() -> None:
    """Old and new lines are read up to the next code line, after a diff, in the background."""
    reader = Reader()
    await edits(reader).suggest(A, NEW)
    first = reader.read[0]
    assert [query.text for query in reader.read[:2]] == [
        "y = mean(b)\n\nz = total(c)\n",
        "y = total(b)\n\nz = total(c)\n",
    ]
    assert first.gap is not None
    assert (first.gap.prefix, first.gap.suffix) == ("x = mean(a)\n\n", "")
    assert [(one.filename, one.text) for one in first.gap.extra] == [
        ("a.py.diff", "original:\nx = total(a)\nupdated:\nx = mean(a)\n")
    ]
    assert first.terms.priority is Priority.BACKGROUND


async def test_a_model_without_a_marker_for_files_reads_no_diff() -> None:
    """A model without a marker for files reads no diff."""
    reader = Reader(files=False)
    await edits(reader).suggest(A, NEW)
    assert all(query.gap is not None and not query.gap.extra for query in reader.read)


@pytest.mark.parametrize("level", GateLevel)
async def test_levels(level: GateLevel) -> None:
    """The quieter the level, the more probable a suggested edit is."""
    for logprob in (-3.0, -2.0, -1.0, 0.0):
        found = await lines(edits(Reader({"mean(": logprob})), level)
        assert bool(found) == (default_gate().probability(logprob + 1 + NATS) >= LEAST[level])


async def test_the_calibration_of_the_model_decides() -> None:
    """The model's own calibration decides, or the default model's calibration, with a note."""
    made = edits(Reader({"mean(": 0.0}, gate=EditGate(-1.8, 0.2)))
    assert await made.suggest(A, NEW) == []
    assert made.memory.note is None
    (one, _) = await made.suggest(A, NEW, GateLevel.EAGER)
    assert one.probability == EditGate(-1.8, 0.2).probability(1.0 + NATS)
    made = edits(Reader({"mean(": 0.0}))
    assert len(await made.suggest(A, NEW)) == 2
    assert made.memory.note == NOT_OWN
    assert await made.suggest(A, "nothing to repeat\n") == []
    # No model was asked.
    assert made.memory.note is None


@pytest.mark.parametrize(
    ("record", "sentence"),
    [
        (EditGate(0.1, 0.5).record | {"numbers": [1, 10**400]}, "is damaged (OverflowError"),
        ({}, "is damaged (KeyError: 'features')"),
        (EditGate(0.1, 0.5).record | {"numbers": [1.0]}, "is damaged (ValueError"),
        (EditGate(0.1, 0.5).record | {"numbers": [1.0, "nan"]}, "is damaged (its coefficients are out of bounds)"),
        (EditGate(0.1, -0.5).record, "is damaged (its coefficients are out of bounds)"),
        (EditGate(0.1, 0.5).record | {"features": {"version": 1}}, "was made by another version of Pellucid"),
    ],
)
def test_a_calibration_that_cannot_be_used(record: dict[str, object], sentence: str) -> None:
    """The note names an unusable calibration and the remedy, and the default model's decides."""
    gate, note = gate_of(ModelCard("m", 1, edit_calibration=record))
    assert gate == default_gate()
    assert note is not None
    assert sentence in note
    assert note.endswith("run pellucid calibrate --edits again.")


async def test_other_documents() -> None:
    """An edit is repeated in another document until the user edits there."""
    made = edits(Reader())
    assert await lines(made, text="w = total(d)\n", uri=B) == [(0, ("w = mean(d)",))]
    made.history.note(B, "q = 1\n")
    made.history.note(B, "q = 2\n")
    assert await lines(made, text="w = total(d)\n", uri=B) == []


async def elsewhere(
    made: NextEdits, files: dict[str, str], asked: list[set[str]] | None = None, level: GateLevel = GateLevel.NORMAL
) -> list[tuple[str, int, tuple[str, ...]]]:
    """Return suggested edits' places and new lines, and add the searched names to ``asked``."""

    def find(names: Collection[str], budget: SearchBudget) -> Iterable[tuple[str, str]]:
        if asked is not None:
            asked.append(set(names))
        return files.items()

    return [(one.change.uri, one.change.first, one.change.new) for one in await made.suggest_elsewhere(A, find, level)]


async def test_other_files() -> None:
    """Files with a name of the edit are searched, likeliest place first, except the document."""
    asked: list[set[str]] = []
    files = {A: "a = total(d)\n", B: "\nb = total(d)\n", C: "c = total(best)\nc = 1\nd = total(e)\n"}
    made = edits(Reader({"mean(best)": 0.0}))
    assert await elsewhere(made, files, asked) == [
        (C, 0, ("c = mean(best)",)),
        (C, 2, ("d = mean(e)",)),
        (B, 1, ("b = mean(d)",)),
    ]
    assert asked == [{"total"}]
    assert await elsewhere(edits(Reader({"mean(d)": -20.0})), files) == [
        (C, 0, ("c = mean(best)",)),
        (C, 2, ("d = mean(e)",)),
    ]
    (first, *_) = await made.suggest_elsewhere(A, lambda names, budget: files.items())
    made.memory.dismiss(first)
    assert [place[:2] for place in await elsewhere(made, files)] == [(B, 1), (C, 2)]


async def test_other_files_without_an_edit() -> None:
    """No file is searched without an edit or after a secret edit."""
    asked: list[set[str]] = []
    assert await elsewhere(NextEdits(EditHistory(), ModelChoice(Reader())), {B: "total(d)\n"}, asked) == []
    made = edits(Reader())
    made._may_send = lambda uri, text: False
    assert await elsewhere(made, {B: "total(d)\n"}, asked) == []
    assert asked == []


async def test_explanations_of_other_files() -> None:
    """Changes in other files keep an explanation until the document's edits are requested."""
    made = edits(Reader())
    await made.suggest(A, NEW)
    (first, *_) = await made.suggest_elsewhere(A, lambda names, budget: [(B, "q = total(d)\nr = total(e)\n")])
    assert explained_elsewhere(made) == ("2 of 2 changes found are suggested.", [(B, 0, "shown"), (B, 1, "shown")])
    made.memory.dismiss(first)
    await elsewhere(made, {B: "q = total(d)\nr = total(e)\n"})
    assert explained_elsewhere(made) == ("1 of 2 changes found are suggested.", [(B, 0, "dismissed"), (B, 1, "shown")])
    await elsewhere(made, {})
    assert explained_elsewhere(made) == (NOT_FOUND, [])
    assert len(explained(made)[1]) == 2
    await made.suggest(A, NEW)
    assert made.memory.explanation(A, elsewhere=True) is None
    for failure in (UnavailableError("The server is gone: start it."), QueueFullError("The queue is full.")):
        made = edits(Reader(failure=failure))
        with pytest.raises(type(failure)):
            await elsewhere(made, {B: "q = total(d)\n"})
        assert explained_elsewhere(made)[0] == str(failure)


def explained_elsewhere(made: NextEdits) -> tuple[str, list[tuple[str, int, str]]]:
    explanation = made.memory.explanation(A, elsewhere=True)
    assert explanation is not None
    return explanation.reason, [(one.change.uri, one.change.first, one.outcome) for one in explanation.changes]


@pytest.mark.parametrize(
    ("first", "second"), [("file:///p/b%20c.py", "file:///p/b c.py"), ("file:///c%3A/b.py", "file:///c:/b.py")]
)
async def test_uris_that_differ_in_spelling(first: str, second: str) -> None:
    """URIs of different spelling are the same document for dismissed places and for the search."""
    made = edits(Reader())
    (place,) = await made.suggest_elsewhere(A, lambda names, budget: [(first, "q = total(d)\n")])
    made.memory.dismiss(place)
    assert await made.suggest(second, "q = total(d)\n") == []
    assert await made.suggest_elsewhere(second, lambda names, budget: [(first, "r = total(e)\n")]) == []


async def test_from_the_cursor_on() -> None:
    """Places in another document are read and suggested from the cursor on."""
    text = "x = total(a)\n" * 20
    found = [one.change.first for one in await edits(Reader()).suggest(B, text, cursor=(12, 0))]
    assert found == [12, 13, 14, 9, 10, 11]
    reader = Reader()
    await edits(reader).suggest(B, "x = total(a)\n" * 8 + "other.total\nx = total(a)\n", cursor=(8, 0))
    assert reader.read[0].text == "other.mean\nx = total(a)\n", "though it is less alike than six others"


async def test_limits_of_other_files() -> None:
    """Only the most similar places are read, and reading ends after some seconds."""
    reader = Reader()
    files = {f"file:///p/{number}.py": "x = total(a)\n\ny = total(other)\n" for number in range(ELSEWHERE.places)}
    made = edits(reader)
    assert {place[2] for place in await elsewhere(made, files)} == {("x = mean(a)",)}
    explanation = made.memory.explanation(A, elsewhere=True)
    assert explanation is not None
    assert {one.reason for one in explanation.changes if one.outcome == "unread"} == {TOO_MANY.format(ELSEWHERE.places)}
    made._clock = lambda: reader.seconds
    assert len(await elsewhere(made, files)) == ELSEWHERE.seconds + 1, "a place takes one second"


async def test_an_edit_that_must_not_be_sent() -> None:
    """The edit of an ignored file or of a secret is not sent with another document."""
    reader = Reader()
    made = edits(reader)
    seen: list[tuple[str, str]] = []

    def refuse(uri: str, text: str) -> bool:
        seen.append((uri, text))
        return False

    made._may_send = refuse
    assert await lines(made, text="w = total(d)\n", uri=B) == []
    assert (seen, reader.read) == ([(A, "x = total(a)\nx = mean(a)")], [])


async def test_below_before_above() -> None:
    """Places below the last edit are first, each part in the order of the document."""
    after = "x = total(a)\n\ny = mean(b)\n\nz = total(c)\n"
    assert [at for at, _ in await lines(edits(Reader(), OLD, after), text=after)] == [4, 0]


async def test_dismissed() -> None:
    """An edit that the user dismissed is not suggested again, unlike the remaining edits."""
    made = edits(Reader())
    first = (await made.suggest(A, NEW))[0]
    assert made.memory.find(first.id) == first
    made.memory.dismiss(first)
    assert [at for at, _ in await lines(made)] == [4]
    assert made.memory.find("edit-0") is None


async def test_nothing_to_repeat_asks_nobody() -> None:
    """The model is not asked without an edit or without a place to repeat the edit."""
    reader = Reader()
    assert await NextEdits(EditHistory(), ModelChoice(reader)).suggest(A, NEW) == []
    assert await edits(reader, "a\n", "b\n").suggest(A, "b\n") == []
    assert reader.read == []


async def test_limits() -> None:
    """At most ``READ`` places are read, and reading ends when the time is over."""
    before = "x = total(a)\n\n" * 20
    after = before.replace("total", "mean", 1)
    reader = Reader()
    await edits(reader, before, after).suggest(A, after)
    assert len(reader.read) == 2 * READ
    slow = Reader()
    made = edits(slow, before, after)
    made._clock = lambda: slow.seconds
    await made.suggest(A, after)
    assert len(slow.read) == 2 * (1 + int(BUDGET_SECONDS))


async def test_a_slow_model_reads_on_until_an_edit_is_found() -> None:
    """Reading continues past its time up to the first probable place, here and in other files."""
    before = "x = total(a)\n\n" * 3 + "y = total(b)\n\n"
    after = before.replace("total", "mean", 1)
    reader = Reader({"mean(b)": 0.0, "mean": -20.0})
    made = edits(reader, before, after)
    made._clock = lambda: 100 * reader.seconds
    assert await lines(made, text=after) == [(6, ("y = mean(b)",))]
    files = {f"file:///p/{number}.py": "x = total(a)\n" for number in range(3)} | {
        "file:///p/last.py": "y = total(b)\n"
    }
    assert await elsewhere(made, files) == [("file:///p/last.py", 0, ("y = mean(b)",))]


async def test_a_place_that_cannot_be_read() -> None:
    """A place that the server refuses to read is left out without an error."""
    assert await lines(edits(Reader(failure=InvalidRequestError("Too long.")))) == []


@pytest.mark.parametrize("reason", [FinishReason.SUPERSEDED, FinishReason.CANCELLED, FinishReason.DEADLINE])
async def test_a_reading_that_was_cut_short(reason: FinishReason) -> None:
    """A reading that was cut short suggests nothing at any level."""
    assert await lines(edits(Reader(reason=reason)), GateLevel.EAGER) == []


async def test_a_lost_server_is_reported() -> None:
    """A lost server raises the error and is reported to the provider."""
    reader = Reader(failure=UnavailableError("The server is gone: start it."))
    with pytest.raises(UnavailableError, match="start it"):
        await edits(reader).suggest(A, NEW)
    assert reader.losses == 1


def explained(made: NextEdits, uri: str = A) -> tuple[str, list[tuple[int, str, str]]]:
    explanation = made.memory.explanation(uri)
    assert explanation is not None
    return explanation.reason, [(one.change.first, one.outcome, one.reason) for one in explanation.changes]


async def test_explanations() -> None:
    """Each change has its outcome, its probability and the required probability."""
    made = edits(Reader({"mean(b)": 0.0, "mean(c)": -20.0}))
    assert made.memory.explanation(A) is None
    (first,) = await made.suggest(A, NEW)
    sure, unsure = default_gate().probability(1.0 + NATS), default_gate().probability(NATS - 19.0)
    sentence = "It is right with a probability of {:.0%}; at this level 50% or more is required."
    changes = [(2, "shown", sentence.format(sure)), (4, "hidden", sentence.format(unsure))]
    assert explained(made) == ("1 of 2 changes found are suggested.", changes)
    explanation = made.memory.explanation(A)
    assert explanation is not None
    assert [(one.log_odds, one.probability) for one in explanation.changes] == [(1.0, sure), (-19.0, unsure)]
    made.memory.dismiss(first)
    await made.suggest(A, NEW, GateLevel.QUIET)
    assert explained(made)[1][0] == (2, "dismissed", DISMISSED)
    assert "75% or more" in explained(made)[1][1][2]


async def test_explanation_of_nearly_enough() -> None:
    """A probability that rounds to the required probability has one more digit."""
    made = edits(Reader({"mean(b)": 0.0, "mean(c)": -20.0}))
    await made.suggest(A, NEW)
    explanation = made.memory.explanation(A)
    assert explanation is not None
    explanation.judge(explanation.changes[0].change, 0.0, 0.498)
    assert explanation.changes[-1].reason == (
        "It is right with a probability of 49.8%; at this level 50.0% or more is required."
    )


async def test_explanations_of_changes_that_were_not_read() -> None:
    """Unread changes are explained by their number, by the time or by the model's refusal."""
    before = "x = total(a)\n\n" * 9
    after = before.replace("total", "mean", 1)
    reader = Reader()
    made = edits(reader, before, after)
    await made.suggest(A, after)
    assert [reason for _, outcome, reason in explained(made)[1] if outcome == "unread"] == [TOO_MANY.format(READ)] * 2
    assert explained(made)[0] == f"{READ} of 8 changes found are suggested. Not read: 2. {TOO_MANY.format(READ)}"
    made._clock = lambda: reader.seconds
    await made.suggest(A, after)
    assert explained(made)[1][2][1:] == ("unread", TOO_LATE.format(BUDGET_SECONDS))
    made = edits(Reader(failure=InvalidRequestError("Too long.")))
    await made.suggest(A, NEW)
    assert [one[1:] for one in explained(made)[1]] == [("unread", "Too long.")] * 2


async def test_evidence() -> None:
    """A rename of the only definition, or an edit made twice, adds to the reading."""
    before = "def total(a):\n    return a\n\nx = total(1)\n"
    made = edits(Reader({"mean": -5.0}), before, before.replace("total", "mean", 1))
    (one,) = await made.suggest(A, before.replace("total", "mean", 1))
    assert (one.change.evidence, one.log_odds) == (Evidence.UNDEFINED, -4.0)
    assert explained(made)[1][0][2].startswith("The old name has no definition left here. It is right with")
    made = edits(Reader())
    twice = "x = mean(a)\n\ny = mean(b)\n\nz = total(c)\n"
    made.history.note(A, twice)
    (one,) = await made.suggest(A, twice)
    assert one.change.evidence is Evidence.REPEATED


async def test_explanations_without_changes() -> None:
    """A request without changes has a reason: no edit, no repetition or a failure."""
    reader = Reader()
    made = NextEdits(EditHistory(), ModelChoice(reader))
    await made.suggest(A, NEW)
    assert explained(made) == (NO_EDIT, [])
    made = edits(reader, "a\n", "b\n")
    await made.suggest(A, "b\n")
    assert explained(made) == (NOT_REPEATED.format(1, "a.py"), [])
    for failure in (UnavailableError("The server is gone: start it."), QueueFullError("The queue is full.")):
        made = edits(Reader(failure=failure))
        with pytest.raises(type(failure)):
            await made.suggest(A, NEW)
        assert explained(made)[0] == str(failure)
