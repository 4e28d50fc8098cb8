"""Tests of patterns of ignore files: equal to git's wildmatch, in bounded time."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pellucid.completion.context.ignore_files import Patterns
from pellucid.completion.context.wildmatch import translate
from support.required_programs import require_program
from support.trial_counts import trial_count

BRACKETS = r"""
[a-z] [!a] [^a] []a] [!]a] []-a] [a-] [-a] [z-a] [A-Z] [a-c-e] [\]] [a\-c] [\a-\c] [/]
[[:alpha:]] [^[:alnum:]] [[:upper:]b] [[:punct:]] [[:space:]] [[:nonsense:]] [[:] [[::]] [[:alpha] [[a]
"""
ATOMS = [
    *("a", "b", "A", "é", "ß", " ", ".", "-", "!", "#", "x.py", "ab", "\udcff", "\t"),
    *("*", "*", "**", "***", "?", "/", "/", "/**/", "**/", "/**", "*a*", "a**b", r"**\/", r"\/"),
    *BRACKETS.split(),
    *("[", "]", "[a", "[!", "[[:alpha:]", "\\", r"\*", r"\?", r"\[", r"\a", r"\\", r"\ ", r"\#", r"\!"),
]
"""Pieces of patterns: each construct, whole and broken."""

LETTERS = [*"abczAZéß*?[]\\!# -\udcff\t\n:", "x.py"]
SETS, PATHS = 12, 30

names = (
    st.lists(st.sampled_from(LETTERS), min_size=1, max_size=4).map("".join).filter(lambda name: name not in (".", ".."))
)
paths = st.lists(names, min_size=1, max_size=4).map("/".join)
globs = st.lists(st.sampled_from(ATOMS), min_size=1, max_size=6).map("".join)
lines = st.builds(
    "".join,
    st.tuples(st.sampled_from(["", "", "", "!", "/", "!/", "#"]), globs, st.sampled_from(["", "", "", "/", " ", "  "])),
)
files = st.lists(st.lists(lines, min_size=1, max_size=3), min_size=SETS, max_size=SETS)
many_paths = st.lists(paths, min_size=PATHS, max_size=PATHS)


@pytest.fixture(scope="module")
def work_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    top = tmp_path_factory.mktemp("repository").resolve()
    git(top, "init", "-q")
    for index in range(SETS):
        (top / str(index)).mkdir()
    return top


def git(top: Path, *arguments: str, given: str = "") -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = [require_program("git"), "-C", str(top), "-c", f"core.excludesFile={os.devnull}", *arguments]
    return os.fsdecode(subprocess.run(command, input=os.fsencode(given), capture_output=True, env=environment).stdout)


@pytest.mark.parametrize("fold_case", [False, True])
@settings(
    max_examples=trial_count(200),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(files, many_paths)
def test_git_agrees(work_tree: Path, fold_case: bool, files: list[list[str]], paths: list[str]) -> None:
    """The ignored paths are git's for all patterns and paths, with or without regard to case.

    A single capital in brackets is left out without regard to case: git never matches the capital
    then, and Pellucid matches both cases.
    """
    if fold_case:
        files = [[line for line in patterns if not re.search(r"\[.*A(?!-Z\])", line)] for patterns in files]
    for index, patterns in enumerate(files):
        (work_tree / str(index) / ".gitignore").write_bytes(os.fsencode("\n".join(patterns)))
    asked = "\0".join(f"{index}/{path}" for index in range(SETS) for path in paths)
    options = ["-c", f"core.ignoreCase={str(fold_case).lower()}", "check-ignore", "--no-index", "-z", "--stdin"]
    expected = set(git(work_tree, *options, given=asked).split("\0")) - {""}
    read = [Patterns(patterns, fold_case=fold_case) for patterns in files]
    assert {f"{index}/{path}" for index in range(SETS) for path in paths if read[index].ignores(path)} == expected


@pytest.mark.parametrize(
    ("glob", "path", "matches"),
    [
        ("*a" * 12 + "z", "a" * 10_000, False),
        ("*a" * 12, "a" * 10_000, True),
        ("*[a]" * 12 + "[z]", "a" * 10_000, False),
        ("*?a" * 12 + "z", "a" * 10_000, False),
        ("a**" * 12 + "z", "a" * 10_000, False),
        ("**/a/" * 12 + "z", "a/" * 5_000 + "a", False),
        ("**/*a*/" * 12 + "z", "a/" * 5_000 + "a", False),
        ("a**/" * 12 + "z", "a/" * 5_000 + "a", False),
        ("*/" * 12 + "*a" * 12 + "z", "aaa/" * 12 + "a" * 10_000, False),
        (r"**\/a" * 12 + "/z", "a/" * 5_000 + "a", False),
        ("*" + "a" * 500 + "b*z", "a" * 10_000, False),
    ],
)
def test_time_is_bounded(glob: str, path: str, matches: bool) -> None:
    """Patterns that would take a backtracking matcher years are answered in seconds."""
    imports = "import sys; from pellucid.completion.context.ignore_files import Patterns"
    program = f"{imports}; print(Patterns([sys.argv[1]]).decision(sys.stdin.read(), folder=False))"
    command = [sys.executable, "-c", program, glob]
    found = subprocess.run(command, input=path, capture_output=True, text=True, timeout=60, check=True).stdout
    assert found.strip() == str(matches or None)


@given(st.lists(st.sampled_from([*ATOMS, "a", "*", "/"]), max_size=8).map("".join), st.text("ab/", max_size=12))
def test_an_expression_is_its_plain_translation(glob: str, path: str) -> None:
    """Atomic groups match every path that a backtracking expression matches."""
    expression = translate(glob)
    if expression is not None:
        plain = expression.pattern.replace("(?>", "(?:").replace("*+", "*")
        assert bool(expression.fullmatch(path)) == bool(re.fullmatch(plain, path, expression.flags & ~re.UNICODE))


@pytest.mark.parametrize("glob", ["[a", "a\\", "[[:nonsense:]]", "[![:nonsense:]]", "[", "[!", "[]", "[a-", "[\\"])
def test_what_never_matches(glob: str) -> None:
    """An unfinished class or escape, or a class of an unknown name, matches nothing, as in git."""
    assert translate(glob) is None
