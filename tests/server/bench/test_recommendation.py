"""The recommended model is the largest model for the machine, and the losses are stated."""

from __future__ import annotations

import pytest

from pellucid.bench.recommendation import recommendation
from pellucid.models.catalog import DEFAULT_MODEL, catalog
from pellucid.serving.saved_speeds import Speed

GIGABYTE = 10**9


def speeds(seconds_per_billion: float) -> dict[str, Speed]:
    """Return speeds in proportion to the size, an 8-bit model a little slower."""
    return {
        entry.name: Speed(
            seconds_per_billion * entry.shape.parameters / 10**9 * (1 + entry.shape.bits / 100),
            None,
            entry.weight_bytes(),
            estimated=True,
        )
        for entry in catalog().values()
    }


def told(seconds_per_billion: float, free: int | None = None) -> list[str]:
    return list(recommendation(speeds(seconds_per_billion), free, 8192))


def test_largest_fast_model() -> None:
    """The largest fast model is named with the next larger model and the tried model."""
    assert told(0.4) == [
        "qwen2.5-coder-1.5b-instruct: about 0.64 s a keystroke, 1.5 GB of memory, not tried where Pellucid is "
        "developed, licence Apache-2.0.",
        "Given up: qwen2.5-coder-3b-instruct, the next larger model: about 1.28 s a keystroke, licence "
        "Qwen-Research, which does not allow commercial use.",
        f"The largest tried model is {DEFAULT_MODEL}: about 0.21 s a keystroke, licence Apache-2.0.",
        "Use it: pellucid serve --model qwen2.5-coder-1.5b-instruct",
    ]


def test_licence_before_size() -> None:
    """A fast model whose licence forbids commercial use is given up, not recommended."""
    chosen, given_up, *_ = told(0.3)

    assert chosen.startswith("qwen2.5-coder-1.5b-instruct: ")
    assert "3b-instruct, the next larger model: about 0.96 s a keystroke, " in given_up
    assert given_up.endswith("Qwen-Research, which does not allow commercial use.")


def test_tried_before_untried() -> None:
    """Of models of the same size, the tried model is recommended, as tried."""
    chosen, given_up, command = told(0.9)

    assert chosen.startswith(f"{DEFAULT_MODEL}: about 0.46 s a keystroke, 592 MB of memory, tried, licence Apache")
    assert given_up == (
        "Given up: qwen2.5-coder-1.5b-instruct, the next larger model: about 1.44 s a keystroke, "
        "not tried where Pellucid is developed."
    )
    assert command == f"Use it: pellucid serve --model {DEFAULT_MODEL}"


@pytest.mark.parametrize("free", [2 * GIGABYTE, GIGABYTE // 2])
def test_memory(free: int) -> None:
    """Only models that fit with the cache are recommended; if no model fits, a remedy is named."""
    chosen, *more = told(0.01, free)

    if free < GIGABYTE:
        assert (chosen, more) == ("No model fits into the free memory: close other programs, and try again.", [])
    else:
        assert chosen.startswith("qwen2.5-coder-1.5b-instruct: ")
        assert "2.6 GB do not fit into the free memory" in more[0]


def test_slow_machine() -> None:
    """Among slow models, the model with the shortest wait is named."""
    reason, chosen, *_ = told(9.0)

    assert reason == "No model answers a keystroke within 1 s here; the model with the shortest wait:"
    assert chosen.startswith(f"{DEFAULT_MODEL}: ")


def test_largest_of_all() -> None:
    """On a fast machine the largest model is recommended, and no larger model is given up."""
    assert told(0.01)[0].startswith("qwen2.5-coder-7b-instruct: ")
    assert not [sentence for sentence in told(0.01) if sentence.startswith("Given up")]
