"""Tests conversations after SIGKILL during writes."""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from itertools import islice
from pathlib import Path

import pytest

from pellucid_webui.conversations.storage.store import ConversationStore
from support.page import killed_conversation_writes
from support.trial_counts import trial_count

pytestmark = pytest.mark.process

KILLS = trial_count(20)
SEED = 13
LONGEST = 60
"""Maximum number of writes of a process before SIGKILL."""


def write_and_kill(path: Path, owner: str, seed: int, acknowledged: int, delay: float) -> int:
    """Kill a writer ``delay`` after some acknowledged writes; return the number of all of these."""
    command = [sys.executable, killed_conversation_writes.__file__, str(path), owner, str(seed)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as writer:
        assert writer.stdout is not None
        try:
            lines = [writer.stdout.readline() for _ in range(acknowledged)]
            time.sleep(delay)
        finally:
            writer.kill()
        lines += writer.stdout.readlines()
    return sum(line == b"written\n" for line in lines)


def require_intact(path: Path) -> None:
    """Fail for a damaged file, and for a search index inconsistent with the messages."""
    with closing(sqlite3.connect(path)) as database, database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert database.execute("PRAGMA foreign_key_check").fetchall() == []
        for index in ("words", "titles"):
            database.execute(f"INSERT INTO {index} ({index}, rank) VALUES ('integrity-check', 1)")


def states_after(path: Path, owner: str, seed: int, done: int) -> list[object]:
    """Return the states after a number of uninterrupted writes, and after a further write."""
    with closing(ConversationStore(path)) as store:
        steps = killed_conversation_writes.writes(store, owner, seed)
        sum(1 for _ in islice(steps, done))
        before = killed_conversation_writes.state(store, owner)
        next(steps)
        return [before, killed_conversation_writes.state(store, owner)]


def test_kills(tmp_path: Path) -> None:
    """After a kill the file has all acknowledged writes, and no partial write."""
    dice = random.Random(SEED)
    path = tmp_path / "conversations.db"
    kept: dict[str, object] = {}
    for number in range(KILLS):
        owner = f"owner {number}"
        done = write_and_kill(path, owner, number, dice.randint(1, LONGEST), dice.uniform(0.0, 0.005))
        with closing(ConversationStore(path)) as store:
            found = killed_conversation_writes.state(store, owner)
            assert {former: killed_conversation_writes.state(store, former) for former in kept} == kept
        assert done, number
        assert found in states_after(tmp_path / "reference.db", owner, number, done), (number, done)
        require_intact(path)
        kept[owner] = found
