"""vLLM's route for token ids, on recorded answers (tests/support/fleet/record_vllm.py)."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from pellucid.engine.request import Request
from pellucid.errors import InvalidRequestError
from pellucid.fleet.vllm_wire import (
    EngineFailureError,
    MalformedAnswerError,
    WireToken,
    check_params,
    error_of,
    generate_body,
    read_body,
    read_event,
    read_prompt_scores,
    sampled_probability,
    token_score,
)
from pellucid.vocabulary.query import CHAT, SamplingParams

ANSWERS: dict[str, Any] = json.loads(Path(__file__).with_name("vllm_answers.json").read_text(encoding="utf-8"))
PROMPT = [1604, 803, 24, 81, 28, 278, 727]
VOCAB = 49152


def events(name: str) -> list[dict[str, Any]]:
    lines = [line.removeprefix("data: ") for line in ANSWERS[name]["text"].splitlines() if line]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


def test_a_stream_of_tokens() -> None:
    """Each event has a token with rank and alternatives; the usage follows the finished event."""
    read = [read_event(event, VOCAB) for event in events("greedy")]
    assert [len(event.tokens) for event in read] == [1, 1, 1, 0]
    assert [event.finished for event in read] == [False, False, True, False]
    assert read[-1].cached is not None
    (token,) = read[0].tokens
    assert (token.rank, token.top[0], len(token.top)) == (1, (token.id, token.logprob), 20)
    assert list(token.top) == sorted(token.top, key=lambda one: -one[1])


def test_the_stop_token_is_no_token_of_the_answer() -> None:
    """A stop token is named by the event, and is no token of the answer."""
    read = [read_event(event, VOCAB) for event in events("stopped")]
    last = next(event for event in read if event.finished)
    assert (last.stop_id, last.tokens) == (198, ())
    assert all(token.id != 198 for event in read for token in event.tokens)


def test_a_token_outside_the_alternatives() -> None:
    """A token outside of the best tokens keeps the rank, and is no alternative."""
    ((token,), *_) = (read_event(event, VOCAB).tokens for event in events("outside the alternatives"))
    assert token.rank > 1000
    assert token.id not in dict(token.top)
    score = token_score(token, 7, VOCAB, 1)
    assert score.top == token.top[:1]
    assert score.rest == pytest.approx(1 - math.exp(token.top[0][1]))
    assert score.entropy is None
    assert score.entropy_range is not None


def test_a_prompt_that_was_read() -> None:
    """A prompt's first token has no scores; later tokens have scores and sorted alternatives."""
    tokens, cached = read_prompt_scores(json.loads(ANSWERS["read"]["text"]), PROMPT, VOCAB)
    assert tokens[0] is None
    assert [token.id for token in tokens if token] == PROMPT[1:]
    assert (tokens[1].rank if tokens[1] else 0, cached) == (132, 0)
    assert all(token.top == tuple(sorted(token.top, key=lambda one: -one[1])) for token in tokens if token)


@pytest.mark.parametrize("name", ["too many alternatives", "unknown token", "too hot"])
def test_errors_are_sentences(name: str) -> None:
    """The message of an error is passed on."""
    assert ANSWERS[name]["status"] == 400
    assert len(error_of(json.loads(ANSWERS[name]["text"]))) > 20


def test_an_error_in_a_stream() -> None:
    """An error event is a failure of the engine, despite the status 200."""
    with pytest.raises(EngineFailureError, match="EngineCore encountered an issue"):
        read_event(
            {"error": {"message": "EngineCore encountered an issue.", "type": "InternalServerError", "code": 500}},
            VOCAB,
        )


@pytest.mark.parametrize(("reason", "stop"), [("abort", None), ("error", None), ("stop", None)])
def test_an_answer_that_the_engine_ends(reason: str, stop: int | None) -> None:
    """An answer that ends without a valid reason is a failure of the engine."""
    choice: dict[str, Any] = {"token_ids": [], "logprobs": None, "finish_reason": reason, "stop_reason": stop}
    with pytest.raises(EngineFailureError, match="ended an answer early"):
        read_event({"choices": [choice]}, VOCAB)


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"choices": [{}]},
        {"choices": [{"token_ids": [1], "logprobs": None, "finish_reason": None, "stop_reason": None}]},
        {"choices": [{"token_ids": ["a"], "logprobs": {"content": ["b"]}, "finish_reason": None, "stop_reason": None}]},
    ],
)
def test_an_event_of_another_form(event: dict[str, Any]) -> None:
    """An event of another form is refused."""
    with pytest.raises(MalformedAnswerError):
        read_event(event, VOCAB)


WRONG: dict[str, dict[str, Any]] = {
    "an id outside the vocabulary": {"token_id": VOCAB},
    "a negative id": {"token_id": -1},
    "an id that is a text": {"token_id": "472"},
    "no rank": {"rank": 0},
    "an infinite rank": {"rank": math.inf},
    "a logprob above 0": {"logprob": 1e6},
    "a logprob that is not a number": {"logprob": math.nan},
    "an infinite logprob": {"logprob": -math.inf},
}


@pytest.mark.parametrize("name", WRONG)
def test_values_that_cannot_be(name: str) -> None:
    """A token with impossible scores is refused."""
    event = events("greedy")[0]
    content = event["choices"][0]["logprobs"]["content"][0]
    content |= WRONG[name]
    event["choices"][0]["token_ids"] = [content["token_id"]]
    with pytest.raises(MalformedAnswerError):
        read_event(event, VOCAB)


def test_words_of_an_engine() -> None:
    """An engine's message is shortened and has no control characters."""
    shown = error_of({"error": {"message": "\x1b[31m" + "no " * 5000}})
    assert shown.startswith("[31mno no")
    assert len(shown) <= 300


def test_scores_of_another_prompt() -> None:
    """Scores of another prompt's tokens are refused."""
    with pytest.raises(MalformedAnswerError):
        read_prompt_scores(json.loads(ANSWERS["read"]["text"]), [*PROMPT[:-1], 5], VOCAB)


def test_a_body_continues_what_came() -> None:
    """A resumed answer has a longer prompt and another seed, to avoid the same random numbers."""
    request = Request([1, 2], SamplingParams(max_tokens=9, temperature=1.0, seed=5), CHAT, frozenset({7}))
    first, later = generate_body("m", request, [], 9), generate_body("m", request, [3, 4], 7)
    assert (first["token_ids"], later["token_ids"]) == ([1, 2], [1, 2, 3, 4])
    assert first["sampling_params"]["seed"] == 5 != later["sampling_params"]["seed"]
    assert later["sampling_params"]["max_tokens"] == 7
    assert first["sampling_params"]["stop_token_ids"] == [7]
    assert first["priority"] == 1
    assert first["sampling_params"]["logprobs"] == 22


def test_no_field_skips_the_reading_of_the_cache() -> None:
    """A body has only needed fields.

    With ``skip_reading_prefix_cache``, vLLM returns uninitialised memory as scores.
    """
    request = Request([1, 2], SamplingParams(max_tokens=9))
    assert set(read_body("m", request)["sampling_params"]) == {
        "temperature",
        "max_tokens",
        "prompt_logprobs",
        "detokenize",
    }
    plain = {"temperature", "max_tokens", "logprobs", "stop_token_ids", "ignore_eos", "detokenize"}
    assert set(generate_body("m", request, [], 9)["sampling_params"]) == plain


def test_ignoring_the_end() -> None:
    """With ``ignore_eos`` no token stops an answer."""
    request = Request([1], SamplingParams(max_tokens=9, ignore_eos=True), stop_ids=frozenset({7}))
    assert generate_body("m", request, [], 9)["sampling_params"]["stop_token_ids"] == []


def test_a_temperature_that_vllm_refuses() -> None:
    """A temperature above vLLM's limit is refused with the limit."""
    check_params(SamplingParams(temperature=2.0))
    with pytest.raises(InvalidRequestError, match="supports at most 2"):
        check_params(SamplingParams(temperature=2.1))


TOKEN = WireToken(5, math.log(0.2), 2, ((4, math.log(0.6)), (5, math.log(0.2)), (6, math.log(0.1))))


@pytest.mark.parametrize(
    ("params", "probability"),
    [
        (SamplingParams(), 1.0),
        (SamplingParams(temperature=1.0), None),
        (SamplingParams(temperature=1.0, top_k=3), 0.2 / 0.9),
        (SamplingParams(temperature=1.0, top_k=2), 0.25),
        (SamplingParams(temperature=0.5, top_k=2), 0.04 / 0.4),
        (SamplingParams(temperature=1.0, top_k=3, top_p=0.8), 0.25),
        (SamplingParams(temperature=1.0, top_k=3, min_p=0.3), 0.25),
        (SamplingParams(temperature=1.0, top_k=3, min_p=0.3, top_p=0.7), None),
        (SamplingParams(temperature=1.0, top_k=4), None),
        (SamplingParams(temperature=1.0, top_k=3, repetition_penalty=1.1), None),
        (SamplingParams(temperature=1.0, top_k=3, logit_bias={4: 1.0}), None),
    ],
)
def test_the_probability_of_a_draw(params: SamplingParams, probability: float | None) -> None:
    """The probability of a draw is None unless all drawable tokens are reported."""
    found = sampled_probability(TOKEN, params)
    assert found == (None if probability is None else pytest.approx(probability))
