"""Tests of refusals, with a reason, of secret, ignored, generated and binary files only."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pellucid.completion.context import privacy as rules
from pellucid.completion.context.privacy import MAX_CHARACTERS, Privacy

BASE64 = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj"
KEY = f"-----BEGIN RSA PRIVATE KEY-----\n{BASE64}\n-----END RSA PRIVATE KEY-----\n"
CODE = "def area(width, height):\n    return width * height\n"

SECRET = """
.env .env.local .ENV prod.env .envrc .netrc .pgpass .npmrc .pypirc .git-credentials .htpasswd
server.pem www.example.com.key id_rsa id_ed25519 id_rsa.bak store.p12 vault.kdbx putty.ppk a.keystore
credentials credentials.json aws_credentials.ini secrets.yaml app-secrets.prod.toml client_secret.json secret.xml
service-account.json kubeconfig terraform.tfstate terraform.tfstate.backup prod.tfvars
.ssh/config .aws/config .kube/config .docker/config.json project/.git/config .config/gcloud/legacy/adc.json
"""
HARMLESS = """
.env.example .env.sample .env.template id_rsa.pub secrets.example.yaml credentials.json.template
secrets.py credentials.ts secret_santa.go environment.py env.py keys.py key.ts monkey.py SECRETS.md
docker/config.json .github/workflows/ci.yml .gitignore config tokens.py package.json
"""
SECRET_ADDRESSES = """
git:/project/.env?%7B%22ref%22%3A%22~%22%7D git:/project/server.key.git?x fugitive:///project/.git//0/.env
scp://host//home/me/.env scp://host/.ssh/config vscode-vfs://github/me/x/.env untitled:.env untitled:%2Eenv
zipfile:///a.zip::dir/.env jar:file:///x.jar!/secrets.yaml vscode-notebook-cell:/a/secrets.json#W0s /a/.env
"""
HARMLESS_ADDRESSES = """
untitled: untitled:Untitled-1 git:/project/a.py?x vscode-notebook-cell:/a/n.ipynb#W0s scp://[h/a.py x:%00
"""


def refusal(path: str | None, text: str = CODE) -> str | None:
    return Privacy([]).refusal(path, text)


class TestNames:
    @pytest.mark.parametrize("path", SECRET.split())
    def test_secret_names(self, path: str) -> None:
        """Files with the names of secret files are refused in any folder."""
        reason = refusal(f"/home/someone/{path}")
        assert reason is not None
        assert reason.startswith(f"{Path(path).name} is never sent to the model: files that match ")

    @pytest.mark.parametrize("path", HARMLESS.split())
    def test_names_that_only_sound_secret(self, path: str) -> None:
        """Example files and code about secrets are not refused."""
        assert refusal(f"/home/someone/{path}") is None

    def test_no_name(self) -> None:
        """A buffer without a name is refused only for its content."""
        assert refusal(None) is None
        assert refusal(None, KEY) == "This text is never sent to the model: it contains a private key."


class TestAddresses:
    @pytest.mark.parametrize("uri", SECRET_ADDRESSES.split())
    def test_secret_names_of_what_is_no_file(self, uri: str) -> None:
        """A text outside of files, as a state of git or a buffer, is refused by its address."""
        reason = Privacy([]).refusal(None, CODE, uri)
        assert reason is not None
        assert "is never sent to the model: files that match" in reason

    @pytest.mark.parametrize("uri", ["", *HARMLESS_ADDRESSES.split()])
    def test_other_addresses(self, uri: str) -> None:
        """Harmless URIs, including URIs without a name, are not refused."""
        assert Privacy([]).refusal(None, CODE, uri) is None

    def test_ignored_where_they_lie(self, tmp_path: Path) -> None:
        """A notebook's cell and a state of git are refused where their file is ignored."""
        (tmp_path / ".pellucidignore").write_text("/src/private*\n")
        privacy = Privacy([tmp_path])
        gitsigns = ("gitsigns://{}/.git//:0:src/private.py", "gitsigns://{}/.git//HEAD~:src/private.py")
        editors = (
            "vscode-notebook-cell:{}/src/private.ipynb#W0s",
            "git:{}/src/private.py?x",
            "fugitive://{}/.git//0a1b/src/private.py",
        )
        for uri in (*editors, *gitsigns):
            reason = privacy.refusal(None, CODE, uri.format(tmp_path))
            assert reason is not None
            assert reason.endswith(f"is never sent to the model: {tmp_path.name}/.pellucidignore ignores it."), uri
            assert privacy.refusal(None, CODE, uri.format(tmp_path).replace("private", "public")) is None

    def test_content(self) -> None:
        """A secret text of a buffer is refused by content, with or without a name."""
        assert (
            Privacy([]).refusal(None, KEY, "untitled:Untitled-1")
            == "Untitled-1 is never sent to the model: it contains a private key."
        )
        assert (
            Privacy([]).refusal(None, KEY, "untitled:")
            == "This text is never sent to the model: it contains a private key."
        )


class TestContent:
    @pytest.mark.parametrize("kind", ["", "RSA ", "EC ", "OPENSSH ", "ENCRYPTED "])
    def test_private_keys(self, kind: str) -> None:
        """A private key is found in any text, as a file or as a string of a program."""
        for end in ("\n", "\r\n", "\\n"):
            key = f'KEY = "-----BEGIN {kind}PRIVATE KEY-----{end}{BASE64}{end}"'
            assert (
                refusal("/a/test_keys.py", CODE + key)
                == "test_keys.py is never sent to the model: it contains a private key."
            )

    def test_keys_with_headers(self) -> None:
        """Headers between the first line and the key do not hide a private key."""
        pgp = f"-----BEGIN PGP PRIVATE KEY BLOCK-----\nVersion: 2\nComment: a key\n\n{BASE64}\n"
        assert refusal("/a/notes.txt", pgp) == "notes.txt is never sent to the model: it contains a private key."

    def test_code_about_keys(self) -> None:
        """A program that looks for private keys is not secret, nor is a public key."""
        assert (
            refusal("/a/keys.py", 'if text.startswith("-----BEGIN PRIVATE KEY-----"):\n    raise ValueError\n') is None
        )
        assert refusal("/a/keys.txt", KEY.replace("PRIVATE", "PUBLIC")) is None

    @pytest.mark.parametrize("text", ["\x7fELF\x02\x01\x00\x00", "GIF\x00", "\ufffd\x01\x02\x03" * 50])
    def test_binary(self, text: str) -> None:
        """Binary data is refused."""
        assert refusal("/a/program", text) == "program is never sent to the model: it is not text."

    def test_text_with_some_control_characters(self) -> None:
        """Form feeds, terminal colours and a stray byte do not make a text binary."""
        assert refusal("/a/a.py", "\f\n" * 30 + "\x1b[1mbold\x1b[0m \ufffd\n" + CODE * 10) is None

    def test_minified(self) -> None:
        """Texts of mostly one long line, or of long lines on average, are refused."""
        reason = "app.js is never sent to the model: its lines are too long for hand-written code."
        assert refusal("/a/app.js", "/* licence */\n" * 50 + "f(1);" * 5_000) == reason
        assert refusal("/a/app.js", ("f(1);" * 120 + "\n") * 20) == reason

    def test_long_lines_that_people_write(self) -> None:
        """Paragraphs, a long line of data among code, and a short line alone are not refused."""
        assert refusal("/a/essay.md", ("A sentence of some words. " * 15 + "\n\n") * 40) is None
        assert refusal("/a/icon.ts", CODE * 300 + "x = '" + "A" * 6_000 + "'\n") is None
        assert refusal("/a/a.json", "x" * 4_000) is None

    def test_huge(self) -> None:
        """A text of more than a million characters is refused."""
        assert refusal("/a/a.py", "x = 1\n" * (MAX_CHARACTERS // 6)) is None
        reason = refusal("/a/a.py", "x = 1\n" * (MAX_CHARACTERS // 6 + 1))
        assert reason == "a.py is never sent to the model: it has more than 1,000,000 characters."

    def test_empty(self) -> None:
        """An empty file is not refused."""
        assert refusal("/a/a.py", "") is None

    def test_ends_of_line(self) -> None:
        """All line ends are recognised."""
        for end in ("\n", "\r\n", "\r"):
            assert refusal("/a/a.py", (CODE * 300).replace("\n", end)) is None, end
            assert refusal("/a/a.js", (("f(1);" * 120 + "\n") * 20).replace("\n", end)), end

    @pytest.mark.slow
    @given(st.lists(st.integers(0, 9_000), min_size=1, max_size=12))
    def test_a_line_that_is_most_of_the_text(self, lengths: list[int]) -> None:
        """A very long line that is most of a file is found anywhere in the file."""
        text = "\n".join("x" * length for length in lengths)
        longest = max(lengths) > max(rules.LONG_LINE, len(text) / 2)
        on_average = len(text) > rules.LONG_MEAN_LINE * len(lengths)
        assert rules.is_minified(text) == (len(text) > rules.LONG_LINE and (longest or on_average))

    def test_a_long_text_is_judged_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The verdict on a long text is kept for all names, and a changed text is judged again."""
        judged: list[str] = []
        judge = rules.content_refusal

        def judging(text: str) -> str | None:
            judged.append(text)
            return judge(text)

        monkeypatch.setattr(rules, "content_refusal", judging)
        privacy, text = Privacy([]), CODE * 2_000
        for _ in range(3):
            assert privacy.refusal("/a/a.py", "".join([text, "x"])) is None
            assert (
                privacy.refusal("/a/b.py", "".join([text, KEY]))
                == "b.py is never sent to the model: it contains a private key."
            )
        assert privacy.refusal("/a/a.py", text + "\0") is None
        assert privacy.refusal("/a/a.py", "\0" + text) == "a.py is never sent to the model: it is not text."
        assert [len(one) - len(text) for one in judged] == [1, len(KEY), 1, 1]


class TestIgnored:
    def test_ignore_files(self, tmp_path: Path) -> None:
        """Files that an ignore file ignores are refused, and the reason names the ignore file."""
        (tmp_path / "src").mkdir()
        (tmp_path / "src" / ".gitignore").write_text("*.gen.py\n")
        (tmp_path / ".pellucidignore").write_text("customers/\n")
        privacy = Privacy([tmp_path])
        reason = privacy.refusal(str(tmp_path / "src" / "a.gen.py"), CODE)
        assert reason == "a.gen.py is never sent to the model: src/.gitignore ignores it."
        assert privacy.refusal(str(tmp_path / "customers" / "a.py"), CODE) == (
            f"a.py is never sent to the model: {tmp_path.name}/.pellucidignore ignores it."
        )
        assert privacy.refusal(str(tmp_path / "src" / "a.py"), CODE) is None

    def test_the_repository_above_the_folder(self, tmp_path: Path) -> None:
        """Ignore files above the open folder apply up to the top of the repository."""
        (tmp_path / ".git" / "info").mkdir(parents=True)
        (tmp_path / ".git" / "info" / "exclude").write_text("scratch.py\n")
        (tmp_path / ".gitignore").write_text("build/\n")
        (tmp_path / "package").mkdir()
        privacy = Privacy([tmp_path / "package"])
        assert privacy.refusal(str(tmp_path / "package" / "build" / "a.py"), CODE)
        reason = privacy.refusal(str(tmp_path / "package" / "scratch.py"), CODE)
        assert reason == "scratch.py is never sent to the model: info/exclude ignores it."
        assert privacy.refusal(str(tmp_path / "package" / "a.py"), CODE) is None

    def test_the_setting(self, tmp_path: Path) -> None:
        """The patterns of the setting count from each open folder."""
        privacy = Privacy([tmp_path / "one", tmp_path / "two"], ["/vendor", "*.sql", "!schema.sql"])
        reason = privacy.refusal(str(tmp_path / "two" / "vendor" / "a.py"), CODE)
        assert reason == "a.py is never sent to the model: the setting pellucid.context.exclude excludes it."
        assert privacy.refusal(str(tmp_path / "one" / "data.sql"), CODE)
        assert privacy.refusal(str(tmp_path / "one" / "schema.sql"), CODE) is None
        assert privacy.refusal(str(tmp_path / "one" / "a" / "vendor" / "a.py"), CODE) is None

    def test_outside_of_every_folder(self, tmp_path: Path) -> None:
        """Names of secret files count outside of open folders, but ignore files do not."""
        (tmp_path / ".gitignore").write_text("*\n")
        (tmp_path / "open").mkdir()
        privacy = Privacy([tmp_path / "open"])
        assert privacy.refusal(str(tmp_path / "a.py"), CODE) is None
        assert privacy.refusal(str(tmp_path / ".env"), CODE)

    @pytest.mark.parametrize("folders", [[], ["open"]])
    def test_the_setting_outside_of_every_folder(self, tmp_path: Path, folders: list[str]) -> None:
        """The patterns of the setting count outside of open folders, and without an open folder."""
        privacy = Privacy([tmp_path / folder for folder in folders], ["*.sql", "customers/", "!schema.sql"])
        for name in ("a.sql", "customers/a.py"):
            reason = f"{Path(name).name} is never sent to the model: the setting pellucid.context.exclude excludes it."
            assert privacy.refusal(str(tmp_path / name), CODE) == reason
            for scheme in ("scp://host/", "vscode-vfs://github", "git:", "untitled:"):
                assert privacy.refusal(None, CODE, f"{scheme}{tmp_path / name}") == reason
        assert privacy.refusal(None, CODE, "untitled:a.sql")
        for name in ("a.py", "schema.sql", "customers"):
            assert privacy.refusal(str(tmp_path / name), CODE) is None
        assert Privacy([], ["*"]).refusal(None, CODE, "untitled:") is None


class TestLinks:
    def test_a_link_to_a_secret(self, tmp_path: Path) -> None:
        """A link is refused if the link's name or the file's name is secret."""
        (tmp_path / ".env").write_text("A=1")
        (tmp_path / "plain.txt").write_text("A=1")
        (tmp_path / "notes.txt").symlink_to(tmp_path / ".env")
        (tmp_path / "id_rsa").symlink_to(tmp_path / "plain.txt")
        privacy = Privacy([tmp_path])
        assert privacy.refusal(str(tmp_path / "notes.txt"), "A=1")
        assert privacy.refusal(str(tmp_path / "id_rsa"), "A=1")
        assert privacy.refusal(str(tmp_path / "plain.txt"), "A=1") is None

    def test_a_folder_opened_by_a_link(self, tmp_path: Path) -> None:
        """Ignore files apply to a folder and its files by the real name and by the link's name."""
        (tmp_path / "real").mkdir()
        (tmp_path / "real" / ".gitignore").write_text("a.py\n")
        (tmp_path / "link").symlink_to(tmp_path / "real")
        for root in ("real", "link"):
            for name in ("real", "link"):
                assert Privacy([tmp_path / root]).refusal(str(tmp_path / name / "a.py"), CODE), (root, name)

    def test_a_link_out_of_a_folder_opened_by_a_link(self, tmp_path: Path) -> None:
        """A link is judged by its name in the open folder, wherever the link leads."""
        (tmp_path / "real").mkdir()
        (tmp_path / "outside.py").write_text(CODE)
        (tmp_path / "real" / ".gitignore").write_text("a.py\n")
        (tmp_path / "real" / "a.py").symlink_to(tmp_path / "outside.py")
        (tmp_path / "link").symlink_to(tmp_path / "real")
        assert Privacy([tmp_path / "link"]).refusal(str(tmp_path / "link" / "a.py"), CODE)

    def test_a_link_to_itself(self, tmp_path: Path) -> None:
        """Broken links and impossible paths are judged by their names."""
        (tmp_path / "loop").symlink_to(tmp_path / "loop")
        assert Privacy([tmp_path]).refusal(str(tmp_path / "loop" / "a.py"), CODE) is None
        assert Privacy([tmp_path]).refusal(str(tmp_path / "loop" / ".env"), CODE)
        assert Privacy([tmp_path]).refusal("/a/\0.env", CODE)

    def test_dots_in_a_path(self, tmp_path: Path) -> None:
        """A path with dots is resolved."""
        (tmp_path / ".gitignore").write_text("/a.py\n")
        (tmp_path / "src").mkdir()
        privacy = Privacy([tmp_path / "src" / ".."])
        assert privacy.refusal(str(tmp_path / "src" / ".." / "a.py"), CODE)
