"""Which files are never sent to the model: secret ones, ignored ones, and those that are not text to be completed."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from pellucid_lsp.ignore import Patterns, ignoring_file, repository

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

_CONTROL = re.compile(r"[\x00-\x07\x0e-\x1a\x1c-\x1f\x7f\ufffd]")


class Privacy:
    """What may be sent, for the folders that are open and what the user excludes besides, in patterns of ``.gitignore``."""

    def __init__(self, roots: Sequence[Path], exclude: Sequence[str] = ()) -> None:
        self._roots = {form for root in roots for form in (absolute(root), root.resolve())}
        self._exclude = Patterns(exclude)

    def refusal(self, path: str | None, text: str) -> str | None:
        """One sentence why nothing of this file is ever sent to the model, or None.

        ``path`` is None for what is not a file. A link is judged by its own name and by what it points to.
        """
        if path is None:
            return _by_content("This text", text)
        given = Path(path)
        reasons = (self._by_path(form) for form in dict.fromkeys((absolute(given), given.resolve())))
        return next(filter(None, reasons), None) or _by_content(given.name, text)

    def _by_path(self, path: Path) -> str | None:
        if pattern := secret_pattern(path):
            return f"{path.name} is never sent to the model: what is called {pattern} holds secrets."
        for root in self._roots:
            if path == root or not path.is_relative_to(root):
                continue
            if self._exclude.ignores(path.relative_to(root).as_posix()):
                return f"{path.name} is never sent to the model: the setting context.exclude names it."
            if file := ignoring_file(path, repository(root) or root):
                return f"{path.name} is never sent to the model: {file.relative_to(file.parent.parent)} ignores it."
        return None


def secret_pattern(path: Path) -> str | None:
    """The pattern by which a file is secret: that of its name, or of its folder."""
    name, whole = path.name.lower(), path.as_posix().lower()
    if NOT_SECRET.fullmatch(name):
        return None
    if SECRET_DATA.fullmatch(name):
        return path.name
    return next((pattern for pattern in SECRET if fnmatchcase(whole if "/" in pattern else name, pattern)), None)


def absolute(path: Path) -> Path:
    """The path from the root of the file system, without ``..``, and with links as they are."""
    return Path(os.path.abspath(path))  # noqa: PTH100 - Path.absolute keeps the dots, Path.resolve follows links


def _by_content(name: str, text: str) -> str | None:
    start = f"{name} is never sent to the model:"
    if len(text) > LARGEST:
        return f"{start} it has more than {LARGEST:,} characters."
    if is_binary(text):
        return f"{start} it is not text."
    if "PRIVATE KEY" in text and PRIVATE_KEY.search(text):
        return f"{start} it holds a private key."
    if is_minified(text):
        return f"{start} its lines are too long for a text that people write."
    return None


def is_binary(text: str) -> bool:
    """Whether this is something other than text: it has a NUL, or many control characters and many that are not UTF-8."""
    start = text[:LOOKED_AT]
    return "\0" in start or len(_CONTROL.findall(start)) > CONTROL_SHARE * len(start)


def is_minified(text: str) -> bool:
    """Whether a machine wrote this without ends of line."""
    if len(text) <= LONG_LINE:
        return False
    lines = text.splitlines()
    return len(text) > MEAN_LINE * len(lines) or max(map(len, lines)) > max(LONG_LINE, len(text) / 2)
