"""Tests of the dataset: no secrets and no copies, and files held out first."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pellucid.errors import InvalidRequestError
from pellucid.learn.corpus import CorpusBudget, Document
from pellucid.learn.finetune import repository_files
from pellucid.learn.finetune.report import left_out
from pellucid.learn.finetune.repository_files import JUDGED, Dataset, collect, hold_out
from pellucid.learn.finetune.secrets import kind_of_secret
from pellucid.system.progress import Noted, Silent

SECRETS = {
    "private key": "-----BEGIN RSA " + "PRIVATE KEY-----\nMIIE\n",
    "AWS key": "key = AKIA" + "IOSFODNN7QXYZABC",
    "GitHub token": "ghp_" + "a1B2" * 9,
    "GitLab token": "glpat-" + "a1B2c3D4e5" * 2,
    "Slack token": "xoxb-" + "123456789012-abcdefABCDEF",
    "OpenAI-like key": "sk-proj-" + "Ab1Cd2Ef3Gh4Ij5Kl6Mn",
    "Google key": "AIza" + "SyA1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q",
    "Stripe key": "sk_live_" + "4eC39HqLyjWDarjtT1",
    "Hugging Face token": "hf_" + "aBcDeFgHiJ" * 3,
    "package index token": "pypi-" + "AgEIcHlwaS5vcmc" * 4,
    "password in a URL": "postgres://anna:" + "h7Kq2x@db.internal/accounts",
    "random value of a key or password": 'API_KEY = "' + "q8Zr2LmX0vTn5YbK" + '"',
}
BARE = [
    "db_password: " + "q7Xk29vLm3Zp81RtYw0B",
    "AWS_SECRET_ACCESS_KEY=" + "wJ4alrXUtnF8EMIK7MDENGbPx2RfiCYzq1hT5sLo",
    "export API_KEY=" + "f3a9c41e07b82d56f3a9" + "; run",
    "token = " + "k3v9x0q2m7w4z8b1" + "  # of the build",
    "  client-secret: " + "9f8b7c6d-1a2b-4c3d-8e4f-5a6b7c8d9e0f",
    "jwt_token: eyJhbGciOiJIUzI1NiJ9." + "eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N",
    "curl 'https://host/?access_token=" + "a8Fk20dLx7Pq93Zm&page=1'",
]
HARMLESS = [
    "postgres://user:" + "password@localhost/test",
    "https://example.org:8080/a@b",
    'password = "correct horse battery staple"',
    'token = "this_is_the_name_of_a_token"',
    'api_key = os.environ["SERVICE_API_KEY_NAME"]',
    "sk-learn is a library, and task-runner-configuration-of-everything is a name",
    "def test_secret(token): assert token == expected",
    "api_key = os.environ.get(name_of_the_key_v2)",
    "password: str",
    "token = tokenizer_of_version_2.decode(ids)",
    "access_token = response_of_step2.access_token1",
    "private_key = ed25519.Ed25519PrivateKey",
    "token_type = BertTokenTypeEmbeddings2",
    "secret: ${{ secrets.DEPLOY_KEY_2 }}",
    "db_password: {{ vault_db1_password2 }}",
    "api_key: <f3a9c41e07b82d56f3a9>",
    "token: change-me-1a2b3c4d5e6f",
    "private_key = /etc/ssl/private/host2-2024",
    "AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY",
    "tokens:\n  a1b2c3d4e5f6g7h8i9: 5",
]


@pytest.mark.parametrize("kind", SECRETS)
def test_secrets_are_found(kind: str) -> None:
    """Keys, tokens and passwords of the usual forms are found within a text."""
    assert kind_of_secret(f"# settings\n{SECRETS[kind]}\n# end\n") == kind


@pytest.mark.parametrize("text", BARE)
def test_secrets_without_quotes_are_found(text: str) -> None:
    """In settings and scripts a value ends at white space and needs no quotes."""
    assert kind_of_secret(f"# settings\n{text}\n# end\n") == kind_of_secret(text) == "random value of a key or password"


@pytest.mark.parametrize("text", HARMLESS)
def test_what_is_no_secret_goes_through(text: str) -> None:
    """Placeholders, names, code and prose about secrets are not secrets."""
    assert kind_of_secret(text) is None


def test_whole_files_are_held_out(documents: list[Document]) -> None:
    """Every file is in one part, with fixed shares, and the largest file is for training."""
    large = Document("large.py", "x = 1\n" * 10_000)
    parts = hold_out([*documents, large])

    assert sorted(document.name for part in parts for document in part) == sorted(d.name for d in [*documents, large])
    assert parts == hold_out([large, *reversed(documents)])
    assert large in parts[0]
    assert [len(part) for part in hold_out(documents)] == [14, 2, 4]


def test_a_large_file_leaves_none_of_the_parts_empty(documents: list[Document]) -> None:
    """A few very large files leave files for early stopping and for the test."""
    schema = Document("schema.sql", "insert into t values (1);\n" * 36_000)
    assert [len(part) for part in hold_out([*documents, schema])] == [15, 2, 4]

    few = [Document(f"{number}.py", f"x = {number}\n") for number in range(6)]
    large = [Document(f"{number}.sql", "insert\n" * 3_000) for number in range(3)]
    # The place of the seventh small file, most of the permitted held-out text, varies.
    for number in range(20):
        train, validation, test = hold_out([*few, Document(f"{number}.js", "let x\n" * 1_000), *large])
        assert set(large) <= set(train)
        assert len(validation) >= 2
        assert len(test) >= 4


def test_many_files_are_not_all_judged() -> None:
    """A fixed number of held-out files is judged, the same each time, and is reported."""
    documents = tuple(Document(f"{number:03}.py", f"x = {number}\n") for number in range(300))
    many, few = Dataset((), (), documents, {}, ()), Dataset((), (), documents[:JUDGED], {}, ())

    assert len(many.judged) == many.counts()["judged_files"] == JUDGED
    assert many.judged == Dataset((), (), documents[::-1], {}, ()).judged
    assert many.judged != documents[:JUDGED]
    assert left_out(many) == ["evaluated: 24 of the 300 test files, the first by the hash of their names"]
    assert (few.judged, left_out(few)) == (few.test, [])


def test_skipped_files_are_listed(repository: Path, tmp_path: Path) -> None:
    """A secret's file and kind are named, and ignored and binary files are counted."""
    for path in repository.glob("*.py"):
        (tmp_path / path.name).write_text(path.read_text())
    (tmp_path / "settings.py").write_text(f"NAME = 1\n{SECRETS['GitHub token']}\n")
    (tmp_path / "binary.py").write_bytes(b"\0\1\2")
    (tmp_path / "build.py").write_text("ignored = True\n")
    (tmp_path / ".gitignore").write_text("build.py\n")

    dataset = collect(tmp_path)

    assert dataset.secrets == (("settings.py", "GitHub token"),)
    assert dataset.skipped == {"not text": 1, "ignored by git": 1}
    assert SECRETS["GitHub token"] not in repr(dataset)
    assert len(dataset.train) + len(dataset.validation) + len(dataset.test) == 20
    assert dataset.counts()["left_out"] == {"not text": 1, "ignored by git": 1, "with secrets": 1}


def test_a_large_repository(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sample of a large repository is read and reported with its numbers, with progress."""
    monkeypatch.setattr(repository_files, "FILES", CorpusBudget(12, 10_000_000))
    shown = Noted(Silent())
    found = collect(repository, shown)
    assert shown.now is not None
    assert shown.now.activity == "comparing files"
    assert len(found.train) + len(found.validation) + len(found.test) <= 12
    assert any(
        re.fullmatch(r"skipped: \d+ of \d+ beyond a sample of 12 files or 10.0 MB", line) for line in left_out(found)
    )


def test_too_little_is_refused(repository: Path, tmp_path: Path) -> None:
    """An empty folder, only binary files, too few files and too little text are each rejected."""
    empty, binary, few, short = (tmp_path / name for name in ("empty", "binary", "few", "short"))
    for folder in (empty, binary, few, short):
        folder.mkdir()
    (binary / "a.py").write_bytes(b"\0" * 100)
    (few / "alpha.py").write_text((repository / "alpha.py").read_text())
    for number in range(12):
        (short / f"{number}.py").write_text(f"value_{number} = {number}\n")

    for folder, part in {
        empty: "There is no text in",
        binary: r"There is no text in .*1 not text",
        few: "has 1 of the 10 source files that are needed",
        short: "has 148 bytes of source text",
    }.items():
        with pytest.raises(InvalidRequestError, match=part):
            collect(folder)
