"""Prompt lookup: the occasions and the contents of guesses."""

from __future__ import annotations

from pellucid.engine.prompt_lookup import LONG_GUESS_TOKENS, SHORT_GUESS_TOKENS, Lookup

TEXT = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]


def test_what_followed_before_is_guessed() -> None:
    """After repeated tokens, the guess is the text after the earlier occurrence, at first short."""
    assert Lookup(64).guess([*TEXT, 50, 2, 3], 10) == [4, 5, 6]
    assert SHORT_GUESS_TOKENS == 3


def test_the_longest_match_wins_and_of_equals_the_latest() -> None:
    """The longest match is used, and of equally long matches the latest."""
    assert Lookup(64).guess([7, 1, 2, 30, 8, 1, 2, 40, 7, 1, 2], 1) == [30]
    assert Lookup(64).guess([1, 2, 30, 1, 2, 40, 1, 2], 1) == [40]


def test_nothing_new_is_guessed() -> None:
    """Without an earlier occurrence of the last two tokens there is no guess."""
    for ids in ([1], [1, 2], [1, 2, 3], [*TEXT, 3, 2]):
        assert Lookup(64).guess(ids, 10) == []


def test_no_more_than_asked_for() -> None:
    """A guess is no longer than the limit or than the source text."""
    assert Lookup(64).guess([*TEXT, 2, 3], 2) == [4, 5]
    assert Lookup(64).guess([*TEXT, 2, 3], 0) == []
    assert Lookup(64).guess([1, 2, 1, 2], 5) == [1, 2]


def test_guesses_grow_while_they_are_right() -> None:
    """A completely right guess is followed by a long guess, any wrong guess by a short guess."""
    lookup, ids = Lookup(64), [*TEXT, 2, 3]
    lookup.learn(3, 3)
    assert len(lookup.guess(ids, 20)) == LONG_GUESS_TOKENS
    lookup.learn(7, 6)
    assert len(lookup.guess(ids, 20)) == SHORT_GUESS_TOKENS


def test_guesses_that_save_nothing_stop() -> None:
    """After wrong guesses only a long match is guessed, until a right guess restores the rule."""
    lookup, ids = Lookup(64), [*TEXT, 2, 3]
    for _ in range(6):
        lookup.learn(3, 0)
    assert lookup.guess(ids, 10) == []
    ids += [4, 5, 6, 7]
    assert lookup.guess(ids, 10) == [8, 9, 10]
    lookup.learn(3, 3)
    assert Lookup(64).guess([*TEXT, 2, 3], 10)
    assert lookup.guess([*ids, 70, 2, 3], 10)


PROMPT = [20, 21, 22, *TEXT]


def answered(lookup: Lookup, answer: list[int]) -> list[bool]:
    """Return for each token of an answer, after a guess, whether the token was predicted."""
    followed = []
    for count, id in enumerate(answer):
        lookup.guess([*PROMPT, *answer[:count]], 10)
        followed.append(lookup.follows(id))
    return followed


def test_a_prediction_is_guessed() -> None:
    """A prediction is guessed from the answer's beginning on, even if the prompt lacks the text."""
    lookup = Lookup(64, [31, 32, 33, 34, 35, 36])
    assert answered(lookup, [31]) == [True]
    assert lookup.guess([*PROMPT, 31], 10) == [32, 33, 34]


def test_a_guess_ends_with_the_prediction() -> None:
    """After the end of the prediction, earlier text is looked up as usual."""
    lookup = Lookup(64, [31, 2, 3])
    answered(lookup, [31, 2])
    assert lookup.guess([*PROMPT, 31, 2], 10) == [3]
    lookup.follows(3)
    assert lookup.guess([*PROMPT, 31, 2, 3], 10) == [4, 5, 6]


def test_an_answer_leaves_its_prediction_and_returns() -> None:
    """Two predicted tokens in a row lead back to the prediction, before any text of the prompt."""
    lookup = Lookup(64, TEXT)
    assert answered(lookup, [1, 2, 90, 4, 5, 6]) == [True, True, False, False, False, True]
    assert lookup.guess([*PROMPT, 1, 2, 90, 4, 5, 6], 10) == [7, 8, 9]


def test_no_token_of_a_prediction_counts_twice() -> None:
    """An answer that repeats a part of the prediction does not move back in the prediction."""
    assert sum(answered(Lookup(64, [1, 2, 3]), [1, 2, 3, 1, 2, 3, 1, 2, 3])) == 3
