"""Which files are never sent to the model: secret ones, ignored ones, and those that are not text to be completed."""

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
    *(".env", ".env.*", "*.env", ".envrc", ".netrc", "_netrc", ".pgpass", "pgpass.conf", ".my.cnf", ".npmrc", ".pypirc", ".s3cfg"),
    *("*.pem", "*.key", "*.p8", "*.p12", "*.pfx", "*.ppk", "*.jks", "*.keystore", "*.kdb", "*.kdbx", "*.gpg", "*.age", "*.agekey"),
    *("id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*", "ssh_host_*_key", ".git-credentials", ".htpasswd", ".vault_pass*"),
    *("credentials", ".credentials", "secrets", ".secrets", "kubeconfig", "*.kubeconfig", ".dockercfg", ".dockerconfigjson"),
    *("*.tfstate", "*.tfstate.*", "*.tfvars", "*/.ssh/*", "*/.gnupg/*", "*/.aws/*", "*/.azure/*", "*/.kube/*"),
    *("*/.docker/config.json", "*/.git/config", "*/.config/gh/hosts.yml", "*/gcloud/*.json"),
)
"""Patterns of secret files, in lower case: of the name, or with a slash of the whole path."""

SECRET_DATA = re.compile(
    r"(?:.*[._-])?(?:secrets?|credentials?|service[_-]?account)(?:[._-].*)?\.(?:json|ya?ml|toml|ini|cfg|conf|xml|txt|properties|enc)"
)
"""Names of data that is secret. Code may be called so: Python has a module ``secrets``."""

NOT_SECRET = re.compile(r".*\.(?:pub|dist|(?:example|sample|template)(?:\.(?:json|ya?ml|toml|ini))?)")
"""Names of what is made to be shown, though the rest of the name says secret."""

PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----.{0,400}?[A-Za-z0-9+/=]{40}", re.DOTALL)
"""A private key as it stands in a file. The headline alone is in many a program."""

LARGEST = 1_000_000
"""Characters of the largest file that is read."""

LONG_LINE, MEAN_LINE = 5_000, 500
"""Characters of a line: one such line that is most of a file, or so many on average, and no human wrote it."""

LOOKED_AT = 8_000
"""Characters at the start of a file by which it is told to be binary, as git does it."""

CONTROL_SHARE = 0.1
"""From this share of control characters on a file is binary."""

JUDGED = 4
"""How many long texts are remembered with what was found in them: each text is asked about twice, when it changes and to complete in it."""

MAX_PATH = 4096
"""Characters of the longest path that is looked at: as many bytes as Linux opens."""

_IN_GIT = re.compile(r"/\.git//(?:\w+/|(?::\d+|[^/:]*):)")
"""What fugitive and gitsigns have between a work tree and the path of a file in it: a commit, or a number for the index."""

_CONTROL = re.compile(r"[\x00-\x07\x0e-\x1a\x1c-\x1f\x7f\ufffd]")


class Privacy:
    """What may be sent, for the folders that are open and what the user excludes besides, in patterns of ``.gitignore``."""

    def __init__(self, roots: Sequence[Path], exclude: Sequence[str] = ()) -> None:
        self._roots = tuple(dict.fromkeys(form for root in roots for form in (absolute(root), root.resolve())))
        self._exclude = Patterns(exclude, "The setting pellucid.context.exclude")
        self._judged: deque[tuple[str, str | None]] = deque(maxlen=JUDGED)

    def refusal(self, path: str | None, text: str, uri: str = "") -> str | None:
        """One sentence why nothing of this document is ever sent to the model, or None.

        ``path`` is None for what is not a file: then ``uri`` says what it is called, and where it lies, as far as it does.
        A link is judged by its own name and by what it points to.
        """
        paths = tuple(dict.fromkeys([*([] if path is None else [Path(path.replace("\0", ""))]), *paths_in(uri)]))
        name = paths[0].name[:100] if paths else "This text"
        if any(len(str(one)) > MAX_PATH for one in paths):
            return f"{name} is never sent to the model: its path has more than {MAX_PATH:,} characters."
        if reason := next(filter(None, (self._by_path(form, led_to) for one in paths for form, led_to in _forms(one))), None):
            return reason
        if self._is_on_unknown_machine(uri):
            host = uris.read(uri).host
            return (
                f"{name} is never sent to the model: it lies on {host}, whose ignore files cannot be read. "
                f"Open it by a path of this machine, or add !/{host}/** to pellucid.context.exclude."
            )
        if reason := self._by_content(text):
            return f"{name} is never sent to the model: {reason}"
        return None

    def _by_path(self, path: Path, led_to: bool) -> str | None:
        """Why a path is refused. Outside of every folder the patterns of the setting count from the root of the file system.

        There the ignore files of its own repository count where a link led to it: the folder that holds the link chose it.
        """
        if pattern := secret_pattern(path):
            return f"{path.name} is never sent to the model: what is called {pattern} holds secrets."
        inside = self._inside(path)
        if any(self._exclude.ignores(inner.relative_to(root).as_posix()) for root, inner in inside or [(Path(path.anchor), path)]):
            return f"{path.name} is never sent to the model: the setting context.exclude names it."
        if led_to and not inside and (top := repository(path.parent)):
            inside = [(top, path)]
        if file := next(filter(None, (ignoring_file(inner, repository(root) or root) for root, inner in inside)), None):
            return f"{path.name} is never sent to the model: {file.relative_to(file.parent.parent)} ignores it."
        return None

    def _inside(self, path: Path) -> list[tuple[Path, Path]]:
        """Return the open folders that contain a path, each with the path spelled as inside that folder.

        A file system that does not tell cases apart has one folder under many names, so those that differ are compared as folders.
        """
        inside = [(root, path) for root in self._roots if path != root and path.is_relative_to(root)]
        if inside or path in self._roots:
            return inside
        parents = list(path.parents)[:-1]  # all but the root of the file system, which has one name only
        return [(root, root / path.relative_to(parent)) for parent in parents for root in self._roots if _is_same(parent, root)]

    def _is_on_unknown_machine(self, uri: str) -> bool:
        """Whether this is a file of another machine that no pattern of ``context.exclude`` admits."""
        address = uris.read(uri)
        return address.is_remote_file and self._exclude.decision(f"{address.host}{address.path}", folder=False) is not False

    def _by_content(self, text: str) -> str | None:
        """Why a text is refused. To compare a long one with the last few is cheaper than to judge it anew."""
        if not LOOKED_AT < len(text) <= LARGEST:
            return content_refusal(text)
        for known, reason in self._judged:
            if known == text:
                return reason
        reason = content_refusal(text)
        self._judged.append((text, reason))
        return reason


def paths_in(uri: str) -> tuple[Path, ...]:
    """The paths by which a document that is not a file is judged: those that its address has for one; none where it has no name.

    A document of another machine, or of no place, is judged as if it lay in the root of the file system.
    """
    address = uris.read(uri)
    path = f"/{address.host}{address.path}" if address.host else address.path
    names = [path, path + address.rest] if address.scheme == "file" else [path]
    forms = dict.fromkeys(form for name in names for form in (name, _IN_GIT.sub("/", name)))
    if address.scheme != "file":
        forms = dict.fromkeys(form.removesuffix(".git") for form in forms)  # what VS Code puts behind the name of a file's state in git
    return tuple(one for one in map(Path, forms) if one.name)


@lru_cache(maxsize=1024)
def secret_pattern(path: Path) -> str | None:
    """The pattern by which a file is secret: that of its name, or of its folder."""
    name, whole = path.name.lower(), path.as_posix().lower()
    if NOT_SECRET.fullmatch(name):
        return None
    if SECRET_DATA.fullmatch(name):
        return path.name
    return next((pattern for pattern in SECRET if fnmatchcase(whole if "/" in pattern else name, pattern)), None)


def _forms(path: Path) -> Iterator[tuple[Path, bool]]:
    """Yield the path as given, with False, and the path that it resolves to, with True, if links make that another one."""
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
    """The path from the root of the file system, without ``..``, and with links as they are."""
    return Path(os.path.abspath(path))  # noqa: PTH100 - Path.absolute keeps the dots, Path.resolve follows links


def content_refusal(text: str) -> str | None:
    """Why a text is refused for what it holds, as the end of a sentence."""
    if len(text) > LARGEST:
        return f"it has more than {LARGEST:,} characters."
    if is_binary(text):
        return "it is not text."
    if "PRIVATE KEY" in text and PRIVATE_KEY.search(text):
        return "it holds a private key."
    if is_minified(text):
        return "its lines are too long for a text that people write."
    return None


def is_binary(text: str) -> bool:
    """Whether this is something other than text: it has a NUL, or many control characters and many that are not UTF-8."""
    start = text[:LOOKED_AT]
    return "\0" in start or len(_CONTROL.findall(start)) > CONTROL_SHARE * len(start)


def is_minified(text: str) -> bool:
    """Whether a machine wrote this without ends of line."""
    if len(text) <= LONG_LINE:
        return False
    end = "\n" if "\n" in text else "\r"
    if len(text) > MEAN_LINE * (text.count(end) + 1):
        return True
    middle = len(text) // 2  # a line that is most of the text holds it
    stop = text.find(end, middle)
    return (stop if stop >= 0 else len(text)) - text.rfind(end, 0, middle) - 1 > max(LONG_LINE, len(text) / 2)
