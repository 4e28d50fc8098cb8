"""Names in ollama's spelling find the right models."""

from __future__ import annotations

import pytest

from pellucid.api.dialects.ollama.model_aliases import find_by_alias, listed_name, parameter_size

SERVED = [
    *("qwen2.5-coder-0.5b-instruct", "qwen2.5-coder-0.5b-base", "smollm2-135m-instruct", "org/Some-Model-7B", "tiny"),
    "tiny:adapter",
]


@pytest.mark.parametrize(
    ("name", "served"),
    [
        ("qwen2.5-coder:0.5b", "qwen2.5-coder-0.5b-instruct"),
        ("qwen2.5-coder:0.5b-instruct", "qwen2.5-coder-0.5b-instruct"),
        ("Qwen2.5-Coder:0.5B", "qwen2.5-coder-0.5b-instruct"),
        ("qwen2.5-coder-0.5b-instruct:latest", "qwen2.5-coder-0.5b-instruct"),
        ("qwen2.5-coder:0.5b-base", "qwen2.5-coder-0.5b-base"),
        ("smollm2", "smollm2-135m-instruct"),
        ("smollm2:latest", "smollm2-135m-instruct"),
        ("some-model:7b", "org/Some-Model-7B"),
        ("org/Some-Model-7B", "org/Some-Model-7B"),
        ("tiny:latest", "tiny"),
        ("tiny:adapter", "tiny:adapter"),
        ("qwen2.5-coder", None),
        ("qwen2.5-coder:1.5b", None),
        ("qwen2.5-coder:0.5b-instruct-q8_0", None),
        ("smollm2:135m-base", None),
        (":latest", None),
    ],
)
def test_find_by_alias(name: str, served: str | None) -> None:
    """A name finds the model of the same family, size and variant, if unambiguous."""
    assert find_by_alias(name, SERVED) == served


def test_the_whole_name_comes_first() -> None:
    """A model with exactly the requested name precedes other matches."""
    assert find_by_alias("tiny", ["org/tiny", "tiny"]) == "tiny"


@pytest.mark.parametrize("name", SERVED)
def test_a_listed_name_finds_its_model(name: str) -> None:
    """A name from the list finds the same model, and has a tag like ollama's names."""
    assert ":" in listed_name(name)
    assert find_by_alias(listed_name(name), SERVED) == name


def test_parameter_size() -> None:
    """The size is the size in the name."""
    assert [parameter_size(name) for name in SERVED] == ["0.5B", "0.5B", "135M", "7B", "", ""]
