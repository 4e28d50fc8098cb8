"""Tests that highlighting ends in time for any code, and changes no character."""

from __future__ import annotations

import re
import sys
from html import escape, unescape
from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pellucid_webui.conversations.markdown import highlighting
from pellucid_webui.conversations.markdown.highlighting import MAX_BLANK_LINES, highlighted, highlighting_ends_after
from support.page.hostile_code import PIECES, SLOW, code_of, languages
from support.trial_counts import trial_count

pytestmark = pytest.mark.process


def text_of(html: str) -> str:
    return unescape(re.sub("</?span[^>]*>", "", html))


def process_number() -> int:
    """Return the number of the current highlighting process."""
    highlighted(f"start = {sys.maxsize}\n", "python")
    assert highlighting._process._process is not None
    return highlighting._process._process.pid


@pytest.mark.parametrize("language", ["c", "java", "nemerle"])
def test_blank_lines_cost_nothing(language: str) -> None:
    """Code around 19,000 blank lines is highlighted even in slow lexers, with all lines shown."""
    source = "return 1;\n" + "\n" * 19_000 + "return 2;\n"
    highlighting._by_pygments.cache_clear()
    html = highlighted(source, language)
    assert text_of(html) == source
    assert "<span" in html.split("\n")[0]
    assert "<span" in html.split("\n")[-2]


@pytest.mark.parametrize("blank", ["", " ", "\t \x0b"])
@pytest.mark.parametrize("count", [MAX_BLANK_LINES, MAX_BLANK_LINES + 1, 50])
def test_blank_lines_leave_the_rest(blank: str, count: int) -> None:
    """A run of blank lines does not change the highlights around it, even in a string."""
    parts = ['x = """a\n', 'b"""\n', "import y\n"]
    gap = f"{blank}\n" * count
    html = highlighted(gap.join(["", *parts, ""]), "python")
    lines = [line for line in html.split("\n") if text_of(line).strip()]
    assert lines == [line for line in highlighted("".join(parts), "python").split("\n") if line]
    assert text_of(html) == gap.join(["", *parts, ""])


@given(st.text(st.sampled_from("\n\n\n \tx'(/*"), max_size=60), st.sampled_from(["python", "c", "html", "text"]))
def test_every_character_stays(text: str, language: str) -> None:
    """Highlighting keeps all characters of code with any runs of blank lines."""
    assert text_of(highlighted(text + "\n", language)) == text + "\n"


def test_code_that_takes_too_long() -> None:
    """Code that takes too long is shown plain, and the same process continues."""
    process = process_number()
    assert highlighted(SLOW, "java") == escape(SLOW)
    assert "<span" in highlighted("class After {}\n", "java")
    assert process_number() == process


def test_a_result_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same code is highlighted only once, even after a timeout."""
    ask = Mock(wraps=highlighting._ask)
    monkeypatch.setattr(highlighting, "_ask", ask)
    highlighting._by_pygments.cache_clear()
    for source in (SLOW, "class Kept {}\n"):
        assert len({highlighted(source, language) for language in ("java", "Java", "java")}) == 1
    assert [call.args[0] for call in ask.call_args_list] == [SLOW, "class Kept {}\n"]


def test_no_time_left() -> None:
    """After the time limit, new code stays plain and earlier highlights stay."""
    before = highlighted("class Before {}\n", "java")
    with highlighting_ends_after(-1):
        assert highlighted("class Before {}\n", "java") == before
        assert highlighted("class Later {}\n", "java") == "class Later {}\n"
    assert "<span" in highlighted("class Later {}\n", "java")


def test_without_a_process(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Without a highlighting process code is shown plain, and the log gives the reason."""
    highlighting._process.close()
    with monkeypatch.context() as broken, caplog.at_level("INFO"):
        broken.setattr(sys, "executable", "/nowhere/python")
        assert highlighted("class Plain {}\n", "java") == "class Plain {}\n"
    assert "no process can be started (No such file or directory)" in caplog.text
    assert "<span" in highlighted("class Again {}\n", "java")


@pytest.mark.slow
@pytest.mark.parametrize("language", ["c", "java", *languages()[:: len(languages()) // trial_count(12)][1:]])
def test_hostile_code(language: str) -> None:
    """Hostile code of 20 kB is shown completely, and the process survives.

    ``benchmarks/highlighting_trial.py`` tries all languages.
    """
    process = process_number()
    for piece in PIECES.values():
        assert text_of(highlighted(code_of(piece), language)) == code_of(piece)
    assert process_number() == process
