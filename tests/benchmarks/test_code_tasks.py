"""The tasks of the benchmarks on code."""

from __future__ import annotations

from common.code_tasks import functions, most_named, tail


def test_an_edit_names_what_a_file_is_about() -> None:
    """The function to rename is the most used function, and special methods keep their names."""
    text = "def first(): ...\nclass A:\n    def __init__(self): second()\ndef second(): first(); second()\n"

    assert functions(text) == ["first", "second"]
    assert most_named(text, functions(text)) == "second"
    assert functions("def (") == []


def test_the_end_of_a_text_begins_with_a_line() -> None:
    """A tail has as many whole lines as fit."""
    assert tail("abc\ndef\nghi", 7) == "def\nghi"
    assert tail("abc\ndef\nghi", 8) == "def\nghi"
    assert tail("abc", 8) == "abc"
