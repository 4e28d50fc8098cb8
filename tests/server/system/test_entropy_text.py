"""An entropy in words."""

from __future__ import annotations

from math import log

import pytest

from pellucid.system.entropy_text import entropy_in_bits
from pellucid.vocabulary.token import Token


@pytest.mark.parametrize(
    ("exact", "bounds", "shown"),
    [
        *((1.5, None, "1.50"), (0.0, None, "0.00"), (None, (1.9, 2.6), "1.90 to 2.60"), (None, (1.9, 1.901), "1.90")),
        *((1.5, (1.0, 2.0), "1.50"), (None, None, "")),
    ],
)
def test_entropy_in_bits(exact: float | None, bounds: tuple[float, float] | None, shown: str) -> None:
    """An entropy is a number, a visible range has both bounds, and an unknown entropy is empty."""
    nats = None if exact is None else exact * log(2)
    ranged = None if bounds is None else (bounds[0] * log(2), bounds[1] * log(2))
    assert entropy_in_bits(Token(1, "a", b"a", 0, -0.5, 1, nats, entropy_range=ranged)) == shown
