"""Decides which documents are never sent to the model: secret files, ignored files, and files that people did not write."""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path

from pellucid.completion.context import uris
from pellucid.completion.context.ignore_files import Patterns, ignoring_file, repository

SECRET = (
    *(
        ".env",
        ".env.*",
        "*.env",
        ".envrc",
        ".netrc",
        "_netrc",
        ".pgpass",
        "pgpass.conf",
        ".my.cnf",
        ".npmrc",
        ".pypirc",
        ".s3cfg",
    ),
    *(
        "*.pem",
        "*.key",
        "*.p8",
        "*.p12",
        "*.pfx",
        "*.ppk",
        "*.jks",
        "*.keystore",
        "*.kdb",
        "*.kdbx",
        "*.gpg",
        "*.age",
        "*.agekey",
    ),
    *(
        "id_rsa*",
        "id_dsa*",
        "id_ecdsa*",
        "id_ed25519*",
        "ssh_host_*_key",
        ".git-credentials",
        ".htpasswd",
        ".vault_pass*",
    ),
    *(
        "credentials",
        ".credentials",
        "secrets",
        ".secrets",
        "kubeconfig",
        "*.kubeconfig",
        ".dockercfg",
        ".dockerconfigjson",
    ),
    *("*.tfstate", "*.tfstate.*", "*.tfvars", "*/.ssh/*", "*/.gnupg/*", "*/.aws/*", "*/.azure/*", "*/.kube/*"),
    *("*/.docker/config.json", "*/.git/config", "*/.config/gh/hosts.yml", "*/gcloud/*.json"),
)
"""Patterns of secret files, in lower case.
Those with a slash match the whole path, the others the name.
"""

SECRET_DATA = re.compile(
    r"(?:.*[._-])?(?:secrets?|credentials?|service[_-]?account)(?:[._-].*)?\.(?:json|ya?ml|toml|ini|cfg|conf|xml|txt|properties|enc)"
)
"""Names of secret data files. Code may have such names: Python has a module ``secrets``."""

NOT_SECRET = re.compile(r".*\.(?:pub|dist|(?:example|sample|template)(?:\.(?:json|ya?ml|toml|ini))?)")
"""Names of files that are meant to be public although the rest of the name suggests secrets."""

PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----.{0,400}?[A-Za-z0-9+/=]{40}", re.DOTALL)
"""A private key. The headline alone is not enough: many programs contain it."""

MAX_CHARACTERS = 1_000_000
"""Characters of the largest file that is sent."""

LONG_LINE, LONG_MEAN_LINE = 5_000, 500
"""Characters of a line that is most of a file, and of a file's average line, from which on the file
was not written by people.
"""

BINARY_CHECK_CHARACTERS = 8_000
"""Characters at the start of a file that are checked for binary data, as git does."""

CONTROL_SHARE = 0.1
"""The share of control characters above which a file is binary."""

MAX_CHECKED_TEXTS = 4
"""Long texts that are remembered with their result.
Each text is checked twice: when it changes, and to complete in it.
"""

MAX_PATH = 4096
"""Characters of the longest path that is checked, as many as Linux allows bytes."""

_IN_GIT = re.compile(r"/\.git//(?:\w+/|(?::\d+|[^/:]*):)")
"""The text that fugitive and gitsigns put between a worktree and the path of a file in it: a
commit, or a number for the index.
"""

_CONTROL = re.compile(r"[\x00-\x07\x0e-\x1a\x1c-\x1f\x7f\ufffd]")


class Privacy:
    """The rules for the open folders.

    ``exclude`` are the user's own patterns, as in ``.gitignore``.
    """

    def __init__(self, roots: Sequence[Path], exclude: Sequence[str] = ()) -> None:
        self._roots = tuple(dict.fromkeys(form for root in roots for form in (absolute(root), root.resolve())))
        self._exclude = Patterns(exclude, "The setting pellucid.context.exclude")
        self._judged: deque[tuple[str, str | None]] = deque(maxlen=MAX_CHECKED_TEXTS)

    def refusal(self, path: str | None, text: str, uri: str = "") -> str | None:
        """Return the reason, one sentence, why a document is never sent to the model, or None.

        ``path`` is None if the document is not a file. Its name and folder are then taken from
        ``uri``, as far as it has them. A link is judged by its own path and by the path that it
        resolves to.
        """
        paths = tuple(dict.fromkeys([*([] if path is None else [Path(path.replace("\0", ""))]), *paths_in(uri)]))
        name = paths[0].name[:100] if paths else "This text"
        if any(len(str(one)) > MAX_PATH for one in paths):
            return f"{name} is never sent to the model: its path has more than {MAX_PATH:,} characters."
        if reason := next(
            filter(None, (self._by_path(form, led_to) for one in paths for form, led_to in _forms(one))), None
        ):
            return reason
        if self._is_on_unknown_machine(uri):
            host = uris.read(uri).host
            return (
                f"{name} is never sent to the model: it is on {host}, whose ignore files cannot be read. "
                f"Open it by a path on this machine, or add !/{host}/** to pellucid.context.exclude."
            )
        if reason := self._by_content(text):
            return f"{name} is never sent to the model: {reason}"
        return None

    def _by_path(self, path: Path, led_to: bool) -> str | None:
        """Return why a path is refused.

        Outside of all open folders, the setting's patterns are relative to the file system's root.

        There, the ignore files of the path's own repository count if a link led to it, because the
        link's folder includes it.
        """
        if pattern := secret_pattern(path):
            return f"{path.name} is never sent to the model: files that match {pattern} may hold secrets."
        inside = self._inside(path)
        if any(
            self._exclude.ignores(inner.relative_to(root).as_posix())
            for root, inner in inside or [(Path(path.anchor), path)]
        ):
            return f"{path.name} is never sent to the model: the setting pellucid.context.exclude excludes it."
        if led_to and not inside and (top := repository(path.parent)):
            inside = [(top, path)]
        if file := next(filter(None, (ignoring_file(inner, repository(root) or root) for root, inner in inside)), None):
            return f"{path.name} is never sent to the model: {file.relative_to(file.parent.parent)} ignores it."
        return None

    def _inside(self, path: Path) -> list[tuple[Path, Path]]:
        """Return the open folders that contain a path, each with the path spelled as inside that folder.

        On a file system that ignores case, one folder has many names. Names that differ are
        therefore compared as folders.
        """
        inside = [(root, path) for root in self._roots if path != root and path.is_relative_to(root)]
        if inside or path in self._roots:
            return inside
        parents = list(path.parents)[:-1]  # all but the root of the file system, which has only one name
        return [
            (root, root / path.relative_to(parent))
            for parent in parents
            for root in self._roots
            if _is_same(parent, root)
        ]

    def _is_on_unknown_machine(self, uri: str) -> bool:
        """Return whether this is a file on another machine that no pattern of ``context.exclude`` allows."""
        address = uris.read(uri)
        return (
            address.is_remote_file
            and self._exclude.decision(f"{address.host}{address.path}", folder=False) is not False
        )

    def _by_content(self, text: str) -> str | None:
        """Return why a text is refused.

        Comparing a long text with the last few is cheaper than checking it again.
        """
        if not BINARY_CHECK_CHARACTERS < len(text) <= MAX_CHARACTERS:
            return content_refusal(text)
        for known, reason in tuple(self._judged):  # another thread may append meanwhile
            if known == text:
                return reason
        reason = content_refusal(text)
        self._judged.append((text, reason))
        return reason


def paths_in(uri: str) -> tuple[Path, ...]:
    """Return the paths in a URI by which its document is judged; none if it has no name.

    A document on another machine, or without a folder, is judged as if it were in the root of the
    file system.
    """
    address = uris.read(uri)
    path = f"/{address.host}{address.path}" if address.host else address.path
    names = [path, path + address.rest] if address.scheme == "file" else [path]
    forms = dict.fromkeys(form for name in names for form in (name, _IN_GIT.sub("/", name)))
    if address.scheme != "file":
        forms = dict.fromkeys(
            form.removesuffix(".git") for form in forms
        )  # VS Code appends it to the name of a file at a commit
    return tuple(one for one in map(Path, forms) if one.name)


@lru_cache(maxsize=1024)
def secret_pattern(path: Path) -> str | None:
    """Return the pattern of secret files that a path matches, by its name or its folder, or None."""
    name, whole = path.name.lower(), path.as_posix().lower()
    if NOT_SECRET.fullmatch(name):
        return None
    if SECRET_DATA.fullmatch(name):
        return path.name
    return next((pattern for pattern in SECRET if fnmatchcase(whole if "/" in pattern else name, pattern)), None)


def _forms(path: Path) -> Iterator[tuple[Path, bool]]:
    """Yield (path, False) and, if links make it another path, (resolved path, True)."""
    called, real = absolute(path), Path(os.path.realpath(path))
    yield called, False
    if real != called:
        yield real, True


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False


def absolute(path: Path) -> Path:
    """Return the absolute path without ``..``; links are not resolved."""
    return Path(os.path.abspath(path))  # noqa: PTH100 - Path.absolute keeps the dots, Path.resolve follows links


def content_refusal(text: str) -> str | None:
    """Return why a text is refused for its content, as the end of a sentence, or None."""
    if len(text) > MAX_CHARACTERS:
        return f"it has more than {MAX_CHARACTERS:,} characters."
    if is_binary(text):
        return "it is not text."
    if "PRIVATE KEY" in text and PRIVATE_KEY.search(text):
        return "it contains a private key."
    if is_minified(text):
        return "its lines are too long for hand-written code."
    return None


def is_binary(text: str) -> bool:
    """Return whether this is not text: it has a NUL, or many control characters or characters that are not UTF-8."""
    start = text[:BINARY_CHECK_CHARACTERS]
    return "\0" in start or len(_CONTROL.findall(start)) > CONTROL_SHARE * len(start)


def is_minified(text: str) -> bool:
    """Return whether the text has hardly any ends of line, as minified code."""
    if len(text) <= LONG_LINE:
        return False
    end = "\n" if "\n" in text else "\r"
    if len(text) > LONG_MEAN_LINE * (text.count(end) + 1):
        return True
    middle = len(text) // 2  # a line that is most of the text contains it
    stop = text.find(end, middle)
    return (stop if stop >= 0 else len(text)) - text.rfind(end, 0, middle) - 1 > max(LONG_LINE, len(text) / 2)
