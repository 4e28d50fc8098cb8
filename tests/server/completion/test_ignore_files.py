"""Tests of ignore files: the files that git ignores are ignored."""

import os
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pellucid.completion.context.ignore_files import MAX_BYTES, Patterns, ignoring_file, repository
from support.required_programs import require_program
from support.trial_counts import trial_count

FOLDERS = ("", "a", "a/b", "foo", "foo/build", "a b")
FILES = tuple(
    f"{folder}/{name}".lstrip("/") for folder in FOLDERS for name in ("x.py", "build.log", ".hidden", "é", "[x]")
)
GLOBS = ["a", "foo", "build", "*.py", "*", "?", "**", "f*", ".*", "x.??", "é", r"a\ b", r"\[x\]", r"\!a", "[!a]", "a\\"]
globs = st.lists(st.sampled_from(GLOBS), min_size=1, max_size=3).map("/".join)
ends = st.sampled_from(["", "", "", "/", " ", "\r", "/ "])
lines = st.builds("".join, st.tuples(st.sampled_from(["", "", "!", "/", "!/", "#"]), globs, ends))
ignore_files = st.dictionaries(
    st.sampled_from(FOLDERS), st.lists(lines, min_size=1, max_size=4), min_size=1, max_size=3
)


@pytest.fixture(scope="module")
def work_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    top = tmp_path_factory.mktemp("repository").resolve()
    git(top, "init", "-q")
    for file in FILES:
        (top / file).parent.mkdir(parents=True, exist_ok=True)
        (top / file).touch()
    return top


def git(top: Path, *arguments: str, given: str = "") -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = [require_program("git"), "-C", str(top), "-c", f"core.excludesFile={os.devnull}", *arguments]
    return subprocess.run(command, input=given, capture_output=True, encoding="utf-8", env=environment).stdout


def ignored(top: Path) -> set[str]:
    return {file for file in FILES if ignoring_file(top / file, top)}


class TestGit:
    @pytest.mark.process
    @settings(max_examples=trial_count(200), suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(ignore_files, st.lists(lines, max_size=1))
    def test_any_patterns(self, work_tree: Path, files: dict[str, list[str]], excluded: list[str]) -> None:
        """The ignored files are git's for all patterns in all folders and in git's exclude file."""
        for folder in FOLDERS:
            (work_tree / folder / ".gitignore").write_text(
                "\n".join(files.get(folder, ())) + "\n", encoding="utf-8", newline=""
            )
        (work_tree / ".git" / "info" / "exclude").write_text("\n".join(excluded), encoding="utf-8", newline="")
        expected = set(
            git(work_tree, "check-ignore", "--no-index", "-z", "--stdin", given="\0".join(FILES)).split("\0")
        ) - {""}
        assert ignored(work_tree) == expected


class TestIgnoringFile:
    def test_our_own_file_has_the_last_word(self, tmp_path: Path) -> None:
        """In one folder .pellucidignore overrules .gitignore, both ways."""
        (tmp_path / ".gitignore").write_text("generated.py\n")
        (tmp_path / ".pellucidignore").write_text("!generated.py\nprivate.py\n")
        assert ignoring_file(tmp_path / "generated.py", tmp_path) is None
        assert ignoring_file(tmp_path / "private.py", tmp_path) == tmp_path / ".pellucidignore"

    def test_a_change_counts_at_once(self, tmp_path: Path) -> None:
        """A pattern that is added, changed or removed counts at the next question."""
        ignore, file = tmp_path / ".gitignore", tmp_path / "a.py"
        assert ignoring_file(file, tmp_path) is None
        ignore.write_text("a.py\n")
        assert ignoring_file(file, tmp_path) == ignore
        ignore.write_text("bb.py\n")
        assert ignoring_file(file, tmp_path) is None
        ignore.write_text("*.py\n")
        assert ignoring_file(file, tmp_path) == ignore
        ignore.unlink()
        assert ignoring_file(file, tmp_path) is None

    def test_only_folders_from_the_top_on_count(self, tmp_path: Path) -> None:
        """An ignore file above the repository has no effect in the repository."""
        (tmp_path / ".gitignore").write_text("*\n")
        (tmp_path / "inner").mkdir()
        assert ignoring_file(tmp_path / "inner" / "a.py", tmp_path / "inner") is None

    def test_a_byte_order_mark(self, tmp_path: Path) -> None:
        """A byte order mark is no part of the first pattern."""
        (tmp_path / ".gitignore").write_bytes(b"\xef\xbb\xbfa.py\n")
        assert ignoring_file(tmp_path / "a.py", tmp_path)

    def test_what_is_not_text(self, tmp_path: Path) -> None:
        """Bytes that are not UTF-8 are compared without decoding."""
        (tmp_path / ".gitignore").write_bytes(b"\xff.py\n")
        assert ignoring_file(tmp_path / os.fsdecode(b"\xff.py"), tmp_path)
        assert not ignoring_file(tmp_path / "\ufffd.py", tmp_path)

    def test_a_file_that_cannot_be_read(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """An ignore file that cannot be read ignores everything below."""

        def denied(path: Path, *_: object) -> NoReturn:
            raise PermissionError(13, "Permission denied", str(path))

        (tmp_path / ".gitignore").write_text("other.py\n")
        monkeypatch.setattr(os, "open", denied)
        assert ignoring_file(tmp_path / "a.py", tmp_path)

    @pytest.mark.slow
    def test_files_that_are_too_large(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """Ignore files too large together ignore everything, and the log names the largest file."""
        (tmp_path / "a").mkdir()
        (tmp_path / ".gitignore").write_text("x\n" * (MAX_BYTES // 4))
        (tmp_path / "a" / ".gitignore").write_text("y\n" * (MAX_BYTES // 4 - 1))
        assert ignoring_file(tmp_path / "a" / "a.py", tmp_path) is None
        (tmp_path / ".gitignore").write_text("x\n" * (MAX_BYTES // 4 + 2))
        assert ignoring_file(tmp_path / "a" / "a.py", tmp_path) == tmp_path / ".gitignore"
        assert (
            f"{tmp_path / '.gitignore'} and the other ignore files of a path have more than 131,072 bytes"
            in caplog.text
        )

    def test_a_path_that_is_too_long(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """A path too deep to be matched against long patterns is ignored and logged."""
        (tmp_path / ".gitignore").write_text("/**/a/*b\n" * 10_000)
        assert ignoring_file(tmp_path / "c" / "a.py", tmp_path) is None
        deep = tmp_path / ("c/" * 500 + "a.py")
        assert ignoring_file(deep, tmp_path) == tmp_path / ".gitignore"
        assert "is too long to match against" in caplog.text

    @pytest.mark.process
    @pytest.mark.parametrize("file", [".git", ".gitignore", ".pellucidignore"])
    @pytest.mark.parametrize("target", ["pipe", "/dev/zero"])
    def test_what_never_ends(self, tmp_path: Path, file: str, target: str) -> None:
        """A pipe or a device is not read, as the read would block the language server."""
        os.mkfifo(tmp_path / "pipe")
        (tmp_path / file).symlink_to(tmp_path / target)
        imports = (
            "import sys; from pathlib import Path; from pellucid.completion.context.ignore_files import ignoring_file"
        )
        program = f"{imports}; top = Path(sys.argv[1]); print(ignoring_file(top / 'a.py', top))"
        found = subprocess.run(
            [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, timeout=60, check=True
        )
        assert found.stdout.strip() == "None"

    @pytest.mark.process
    def test_a_further_work_tree(self, tmp_path: Path) -> None:
        """The exclude file of the repository applies in a linked worktree."""
        main, added = tmp_path / "main", tmp_path / "added"
        main.mkdir()
        git(main, "init", "-q")
        git(main, "-c", "user.name=n", "-c", "user.email=e@example.org", "commit", "-q", "--allow-empty", "-m", "first")
        git(main, "worktree", "add", "-q", str(added))
        (main / ".git" / "info").mkdir(exist_ok=True)
        (main / ".git" / "info" / "exclude").write_text("a.py\n")
        assert repository(added) == added
        assert ignoring_file(added / "a.py", added)
        assert not ignoring_file(added / "b.py", added)

    def test_no_repository(self, tmp_path: Path) -> None:
        """A folder outside of every worktree has no repository."""
        assert repository(tmp_path) is None


class TestPatterns:
    def test_settings_that_are_too_large(self, caplog: pytest.LogCaptureFixture) -> None:
        """Patterns of a setting have the same limits, alone and together with a path."""
        assert Patterns(["x" * 100] * 2_000, "the setting").ignores("a.py")
        assert "the setting and the other ignore files of a path have more than 131,072 bytes" in caplog.text
        assert not Patterns(["x" * 100] * 1_000, "the setting").ignores("b/a.py")
        assert Patterns(["x" * 100] * 1_000, "the setting").ignores("b/" * 500 + "a.py")
        assert "is too long to match against the setting" in caplog.text

    def test_lone_surrogates(self) -> None:
        """A lone surrogate, impossible in a file name, is compared like any character."""
        assert Patterns(["*\ud800.py"]).ignores("a\ud800.py")
        assert not Patterns(["\ud801"]).ignores("\ud800")

    def test_files_in_ignored_folders(self) -> None:
        """A setting's pattern for a folder ignores all files within, despite later patterns."""
        patterns = Patterns(["build/", "!build/keep.py", "*.gen.py", "!mine.gen.py"])
        paths = ["build/keep.py", "a/build/x/y.py", "build", "x.gen.py", "a/mine.gen.py"]
        assert [path for path in paths if patterns.ignores(path)] == ["build/keep.py", "a/build/x/y.py", "x.gen.py"]

    @pytest.mark.parametrize("glob", ["a[!b]x.py", "a[^b]x.py", "a[.-0]x.py", "a[[:punct:]]x.py", "a?x.py", "a*x.py"])
    def test_slashes(self, glob: str) -> None:
        """Only two asterisks match a slash."""
        assert Patterns(["/" + glob]).decision("a/x.py", folder=False) is None
        assert Patterns(["/" + glob]).decision("a.x.py", folder=False)

    def test_spaces_at_the_end(self) -> None:
        """Spaces at the end of a line count only if escaped."""
        assert Patterns([r"a\  "]).decision("a ", folder=False)
        assert Patterns(["a  "]).decision("a", folder=False)
        assert Patterns([r"a\\ "]).decision("a\\", folder=False)
