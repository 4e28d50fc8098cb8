"""Markers are found as by an alternation, in time independent of the number of markers."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pellucid.errors import ModelError
from pellucid.models.tokenizers.marker_finder import MAX_MARKER, MarkerFinder

TEXTS = st.text("ab<]^-\\", max_size=12)


@given(markers=st.sets(TEXTS.filter(bool), max_size=6), text=st.text("ab<]^-\\", max_size=40))
def test_finds_what_an_alternation_finds(markers: set[str], text: str) -> None:
    """The longest marker is found at each position, without overlaps, and all beginnings."""
    finder = MarkerFinder(markers)
    longest_first = "|".join(map(re.escape, sorted(markers, key=len, reverse=True)))
    expected = [match.span() for match in re.finditer(longest_first, text)] if markers else []
    assert list(finder.find(text)) == expected
    assert list(finder.beginnings(text)) == [at for at in range(len(text)) if text.startswith(tuple(markers), at)]


@pytest.mark.process
def test_many_markers_with_one_beginning_take_no_time() -> None:
    """Sixteen thousand markers with a common beginning are found in seconds.

    An alternation would compare 80 thousand million characters.
    """
    script = (
        "from pellucid.models.tokenizers.marker_finder import MarkerFinder\n"
        "finder = MarkerFinder('a' * 250 + f'!{number}' for number in range(16_000))\n"
        "assert list(finder.find('a' * 20_000)) == []\n"
        "assert list(finder.beginnings('a' * 20_000 + '!7')) == [19_750]\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_a_marker_that_is_too_long() -> None:
    """A marker longer than the maximum is refused in a sentence."""
    with pytest.raises(ModelError, match=f"a marker of 257 characters; at most {MAX_MARKER} are supported"):
        MarkerFinder(["a" * 257])
