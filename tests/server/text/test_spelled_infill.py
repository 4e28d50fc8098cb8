"""Tests of prompts that spell an infill with a model's own markers."""

from __future__ import annotations

from pathlib import Path

import pytest

from pellucid.models.catalog import InfillFormat
from pellucid.text.spelled_infill import SpelledInfill, read_spelled_infill
from pellucid.vocabulary.query import Extra

P, S, M, F, R = "<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<|file_sep|>", "<|repo_name|>"
QWEN = InfillFormat(order="spm2", prefix=P, suffix=S, middle=M, file=F, repo=R)
NO_FILES = InfillFormat(order="psm", prefix=P, suffix=S, middle=M)


@pytest.mark.parametrize(
    "prompt",
    [
        f"{P}def f(a, b):\n    return {S}\n{M}",
        f"{S}\n{P}def f(a, b):\n    return {M}",
        f"{P}{S}\n{M}def f(a, b):\n    return ",
    ],
    ids=["psm", "spm", "spm2"],
)
def test_orders(prompt: str) -> None:
    """The texts are the same in every order of the markers."""
    assert read_spelled_infill(prompt, QWEN) == SpelledInfill("def f(a, b):\n    return ", "\n")


def test_the_beginning_of_an_answer_belongs_to_the_prefix() -> None:
    """Text after the last marker continues the prefix."""
    assert read_spelled_infill(f"{P}a = {S}\n{M}b +", QWEN) == SpelledInfill("a = b +", "\n")


@pytest.mark.parametrize(
    ("head", "extra"),
    [
        ("", ()),
        (f"{R}project\n{F}a.py\nx = 1\n", (Extra("a.py", "x = 1\n"),)),
        (
            f"{F}a.py\nx = 1\n{F}b.py\ny\n{F}here.py\n",
            (Extra("a.py", "x = 1\n"), Extra("b.py", "y\n"), Extra("here.py", "")),
        ),
    ],
)
def test_files(head: str, extra: tuple[Extra, ...]) -> None:
    """Files before the gap are extra texts, including the name of the file with the gap."""
    assert read_spelled_infill(f"{head}{P}a{S}b{M}", QWEN) == SpelledInfill("a", "b", extra)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "def f():",
        P,
        f"{P}a{S}b",
        f"{P}a{M}",
        f"{M}{P}a{S}b",
        f"{P}a{M}b{S}",
        f"prompt = '{P}' + before + '{S}' + after + '{M}'",
        f"Explain this prompt:\n{P}a{S}b{M}",
        f"{P}a{S}b{M}c{P}d{S}e{M}",
        f"{P}a{P}b{S}c{M}",
    ],
)
def test_a_text_that_mentions_markers_stays_a_text(text: str) -> None:
    """Only a prompt that is exactly one whole infill is read as an infill."""
    assert read_spelled_infill(text, QWEN) is None


def test_files_need_a_marker_for_files() -> None:
    """The infill of a model without a marker for files begins with the gap."""
    assert read_spelled_infill(f"{F}a.py\nx\n{P}a{S}b{M}", NO_FILES) is None
    assert read_spelled_infill(f"{P}a{S}b{M}", NO_FILES) == SpelledInfill("a", "b")


def test_source_code_that_holds_markers() -> None:
    """The source of this file is text."""
    assert read_spelled_infill(Path(__file__).read_text(), QWEN) is None
