"""Tests of stop strings: an answer ends before the stop, however split into tokens."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pellucid.code.brackets import is_balanced
from pellucid.text import suffix_stop
from pellucid.text.stopping import EndingRule, StopGate, StopStrings
from pellucid.text.suffix_stop import MAX_SPACE, SuffixStop
from pellucid.vocabulary.finish import FinishReason
from pellucid.vocabulary.token import Token


def tokens(*texts: str) -> list[Token]:
    return [Token(index, text, text.encode(), index, -1.0, 1, 0.5) for index, text in enumerate(texts)]


def through(gate: StopGate, *texts: str) -> list[str]:
    return [token.text for token in [*gate.feed(tokens(*texts)), *gate.finish()]]


@pytest.mark.parametrize(
    ("stops", "texts", "kept", "matched"),
    [
        (["\n\n"], ["a\n", "\nb"], "a", "\n\n"),
        (["END"], ["aE", "N", "Db"], "a", "END"),
        (["END"], ["aE", "N", "Ob"], "aENOb", None),
        (["END"], ["aEN"], "aEN", None),
        (["b", "abc"], ["abc"], "a", "b"),
        (["cd", "abcd"], ["abcd"], "", "abcd"),
        (["aab"], ["aa", "ab"], "a", "aab"),
        ([""], ["ab"], "ab", None),
        ([], ["ab"], "ab", None),
    ],
)
def test_stop_strings_end_before_the_first_that_is_complete(
    stops: list[str], texts: list[str], kept: str, matched: str | None
) -> None:
    """The stop completed first ends the answer, also across pieces; an incomplete stop is text."""
    ending = StopStrings(stops)
    generated = ""
    for text in texts:
        generated += ending.feed(text)
        if ending.ended:
            break
    generated += ending.finish()
    assert (generated, ending.matched, ending.ended) == (kept, matched, matched is not None)


def test_only_what_may_become_a_stop_is_kept_back() -> None:
    """Text is returned at once except for the beginning of a stop at its end."""
    ending = StopStrings(["<end>"])
    assert ending.feed("a < b <e") == "a < b "
    assert ending.feed("m>") == "<em>"


ABC = st.text("abc", max_size=4)


@given(stops=st.lists(ABC, max_size=3), pieces=st.lists(ABC, max_size=8))
def test_the_pieces_do_not_matter(stops: list[str], pieces: list[str]) -> None:
    """Kept text and stop do not depend on the pieces, and the kept text has no stop."""
    whole, split = StopGate([StopStrings(stops)]), StopGate([StopStrings(stops)])
    kept = "".join(through(whole, "".join(pieces)))
    assert "".join(through(split, *pieces)) == kept
    assert (whole.reason, whole.stop) == (split.reason, split.stop)
    assert not any(stop and stop in kept for stop in stops)


@given(pieces=st.lists(ABC, max_size=8))
def test_a_gate_without_endings_lets_every_token_through(pieces: list[str]) -> None:
    """Tokens pass unchanged without endings, even tokens without text."""
    assert StopGate([]).feed(tokens(*pieces)) == tokens(*pieces)


def test_the_last_token_is_cut_and_those_in_the_stop_are_not_given() -> None:
    """A token partly in the answer keeps its bytes and loses the text beyond, and the rest goes."""
    gate = StopGate([StopStrings(["\n\n"])])
    out = gate.feed(tokens("a", "b\n", "\n", "c"))
    assert [(token.text, token.bytes) for token in out] == [("a", b"a"), ("b", b"b\n")]
    assert (gate.reason, gate.stop) == (FinishReason.STOP, "\n\n")
    assert gate.feed(tokens("d")) == gate.finish() == []


def test_kept_tokens_come_in_order_when_no_stop_comes() -> None:
    """Held tokens are returned when known to be text, or at the end."""
    gate = StopGate([StopStrings(["abc"])])
    assert [token.text for token in gate.feed(tokens("xa", "b"))] == []
    assert [token.text for token in gate.feed(tokens("d"))] == ["xa", "b", "d"]
    assert [token.text for token in gate.feed(tokens("ab"))] == []
    assert [token.text for token in gate.finish()] == ["ab"]
    assert gate.reason is None


def test_a_limit_closes_the_gate() -> None:
    """After ``limit`` tokens the gate closes with the reason length."""
    gate = StopGate([StopStrings(["bx"])])
    gate.limit = 2
    assert [token.text for token in gate.feed(tokens("a", "b", "c"))] == ["a", "b"]
    assert (gate.reason, gate.stop) == (FinishReason.LENGTH, None)


@pytest.mark.parametrize(
    ("texts", "kept", "stop"),
    [
        (["x = 1", "#stop"], "x = 1", "#stop"),
        (["x = 1\n", "return x\n", "#stop"], "x = 1", None),
        (["x = 1\nreturn x\n#stop"], "x = 1", None),
        (["x = 1\nreturn x", "#stop"], "x = 1\nreturn x"[:5], "#stop"),
    ],
)
def test_endings_work_one_behind_another(texts: list[str], kept: str, stop: str | None) -> None:
    """The first ending in the text ends the answer, and later endings trim the text before."""
    endings: list[EndingRule] = [StopStrings(["#stop"]), SuffixStop("", "\nreturn x\n")]
    gate = StopGate(endings)
    assert "".join(through(gate, *texts)) == kept
    assert (gate.reason, gate.stop) == (FinishReason.STOP, stop)


def test_a_minified_file_is_not_read_again_for_each_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the text near the cursor is compared in long lines, and the answer still ends."""
    looked_at: list[int] = []

    def balanced(text: str) -> bool:
        looked_at.append(len(text))
        return is_balanced(text)

    monkeypatch.setattr(suffix_stop, "is_balanced", balanced)
    ending = SuffixStop("f(1);" * 200_000 + "g(", ");\n" + "h(2);" * 200_000 + "\n" + "i(3);" * 200_000)
    assert ending.feed("x") + ending.feed(");\n") + ending.finish() == "x"
    assert ending.ended
    assert looked_at
    assert max(looked_at) < 5_000


def test_white_space_without_end_is_not_kept_back() -> None:
    """Endless white space is returned, although a line of the suffix might still follow."""
    ending = SuffixStop("def f():\n    ", "\n    return 1\n")
    given = [ending.feed(" ") for _ in range(2 * MAX_SPACE)]

    assert "".join(given) == " " * (2 * MAX_SPACE)
    assert not any(given[: MAX_SPACE - len("    ")])


@given(
    st.text(" \nx", max_size=8),
    st.lists(st.sampled_from([" ", " " * 30, "\n", "\r\n", "    return 1", "x", " " * (MAX_SPACE + 5)]), max_size=12),
    st.data(),
)
def test_the_pieces_of_white_space_do_not_matter(start: str, pieces: list[str], data: st.DataObject) -> None:
    """With any amount of white space the kept text does not depend on the pieces."""
    text = start + "".join(pieces)
    at = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=5)))
    cuts = [text[begin:end] for begin, end in zip([0, *at], [*at, len(text)], strict=True)]

    assert answer_of(cuts) == answer_of([text]) == answer_of(list(text))


def answer_of(pieces: list[str]) -> str:
    """Return the kept text of an answer before the end of a function."""
    ending = SuffixStop("def f():\n    ", "\n    return 1\n")
    found = ""
    for piece in pieces:
        found += ending.feed(piece)
        if ending.ended:
            return found
    return found + ending.finish()
