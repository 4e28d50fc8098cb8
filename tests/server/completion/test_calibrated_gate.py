"""Tests of the gate: a calibration weighs gain and risk, else thresholds decide."""

from __future__ import annotations

from dataclasses import replace
from math import exp, inf, isclose, log
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pellucid.completion.completer import Completer
from pellucid.completion.context.chunk_ring import ChunkRing
from pellucid.completion.context.prompt_context import PromptContext
from pellucid.completion.document_cursor import DocumentCursor
from pellucid.completion.explanation import Decision
from pellucid.completion.model_choice import UNKNOWN, ModelChoice
from pellucid.completion.settings import GateLevel
from pellucid.completion.shaping.ending_reasons import Ending
from pellucid.completion.shaping.parsed_cursor import ParsedCursor
from pellucid.completion.shaping.part_ends import part_ends
from pellucid.completion.suggestion import truncate
from pellucid.completion.trust.calibrated_gate import BY_CALIBRATION, LEAST_DOUBTFUL, Candidate, decide, doubtful_rest
from pellucid.completion.trust.calibration import Calibration, CalibrationKind, interpolated, logistic, logit
from pellucid.completion.trust.features import NAMES, VERSION, CursorFeatures, features, judged_entropy
from pellucid.completion.trust.session_adjustment import MAX_OFFSET, RATE, SessionAdjustment
from pellucid.completion.trust.threshold_gate import BY_HAND, BY_THRESHOLDS, THRESHOLDS, judge, measure
from pellucid.errors import ConfigError, NotFoundError
from pellucid.vocabulary.model_card import ModelCard
from pellucid.vocabulary.token import Token
from pellucid_lsp.editor_settings import EditorSettings
from support.editors.known_calibrations import COSTS, RAW, as_sent, doubtful
from support.editors.scripted_provider import MODEL, ScriptedProvider
from support.editors.token_factory import healed, joined, make_tokens, token

HERE = DocumentCursor("file:///a.py", "def add(a, b):\n    ret", "\n\nx = 1\n", "python")
LINE = (*make_tokens("urn", " a", " +", " b", p=0.8), *make_tokens("\n", "\n", "def"))


class CalibratedServer(ScriptedProvider):
    calibration: dict[str, Any] | None = None
    note: str | None = None

    async def cards(self) -> list[ModelCard]:
        (card,) = await super().cards()
        return [replace(card, calibration=self.calibration, calibration_note=self.note)]


def candidate(tokens: tuple[Token, ...], calibration: Calibration | None = RAW) -> Candidate:
    return Candidate(ParsedCursor(HERE), tokens, Ending.LINE, calibration)


def test_sure() -> None:
    """A suggestion that is probably right is shown whole, and the reason names the probability."""
    verdict = decide(candidate(make_tokens("urn", " a", p=0.8)), GateLevel.NORMAL)
    assert (verdict.length, verdict.by) == (len("urn a"), BY_CALIBRATION)
    assert verdict.reason == "It is right with a probability of 0.80, which is worth the risk at level normal."
    assert (round(verdict.values["right"], 6), round(verdict.values["gain"], 6)) == (0.8, 0.6)
    assert verdict.thresholds == {"gain": 0.0}


def test_unsure() -> None:
    """A suggestion without a part that is worth the risk is hidden."""
    verdict = decide(candidate(make_tokens("urn", " a", p=0.3)), GateLevel.NORMAL)
    assert verdict.length == 0
    assert verdict.reason == (
        "It is right with a probability of only 0.30: at level normal "
        "a wrong suggestion costs 1 times what a right one gains, "
        "and no part is worth that risk."
    )


def test_shortened() -> None:
    """A part is shown if the part gains more than the whole."""
    tokens = (*make_tokens("urn", " load", "(a)", ".na", p=0.9), token("me", 0.001), *make_tokens(" +", " b"))
    verdict = decide(candidate(tokens), GateLevel.NORMAL)
    assert joined(tokens)[: verdict.length] == "urn load(a)"
    assert verdict.reason == (
        "All of it is right with a probability of 0.34, the shown part with 0.90: that is worth more at level normal."
    )


def test_a_likely_whole_is_not_shortened_for_little_more_certainty() -> None:
    """A much shorter part that is hardly more probable is worth less than the whole."""
    tokens = make_tokens("urn", " value", ".", "name", " +", " b", p=0.9)
    assert decide(candidate(tokens), GateLevel.NORMAL).length == len(joined(tokens))


def test_a_certain_beginning_of_a_likely_whole() -> None:
    """A whole that is worth the risk is shortened if a long beginning is much more probable."""
    tokens = (*make_tokens("urn", " load", "(", "value", ".name", ")", p=0.999), token(".thing", 0.02))
    verdict = decide(candidate(tokens), GateLevel.NORMAL)
    whole = verdict.values["right"]
    assert whole - (1 - whole) * RAW.costs[GateLevel.NORMAL] > 0
    assert joined(tokens)[: verdict.length] == "urn load(value.name)"


def test_the_beginning_of_an_unfinished_suggestion() -> None:
    """A part before the end of an answer must be more probable than a whole suggestion."""
    tokens = make_tokens("urn", " a", p=0.7)
    part = replace(candidate(tokens), ending=Ending.PART)
    assert decide(candidate(tokens), GateLevel.NORMAL).length == len("urn a")
    assert decide(part, GateLevel.NORMAL).length == 0
    assert decide(replace(part, tokens=make_tokens("urn", " a", p=0.9)), GateLevel.NORMAL).length == len("urn a")


def test_a_part_is_judged_as_a_part() -> None:
    """The calibration judges an unfinished suggestion as a part, not as a whole."""
    weights = [-99.0 if name == "whole" else 0.0 for name in NAMES]
    numbers = (9.0, *weights, *[0.0] * len(NAMES), *[1.0] * len(NAMES))
    part = replace(
        candidate(make_tokens("urn", " a"), Calibration(CalibrationKind.LOGISTIC, numbers, RAW.costs, {})),
        ending=Ending.PART,
    )
    assert decide(part, GateLevel.NORMAL).length == len("urn a")


def test_levels() -> None:
    """A suggestion hidden at a level with a higher cost of errors is shown at a lower cost."""
    shown = [decide(candidate(make_tokens("urn", " a", p=0.4)), level).length > 0 for level in GateLevel]
    assert shown == [False, False, True]


def test_no_calibration() -> None:
    """Thresholds decide without a calibration, and the verdict names them."""
    verdict = decide(candidate(make_tokens("urn", " a", p=0.95), None), GateLevel.NORMAL)
    assert verdict.by == BY_THRESHOLDS
    assert verdict.reason == "Every probability is above its threshold."


@pytest.mark.parametrize("level", GateLevel)
@given(texts=st.lists(st.sampled_from(["return", " a", "\n", "    ", "(", "x", ""]), max_size=10), data=st.data())
def test_what_is_shown_is_worth_its_risk(level: GateLevel, texts: list[str], data: st.DataObject) -> None:
    """The shown part gains more than its cost, and no permitted part gains more."""
    tokens = tuple(token(text, data.draw(st.floats(1e-6, 1.0))) for text in ["go", *texts])
    text = joined(tokens)
    verdict = decide(candidate(tokens, doubtful()), level)
    at, cost = CursorFeatures.read(ParsedCursor(HERE)), doubtful().costs[level]
    gains = {}
    for length in (len(text), *part_ends(ParsedCursor(HERE), text)):
        p = doubtful().probability(features(truncate(tokens, length), at, Ending.LINE, whole=length == len(text)))
        gains[length] = p * length / len(text) - (1 - p) * cost
    assert gains.get(verdict.length, 0.0) == max(0.0, *gains.values())
    assert text[: verdict.length].strip() or not verdict.length


def completer(server: ScriptedProvider, models: ModelChoice | None = None, level: str = "normal") -> Completer:
    settings = EditorSettings.read({"completion": {"ahead": False, "level": level}})
    models = models or ModelChoice(cast("Any", server))
    return Completer(settings.completion, models, PromptContext(settings.context, ChunkRing(settings.context)))


async def test_the_server_tells() -> None:
    """The calibration on the model's card decides, and the explanation names the calibration."""
    server = CalibratedServer([LINE])
    server.calibration = as_sent(doubtful(-10.0))
    made = completer(server)
    assert await made.suggest(HERE) == []
    explanation = made.journal.explanations.find()
    assert explanation is not None
    assert explanation.verdict is not None
    assert (explanation.outcome, explanation.verdict.by) == (Decision.HIDDEN, BY_CALIBRATION)


async def test_asked_for_by_hand() -> None:
    """A suggestion that was requested by hand is shown however improbable it is."""
    server = CalibratedServer([LINE])
    server.calibration = as_sent(doubtful(-10.0))
    made = completer(server)
    assert (await made.suggest(HERE, invoked=True))[0].text == "urn a + b"
    explanation = made.journal.explanations.find()
    assert explanation is not None
    assert explanation.verdict is not None
    assert explanation.verdict.by == BY_HAND


@pytest.mark.parametrize(
    ("calibration", "note", "reason"),
    [
        (None, "It was made for other weights.", "It was made for other weights."),
        (None, None, "This model is not calibrated"),
        (as_sent() | {"kind": "psychic"}, None, "The calibration is damaged"),
    ],
)
async def test_why_not(calibration: dict[str, Any] | None, note: str | None, reason: str) -> None:
    """The reason why thresholds decide is known, and suggestions are made all the same."""
    server = CalibratedServer([LINE])
    server.calibration, server.note = calibration, note
    models = ModelChoice(cast("Any", server))
    assert models.gate(MODEL) == (BY_THRESHOLDS, UNKNOWN)
    (suggestion,) = await completer(server, models).suggest(HERE)
    assert suggestion.text == "urn a + b"
    assert models.calibration(MODEL) is None
    assert reason in models.gate(MODEL)[1]


async def test_kept_when_settings_change() -> None:
    """A completer of new settings knows the calibration before its first request."""
    server = CalibratedServer([LINE])
    models = ModelChoice(cast("Any", server))
    server.calibration = as_sent()
    await completer(server, models).suggest(HERE)
    assert models.calibration(MODEL) == RAW
    assert models.gate(MODEL)[0] == BY_CALIBRATION
    with pytest.raises(NotFoundError, match="has no model 'other'"):
        await ModelChoice(cast("Any", server), "other").find(cast("Any", server))


@pytest.mark.parametrize(("p", "shown"), [(0.5, True), (LEAST_DOUBTFUL - 0.01, False)])
def test_a_doubtful_rest_is_not_improbable(p: float, shown: bool) -> None:
    """A whole rest is shown as doubtful, or no rest if the whole is improbable."""
    found = candidate(make_tokens("urn", " load(a)", ".name", p=p))
    assert doubtful_rest(found, 11) == (len(".name") if shown else 0)


def values(mean: float = 0.25, **others: float) -> tuple[float, ...]:
    known = dict.fromkeys(NAMES, 0.0) | {"mean": log(mean)} | others
    return tuple(known[name] for name in NAMES)


def test_raw() -> None:
    """The raw probability is the geometric mean of the tokens' probabilities."""
    assert isclose(RAW.probability(values(0.25)), 0.25)


def test_platt() -> None:
    """The odds of the mean are scaled: a third of one to one is one to three."""
    assert isclose(doubtful().probability(values(0.5)), 0.25)


def test_isotonic() -> None:
    """Values are linear between two points, and constant beyond the last."""
    calibration = Calibration(CalibrationKind.ISOTONIC, (0.2, 0.4, 0.1, 0.5), COSTS, {})
    assert [round(calibration.probability(values(p)), 6) for p in (0.1, 0.2, 0.3, 0.4, 0.9)] == [
        0.1,
        0.1,
        0.3,
        0.5,
        0.5,
    ]
    assert interpolated(0.4, (0.2, 0.4), (0.1, 0.5)) == 0.5


def test_logistic_regression() -> None:
    """Each number is standardised, weighted and added."""
    size = len(NAMES)
    weights = [2.0] + [0.0] * (size - 1)
    calibration = Calibration(CalibrationKind.LOGISTIC, (1.0, *weights, *[log(0.5)] * size, *[0.5] * size), COSTS, {})
    assert isclose(calibration.probability(values(0.25)), 1 / (1 + exp(-(1 + 2 * log(0.5) / 0.5))))


def test_logit_inverts() -> None:
    """``logistic`` and ``logit`` are inverses, and finite at both ends."""
    assert isclose(logistic(logit(0.3)), 0.3)
    assert 0 < logistic(-inf) < logistic(inf) < 1 + 1e-12
    assert isclose(logit(0.0), -logit(1.0), rel_tol=1e-6)


@pytest.mark.parametrize("kind", list(CalibrationKind))
def test_round_trip(kind: CalibrationKind) -> None:
    """A calibration is read as written."""
    size = {
        CalibrationKind.RAW: 0,
        CalibrationKind.PLATT: 2,
        CalibrationKind.ISOTONIC: 6,
        CalibrationKind.LOGISTIC: 1 + 3 * len(NAMES),
    }[kind]
    calibration = Calibration(kind, tuple(float(number) for number in range(size)), COSTS, {"model": "m"})
    assert Calibration.read(as_sent(calibration)) == calibration


def without(*path: str) -> dict[str, Any]:
    record = as_sent(doubtful())
    inner = record
    for name in path[:-1]:
        inner = inner[name]
    del inner[path[-1]]
    return record


@pytest.mark.parametrize(
    ("record", "sentence"),
    [
        ({}, "The calibration is damaged .*: run pellucid calibrate again."),
        (without("costs", "normal"), "The calibration is damaged .*: run pellucid calibrate again."),
        (as_sent() | {"kind": "psychic"}, "The calibration is damaged .*: run pellucid calibrate again."),
        (as_sent() | {"numbers": [1.0]}, "its coefficients do not fit its kind"),
        (as_sent(doubtful()) | {"numbers": [1.0, inf]}, "its coefficients do not fit its kind"),
        (as_sent() | {"costs": {"quiet": -1, "normal": 1, "eager": 1}}, "its coefficients do not fit its kind"),
        (
            as_sent() | {"features": {"version": VERSION - 1, "names": list(NAMES)}},
            "was made by another version of Pellucid",
        ),
        (as_sent() | {"features": {"version": VERSION, "names": ["mood"]}}, "was made by another version of Pellucid"),
    ],
)
def test_refused(record: dict[str, Any], sentence: str) -> None:
    """A damaged calibration or a calibration of different features is refused with the remedy."""
    with pytest.raises(ConfigError, match=sentence):
        Calibration.read(record)


def ends_of(text: str) -> list[int]:
    """Return where the parts of a suggestion may end in a Python file."""
    return list(part_ends(ParsedCursor(DocumentCursor("untitled:1", "", "", "python")), text))


probabilities = st.floats(1e-6, 1.0)
texts = st.lists(st.sampled_from(["return", " a", " +", "\n", "    ", "(", "x", ")", ""]), max_size=12).map(
    lambda words: ["go", *words]
)


def test_sure_by_thresholds() -> None:
    """A suggestion of sure tokens is shown whole at every level."""
    tokens = make_tokens("return", " a", " +", " b", p=0.95)
    assert [judge(tokens, level).length for level in GateLevel] == [len("return a + b")] * 3


def test_values() -> None:
    """The values are the first probability, the geometric mean and the least probability."""
    values = measure((*make_tokens("a", p=0.5), *make_tokens("b", p=0.125), token("", 1e-3)))
    assert all(isclose(values[name], wanted) for name, wanted in {"first": 0.5, "mean": 0.25, "least": 0.125}.items())


def test_a_healed_token_counts_among_those_that_repeat_what_was_typed() -> None:
    """A healed word has its probability given the typed letters: 0.09 of 0.1 is 0.9."""
    tokens = (healed("mport", 0.09, 0.1, {"nput": 0.005}), *make_tokens(" os"))
    assert isclose(measure(tokens)["first"], 0.9)
    assert judge(tokens, GateLevel.NORMAL).length == len("mport os")
    assert judge((token("mport", 0.09), *make_tokens(" os")), GateLevel.NORMAL).length == 0


def test_unsure_first_token_hides_all() -> None:
    """Nothing is shown without a sure first token, and the reason names the token."""
    verdict = judge((token("return", 0.1), *make_tokens(" a", " +")), GateLevel.QUIET)
    assert verdict.length == 0
    assert "first token's probability is 0.10, below the 0.70 that level quiet requires" in verdict.reason


def test_shortened_to_whole_lines() -> None:
    """A weak token in a later line hides the line, and the lines before stay."""
    tokens = (*make_tokens("if", " a", ":", "\n", "    ", "return", " a"), token("x", 0.001), *make_tokens("\n", "b"))
    assert joined(tokens)[: judge(tokens, GateLevel.NORMAL, [5]).length] == "if a:"


def test_shortened_only_where_a_part_ends() -> None:
    """A weak token in the first line hides all after the last end of a part, or the whole."""
    tokens = (*make_tokens("load", "(", "a", ")", ".", "na"), token("me", 0.001), *make_tokens(" +", " b"))
    assert joined(tokens)[: judge(tokens, GateLevel.NORMAL, [7]).length] == "load(a)"
    assert judge(tokens, GateLevel.NORMAL).length == 0


@pytest.mark.parametrize("level", GateLevel)
@given(words=texts, data=st.data())
def test_what_is_shown_is_sure(level: GateLevel, words: list[str], data: st.DataObject) -> None:
    """The shown part is a beginning of the suggestion, not blank, and above the thresholds."""
    tokens = tuple(token(word, data.draw(probabilities)) for word in words)
    text = joined(tokens)
    verdict = judge(tokens, level, ends_of(text))
    assert text[: verdict.length].strip() or verdict.length == 0
    if verdict.length:
        values = measure(truncate(tokens, verdict.length))
        assert all(values[name] >= least for name, least in THRESHOLDS[level].items())


@given(words=texts, data=st.data())
def test_levels_are_ordered(words: list[str], data: st.DataObject) -> None:
    """A quieter level never shows text that a more eager level hides."""
    tokens = tuple(token(word, data.draw(probabilities)) for word in words)
    quiet, normal, eager = (judge(tokens, level, ends_of(joined(tokens))).length for level in GateLevel)
    assert quiet <= normal <= eager


LENIENT = Calibration(CalibrationKind.RAW, (), dict.fromkeys(GateLevel, 0.5), {})


def at(before: str, after: str = "\n", uri: str = "file:///a.py", selected: str = "") -> DocumentCursor:
    return DocumentCursor(uri, before, after, "python", selected=selected)


def after(typed: str, *, probability: float = 0.6) -> float:
    """Return the adjustment after "total + 1" was shown behind "x = " and this was typed."""
    adjustment = SessionAdjustment()
    adjustment.note_shown(at("x = "), "total + 1", probability)
    for length in range(len(typed) + 1):
        adjustment.note_cursor(at("x = " + typed[:length]))
    return adjustment.offset


def test_a_right_suggestion_raises() -> None:
    """An accepted or fully typed suggestion raises the logit by the probability's lack."""
    assert after("total + 1") == pytest.approx(RATE * 0.4)
    assert after("total + 1\ny = 2") == pytest.approx(RATE * 0.4)


def test_a_wrong_suggestion_lowers() -> None:
    """The first character that differs lowers the logit by the probability, once."""
    assert after("tot") == 0
    assert after("total - 1") == after("y") == pytest.approx(-RATE * 0.6)


@pytest.mark.parametrize(
    "cursor",
    [
        at("x"),
        at("y = 1\nx = t"),
        at("x = t", uri="file:///b.py"),
        at("x = \nnext", "\n"),
        at("x = \nnext line", "\n"),
        at("x = other", "\n", selected="other"),
    ],
    ids=["deleted", "changed above", "another document", "cursor moved down", "typed below", "item of a menu"],
)
def test_other_edits_tell_nothing(cursor: DocumentCursor) -> None:
    """Deleting, changing or typing elsewhere, moving, and choosing in a menu are no outcomes."""
    adjustment = SessionAdjustment()
    adjustment.note_shown(at("x = ", "\nnext\n"), "total + 1", 0.6)
    adjustment.note_cursor(cursor)
    assert adjustment.offset == 0


def test_a_bracket_that_the_editor_closes() -> None:
    """A closing bracket from the editor is not the user's answer."""
    adjustment = SessionAdjustment()
    adjustment.note_shown(at("x = f"), "(a)", 0.6)
    adjustment.note_cursor(at("x = f(", ")\n"))
    adjustment.note_cursor(at("x = f(a)", "\n"))
    assert adjustment.offset == pytest.approx(RATE * 0.4)


def test_undone_and_accepted_again() -> None:
    """The same suggestion at the same place counts once."""
    adjustment = SessionAdjustment()
    for _ in range(3):
        adjustment.note_shown(at("x = "), "total + 1", 0.6)
        adjustment.note_cursor(at("x = total + 1"))
    assert adjustment.offset == pytest.approx(RATE * 0.4)


def test_another_suggestion_at_the_same_place() -> None:
    """The suggestion shown last counts."""
    adjustment = SessionAdjustment()
    adjustment.note_shown(at("x = "), "alpha()", 0.6)
    adjustment.note_shown(at("x = "), "beta()", 0.6)
    adjustment.note_cursor(at("x = beta()"))
    assert adjustment.offset == pytest.approx(RATE * 0.4)


def test_closed_document() -> None:
    """The suggestion in a closed document is forgotten."""
    adjustment = SessionAdjustment()
    adjustment.note_shown(at(""), "import os", 0.6)
    adjustment.forget("file:///a.py")
    adjustment.note_cursor(at("x"))
    assert adjustment.offset == 0


def test_one_answer_counts_once() -> None:
    """The rest of a suggestion, offered again while typed, is the same suggestion."""
    adjustment = SessionAdjustment()
    for length in range(len("total + 1") + 1):
        cursor = at("x = " + "total + 1"[:length])
        adjustment.note_cursor(cursor)
        adjustment.note_shown(cursor, "total + 1"[length:] or "end", 0.6)
    assert adjustment.offset == pytest.approx(RATE * 0.4)


def test_adjustment_is_bounded() -> None:
    """The logit falls by at most ``MAX_OFFSET``, however often suggestions are wrong."""
    adjustment = SessionAdjustment()
    for number in range(100):
        adjustment.note_shown(at(f"{number}"), "a", 0.9)
        adjustment.note_cursor(at(f"{number}b"))
    assert adjustment.offset == -MAX_OFFSET


def test_the_gate_uses_it() -> None:
    """A doubtful suggestion is hidden after wrong suggestions; the verdict has the adjustment."""
    candidates = [
        Candidate(ParsedCursor(at("def f():\n    ret")), make_tokens("urn", " a", p=0.4), Ending.LINE, LENIENT, offset)
        for offset in (0.0, -0.5)
    ]
    kept, hidden = (decide(candidate, GateLevel.NORMAL) for candidate in candidates)
    assert kept.length == len("urn a")
    assert kept.probability == pytest.approx(0.4)
    assert hidden.length == 0
    assert hidden.values["right"] == pytest.approx(logistic(logit(0.4) - 0.5))
    assert hidden.values["session"] == -0.5


IN_A_WORD = DocumentCursor("file:///a.py", "def add(a, b):\n    total = a + b\n    ret", "\n\nx = 1\n", "python")


def numbers(
    cursor: DocumentCursor = IN_A_WORD, *texts: str, p: float = 0.5, ending: str = Ending.LINE, whole: bool = True
) -> dict[str, float]:
    tokens = make_tokens(*texts, p=p)
    return dict(
        zip(NAMES, features(tokens, CursorFeatures.read(ParsedCursor(cursor)), ending, whole=whole), strict=True)
    )


def test_probabilities() -> None:
    """Mean, least, first, last and sum are of logprobs, and margins of the best alternative."""
    tokens = (token("urn", 0.5), token(" total", 0.125))
    found = dict(
        zip(NAMES, features(tokens, CursorFeatures.read(ParsedCursor(IN_A_WORD)), Ending.LINE, whole=True), strict=True)
    )
    assert isclose(found["mean"], log(0.25))
    assert isclose(found["least"], log(0.125))
    assert isclose(found["first"], log(0.5))
    assert isclose(found["last"], log(0.125))
    assert isclose(found["sum"], log(0.0625))
    assert isclose(found["first margin"], log(0.5 / 0.05))
    assert isclose(found["worst margin"], log(0.125 / 0.05))


def test_a_healed_token() -> None:
    """A healed token's probability and margin are relative to the fitting tokens only."""
    tokens = (healed("mport", 0.06, 0.1, {"nput": 0.02}),)
    found = dict(
        zip(NAMES, features(tokens, CursorFeatures.read(ParsedCursor(IN_A_WORD)), Ending.LINE, whole=True), strict=True)
    )
    assert isclose(found["mean"], log(0.6))
    assert isclose(found["first margin"], log(0.06 / 0.02))


def test_shape() -> None:
    """Lengths are logarithms, and flags are 1 where true."""
    found = numbers(IN_A_WORD, "urn", " f(", "\n", "x", ending=Ending.LIMIT)
    assert isclose(found["characters"], log(1 + len("urn f(\nx")))
    assert (found["lines"], found["balanced"], found["cut off"], found["stopped"]) == (log(2), 0.0, 1.0, 0.0)
    assert numbers(IN_A_WORD, "urn", " f()")["balanced"] == 1.0


def test_cut_off_by_the_clock() -> None:
    """A suggestion cut off by time does not count as cut off, as replays have no time limit."""
    assert numbers(IN_A_WORD, "urn", "\n", ending=Ending.TIME) == numbers(IN_A_WORD, "urn", "\n", ending=Ending.SCOPE)
    assert numbers(IN_A_WORD, "urn", "\n", ending=Ending.LIMIT)["cut off"] == 1.0


def test_part() -> None:
    """A part of a suggestion has no ending."""
    found = numbers(IN_A_WORD, "urn", ending=Ending.STOP, whole=False)
    assert (found["whole"], found["stopped"]) == (0.0, 0.0)
    assert numbers(IN_A_WORD, "urn", ending=Ending.STOP)["stopped"] == 1.0


@pytest.mark.parametrize(
    ("cursor", "name", "value"),
    [
        (IN_A_WORD, "mid-word", 1.0),
        (IN_A_WORD, "no suffix", 0.0),
        (IN_A_WORD, "line start", 0.0),
        (IN_A_WORD, "in text", 0.0),
        (IN_A_WORD, "indentation", 0.1),
        (DocumentCursor("file:///a.py", "x = 1\n    ", "", "python"), "line start", 1.0),
        (DocumentCursor("file:///a.py", "x = 1\n    ", "", "python"), "no suffix", 1.0),
        (DocumentCursor("file:///a.py", "# to do: the ", "", "python"), "in text", 1.0),
        (DocumentCursor("file:///a.py", "    return total\n    ret", "", "python"), "like above", 1.0),
        (DocumentCursor("file:///a.py", "return total\nx = 1\nret", "", "python"), "seen before", 1.0),
        (DocumentCursor("file:///a.py", "return totals\nx = 1\nret", "", "python"), "seen before", 0.0),
    ],
)
def test_cursor(cursor: DocumentCursor, name: str, value: float) -> None:
    """The cursor's features are its position and whether the line occurred before."""
    assert isclose(numbers(cursor, "urn", " total")[name], value)


ENTROPIES = ("first entropy", "worst entropy", "all entropy")


def entropies(one: Token) -> list[float]:
    """Return the features of a suggestion of one token that depend on the entropy."""
    values = features((one,), CursorFeatures.read(ParsedCursor(IN_A_WORD)), Ending.LINE, whole=True)
    return [dict(zip(NAMES, values, strict=True))[name] for name in ENTROPIES]


def test_a_range_of_entropies_counts_with_its_middle() -> None:
    """A token with bounds of entropy is judged like a token with the middle as exact entropy."""
    bounded = replace(token("urn", 0.5), entropy=None, entropy_range=(1.0, 2.0))
    assert entropies(bounded) == entropies(replace(bounded, entropy=1.5, entropy_range=None))


def test_an_exact_entropy_counts_rather_than_a_range() -> None:
    """An exact entropy, even 0, is preferred to a range."""
    assert judged_entropy(replace(token("urn", 0.5), entropy=0.0, entropy_range=(1.0, 2.0))) == 0.0


@given(st.floats(0.001, 1.0), st.lists(st.floats(0.001, 1.0), min_size=1, max_size=50))
def test_an_unknown_entropy_claims_no_certainty(p: float, others: list[float]) -> None:
    """A token of unknown entropy is at least as unsure as any distribution with its probability."""
    shares = [p, *((1 - p) * share / sum(others) for share in others)]
    exact = -sum(share * log(share) for share in shares if share > 0)
    assert judged_entropy(replace(token("urn", p), entropy=None)) >= exact - 1e-9


def test_a_certain_token_of_unknown_entropy_is_certain() -> None:
    """A probability of 1 is certain although the entropy is unknown."""
    assert judged_entropy(replace(token("urn", 1.0), entropy=None)) == 0.0


def test_entropy_of_all_tokens() -> None:
    """The entropies of all tokens are added."""
    first, second = (replace(token(text, 0.5), entropy=entropy) for text, entropy in (("urn", 0.5), (" a", 1.5)))
    found = dict(
        zip(
            NAMES,
            features((first, second), CursorFeatures.read(ParsedCursor(IN_A_WORD)), Ending.LINE, whole=True),
            strict=True,
        )
    )
    assert isclose(found["all entropy"], log(1 + 2.0))


@pytest.mark.parametrize(
    ("texts", "unknown"),
    [
        # The document's ret makes return, a new name; total occurs.
        (["urn", " total"], 1),
        (["urn", " total", " +", " other", " +", " other"], 3),
        # Names of one or two characters are not counted.
        (["urn", " a", " +", " bb"], 1),
        # The document's ret stays a name, and both names occur.
        (["\n", "    x", " =", " add"], 0),
    ],
)
def test_unknown_names(texts: list[str], unknown: int) -> None:
    """Names that occur nowhere in the document are counted, including a name's typed beginning."""
    assert isclose(numbers(IN_A_WORD, *texts)["unknown names"], log(1 + unknown))


def test_a_long_line_without_blanks_takes_no_time() -> None:
    """Only the end of a long word left of the cursor is read."""
    found = numbers(DocumentCursor("file:///a.py", "x" * 1_000_000, "", "python"), "y")
    assert found["unknown names"] == log(2)


@given(texts=st.lists(st.sampled_from(["a", " b", "\n", "(", "é", ""]), min_size=1, max_size=8), p=st.floats(1e-9, 1.0))
def test_finite(texts: list[str], p: float) -> None:
    """Every number is finite for all tokens."""
    found = numbers(IN_A_WORD, "go", *texts, p=p)
    assert all(-40 < value < 40 for value in found.values())
