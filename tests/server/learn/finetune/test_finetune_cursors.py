"""Tests of the gaps that finetuning chooses in a text."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from pellucid.learn.finetune.training.cursors import MAX_BLOCK, SourcePage

PROGRAM = '''def area(width, height):
    """Of a rectangle, in m²."""
    if width < 0:
        raise ValueError("ä")
    return width * height


print(area(2, 3))
'''
OTHER = "func area(w int) {\n\tif w < 0 {\n\t\tpanic(w)\n\t}\n\treturn w\n}\n"


def spans_of(name: str, text: str, count: int = 300) -> set[tuple[str, str]]:
    page = SourcePage(name, text)
    found = (page.choose(Random(number), 0, len(text)) for number in range(count))
    return {(span.kind, text[span.begin : span.end]) for span in found if span is not None}


def test_python_blocks_are_its_statements() -> None:
    """A block of a Python file is a whole statement, with columns counted in characters."""
    blocks = {text for kind, text in spans_of("area.py", PROGRAM) if kind == "block"}

    assert blocks == {
        PROGRAM[: PROGRAM.index("\n\n\n")],
        '"""Of a rectangle, in m²."""',
        'if width < 0:\n        raise ValueError("ä")',
        'raise ValueError("ä")',
        "return width * height",
        "print(area(2, 3))",
    }


def test_other_blocks_are_lines_indented_alike() -> None:
    """A block without Python syntax ends where the indentation falls below the first line's."""
    blocks = {text for kind, text in spans_of("area.go", OTHER) if kind == "block"}

    assert {"panic(w)", "return w", "if w < 0 {\n\t\tpanic(w)\n\t}\n\treturn w", OTHER.rstrip()} <= blocks
    assert {text for kind, text in spans_of("bad.py", OTHER) if kind == "block"} == blocks


def test_lines_are_written_from_their_indentation() -> None:
    """A line is filled in from its indentation or from within, up to the last visible character."""
    found = spans_of("area.py", PROGRAM)
    lines = {line.strip() for line in PROGRAM.splitlines() if line.strip()}

    assert {text for kind, text in found if kind == "line"} == lines
    assert all(
        any(line.endswith(text) and line != text for line in lines) for kind, text in found if kind == "rest of line"
    )
    assert {kind for kind, _ in found} == {"line", "rest of line", "block", "random"}


@given(st.text(alphabet="ab \n\r\té(:{", max_size=60), st.integers(0, 1000), st.sampled_from(["x.py", "x.c"]))
def test_a_span_says_something_in_the_text(text: str, seed: int, name: str) -> None:
    """A span is within the text, not blank and not too long; None if the text is blank."""
    span = SourcePage(name, text).choose(Random(seed), 0, len(text))

    if span is None:
        assert not text.strip()
    else:
        assert 0 <= span.begin < span.end <= len(text)
        assert text[span.begin : span.end].strip()
        assert span.kind != "block" or text[span.begin : span.end].count("\n") < MAX_BLOCK
