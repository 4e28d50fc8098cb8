"""Tests of the gate: a calibration weighs gain and risk, else thresholds decide."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pellucid.completion.completer import Completer
from pellucid.completion.context.chunk_ring import ChunkRing
from pellucid.completion.context.prompt_context import PromptContext
from pellucid.completion.explanation import Decision
from pellucid.completion.model_choice import UNKNOWN, ModelChoice
from pellucid.completion.settings import GateLevel
from pellucid.completion.shaping.ending_reasons import Ending
from pellucid.completion.shaping.parsed_cursor import ParsedCursor
from pellucid.completion.shaping.part_ends import part_ends
from pellucid.completion.suggestion import DocumentCursor, truncate
from pellucid.completion.trust.calibrated_gate import BY_CALIBRATION, LEAST_DOUBTFUL, Candidate, decide, doubtful_rest
from pellucid.completion.trust.calibration import Calibration, CalibrationKind
from pellucid.completion.trust.features import NAMES, CursorFeatures, features
from pellucid.completion.trust.threshold_gate import BY_HAND, BY_THRESHOLDS
from pellucid.errors import NotFoundError
from pellucid.vocabulary.model_card import ModelCard
from pellucid.vocabulary.token import Token
from pellucid_lsp.editor_settings import EditorSettings
from support.editors.known_calibrations import RAW, as_sent, doubtful
from support.editors.scripted_provider import MODEL, ScriptedProvider
from support.editors.token_factory import joined, make_tokens, token

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
