"""Tests of the log of suggestions: off by default, with numbers and outcomes, without text."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import stat
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pellucid.completion.document_cursor import DocumentCursor
from pellucid.completion.explanation import Decision as Shown
from pellucid.completion.explanation import Explanation
from pellucid.completion.off_switch import Switch
from pellucid.completion.reaction_log import ReactionLog
from pellucid.completion.settings import GateLevel, SuggestionShape
from pellucid.completion.shaping.ending_reasons import Ending
from pellucid.completion.shaping.parsed_cursor import ParsedCursor
from pellucid.completion.suggestion import Suggestion
from pellucid.completion.trust.features import NAMES, CursorFeatures
from pellucid.completion.trust.suggestion_log import LogEntry, Reaction, SuggestionLog
from pellucid.errors import ConfigError
from pellucid_lsp.editor_settings import EditorSettings
from support.editors.token_factory import make_tokens

HERE = DocumentCursor("file:///secret_project/a.py", "def secret(a, b):\n    ret", "\n\nhidden = 1\n", "python")
SECRETS = ("secret", "ret", "urn", "value", "hidden", "a.py")
TOKENS = make_tokens("urn", " value", " +", " 1", p=0.5)
SUGGESTION = Suggestion("lsp-1-1", HERE, "urn value + 1", TOKENS, "model", SuggestionShape.LINE)
ENTRY = LogEntry(
    "s-1",
    "model",
    "python",
    "normal",
    "calibration",
    Reaction.ACCEPTED,
    13,
    13,
    tuple(map(float, range(22))),
    None,
    (0.5,),
)


@pytest.fixture
def log(tmp_path: Path) -> SuggestionLog:
    return SuggestionLog(tmp_path / "data" / "suggestions.sqlite")


def shown(outcome: Shown = Shown.SHOWN) -> Explanation:
    explanation = Explanation(HERE.uri, outcome=outcome, level=GateLevel.NORMAL, ending=Ending.LINE)
    explanation.at = CursorFeatures.read(ParsedCursor(HERE))
    return explanation


def test_off_by_default() -> None:
    """The log is off by default."""
    assert EditorSettings().completion.log is False


def test_written_and_read(log: SuggestionLog) -> None:
    """Entries of a model are read as written, with the latest reaction to each suggestion."""
    shortened = replace(ENTRY, outcome=Reaction.SHORTENED, accepted=3, accepted_features=ENTRY.features)
    log.write(shortened)
    log.write(ENTRY)
    log.write(replace(shortened, id="s-2"))
    log.write(replace(ENTRY, id="s-3", model="other"))
    assert log.entries("model") == [ENTRY, replace(shortened, id="s-2")]


@pytest.mark.skipif(os.name != "posix", reason="permissions are another matter there")
def test_only_its_owner_reads_it(log: SuggestionLog) -> None:
    """Only the owner can read the file, even if the file was readable before."""
    log.write(ENTRY)
    assert stat.S_IMODE(log.path.stat().st_mode) == 0o600
    log.path.chmod(0o644)
    log.write(ENTRY)
    assert stat.S_IMODE(log.path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("accepted", "outcome"), [(13, Reaction.ACCEPTED), (9, Reaction.SHORTENED), (0, Reaction.DISMISSED)]
)
def test_outcomes(log: SuggestionLog, accepted: int, outcome: Reaction) -> None:
    """Each outcome is distinguished, and a shortened suggestion has the features of its part."""
    ReactionLog(lambda: log).note(SUGGESTION, shown(), accepted)
    (entry,) = log.entries("model")
    assert (entry.outcome, entry.length, entry.accepted, entry.level) == (outcome, 13, accepted, "normal")
    assert entry.features[NAMES.index("whole")] == 1.0
    assert (entry.accepted_features is not None) == (outcome is Reaction.SHORTENED)
    if entry.accepted_features is not None:
        assert entry.accepted_features[NAMES.index("whole")] == 0.0
        assert entry.accepted_features[NAMES.index("characters")] < entry.features[NAMES.index("characters")]


@pytest.mark.parametrize(("accepted", "outcome"), [(9, Reaction.ACCEPTED), (4, Reaction.SHORTENED)])
def test_a_doubtful_rest_is_not_judged(log: SuggestionLog, accepted: int, outcome: Reaction) -> None:
    """The log has the sure beginning of a suggestion with a doubtful rest, and the reaction."""
    ReactionLog(lambda: log).note(replace(SUGGESTION, doubtful=4), shown(Shown.SHORTENED), accepted)
    (entry,) = log.entries("model")
    assert (entry.outcome, entry.length, entry.accepted) == (outcome, 9, accepted)
    assert entry.features[NAMES.index("whole")] == 0.0


@pytest.mark.parametrize(("accepted", "outcome"), [(13, Reaction.ACCEPTED), (4, Reaction.SHORTENED)])
def test_the_rest_dismissed(log: SuggestionLog, accepted: int, outcome: Reaction) -> None:
    """A dismissal does not replace an acceptance, but an acceptance replaces a dismissal."""
    outcomes = ReactionLog(lambda: log)
    outcomes.note(SUGGESTION, shown(), accepted)
    outcomes.note(SUGGESTION, shown(), 0)
    other = replace(SUGGESTION, id="lsp-1-2")
    outcomes.note(other, shown(), 0)
    outcomes.note(other, shown(), accepted)
    assert [(entry.outcome, entry.accepted) for entry in log.entries("model")] == [(outcome, accepted)] * 2


def test_no_text(log: SuggestionLog) -> None:
    """Nothing of the document, its name or the suggestion is in the file."""
    for accepted in (13, 9):
        ReactionLog(lambda: log).note(SUGGESTION, shown(), accepted)
    content = log.path.read_bytes()
    assert log.entries("model")
    assert not [secret for secret in SECRETS if secret.encode() in content]


def test_sessions_are_told_apart(log: SuggestionLog) -> None:
    """The first suggestions of two sessions are distinct."""
    for _ in range(2):
        ReactionLog(lambda: log).note(SUGGESTION, shown(), 13)
    assert len(log.entries("model")) == 2


def test_unwanted(log: SuggestionLog) -> None:
    """Suggestions that were shown while the log was off are not logged later."""
    explanation = shown()
    explanation.at = None
    ReactionLog(lambda: log).note(SUGGESTION, explanation, 13)
    assert not log.path.exists()


def test_foreign_file(log: SuggestionLog) -> None:
    """A foreign file is not changed, the error is reported, and nothing is logged."""
    log.path.parent.mkdir()
    with sqlite3.connect(log.path) as database:
        database.execute("CREATE TABLE suggestions (their TEXT)")
    database.close()
    before = log.path.read_bytes()
    outcomes = ReactionLog(lambda: log)
    outcomes.note(SUGGESTION, shown(), 13)
    assert outcomes.failure == f"{log.path} is not a suggestion log: move it elsewhere."
    assert log.path.read_bytes() == before
    for use in (lambda: log.entries("model"), log.delete):
        with pytest.raises(ConfigError, match="is not a suggestion log"):
            use()


def test_damaged_file(log: SuggestionLog) -> None:
    """A file that is not a database raises an error with the remedy."""
    log.path.parent.mkdir()
    log.path.write_text("not a database, by far" * 100)
    with pytest.raises(ConfigError, match=r"cannot be used .*: free some disk space, or move it elsewhere"):
        log.write(ENTRY)


def test_full_disk(log: SuggestionLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk is reported, and completion continues."""

    def full(*_: Any, **__: Any) -> Any:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(sqlite3, "connect", full)
    outcomes = ReactionLog(lambda: log)
    outcomes.note(SUGGESTION, shown(), 13)
    assert outcomes.failure is not None
    assert "database or disk is full" in outcomes.failure


def test_rows_are_json(log: SuggestionLog) -> None:
    """All rows can be exported."""
    log.write(ENTRY)
    (row,) = log.rows()
    assert json.loads(json.dumps(row))["outcome"] == "accepted"
    assert json.loads(str(row["probabilities"])) == [0.5]


def test_deleted(log: SuggestionLog) -> None:
    """Deleting removes all files of the log; a missing log has nothing to delete."""
    log.write(ENTRY)
    assert log.delete() == 1
    assert not log.path.exists()
    assert log.delete() == 0
    assert log.entries("model") == []


def test_the_clock_is_set_back(log: SuggestionLog) -> None:
    """Entries are in the order of writing, also after the clock was set back."""
    log.write(ENTRY)
    with closing(sqlite3.connect(log.path)) as database, database:
        database.execute("UPDATE suggestions SET at = '2999-01-01T00:00:00+00:00'")
    log.write(replace(ENTRY, id="s-2"))
    assert [row["id"] for row in log.rows()] == ["s-1", "s-2"]


def test_on_at_first(tmp_path: Path) -> None:
    """Suggestions are on without a file."""
    switch = Switch(tmp_path / "none" / "switch.json", ["/a"])
    assert (switch.everywhere, switch.here) == (True, True)


def test_everywhere(tmp_path: Path) -> None:
    """Switching off or on in one editor applies to all editors."""
    one, other = (Switch(tmp_path / "state" / "switch.json", [folder]) for folder in ("/a", "/b"))
    one.toggle()
    assert (one.everywhere, other.everywhere, other.here) == (False, False, True)
    other.toggle()
    assert (one.everywhere, other.everywhere) == (True, True)


@pytest.mark.skipif(os.name != "posix", reason="permissions are another matter there")
@pytest.mark.parametrize("there", [False, True])
def test_only_the_owner_reads_the_switch(tmp_path: Path, there: bool) -> None:
    """Only the owner can read the file and its folder, as the file names the user's folders."""
    file = tmp_path / "state" / "switch.json"
    if there:
        file.parent.mkdir()
        file.parent.chmod(0o755)
        file.write_text('{"off": true, "folders_off": []}')
        file.chmod(0o644)
    Switch(file, ["/a"]).toggle_here()
    assert [stat.S_IMODE(one.stat().st_mode) for one in (file.parent, file)] == [0o700, 0o600]


def test_here(tmp_path: Path) -> None:
    """Switching off in a folder applies to all editors of that folder only."""
    one, same, other = (Switch(tmp_path / "switch.json", folders) for folders in (["/a", "/c"], ["/c"], ["/b"]))
    one.toggle_here()
    assert (one.here, same.here, other.here, other.everywhere) == (False, False, True, True)
    one.toggle_here()
    assert (one.here, same.here) == (True, True)


def test_no_folder(tmp_path: Path) -> None:
    """Switching off in the workspace without an open folder raises an error."""
    with pytest.raises(ConfigError, match="No folder is open"):
        Switch(tmp_path / "switch.json", []).toggle_here()


def test_other_folders(tmp_path: Path) -> None:
    """The switch applies to the folders that are open now."""
    switch = Switch(tmp_path / "switch.json", ["/a"])
    switch.toggle_here()
    switch.set_folders(["/b"])
    assert switch.here
    switch.set_folders(["/b", "/a"])
    assert not switch.here


SPOILT = [
    "",
    "[]",
    "{}",
    '{"off": true}',
    '{"off": "false", "folders_off": []}',
    '{"off": false, "folders_off": [1]}',
    "\xff",
    "[" * 99_999,
]


@pytest.mark.parametrize("text", SPOILT, ids=range(len(SPOILT)))
def test_spoilt_file(tmp_path: Path, text: str) -> None:
    """An unreadable file counts as off, the error has the remedy, and a switch repairs the file."""
    file = tmp_path / "switch.json"
    file.write_text(text, encoding="latin-1")
    switch = Switch(file, ["/a"])
    assert (switch.everywhere, switch.here) == (False, False)
    assert switch.why is not None
    assert re.fullmatch(
        rf"The switch in {file} cannot be read \(.+\): switch suggestions on to replace it, or delete it\.", switch.why
    )
    switch.toggle()
    mended = Switch(file, ["/a"])
    assert (mended.everywhere, mended.here, mended.why) == (True, True, None)
    assert switch.everywhere


def test_spoilt_file_here(tmp_path: Path) -> None:
    """Switching a folder rewrites a damaged file, and everything else stays off."""
    file = tmp_path / "switch.json"
    file.write_text("{}")
    switch = Switch(file, ["/a"])
    switch.toggle_here()
    assert (switch.everywhere, switch.here, switch.why) == (False, True, None)


def test_mended_by_hand(tmp_path: Path) -> None:
    """Suggestions are on again when the damaged file is deleted."""
    file = tmp_path / "switch.json"
    file.write_text("{}")
    switch = Switch(file, [])
    assert not switch.everywhere
    file.unlink()
    assert (switch.everywhere, switch.why) == (True, None)


def test_no_file_there(tmp_path: Path) -> None:
    """Suggestions are off if the file cannot exist, and a switch raises an error with a reason."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    for file in (tmp_path / "folder", tmp_path / "file" / "switch.json"):
        switch = Switch(file, [])
        assert not switch.everywhere
        assert str(file) in (switch.why or "")
        with pytest.raises(
            ConfigError, match=r"^The switch in .* cannot be written \(.+\): make it writable for this user\.$"
        ):
            switch.toggle()
        # No half-written file is left.
        assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]
