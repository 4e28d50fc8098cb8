"""The derived figures of a token."""

from __future__ import annotations

from pellucid.vocabulary.token import Token


def token(entropy: float | None, entropy_range: tuple[float, float] | None = None) -> Token:
    """Return a token with an entropy or a range."""
    return Token(1, "a", b"a", 0, -0.5, 1, entropy, entropy_range=entropy_range)


def test_entropy_estimate() -> None:
    """The estimate is the exact entropy, else the middle of the range, else None."""
    assert token(0.0).entropy_estimate == 0.0
    assert token(0.75, (0.5, 2.0)).entropy_estimate == 0.75
    assert token(None, (0.5, 2.0)).entropy_estimate == 1.25
    assert token(None).entropy_estimate is None
