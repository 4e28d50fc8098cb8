"""Documents never sent to the model: secret, ignored, and not written by people."""

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
"""Lower-case patterns of secret files; with a slash, of the whole path instead of the name."""

SECRET_DATA = re.compile(
    r"(?:.*[._-])?(?:secrets?|credentials?|service[_-]?account)(?:[._-].*)?\.(?:json|ya?ml|toml|ini|cfg|conf|xml|txt|properties|enc)"
)
"""Names of secret data files. Code may have similar names: Python has a module ``secrets``."""

NOT_SECRET = re.compile(r".*\.(?:pub|dist|(?:example|sample|template)(?:\.(?:json|ya?ml|toml|ini))?)")
"""Names of public files, although the rest of the name suggests secrets."""

PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----.{0,400}?[A-Za-z0-9+/=]{40}", re.DOTALL)
"""The headline alone is not enough: many programs contain it."""

MAX_CHARACTERS = 1_000_000

LONG_LINE, LONG_MEAN_LINE = 5_000, 500
"""Maximum length of a file's dominant line and of the mean line in hand-written files."""

BINARY_CHECK_CHARACTERS = 8_000
"""Characters at the start of a file checked for binary data, as in git."""

CONTROL_SHARE = 0.1

MAX_CHECKED_TEXTS = 4
"""Each text is checked twice: after a change, and before completion."""

MAX_PATH = 4096
"""Maximum length of a path, in characters: Linux allows as many bytes."""

_IN_GIT = re.compile(r"/\.git//(?:\w+/|(?::\d+|[^/:]*):)")
"""Text between a worktree and a path in fugitive and gitsigns: a commit or index number."""

_CONTROL = re.compile(r"[\x00-\x07\x0e-\x1a\x1c-\x1f\x7f\ufffd]")


class Privacy:
    """The rules for the open folders. ``exclude`` are the user's patterns, as in ``.gitignore``."""

    def __init__(self, roots: Sequence[Path], exclude: Sequence[str] = ()) -> None:
        self._roots = tuple(dict.fromkeys(form for root in roots for form in (absolute(root), root.resolve())))
        self._exclude = Patterns(exclude, "The setting pellucid.context.exclude")
        self._judged: deque[tuple[str, str | None]] = deque(maxlen=MAX_CHECKED_TEXTS)

    def refusal(self, path: str | None, text: str, uri: str = "") -> str | None:
        """Return one sentence on why a document is never sent to the model, or None.

        ``path`` is None without a file; name and folder are then taken from ``uri``. A link is
        judged by its own path and by the resolved path.
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

    def permits(self, uri: str, text: str) -> bool:
        return self.refusal(None, text, uri) is None

    def _by_path(self, path: Path, led_to: bool) -> str | None:
        """Return why a path is refused.

        Outside of all open folders, the setting's patterns are relative to the file system's root.
        The ignore files of the path's own repository count there if a link led to the path, because
        the link's folder includes the path.
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
        """Return the open folders around a path, each with the path spelled as in the folder.

        On a file system that ignores case, a folder has many names, so folders are compared, not
        names.
        """
        inside = [(root, path) for root in self._roots if path != root and path.is_relative_to(root)]
        if inside or path in self._roots:
            return inside
        parents = list(path.parents)[:-1]  # All but the file system's root, which has a single name
        return [
            (root, root / path.relative_to(parent))
            for parent in parents
            for root in self._roots
            if _is_same(parent, root)
        ]

    def _is_on_unknown_machine(self, uri: str) -> bool:
        """Return whether a file is on a remote machine not allowed by ``context.exclude``."""
        address = uris.read(uri)
        return (
            address.is_remote_file
            and self._exclude.decision(f"{address.host}{address.path}", folder=False) is not False
        )

    def _by_content(self, text: str) -> str | None:
        """Return why a text is refused.

        Comparing a long text with the last few texts is cheaper than checking the text again.
        """
        if not BINARY_CHECK_CHARACTERS < len(text) <= MAX_CHARACTERS:
            return content_refusal(text)
        for known, reason in tuple(self._judged):  # Another thread may append meanwhile
            if known == text:
                return reason
        reason = content_refusal(text)
        self._judged.append((text, reason))
        return reason


def paths_in(uri: str) -> tuple[Path, ...]:
    """Return the paths in a URI for judging the document, empty without a name.

    A document on a remote machine, or without a folder, is judged as in the file system's root.
    """
    address = uris.read(uri)
    path = f"/{address.host}{address.path}" if address.host else address.path
    names = [path, path + address.rest] if address.scheme == "file" else [path]
    forms = dict.fromkeys(form for name in names for form in (name, _IN_GIT.sub("/", name)))
    # VS Code appends .git to the name of a file at a commit.
    if address.scheme != "file":
        forms = dict.fromkeys(form.removesuffix(".git") for form in forms)
    return tuple(one for one in map(Path, forms) if one.name)


@lru_cache(maxsize=1024)
def secret_pattern(path: Path) -> str | None:
    name, whole = path.name.lower(), path.as_posix().lower()
    if NOT_SECRET.fullmatch(name):
        return None
    if SECRET_DATA.fullmatch(name):
        return path.name
    return next((pattern for pattern in SECRET if fnmatchcase(whole if "/" in pattern else name, pattern)), None)


def _forms(path: Path) -> Iterator[tuple[Path, bool]]:
    """Yield (path, False) and, if links change the path, (resolved path, True)."""
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
    """Return the absolute path without ``..``, with links unresolved."""
    return Path(os.path.abspath(path))  # noqa: PTH100 - Path.absolute keeps the dots, Path.resolve follows links


def content_refusal(text: str) -> str | None:
    """Return the reason to refuse a text, as the end of a sentence, or None."""
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
    start = text[:BINARY_CHECK_CHARACTERS]
    return "\0" in start or len(_CONTROL.findall(start)) > CONTROL_SHARE * len(start)


def is_minified(text: str) -> bool:
    if len(text) <= LONG_LINE:
        return False
    end = "\n" if "\n" in text else "\r"
    if len(text) > LONG_MEAN_LINE * (text.count(end) + 1):
        return True
    # A line longer than half of the text contains the middle.
    middle = len(text) // 2
    stop = text.find(end, middle)
    return (stop if stop >= 0 else len(text)) - text.rfind(end, 0, middle) - 1 > max(LONG_LINE, len(text) / 2)
