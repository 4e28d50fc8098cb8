"""The kernels' library is kept on disk, checked before loading, and recompiled if suspect."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import pellucid
from pellucid.engine.native import kernel_compiler, library
from pellucid.engine.native.kernel_compiler import KernelsUnavailableError, build_name
from pellucid.engine.native.kernel_variants import PORTABLE
from pellucid.engine.native.library import Library, load_library
from support.models.quick_compiler import QUICK

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="There is no C compiler.")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="Only root can give a file to another user.")

COPYING = """sh -c 'for last; do :; done; case $last in *.so) cp "$KEPT" "$last";; *) exec cc "$@";; esac' cc"""
"""A compiler that answers questions like cc, and has compiled the kernels before."""

NOBODY = 65534


@pytest.fixture(scope="module", autouse=True)
def original(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A library in a separate folder, with the content of a library that cc has compiled."""
    with pytest.MonkeyPatch.context() as patch:
        load_library(PORTABLE, tmp_path_factory.mktemp("compiled"), QUICK)
        patch.setenv("KEPT", str(library_in(tmp_path_factory.getbasetemp() / "compiled0")))
        folder = tmp_path_factory.mktemp("original")
        load(folder)
        yield library_in(folder)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    folder = tmp_path / "kernels"
    folder.mkdir()
    return folder


@pytest.fixture(scope="module")
def attack(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, Path]:
    """An attacker's library, which creates a file when loaded: the content, and the file's path."""
    folder = tmp_path_factory.mktemp("attack")
    mark, source, built = folder / "mark", folder / "planted.c", folder / "planted.so"
    body = f'close(open("{mark}", O_CREAT, 0600));'
    source.write_text(
        f"#include <fcntl.h>\n#include <unistd.h>\n__attribute__((constructor)) static void run(void) {{ {body} }}"
    )
    subprocess.run(["cc", "-shared", "-fPIC", "-w", source, "-o", built], check=True)
    return built.read_bytes(), mark


@pytest.fixture
def planted(attack: tuple[bytes, Path]) -> tuple[bytes, Path]:
    """The attacker's library, not loaded so far."""
    attack[1].unlink(missing_ok=True)
    return attack


def load(folder: Path) -> Library:
    return load_library(PORTABLE, folder, COPYING)


def library_in(folder: Path) -> Path:
    (library,) = folder.glob("*.so")
    return library


def plant(content: bytes, original: Path, folder: Path) -> Path:
    """Put a library into a folder, with the name of the kernels and the right hash."""
    path = folder / f"{original.name.rpartition('-')[0]}-{hashlib.sha256(content).hexdigest()}.so"
    path.write_bytes(content)
    return path


def load_in_child(compiler: str, *folders: Path) -> subprocess.Popen[bytes]:
    """Load the library from each folder in a child process, as a damaged library may kill."""
    code = (
        "import sys, pathlib\n"
        "from pellucid.engine.native.kernel_variants import PORTABLE\n"
        "from pellucid.engine.native.library import load_library\n"
        "for path in sys.argv[2:]: load_library(PORTABLE, pathlib.Path(path), sys.argv[1])"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(pellucid.__path__[0]).parent)}
    return subprocess.Popen([sys.executable, "-c", code, compiler, *folders], env=environment, stderr=subprocess.PIPE)


@pytest.fixture
def prebuilt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a wheel's libraries, empty; without a compiler."""
    folder = tmp_path / "prebuilt"
    folder.mkdir()
    monkeypatch.setattr(library, "_PREBUILT", folder)
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CC", raising=False)
    return folder


def test_a_library_of_the_wheel_needs_no_compiler(original: Path, cache: Path, prebuilt: Path) -> None:
    """A library of these sources in the wheel is loaded without a compiler and without a cache."""
    shutil.copy(original, prebuilt / f"{build_name(PORTABLE)}.so")
    loaded = load_library(PORTABLE, cache)
    assert loaded.code.pellucid_pool
    assert loaded.origin == "from the wheel"
    assert not list(cache.iterdir())


def test_a_stale_library_of_the_wheel_is_not_used(
    planted: tuple[bytes, Path], cache: Path, prebuilt: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """After a change of a C source, the library of the old sources is not loaded."""
    content, mark = planted
    sources = tmp_path / "sources"
    shutil.copytree(kernel_compiler._SOURCES, sources, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    (prebuilt / f"{build_name(PORTABLE)}.so").write_bytes(content)
    monkeypatch.setattr(kernel_compiler, "_SOURCES", sources)
    with (sources / "simd.h").open("a") as file:
        file.write("/* changed */\n")
    with pytest.raises(KernelsUnavailableError, match="No C compiler was found"):
        load_library(PORTABLE, cache)
    assert not mark.exists()


def test_a_broken_library_of_the_wheel_is_logged(cache: Path, prebuilt: Path, caplog: pytest.LogCaptureFixture) -> None:
    """If a library of the wheel cannot be loaded, the log has the reason; a compiler is needed."""
    (prebuilt / f"{build_name(PORTABLE)}.so").write_bytes(b"no library")
    with pytest.raises(KernelsUnavailableError, match="No C compiler was found"):
        load_library(PORTABLE, cache)
    assert "wheel's kernels cannot be loaded" in caplog.text


@pytest.mark.process
def test_compiled_once(cache: Path) -> None:
    """A second use finds the library and recompiles nothing; only this user opens the lock."""
    load(cache)
    library = library_in(cache)
    written = library.stat().st_mtime_ns
    assert load(cache).warning == ""
    assert library.stat().st_mtime_ns == written
    assert {path.name for path in cache.iterdir()} <= {library.name, "kernels.lock"}
    # Otherwise a user could block the servers of others.
    assert (cache / "kernels.lock").stat().st_mode & 0o077 == 0


@pytest.mark.process
@pytest.mark.parametrize(
    ("compiler", "sentence"), [("no-such-compiler", "cannot be run"), ("false", "fails on the kernels")]
)
def test_without_a_compiler_there_is_a_reason(cache: Path, compiler: str, sentence: str) -> None:
    """A missing or broken compiler is named in one sentence with the remedy."""
    with pytest.raises(KernelsUnavailableError, match=sentence) as caught:
        load_library(PORTABLE, cache, compiler)
    assert compiler in str(caught.value)
    assert "apt-get install gcc libc6-dev" in str(caught.value)
    assert not list(cache.rglob("*.so"))


def test_no_compiler_at_all(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If no compiler is installed, the sentence names a package to install."""
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(KernelsUnavailableError, match="apt-get install gcc libc6-dev"):
        load_library(PORTABLE, cache, None)


@pytest.mark.process
def test_a_compiler_that_hangs_is_given_up(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hanging compiler is killed, and the error names the compiler."""
    monkeypatch.setattr(kernel_compiler, "_COMPILATION_SECONDS", 0.5)
    with pytest.raises(KernelsUnavailableError, match="takes longer than"):
        load_library(PORTABLE, cache, "sh -c 'exec sleep 60'")


@pytest.mark.process
def test_cut_short_is_compiled_again(original: Path, tmp_path: Path) -> None:
    """A library cut short at any length kills no process, and is replaced by a complete library."""
    whole = original.read_bytes()
    lengths = (0, 64, 4096, len(whole) // 2, len(whole) - 1)
    folders = [tmp_path / str(length) for length in lengths]
    for length, folder in zip(lengths, folders, strict=True):
        folder.mkdir()
        (folder / original.name).write_bytes(whole[:length])
    child = load_in_child(COPYING, *folders)
    _, output = child.communicate()
    assert child.returncode == 0, output
    assert [library_in(folder).read_bytes() == whole for folder in folders] == [True] * len(folders)


@pytest.mark.process
def test_damaged_is_compiled_again(original: Path, cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A flipped bit anywhere is found, logged and repaired."""
    whole = original.read_bytes()
    for at in (0.0, 0.9):
        damaged = bytearray(whole)
        damaged[int(at * len(whole))] ^= 16
        (cache / original.name).write_bytes(damaged)
        caplog.clear()
        load(cache)
        assert library_in(cache).read_bytes() == whole
        assert "compiled again" in caplog.text


@pytest.mark.process
@pytest.mark.parametrize("mode", [0o1777, 0o757])
def test_a_folder_that_others_can_write_is_not_used(
    planted: tuple[bytes, Path], original: Path, cache: Path, mode: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a folder writable by others nothing is loaded, and the warning has the remedy."""
    content, mark = planted
    plant(content, original, cache)
    cache.chmod(mode)
    temporary = cache.parent / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    library = load(cache)
    assert not mark.exists()
    assert library.code.pellucid_pool
    assert f"run `chmod go-w {cache}`" in library.warning
    assert "compiled at every start" in library.warning
    assert not list(temporary.iterdir()), "the temporary folder is removed"


@pytest.mark.process
def test_a_parent_that_others_can_write_is_not_used(planted: tuple[bytes, Path], original: Path, cache: Path) -> None:
    """A replaceable parent folder is not trusted, unless the parent has a sticky bit, as /tmp."""
    content, mark = planted
    plant(content, original, cache)
    cache.parent.chmod(0o777)
    assert f"chmod go-w {cache.parent}`" in load(cache).warning
    assert not mark.exists()
    cache.parent.chmod(0o1777)
    assert load(cache).warning == ""
    assert mark.exists()


@pytest.mark.process
def test_a_link_is_followed_before_the_check(planted: tuple[bytes, Path], original: Path, cache: Path) -> None:
    """A link does not hide that the target folder is writable by others."""
    content, mark = planted
    plant(content, original, cache)
    cache.chmod(0o777)
    link = cache.parent / "link"
    link.symlink_to(cache)
    assert "chmod go-w" in load(link).warning
    assert not mark.exists()


@pytest.mark.process
def test_a_file_that_others_can_write_is_compiled_again(
    planted: tuple[bytes, Path], original: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A file writable by others is not loaded, even with the right hash in the name."""
    content, mark = planted
    plant(content, original, cache).chmod(0o666)
    load(cache)
    assert not mark.exists()
    assert library_in(cache).read_bytes() == original.read_bytes()
    assert "writable by other users" in caplog.text


@pytest.mark.process
def test_a_link_in_place_of_the_library_is_replaced(planted: tuple[bytes, Path], original: Path, cache: Path) -> None:
    """Only a regular file is loaded."""
    content, mark = planted
    elsewhere = cache.parent / "elsewhere"
    elsewhere.mkdir()
    target = plant(content, original, elsewhere)
    (cache / target.name).symlink_to(target)
    load(cache)
    assert not mark.exists()
    assert not library_in(cache).is_symlink()
    assert target.read_bytes() == content


@pytest.mark.process
@as_root
def test_a_file_of_another_user_is_compiled_again(planted: tuple[bytes, Path], original: Path, cache: Path) -> None:
    """Only files of this user or of root are loaded."""
    content, mark = planted
    os.chown(plant(content, original, cache), NOBODY, NOBODY)
    load(cache)
    assert not mark.exists()
    assert library_in(cache).stat().st_uid == 0


@pytest.mark.process
@as_root
@pytest.mark.parametrize("which", ["folder", "parent"])
def test_a_folder_of_another_user_is_not_used(
    planted: tuple[bytes, Path], original: Path, cache: Path, which: str
) -> None:
    """A foreign folder is not used, and the warning names the folder and the owner."""
    content, mark = planted
    plant(content, original, cache)
    theirs = cache if which == "folder" else cache.parent
    os.chown(theirs, NOBODY, NOBODY)
    assert f"{theirs} belongs to the user nobody" in load(cache).warning
    assert not mark.exists()


@pytest.mark.process
@as_root
def test_a_group_counts_as_others_unless_it_is_private(
    planted: tuple[bytes, Path], original: Path, cache: Path
) -> None:
    """A folder may be writable by the user's private group, but by no second group."""
    content, mark = planted
    plant(content, original, cache)
    cache.chmod(0o775)
    os.chown(cache, 0, NOBODY)
    assert "mode 775" in load(cache).warning
    assert not mark.exists()
    os.chown(cache, 0, 0)
    assert load(cache).warning == ""
    assert mark.exists()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    """Kernels work without a cache folder, and the warning has the reason and the remedy."""
    (tmp_path / "file").touch()
    library = load(tmp_path / "file" / "kernels")
    assert library.code.pellucid_pool
    assert (
        f"They cannot be saved in {tmp_path / 'file' / 'kernels'} (Not a directory): make it writable"
        in library.warning
    )


@pytest.mark.process
def test_nowhere_to_compile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If no folder can be used there are no kernels, and the sentence has both faults."""
    (tmp_path / "file").touch()
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    monkeypatch.setattr(tempfile, "tempdir", str(shared))
    with pytest.raises(KernelsUnavailableError, match="TMPDIR") as caught:
        load(tmp_path / "file" / "kernels")
    assert "Not a directory" in str(caught.value)
    assert f"chmod go-w {shared}" in str(caught.value)


@pytest.mark.process
def test_two_processes_compile_once(cache: Path, original: Path) -> None:
    """Simultaneous processes leave a single complete library and no temporary files."""
    children = [load_in_child(QUICK, cache) for _ in range(2)]
    for child in children:
        _, output = child.communicate()
        assert child.returncode == 0, output
    content = library_in(cache).read_bytes()
    assert content == original.read_bytes(), "the same sources and compiler make the same library"
    assert len(list(cache.iterdir())) <= 2, "the library and kernels.lock"
