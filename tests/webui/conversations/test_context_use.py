"""Tests the count of the context used by a conversation."""

from __future__ import annotations

import pytest

from pellucid.vocabulary.finish import FinishReason, Usage
from pellucid_webui.conversations.context_use import of_path
from pellucid_webui.conversations.conversation import Node
from pellucid_webui.conversations.model_view import estimated_tokens
from pellucid_webui.conversations.turn_settings import TurnSettings


def node(id: int, role: str, usage: Usage | None = None) -> Node:
    return Node(id, id - 1 or None, role, "text", 0.0, model="tiny", end=FinishReason.STOP, usage=usage)


def test_the_last_answer_counts() -> None:
    """The use is the last answer's count and an estimate of the rest; the speed omits prefill."""
    first, last = Usage(computed=10, generated=5), Usage(cached=15, computed=10, generated=9, decode=2.0)
    path = [node(1, "user"), node(2, "assistant", first), node(3, "user"), node(4, "assistant", last), node(5, "user")]
    assert of_path(path[:4], TurnSettings()) == {"model": "tiny", "tokens": 34, "rate": 4.0}
    assert of_path(path, TurnSettings()) == {
        "model": "tiny",
        "tokens": estimated_tokens(path, TurnSettings()),
        "rate": 4.0,
    }
    assert estimated_tokens(path, TurnSettings()) > 34


def test_an_answer_that_was_refused() -> None:
    """After an answer without a count, the estimate is based on the answer before."""
    path = [
        node(1, "user"),
        node(2, "assistant", Usage(computed=10, generated=1)),
        node(3, "user"),
        node(4, "assistant", Usage()),
    ]
    assert of_path(path, TurnSettings()) == {
        "model": "tiny",
        "tokens": estimated_tokens(path, TurnSettings()),
        "rate": None,
    }


@pytest.mark.parametrize("usage", [None, Usage()])
def test_no_answer_was_counted(usage: Usage | None) -> None:
    """Without a counted answer, the estimate is based on the length of the messages."""
    path = [node(1, "user"), node(2, "assistant", usage)]
    for end in (1, 2):
        assert of_path(path[:end], TurnSettings()) == {
            "model": "",
            "tokens": estimated_tokens(path[:end], TurnSettings()),
            "rate": None,
        }
        assert estimated_tokens(path[:end], TurnSettings()) > 0
    assert of_path([], TurnSettings()) is None
