"""The system's errors while writing, each in a single sentence."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from safetensors import SafetensorError

from pellucid.errors import ModelError
from pellucid.system.atomic_files import errors_explained, write_output

FULL = (
    OSError(errno.ENOSPC, "No space left on device"),
    SafetensorError("I/O error: No space left on device (os error 28)"),
)


@pytest.mark.parametrize("error", FULL)
def test_a_full_disk(tmp_path: Path, error: Exception) -> None:
    """A full disk causes the same sentence for an `OSError` and a `SafetensorError`."""
    with (
        pytest.raises(ModelError, match=r"^The disk of .* is full: free some space and try again\.$"),
        errors_explained(tmp_path),
    ):
        raise error


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
def test_another_reason(tmp_path: Path, number: int) -> None:
    """Every other reason is reported in the system's words, for either error class."""
    for error in (
        OSError(number, os.strerror(number)),
        SafetensorError(f"I/O error: {os.strerror(number)} (os error {number})"),
    ):
        with pytest.raises(ModelError) as caught, errors_explained(tmp_path):
            raise error
        assert str(caught.value) == (
            f"{tmp_path} cannot be written to ({os.strerror(number)}): make it writable, or set another cache folder."
        )


def test_output_goes_where_the_user_says(tmp_path: Path) -> None:
    """Output replaces the target of a symbolic link, and is written into a pipe."""
    (tmp_path / "target").write_text("before")
    (tmp_path / "link").symlink_to("target")
    write_output(tmp_path / "link", "after")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_text() == "after"

    reading, writing = os.pipe()
    write_output(Path(f"/dev/fd/{writing}"), "text")
    assert os.read(reading, 10) == b"text"
    for end in (reading, writing):
        os.close(end)
