"""Writes conversations until killed, with a printed line per write; arguments: PATH OWNER SEED."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from pellucid.vocabulary.finish import FinishReason, Usage
from pellucid_webui.conversations.conversation import ASSISTANT, USER
from pellucid_webui.conversations.storage.store import ConversationStore
from pellucid_webui.conversations.turn_settings import TurnSettings

SETTINGS = TurnSettings(model="m", system="", temperature=0.0, seed=1)
USAGE = Usage(cached=0, computed=1, generated=1, queued=0.0, prefill=0.0, decode=0.0)

LARGE = 300_000
"""Characters of the longest message: the write takes long enough for a kill in the middle."""


def writes(store: ConversationStore, owner: str, seed: int) -> Iterator[None]:
    """Create, extend, rename, delete and erase conversations forever, and yield after each write.

    The same seed gives the same writes.
    """
    dice = random.Random(seed)
    for number in count():
        id = store.create(owner, SETTINGS, f"conversation {number}")
        yield
        question = store.add(owner, id, None, USER, "x" * dice.choice((10, LARGE)))
        yield
        answer = store.add(owner, id, question, ASSISTANT, "")
        yield
        for piece in range(dice.randint(1, 8)):
            store.append(answer, f"{piece} ", f"[{piece}]")
            yield
        store.finish(answer, FinishReason.STOP, USAGE)
        yield
        store.rename(owner, id, f"renamed {number}")
        yield
        if dice.random() < 0.3:
            store.delete(owner, id)
            yield
            store.deleted.erase(owner, id)
            yield


def state(store: ConversationStore, owner: str) -> object:
    """Return the visible state of an owner's conversations, without random ids and times."""
    found = [store.conversation(owner, summary.id) for summary in store.list(owner)]
    return sorted(
        (
            one.title,
            [
                (node.role, node.text, node.end, node.usage, store.tokens(owner, one.id, node.id))
                for node in one.nodes.values()
            ],
        )
        for one in found
    )


def main(path: Path, owner: str, seed: int) -> None:
    store = ConversationStore(path)
    for _ in writes(store, owner, seed):
        sys.stdout.write("written\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
