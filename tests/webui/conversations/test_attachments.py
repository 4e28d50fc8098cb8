"""Tests text files as parts of a message."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from pellucid.errors import InvalidRequestError
from pellucid_webui.conversations.attachments import MAX_FILE_BYTES, MAX_MESSAGE_BYTES, attach, block, text_of
from pellucid_webui.conversations.markdown.markdown_to_html import blocks


def test_a_message_with_files() -> None:
    """Files follow the message, each with language and name."""
    assert attach("Look:\n", [("a.py", b"x = 1\n"), ("notes.txt", b"two\nlines")]) == (
        "Look:\n\n```python a.py\nx = 1\n```\n\n```text notes.txt\ntwo\nlines\n```"
    )


def test_without_text_or_files() -> None:
    """A message may have only files or only text."""
    assert attach("  ", [("a.c", b"int x;")]) == "```c a.c\nint x;\n```"
    assert attach("Hi", []) == "Hi"
    assert attach("", []) == ""


def test_a_message_that_ends_inside_code() -> None:
    """A code block left open in the message is closed before a file."""
    assert attach("```\ncode", [("a.txt", b"x")]) == "```\ncode\n```\n\n```text a.txt\nx\n```"


@pytest.mark.parametrize(
    ("name", "language"),
    [
        ("a.py", "python"),
        ("a.rs", "rust"),
        ("a.md", "markdown"),
        ("Makefile", "make"),
        ("a.unknown", "text"),
        ("a", "text"),
        ("a.JSON", "json"),
        ("src/a.py:4-6", "python"),
        ("a.c:4", "c"),
    ],
)
def test_languages(name: str, language: str) -> None:
    """The file name determines the language."""
    assert block(name, b"x").startswith(f"```{language} {name}\n")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("/etc/passwd", "passwd"),
        ("../a.txt", "a.txt"),
        ("src/a.txt", "src/a.txt"),
        ("..\\secret\\a.txt", "a.txt"),
        ("a`b.txt", "a_b.txt"),
        ("a\nb.txt", "a_b.txt"),
        ("my file.txt", "my file.txt"),
        ("<b>.txt", "<b>.txt"),
        ("", "file"),
    ],
)
def test_names(name: str, shown: str) -> None:
    """Only the last part of a path is shown, without characters that end a fence's first line."""
    assert block(name, b"x") == f"```text {shown}\nx\n```"


@given(st.text(st.sampled_from("`~ \nab"), max_size=30))
def test_fences_in_a_file(text: str) -> None:
    """A file is a single code block, with any fences in the text."""
    (token,) = MarkdownIt("commonmark").parse(block("a.txt", text.encode()))
    assert (token.type, token.info) == ("fence", "text a.txt")
    assert token.content == text + ("" if not text or text.endswith("\n") else "\n")


def test_it_is_shown_by_its_name() -> None:
    """The page shows the file's name above the highlighted code."""
    html = "".join(blocks(attach("Look:", [("<b>.py", b"import os")])))
    assert "<figcaption><span>&lt;b&gt;.py</span>" in html
    assert '<span class="pl-kn">import</span>' in html


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("é\n".encode(), "é\n"),
        (b"\xef\xbb\xbfx", "x"),
        ("é".encode("utf-16"), "é"),
        ("é".encode("utf-16-be"), None),
        (b"\xfe\xff" + "é".encode("utf-16-be"), "é"),
        (b"a\r\nb\rc\n", "a\nb\nc\n"),
        (b"", ""),
        (b"\x89PNG\r\n\x1a\n", None),
        (b"a\0b", None),
        ("é".encode("latin-1"), None),
        (b"\xff\xfea", None),
    ],
)
def test_what_is_text(content: bytes, text: str | None) -> None:
    """UTF-8 and UTF-16 with a byte order mark are accepted; other content is refused by name."""
    if text is None:
        with pytest.raises(InvalidRequestError, match=r"^folder/photo\.png is not UTF-8 text: choose a text file\.$"):
            text_of("folder/photo.png", content)
    else:
        assert text_of("a.txt", content) == text


def test_limits() -> None:
    """A file that is too large, alone or with the other files, is refused by name."""
    most = b"x" * MAX_FILE_BYTES
    assert len(attach("", [("a", most), ("b", most)])) > 2 * MAX_FILE_BYTES
    with pytest.raises(InvalidRequestError, match=r"^big is larger than 200 kB: use only the relevant part of it\.$"):
        attach("", [("big", most + b"x")])
    with pytest.raises(InvalidRequestError, match=r"^With c the files exceed 500 kB together: remove some\.$"):
        attach("", [("a", most), ("b", most), ("c", b"x" * (MAX_MESSAGE_BYTES - 2 * MAX_FILE_BYTES + 1))])
