"""Tests of marked words in code, with a model of given logprobs for words and lines."""

from __future__ import annotations

import re
import subprocess
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from math import exp
from pathlib import Path

import pytest

from pellucid.completion.model_choice import ModelChoice
from pellucid.completion.surprise.changed_since_commit import changed_parts, committed_text
from pellucid.completion.surprise.surprises import (
    CHARACTERS_BEFORE,
    LEAST_SCORE,
    MAX_CHARACTERS,
    MAX_REREAD_CHARACTERS,
    MIN_REREAD,
    Findings,
    Surprises,
)
from pellucid.errors import InvalidRequestError, UnavailableError
from pellucid.vocabulary.finish import Finish, FinishReason, Usage
from pellucid.vocabulary.model_card import ModelCard
from pellucid.vocabulary.query import Priority, ScoreQuery
from pellucid.vocabulary.token import Alternative, Token
from support.required_programs import require_program
from support.silent_assistant import OwnProvider

URI = "file:///p/a.py"
TEXT = """\
def limited(values, limit):
    kept = []
    for value in values:
        if value != limit:
            kept.append(value)
    return kept
"""


@dataclass
class Reader(OwnProvider):
    """Reads words as tokens, certain unless ``doubts`` has a logprob and alternatives.

    Between lines, a text is a single token with the logprob of a part in ``lines``, else -10.
    """

    doubts: Mapping[str, tuple[float, Mapping[str, float]]] = field(default_factory=dict)
    lines: Mapping[str, float] = field(default_factory=dict)
    failure: Exception | None = None
    reason: FinishReason = FinishReason.STOP
    read: list[ScoreQuery] = field(default_factory=list)

    async def cards(self) -> list[ModelCard]:
        return [ModelCard("reader", 4096)]

    async def score(self, query: ScoreQuery) -> AsyncGenerator[Token | Finish]:
        if self.failure is not None:
            raise self.failure
        self.read.append(query)
        assert isinstance(query.text, str)
        if query.gap is not None:
            yield _token(query.text, next((value for text, value in self.lines.items() if text in query.text), -10.0))
        else:
            for text in re.findall(r" ?\w+| ?[^\w\s]+|\s+?", query.text):
                logprob, others = self.doubts.get(text.strip(), (-0.01, {}))
                yield _token(text, logprob, others)
        yield Finish(self.reason, Usage())


def _token(text: str, logprob: float, others: Mapping[str, float] | None = None) -> Token:
    top = tuple(Alternative(1, other, other.encode(), value) for other, value in (others or {}).items())
    return Token(7, text, text.encode(), 0, logprob, 2 if top else 1, 0.1, top)


DOUBT = {"!=": (-9.0, {" ==": -0.1, " <": -3.0})}


async def find(
    reader: Reader, text: str = TEXT, language: str = "python", parts: list[tuple[int, int]] | None = None
) -> Findings:
    return await Surprises(ModelChoice(reader)).find(URI, text, language, parts)


async def test_the_second_reading_decides() -> None:
    """A word is marked if its line is likelier with an alternative; probabilities are shares."""
    reader = Reader(DOUBT, {"!=": -9.0, " < ": -3.0, "==": -4.0})
    (mark,) = (await find(reader)).marks
    assert TEXT[mark.begin : mark.end] == mark.text == "!="
    assert [one.replacement.text for one in mark.alternatives] == ["<", "=="]
    shares = [exp(-9.0), exp(-3.0), exp(-4.0)]
    assert [mark.probability, *(one.probability for one in mark.alternatives)] == pytest.approx(
        [share / sum(shares) for share in shares]
    )
    assert (mark.log_odds, mark.score) == (6.0, 6.0)
    assert mark.rank == 2
    assert mark.typical == pytest.approx(exp(-0.1))
    assert mark.reason == "< fits better than != between the lines around it: probability 0.73 instead of under 0.01."
    assert (await find(Reader(DOUBT, {"!=": -3.0, " < ": -9.0, "==": -9.0}))).marks == ()


@pytest.mark.parametrize(("logprob", "better"), [(-9.0, LEAST_SCORE - 0.1), (-LEAST_SCORE, LEAST_SCORE + 0.1)])
async def test_both_readings_must_agree(logprob: float, better: float) -> None:
    """A word is not marked if only the first or only the second reading is surprising."""
    reader = Reader({"!=": (logprob, {" ==": -0.1})}, {"!=": -10.0, "==": -10.0 + better})
    assert (await find(reader)).marks == ()


async def test_what_is_read() -> None:
    """The text is read once, then each form of the doubtful line between the lines around it."""
    reader = Reader(DOUBT)
    await find(reader)
    whole, *lines = reader.read
    assert (whole.text, whole.windows) == (TEXT, True)
    assert [line.text for line in lines] == [f"        if value {sign} limit:\n" for sign in ("!=", "==", "<")]
    for line in lines:
        assert line.gap is not None
        assert isinstance(line.gap.prefix, str)
        assert (line.gap.prefix[-20:], line.gap.suffix) == (
            "for value in values:\n"[-20:],
            TEXT[TEXT.index("            kept") :],
        )
    assert {query.terms.priority for query in reader.read} == {Priority.BACKGROUND}


@pytest.mark.parametrize("text", ["# a != b\n", 'x = "a != b"\n', '"""\na != b\n"""\n', "# a\x0cb != c\n"])
async def test_comments_and_strings(text: str) -> None:
    """Comments and strings are neither marked nor read again, whatever the model finds."""
    reader = Reader({**DOUBT, "a": (-9.0, {" b": -0.1})}, {"==": 0.0})
    assert (await find(reader, text)).marks == ()
    assert all(query.gap is None for query in reader.read)


async def test_new_names_and_known_ones() -> None:
    """The first use of a name is not marked, and a surprising later use is, with a known name."""
    text = "first = 1\nsecond = 2\nprint(first, first)\n"
    doubts = {"first": (-8.0, {"sec": -0.1, " sec": -0.1})}
    (mark, *_) = (await find(Reader(doubts, {"second, first": -1.0, "first, second": -2.0}), text)).marks
    assert mark.begin == text.index("first, first")
    assert mark.alternatives[0].replacement.text == "second"


async def test_swapped_arguments() -> None:
    """A surprising argument is exchanged with the next argument, and both are replaced."""
    text = "copy(target, source)\n" * 2
    at = text.rindex("target")
    reader = Reader({"target": (-8.0, {" x": -0.1})}, {"source, target": -1.0})
    (mark,) = (await find(reader, text)).marks
    best = mark.alternatives[0].replacement
    assert (mark.begin, mark.text) == (at, "target")
    assert (text[best.begin : best.end], best.text) == ("target, source", "source, target")
    assert mark.reason.startswith("source, target fits better than target, source between")


async def test_numbers_by_one() -> None:
    """A number is compared with neighbouring numbers, even if the model names no number."""
    reader = Reader({"7": (-8.0, {" x": -0.1})}, {"8": -1.0})
    (mark,) = (await find(reader, "x = items[7]\n")).marks
    assert mark.alternatives[0].replacement.text == "8"


@pytest.mark.parametrize("number", ["7" * 5000, "\u0667"])
async def test_other_numbers(number: str) -> None:
    """Unreadable numbers and foreign digits have no neighbours, and the search continues."""
    reader = Reader({number: (-8.0, {" x": -0.1}), **DOUBT}, {"==": -1.0})
    (mark,) = (await find(reader, f"x = {number}\n" + TEXT)).marks
    assert mark.text == "!="


async def test_names_of_several_tokens() -> None:
    """A name of several tokens is a single mark, and an alternative keeps the name's beginning."""

    class Splitting(Reader):
        async def score(self, query: ScoreQuery) -> AsyncGenerator[Token | Finish]:
            if query.gap is not None:
                async for item in super().score(query):
                    yield item
                return
            assert isinstance(query.text, str)
            for text in re.findall(r"_?[a-z]+|[^a-z_]", query.text):
                yield _token(text, -7.0 if text == "_rows" else -0.01, {"_columns": -0.1} if text == "_rows" else None)
            yield Finish(FinishReason.STOP, Usage())

    text = "max_columns = 1\nmax_rows = 2\nprint(max_rows)\n"
    reader = Splitting({}, {"print(max_columns": -1.0})
    (mark,) = (await find(reader, text)).marks
    assert (mark.begin, mark.text, mark.alternatives[0].replacement.text) == (
        text.rindex("max_rows"),
        "max_rows",
        "max_columns",
    )


async def test_parts() -> None:
    """Only words in the given parts are marked, and only nearby text is read."""
    filler = "".join(f"value_{number} = {number}\n" for number in range(1000))
    text = TEXT + filler + TEXT
    begin = len(TEXT) + len(filler)
    reader = Reader(DOUBT, {"==": 0.0})
    (mark,) = (await find(reader, text, parts=[(begin, len(text))])).marks
    assert mark.begin == text.rindex("!=")
    assert isinstance(reader.read[0].text, str)
    assert len(TEXT) < len(reader.read[0].text) <= len(TEXT) + CHARACTERS_BEFORE + len("value_999 = 999\n")


async def test_near_parts_are_read_together() -> None:
    """Parts with little text between them are read once, and the text between is not marked."""
    text = "a != b\n" * 3
    reader = Reader(DOUBT, {"==": 0.0})
    found = await find(reader, text, parts=[(0, 7), (14, 21)])
    assert [mark.begin for mark in found.marks] == [2, 16]
    assert [query.text for query in reader.read if query.gap is None] == [text]


async def test_text_between_parts_counts() -> None:
    """The limit for small parts includes the text read between them."""
    line = "a != b\n"
    text = (line + "x" * 3_499 + "\n") * 30
    length = len(text) // 30
    parts = [(number * length, number * length + len(line)) for number in range(30)]
    reader = Reader()
    found = await find(reader, text, parts=parts)
    assert 5 < len(found.searched) < 8
    assert sum(len(str(query.text)) for query in reader.read if query.gap is None) <= MAX_CHARACTERS


async def test_an_empty_part_hides_no_other() -> None:
    """An empty part is passed over."""
    found = await find(Reader(), TEXT, parts=[(0, 0), (len(TEXT) - 16, len(TEXT))])
    assert found.searched == ((len(TEXT) - 16, len(TEXT)),)


async def test_long_lines() -> None:
    """A very long line is read no further than usual lines, once, and later lines are marked."""
    long = "x = 1; " * 200_000 + "a != b\n"
    reader = Reader({**DOUBT, "c": (-9.0, {" a": -0.1})}, {"==": 0.0})
    text = long + "a == b\n" * 20 + "c = a != b\n"
    (mark,) = (await find(reader, text, parts=[(len(long) - 7, len(text))])).marks
    assert mark.begin == text.rindex("!=")
    assert max(len(str(query.text)) for query in reader.read) <= 3 * CHARACTERS_BEFORE
    gaps = [query.gap for query in reader.read if query.gap is not None]
    assert max(len(str(gap.prefix) + str(gap.suffix)) for gap in gaps) <= 2 * MAX_REREAD_CHARACTERS


@pytest.mark.parametrize("near", [0, 1_000_000])
async def test_large_documents(near: int) -> None:
    """Only whole lines near the given place of a document that is too long are read."""
    text = TEXT * (2 * MAX_CHARACTERS // len(TEXT))
    found = await Surprises(ModelChoice(Reader())).find(URI, text, "python", None, min(near, len(text)))
    ((begin, end),) = found.searched
    assert MAX_CHARACTERS - 100 < end - begin <= MAX_CHARACTERS
    assert begin == 0 if near == 0 else end == len(text)
    assert begin == 0 or text[begin - 1] == "\n"


async def test_few_words_are_read_twice() -> None:
    """Only the most surprising words of a small document are read again."""
    text = "".join(f"a{n} = 1\na{n} == {n}\n" for n in range(9))
    doubts = {f"a{n}": (-5.0 - n, {"a1": -0.5}) for n in range(2, 9)}
    reader = Reader(doubts)
    await find(reader, text)
    written = [
        query.text for query in reader.read[1:] if isinstance(query.text, str) and not query.text.startswith("a1")
    ]
    assert written == ["a8 == 8\n", "a7 == 7\n", "a6 == 6\n"]
    assert len(written) == MIN_REREAD


async def test_a_reading_that_is_cut_short_marks_nothing() -> None:
    """A line that was not read to the end is not compared."""
    reader = Reader(DOUBT, {"==": 0.0}, reason=FinishReason.CANCELLED)
    assert (await find(reader)).marks == ()


async def test_the_server_is_gone() -> None:
    """An unreachable server is reported as lost, and the error is raised."""
    reader = Reader(failure=UnavailableError("gone"))
    with pytest.raises(UnavailableError):
        await find(reader)
    assert reader.losses == 1


def git(folder: Path, *arguments: str) -> str:
    """Run git with a test author and without the user's settings, and return the output."""
    identity = ("-c", "user.name=A", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false")
    return subprocess.run(
        [require_program("git"), *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True
    ).stdout


@pytest.fixture
def worktree(tmp_path: Path) -> Path:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/a.py").write_bytes(b"a = 1\r\nb = 2\r\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "sub/a.py")
    git(tmp_path, "commit", "-q", "-m", "first")
    return tmp_path


async def test_the_last_commit(worktree: Path) -> None:
    """The text is from the last commit, whatever file and index contain, with line feeds."""
    file = worktree / "sub/a.py"
    file.write_text("other\n")
    git(worktree, "add", "sub/a.py")
    assert await committed_text(file) == "a = 1\nb = 2\n"


async def test_a_file_that_is_not_committed(worktree: Path) -> None:
    """All of a new file has changed, also before the first commit."""
    (worktree / "new.py").write_text("x\n")
    assert await committed_text(worktree / "new.py") == ""
    empty = worktree / "empty"
    empty.mkdir()
    git(empty, "init", "-q")
    (empty / "a.py").write_text("x\n")
    assert await committed_text(empty / "a.py") == ""


async def test_outside_of_a_repository(tmp_path: Path) -> None:
    """A file outside a repository cannot be compared, and the error has git's reason."""
    require_program("git")
    with pytest.raises(
        InvalidRequestError, match=r"git cannot compare a\.py with its last commit: not a git repository"
    ):
        await committed_text(tmp_path / "a.py")


async def test_no_filter_of_the_repository_runs(worktree: Path) -> None:
    """A comparison runs no command that a downloaded repository names as a filter."""
    (worktree / ".gitattributes").write_text("*.py diff=own filter=own\n")
    for name in ("diff.own.textconv", "diff.external", "filter.own.smudge", "core.fsmonitor"):
        git(worktree, "config", name, f"touch {worktree}/ran; cat")
    await committed_text(worktree / "sub/a.py")
    assert not (worktree / "ran").exists()


async def test_nothing_that_is_missing_is_fetched(worktree: Path) -> None:
    """No command that a repository names to fetch a missing file runs, and an error is raised."""
    file = worktree / "sub/a.py"
    blob = git(worktree, "rev-parse", "HEAD:sub/a.py").strip()
    (worktree / ".git/objects" / blob[:2] / blob[2:]).unlink()
    settings = {
        "core.repositoryFormatVersion": "1",
        "extensions.partialClone": "origin",
        "remote.origin.url": "ssh://example.invalid/a",
        "remote.origin.promisor": "true",
        "core.sshCommand": f"touch {worktree}/ran; false",
        "protocol.ssh.allow": "always",
    }
    for name, value in settings.items():
        git(worktree, "config", name, value)
    with pytest.raises(InvalidRequestError, match=r"git cannot compare a\.py with its last commit"):
        await committed_text(file)
    assert not (worktree / "ran").exists()


async def test_the_repository_is_that_of_the_file(worktree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file's own repository is read although git has set another in the environment."""
    monkeypatch.setenv("GIT_DIR", str(worktree / "other"))
    assert await committed_text(worktree / "sub/a.py") == "a = 1\nb = 2\n"


@pytest.mark.parametrize(
    ("old", "new", "parts"),
    [
        ("a\nb\nc\n", "a\nx\nc\n", ["x\n"]),
        ("a\nb\n", "new\na\nb\nlast", ["new\n", "last"]),
        ("a\nb\n", "a\n", []),
        ("", "a\nb\n", ["a\nb\n"]),
        ("a\n", "a\n", []),
        ("a\x0cb\n", "a\x0cc\n", ["a\x0cc\n"]),
    ],
)
def test_changed_parts(old: str, new: str, parts: list[str]) -> None:
    """Changed and added lines are parts, and deleted lines leave nothing to read."""
    assert [new[begin:end] for begin, end in changed_parts(old, new)] == parts


def test_a_long_file_with_many_equal_lines() -> None:
    """The changes among many equal lines are found, without a comparison of all pairs."""
    lines = [line for number in range(20_000) for line in (f"value_{number} = {number}\n", "\n", "}\n")]
    places = [0, len(lines) // 2, len(lines) - 1]
    new = ["new\n" if index in places else line for index, line in enumerate(lines)]
    parts = changed_parts("".join(lines), "".join(new))
    text = "".join(new)
    assert [text[begin:end] for begin, end in parts] == ["new\n"] * 3
