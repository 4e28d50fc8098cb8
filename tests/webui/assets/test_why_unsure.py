"""Tests the sentence on why the model was unsure of a token."""

from __future__ import annotations

from math import log
from typing import Any

import pytest

from support.node_modules import in_node


def record(*choices: tuple[str, float], chosen: int = 0, **other: Any) -> dict[str, Any]:
    """Return a token record with these alternatives: texts and probabilities."""
    alternatives = [[index, text, log(probability)] for index, (text, probability) in enumerate(choices)]
    return {"i": chosen, "t": choices[chosen][0], "l": log(choices[chosen][1]), "a": alternatives, "o": 0.0, **other}


@pytest.mark.parametrize(
    ("unsure", "sentence"),
    [
        (record((" Canberra", 0.51), (" Sydney", 0.39)), "51.0 % Canberra, 39.0 % Sydney: two choices compete."),
        (record((" a", 0.34), (" b", 0.3), (" c", 0.2)), "34.0 % a, 30.0 % b, 20.0 % c: three choices compete."),
        (
            record((" Yes", 0.5), ("yes", 0.4)),
            "50.0 % Yes, 40.0 % yes: two choices compete, which differ only in spaces or capitals.",
        ),
        (
            record((",", 0.5), (".", 0.4)),
            "50.0 % “comma”, 40.0 % “dot”: two choices compete over punctuation, not over words.",
        ),
        (
            record((" red", 0.2), (" blue", 0.1), (" green", 0.1)),
            "No choice leads: the first, red, has 20.0 %, and the first 3 have 40.0 % together.",
        ),
        (record((" in", 0.7), (" on", 0.1)), "One choice leads, but not by itself: 70.0 % in, all others 30.0 %."),
        (record((" Paris", 0.9), (" Rome", 0.05), chosen=1), "The model was sure of another choice: 90.0 % Paris."),
        (record((" Paris", 0.9), (" Rome", 0.05)), ""),
        (record((" Canberra", 0.51), (" Sydney", 0.39), g=[0.5, 2, -0.1]), ""),
    ],
)
def test_the_sentence(unsure: dict[str, Any], sentence: str) -> None:
    """The sentence names the competing choices, and is empty for a sure token."""
    found = in_node('import { whyUnsure } from "assets/tokens/why_unsure.js";', "whyUnsure", unsure)
    assert found == sentence
