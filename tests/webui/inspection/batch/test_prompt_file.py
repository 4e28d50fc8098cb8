"""Tests the parser of files of prompts."""

from __future__ import annotations

import csv
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pellucid.errors import InvalidRequestError
from pellucid.vocabulary.message import Message
from pellucid_webui.inspection.batch.prompt_file import MAX_PROMPTS, FilePrompt, read_prompts

PROMPTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r"), min_size=1).filter(
    lambda text: text.strip() != ""
)
"""Any text of a prompt, as decoded from a file: with line feeds as line ends."""

LINES = PROMPTS.filter(lambda text: "\n" not in text)


@given(st.lists(LINES, min_size=1))
def test_text(lines: list[str]) -> None:
    """Each line that is not blank is a prompt, with the line number."""
    found = read_prompts("prompts.txt", "\n\n".join(lines) + "\n")
    assert [(one.line, one.prompt) for one in found] == [(2 * n + 1, line.strip()) for n, line in enumerate(lines)]


@given(st.lists(st.tuples(PROMPTS, PROMPTS), min_size=1))
def test_json_lines(rows: list[tuple[str, str]]) -> None:
    """JSON lines give each prompt and reference exactly."""
    text = "\n".join(json.dumps({"prompt": prompt, "reference": reference, "id": 1}) for prompt, reference in rows)
    found = read_prompts("prompts.jsonl", text)
    assert [(one.prompt, one.reference, one.line) for one in found] == [(*row, n) for n, row in enumerate(rows, 1)]


@given(st.lists(st.tuples(PROMPTS.filter(lambda text: "\0" not in text), LINES), min_size=1), st.sampled_from(",;\t"))
def test_csv(rows: list[tuple[str, str]], delimiter: str) -> None:
    """A spreadsheet's CSV gives each prompt exactly, with the number of the row's first line."""
    out = io.StringIO(newline="")
    csv.writer(out, delimiter=delimiter, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows(
        [("id", "Prompt "), *(("7", one) for one, _ in rows)]
    )
    found = read_prompts("PROMPTS.CSV", out.getvalue())
    assert [one.prompt for one in found] == [one for one, _ in rows]
    starts = [2 + sum(one.count("\n") + 1 for one, _ in rows[:n]) for n in range(len(rows))]
    assert [one.line for one in found] == starts


@given(st.sampled_from(["a.txt", "a.jsonl", "a.csv"]), st.text(st.characters(exclude_categories=["Cs"])))
def test_any_file(name: str, text: str) -> None:
    """Any file is read, or refused in a sentence with the file's name."""
    try:
        found, refusal = read_prompts(name, text), ""
    except InvalidRequestError as error:
        found, refusal = [], str(error)
    assert bool(found) is not refusal.startswith(name)
    assert all(one.prompt.strip() for one in found)


def test_messages() -> None:
    """Messages end with the prompt, and earlier messages are the history."""
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Yes?"},
    ]
    (found,) = read_prompts("a.jsonl", json.dumps({"messages": [*messages, {"role": "user", "content": "Why?"}]}))
    assert found == FilePrompt(
        "Why?", 1, (Message("system", "Be brief."), Message("user", "Hi"), Message("assistant", "Yes?"))
    )


def test_half_characters() -> None:
    """Half a character in JSON becomes a replacement character, because UTF-8 cannot encode it."""
    assert read_prompts("a.jsonl", '{"prompt": "a\\ud800"}')[0].prompt == "a\ufffd"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "this is not JSON (Expecting property name"),
        ("[" * 100_000, "this is not JSON"),
        ('"Hello"', 'a line is a JSON object such as {"prompt": …}, not Hello.'),
        ('{"text": "x"}', "a line has either prompt or messages, and this one has neither; it has text."),
        ('{"prompt": "x", "messages": []}', "a line has either prompt or messages, and this one has both."),
        ('{"prompt": 7}', "the prompt must be text, not 7."),
        ('{"prompt": "  "}', "the prompt is empty."),
        ('{"prompt": "x", "reference": 7}', "reference must be text, not 7."),
        ('{"messages": []}', "messages must be a list of messages, not []."),
        (
            '{"messages": [{"role": "tool", "content": "x"}]}',
            "message 1 must have a role, one of system, user, assistant, not tool.",
        ),
        ('{"messages": [{"role": "user", "content": null}]}', "the content of message 1 must be text, not null."),
        (
            '{"messages": [{"role": "user", "content": "x"}, {"role": "system", "content": "x"}]}',
            "message 2 has the role system, which only the first message can have.",
        ),
        (
            '{"messages": [{"role": "assistant", "content": "x"}]}',
            "the last message is the one to answer, so it must have the role user, not assistant.",
        ),
    ],
)
def test_wrong_json(line: str, reason: str) -> None:
    """A wrong line is named with the reason and the remedy, and the file is not used."""
    with pytest.raises(InvalidRequestError) as caught:
        read_prompts("p.jsonl", '{"prompt": "x"}\n\n' + line)
    assert str(caught.value).startswith(f"p.jsonl was not used. Line 3: {reason}")
    assert str(caught.value).endswith("Mend the file and choose it again.")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("id,text\n1,x\n", "Line 1: there is no column prompt among the columns id, text."),
        (
            "prompt\nx\n\nx,y\n",
            "Line 4: it has more cells than the head, 2 instead of 1; put texts that have commas in quotes.",
        ),
        ('id,prompt\n1,"a\nb"\n2,\n', "Line 4: the prompt is empty."),
        ('prompt\n"never closed\n', "Line 2: this is not CSV (unexpected end of data)."),
    ],
)
def test_wrong_csv(text: str, reason: str) -> None:
    """A wrong row is named by its first line."""
    with pytest.raises(InvalidRequestError, match="was not used") as caught:
        read_prompts("p.csv", text)
    assert reason in str(caught.value)


def test_many_wrong_lines() -> None:
    """Of many wrong lines the first five are named, and the rest are counted."""
    with pytest.raises(InvalidRequestError) as caught:
        read_prompts("p.jsonl", "7\n" * 9)
    assert str(caught.value).count("Line ") == 5
    assert "4 more lines are wrong." in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("p.xlsx", "x", "p.xlsx cannot be read as prompts by its name. Choose a .txt file"),
        ("p.txt", "\n \n", "p.txt has no prompts."),
        ("p.csv", "prompt\n", "p.csv has no prompts."),
        ("p.txt", "x\n" * (MAX_PROMPTS + 1), "p.txt has 5001 prompts, and a batch has at most 5000: split the file."),
    ],
)
def test_unusable_files(name: str, text: str, sentence: str) -> None:
    """A file of another kind, without prompts, or with too many is refused in a sentence."""
    with pytest.raises(InvalidRequestError) as caught:
        read_prompts(name, text)
    assert str(caught.value).startswith(sentence)
