"""The Hugging Face hub: lists of files, and resumable downloads."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from pellucid.errors import ModelError
from pellucid.models.untrusted_files import reason, shown
from pellucid.system import atomic_files
from pellucid.system.atomic_files import human
from pellucid.system.progress import Progress

_TIMEOUT = httpx.Timeout(30.0, connect=5.0)
_ATTEMPTS = 5  # In a row, without new bytes.
_LISTING_SECONDS = 60.0
_LARGEST_LISTING = 64 << 20
_LARGEST_FILE = 1 << 50
_MAX_NAME = 200  # In bytes; a suffix is appended, and file systems allow 255.
_FILE = re.compile(r"[^\x00-\x1f\x7f\\\ud800-\udfff]+")
_COMMIT = re.compile(r"[0-9A-Za-z]{1,64}")
_FAILURES = (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, UnicodeError)
"""The exceptions of a request with redirects: UnicodeError for an invalid host name."""
_CONTENT_RANGE = re.compile(r"bytes (\d+)-")


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file of a repository. ``checksum`` is a SHA-256, or for ``kind`` git a git SHA-1."""

    name: str
    size: int
    checksum: str
    kind: str


@dataclass(frozen=True, slots=True)
class Listing:
    repo: str
    commit: str
    licence: str
    files: tuple[RemoteFile, ...]


class UnreachableError(ModelError):
    """An unreachable source; try another source."""


class Hub:
    """The hub at ``HF_ENDPOINT``, with ``HF_TOKEN`` if set."""

    def __init__(self) -> None:
        self.endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
        token = os.environ.get("HF_TOKEN")
        self._headers = {"authorization": f"Bearer {token}"} if token else {}
        self._offline = os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on")

    def list(self, repo: str, revision: str) -> Listing:
        url = f"{self.endpoint}/api/models/{repo}/revision/{revision.replace('/', '%2F')}"
        with self._client() as client:
            try:
                with client.stream("GET", url, params={"blobs": "true"}, headers=self._headers) as response:
                    self._check_status(response, f"{repo} at revision {revision}")
                    body = self._read_listing(response)
            except _FAILURES as error:
                raise UnreachableError(
                    f"{self.endpoint} cannot be reached ({reason(error)}): check the connection."
                ) from None
        try:
            return _listing(repo, json.loads(body))
        except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
            raise ModelError(
                f"{self.endpoint} returned an invalid list of files for {repo} ({reason(error)}): try again later."
            ) from None

    def _read_listing(self, response: httpx.Response) -> bytes:
        """Read the body of a listing. Raises ModelError if too large or slow.

        The client's timeout bounds neither.
        """
        body = bytearray()
        deadline = time.monotonic() + _LISTING_SECONDS
        for block in response.iter_bytes():
            body += block
            if len(body) > _LARGEST_LISTING or time.monotonic() > deadline:
                raise ModelError(
                    f"{self.endpoint} sends an endless list of files (stopped after {human(len(body))}): "
                    "try again later."
                )
        return bytes(body)

    def download(self, listing: Listing, file: RemoteFile, target: Path, progress: Progress) -> None:
        """Download a file, and rename the file to ``target`` after the checksum is verified.

        Until then, ``target.part`` has the data, and the next call resumes.
        """
        part = target.with_name(target.name + ".part")
        url = f"{self.endpoint}/{listing.repo}/resolve/{listing.commit}/{file.name}"
        with atomic_files.errors_explained(target.parent):
            self._fill(url, file, part, progress)
            if atomic_files.checksum(part, progress, file.kind) != file.checksum:
                part.unlink()
                raise ModelError(f"{file.name} from {self.endpoint} had a wrong checksum and was deleted: try again.")
            atomic_files.publish(part, target)

    def _fill(self, url: str, file: RemoteFile, part: Path, progress: Progress) -> None:
        done = part.stat().st_size if part.exists() else 0
        if done > file.size:
            part.unlink()
            done = 0
        atomic_files.require_space(part.parent, file.size - done)
        progress.start(file.name, file.size)
        progress.advance(done)
        part.touch()
        failures = 0
        with self._client() as client:
            while done < file.size:
                try:
                    self._append(client, url, file, part, progress)
                    cause = "the connection was closed"
                except httpx.TransportError as error:
                    cause = reason(error)
                except _FAILURES as error:  # Another try does not help, for example after an invalid redirect.
                    raise ModelError(
                        f"{file.name} cannot be downloaded from {self.endpoint} ({reason(error)})."
                    ) from None
                before, done = done, part.stat().st_size
                failures = failures + 1 if done <= before else 0
                if done < file.size and failures >= _ATTEMPTS:
                    progress_text = f"after {atomic_files.human(done)} of {atomic_files.human(file.size)}"
                    raise UnreachableError(
                        f"The download of {file.name} was interrupted {progress_text} ({cause}): "
                        "try again to resume it."
                    )

    def _append(self, client: httpx.Client, url: str, file: RemoteFile, part: Path, progress: Progress) -> None:
        done = part.stat().st_size
        headers = {**self._headers, "accept-encoding": "identity", "range": f"bytes={done}-"}
        with client.stream("GET", url, headers=headers) as response:
            self._check_status(response, file.name)
            begin = _CONTENT_RANGE.match(response.headers.get("content-range", ""))
            start = int(begin[1]) if response.status_code == httpx.codes.PARTIAL_CONTENT and begin else 0
            if start > done:
                raise ModelError(f"{self.endpoint} sent bytes of {file.name} that were not requested: try again.")
            with part.open("rb+") as out:
                out.truncate(start)  # A server without ranges starts from the beginning.
                out.seek(start)
                progress.advance(start - done)
                # Without a chunk size: buffered bytes would be lost if the connection breaks.
                for block in response.iter_raw():
                    if out.tell() + len(block) > file.size:
                        raise ModelError(
                            f"{self.endpoint} sent more than the {file.size} bytes of {file.name}: try again."
                        )
                    out.write(block)
                    progress.advance(len(block))

    def _client(self) -> httpx.Client:
        if self._offline:
            raise UnreachableError("The hub is not used, because HF_HUB_OFFLINE is set: unset it to download.")
        return httpx.Client(timeout=_TIMEOUT, follow_redirects=True)

    def _check_status(self, response: httpx.Response, what: str) -> None:
        status = response.status_code
        if status in (401, 403):
            raise ModelError(
                f"{self.endpoint} denies access to {what} ({status}): it does not exist, "
                "or you must accept its licence on its page and set HF_TOKEN to your token."
            )
        if status == httpx.codes.NOT_FOUND:
            raise ModelError(f"{self.endpoint} has no {what}: check the name.")
        if status >= 500 or status == httpx.codes.TOO_MANY_REQUESTS:
            raise UnreachableError(f"{self.endpoint} answered {status} for {what}: try again later.")
        if not response.is_success:
            raise ModelError(f"{self.endpoint} answered {status} for {what}.")


def _listing(repo: str, data: dict[str, Any]) -> Listing:
    commit, card = data["sha"], data.get("cardData") or {}
    if not isinstance(commit, str) or not _COMMIT.fullmatch(commit):
        raise ValueError(f"{shown(commit)} is not a commit")
    licence = card.get("license_name") or card.get("license") or "unknown"
    return Listing(repo, commit, shown(licence).strip("'"), tuple(_files(data["siblings"])))


def _files(siblings: Iterable[dict[str, Any]]) -> Iterable[RemoteFile]:
    for sibling in siblings:
        name, lfs = str(sibling["rfilename"]), sibling.get("lfs")
        if not _FILE.fullmatch(name) or len(name.encode()) > _MAX_NAME:
            continue  # No model needs a file with a name that is invalid on some systems.
        if lfs:
            yield RemoteFile(name, _size(lfs), str(lfs.get("sha256") or lfs["oid"]).removeprefix("sha256:"), "sha256")
        else:
            yield RemoteFile(name, _size(sibling), str(sibling["blobId"]), "git")


def _size(described: dict[str, Any]) -> int:
    size = described["size"]
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= _LARGEST_FILE:
        raise ValueError(f"{shown(size)} is not a file size")
    return size
