"""Tests corresponding places of answers, and their scores under other columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import inf, log

import pytest

from pellucid.vocabulary.token import Alternative, Token
from pellucid_webui.conversations.turn_settings import TurnSettings
from pellucid_webui.inspection.compared_places import OWN, SAMPLED, ComparedPlaces
from pellucid_webui.inspection.comparison import Column, ComparedText, Comparison
from pellucid_webui.inspection.model_divergence import Bounds
from support.page.scripted_assistant import tokens

GREEDY = TurnSettings(model="m", temperature=0.0)
WARM = replace(GREEDY, temperature=1.0)
OTHER = replace(GREEDY, model="other")


def choice(text: str, id: int = 1, **others: float) -> Token:
    """Return a token with this complete distribution; ``own`` is the probability of the token."""
    shares = {text: others.pop("own"), **others}
    ranked = sorted(shares, key=lambda word: -shares[word])
    top = tuple(
        Alternative(id if word == text else 50 + ranked.index(word), word, word.encode(), log(shares[word]))
        for word in ranked
    )
    return Token(id, text, text.encode(), 0, log(shares[text]), ranked.index(text) + 1, 0.5, top, rest=0.0)


def places(
    a: Sequence[Token], b: Sequence[Token], settings: tuple[TurnSettings, TurnSettings], **read: Sequence[Token]
) -> ComparedPlaces:
    """Return the places of two answers; ``read_a`` is A's answer read by B, ``read_b`` B's by A."""
    columns = [
        Column(letter, one, tokens=list(found)) for letter, one, found in zip("AB", settings, (a, b), strict=True)
    ]
    texts = [ComparedText(column.letter, column.text, {at: column.tokens}) for at, column in enumerate(columns)]
    for at, name in enumerate(("read_a", "read_b")):
        if name in read:
            texts[at].tokens[1 - at] = list(read[name])
    return ComparedPlaces(Comparison("Say it.", "", columns, ended=True, texts=texts))


def test_the_same_place() -> None:
    """Equal words share a place, and a replaced word has the place of the replacement."""
    found = places(tokens("It", " is", " red", "."), tokens("So", " it", " is", " blue", "."), (GREEDY, OTHER))
    assert found.linked_ranges(0, 1)[1:] == [(2, 3), (3, 4), (4, 5)]
    assert found.linked_ranges(1, 0)[2:] == [(1, 2), (2, 3), (3, 4)]
    assert found.apart(0) == [(0, 1), (2, 3)]


def test_an_insertion() -> None:
    """An inserted word is at the place between two tokens of the other answer."""
    found = places(tokens("It", "!", " red"), tokens("It", " red"), (GREEDY, OTHER))
    assert found.linked_ranges(0, 1) == [(0, 1), (1, 1), (1, 2)]
    assert found.apart(1) == []


def test_other_tokens() -> None:
    """Under another tokenization, a segment has a log ratio, and inner places no divergence."""
    own = [replace(one, logprob=-1.0) for one in tokens("wo", "rd", "s")]
    read = [replace(one, logprob=-0.5) for one in tokens("word", "s")]
    found = places(own, tokens("x"), (GREEDY, OTHER), read_a=read)
    first, second, third = found.links(0, 1)
    assert [(one.token, one.segment) for one in (first, second, third)] == [(0, (0, 2)), (None, (0, 2)), (1, (2, 3))]
    assert first.views[OWN].ratio == second.views[OWN].ratio == Bounds(-1.5, -1.5)
    assert second.views[OWN].kl is None


def test_the_temperature() -> None:
    """At two temperatures a model's own distributions agree, and the sampled ones do not."""
    said = [choice("red", own=0.2, blue=0.8)]
    found = places(said, said, (GREEDY, WARM), read_a=said, read_b=said)
    (greedy,), (warm,) = found.links(0, 1), found.links(1, 0)
    assert greedy.views[OWN].ratio == Bounds(0.0, 0.0)
    own, sampled = greedy.views[OWN].kl, greedy.views[SAMPLED].kl
    assert own is not None
    assert sampled is not None
    assert own.high == pytest.approx(0, abs=1e-6)
    assert greedy.views[SAMPLED].ratio == Bounds(-inf, -inf)
    assert warm.views[SAMPLED].ratio == Bounds(inf, inf)
    assert sampled.low == pytest.approx(-log(0.8))
    assert warm.views[SAMPLED].kl == Bounds(inf, inf)


def test_opposite_sides() -> None:
    """Exchanged columns give the opposite log ratio, so that a colour identifies a column."""
    one, less = (
        [replace(token, logprob=-0.25) for token in tokens("x")],
        [replace(token, logprob=-1.25) for token in tokens("x")],
    )
    found = places(one, less, (GREEDY, OTHER), read_a=less, read_b=one)
    (here,), (there,) = found.links(0, 1), found.links(1, 0)
    assert here.views[OWN].ratio == Bounds(1.0, 1.0)
    assert there.views[OWN].ratio == Bounds(-1.0, -1.0)


def test_vocabularies() -> None:
    """An id with two spellings means different vocabularies, except for the same model."""
    a, b = tokens("x", "y"), [replace(one, id=one.id + 5) for one in tokens("x", "z")]
    assert (0, 1) not in places(a, b, (GREEDY, OTHER)).same_vocabulary
    assert (0, 1) in places(a, a, (GREEDY, OTHER)).same_vocabulary
    assert (0, 1) in places(a, b, (GREEDY, WARM)).same_vocabulary


def test_not_scored() -> None:
    """An answer not scored by a column has no places in this column."""
    assert places(tokens("x"), tokens("y"), (GREEDY, OTHER)).links(0, 1) == []
