"""Serves the page without a model, with scripted readings, a long conversation and a long answer.

    python benchmarks/common/scripted_page.py FOLDER MESSAGES TOKENS

Prints a line of JSON with ``url`` and the ids of the conversations ``messages`` and ``answer``, and
serves until the end of the input.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "tests"))
from pellucid.vocabulary.finish import FinishReason
from pellucid_webui.conversations.compact_tokens import pack
from pellucid_webui.conversations.conversation import ASSISTANT, USER
from pellucid_webui.conversations.storage.store import ConversationStore
from pellucid_webui.conversations.turn_settings import TurnSettings
from pellucid_webui.hosting.gradio_host import pellucid_view
from support.page.scripted_assistant import token
from support.page.small_page_server import paged
from support.page.text_reader import TextReader
from support.servers.http_servers import scripted_state

OWNER = "local"
WORDS = ("total", "value", "return", "index", "result", "count", "name", "line", "text", "token")
LINE = 12
BATCH = 50


def main() -> None:
    folder, messages, tokens = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    store = ConversationStore(folder / "conversations.db")
    found = {"messages": conversation(store, messages), "answer": answer(store, tokens)}
    store.close()
    with paged(folder, pellucid_view, state=scripted_state(TextReader())) as server:  # type: ignore[arg-type]
        server.wait()
        print(json.dumps({"url": server.server.url, **found}), flush=True)
        sys.stdin.read()


def conversation(store: ConversationStore, messages: int) -> str:
    """Store a conversation of short messages, and return the id."""
    id = store.create(OWNER, TurnSettings(), "Many messages")
    parent = None
    for number in range(messages):
        role = (USER, ASSISTANT)[number % 2]
        text = f"Message {number + 1}: " + " ".join(WORDS[(number + at) % len(WORDS)] for at in range(20)) + "."
        parent = store.add(OWNER, id, parent, role, text, end=FinishReason.STOP)
    return id


def answer(store: ConversationStore, count: int) -> str:
    """Store a conversation with an answer of many tokens, with ten alternatives each.

    Return the id.
    """
    others = [f" {word}" for word in WORDS[:9]]
    texts = ["\n" if at % LINE == LINE - 1 else f" {WORDS[at * 7 % len(WORDS)]}" for at in range(count)]
    tokens = [token(text, 1 + at % 500, *others) for at, text in enumerate(texts)]
    batches = [pack(tokens[at : at + BATCH]) for at in range(0, count, BATCH)]
    id = store.create(OWNER, TurnSettings(), "One long answer")
    question = store.add(OWNER, id, None, USER, "Write much.", end=FinishReason.STOP)
    store.add(OWNER, id, question, ASSISTANT, "".join(texts), end=FinishReason.STOP, model="words", batches=batches)
    return id


if __name__ == "__main__":
    main()
