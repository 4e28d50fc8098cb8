"""Tests of the values of JSON texts, and of their places."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pellucid.text.structured.json_scanner import scan

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def leaves(value: Any, path: str = "") -> list[tuple[str, Any]]:
    if isinstance(value, dict):
        parts = [(key.replace("~", "~0").replace("/", "~1"), item) for key, item in value.items()]
    elif isinstance(value, list):
        parts = [(str(index), item) for index, item in enumerate(value)]
    else:
        return [(path, value)]
    return [leaf for key, item in parts for leaf in leaves(item, f"{path}/{key}")]


@given(value=VALUES, indent=st.sampled_from([None, 0, 2]), before=st.sampled_from(["", " \n"]))
def test_all_values_are_found(value: Any, indent: int | None, before: str) -> None:
    """Every value has its JSON pointer and its exact place in the text."""
    text = before + json.dumps(value, indent=indent)

    found = scan(text)

    assert [(one.path, one.value) for one in found] == leaves(value)
    assert [json.loads(text[one.begin : one.end]) for one in found] == [one.value for one in found]


@given(value=VALUES, data=st.data())
def test_a_text_that_ends_early_has_its_whole_values(value: Any, data: st.DataObject) -> None:
    """A text cut anywhere has the first values, and no incomplete number."""
    text = json.dumps(value)
    cut = data.draw(st.integers(0, len(text)))

    found = scan(text[:cut])

    assert isinstance(value, (int, float)) or [(one.path, one.value) for one in found] == leaves(value)[: len(found)]


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("", []),
        ("no", []),
        ('{"a": 1, b: 2}', ["/a"]),
        ('{"a": 12', []),
        ('{"a": 12,', ["/a"]),
        ('["x", "y', ["/0"]),
        ('[1 2]', ["/0"]),
        ("[1.]", []),
        ("[01]", []),
        ("[-]", []),
        ("[" * 100_000, []),
        ('{"a": ' * 300 + "1" + "}" * 300, []),
        ("1" * 10_000, []),
        ('"\\x"', []),
        ("[1,]", ["/0"]),
        ("[,]", []),
        ("[] []", []),
    ],
    ids=str,
)  # fmt: skip
def test_what_is_not_json_ends_the_list(text: str, paths: list[str]) -> None:
    """Values before the first mistake are found, however deep or long the text is."""
    assert [one.path for one in scan(text)] == paths
