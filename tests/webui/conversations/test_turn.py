"""Tests running answers: they are saved as they grow, reported to readers, and stopped at once."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pellucid.errors import UnavailableError
from pellucid.tokens import (
    CallDelta,
    CallPart,
    Finish,
    FinishReason,
    GrammarScore,
    JsonField,
    Message,
    OtherValue,
    Usage,
)
from pellucid_webui.conversations.compact_tokens import pack, unpack
from pellucid_webui.conversations.conversation import ASSISTANT, Node
from pellucid_webui.conversations.markdown.markdown_to_html import blocks
from pellucid_webui.conversations.storage.store import ConversationStore
from pellucid_webui.conversations.turn import FAILED, UNEXPECTED, Turn, Turns
from pellucid_webui.conversations.turn_settings import TurnSettings
from support.page.scripted_assistant import MODEL, Item, ScriptedPageAssistant, token, tokens, usage

OWNER = "ann"
SETTINGS = TurnSettings(model=MODEL, seed=1)
QUESTION = [Message("user", "q")]


@dataclass
class TurnSetup:
    """A store with one empty answer, which a scripted assistant generates."""

    store: ConversationStore
    conversation: str
    node: int
    turns: Turns = field(default_factory=Turns)
    assistant: ScriptedPageAssistant = field(default_factory=ScriptedPageAssistant)

    def begin(
        self, *script: Item, text: str = "", batches: tuple[str, ...] = (), settings: TurnSettings = SETTINGS
    ) -> Turn:
        self.assistant.scripts = [script]
        ticks = count()
        turn = Turn(self.store, self.node, text, batches, clock=lambda: float(next(ticks)))
        return self.turns.start(turn, self.assistant, QUESTION, settings)

    @property
    def saved(self) -> Node:
        return self.store.conversation(OWNER, self.conversation).nodes[self.node]

    @property
    def saved_tokens(self) -> list[str]:
        return [token.text for token in unpack(self.store.tokens(OWNER, self.conversation, self.node))]


@pytest.fixture
def setup(tmp_path: Path) -> Iterator[TurnSetup]:
    with closing(ConversationStore(tmp_path / "conversations.db")) as store:
        id = store.create(OWNER, SETTINGS)
        yield TurnSetup(store, id, store.add(OWNER, id, None, ASSISTANT, ""))


async def ended(turn: Turn) -> Turn:
    async for _ in turn.updates():
        pass
    return turn


async def until(turn: Turn, text: str) -> None:
    """Wait until the turn has this text."""
    async for _ in turn.updates():
        if turn.text == text:
            return
    raise AssertionError(f"it ended with {turn.text!r}")


async def test_an_answer(setup: TurnSetup) -> None:
    """An answer is generated, saved with its tokens, usage and end, and then no longer running."""
    turn = setup.begin(*tokens("Hel", "lo"))
    assert setup.turns.find(setup.node) is turn

    await ended(turn)

    assert (turn.text, turn.end, turn.error, turn.usage, turn.generated) == (
        "Hello",
        FinishReason.STOP,
        None,
        usage(2),
        2,
    )
    assert (setup.saved.text, setup.saved.end, setup.saved.usage, setup.saved.error) == (
        "Hello",
        FinishReason.STOP,
        usage(2),
        None,
    )
    assert setup.saved_tokens == ["Hel", "lo"]
    assert (turn.started, turn.first_token, turn.rate) == (0, 1, 10)
    assert setup.turns.find(setup.node) is setup.turns.find(None) is None


async def test_what_is_asked(setup: TurnSetup) -> None:
    """The assistant gets the settings; without a model it uses its first one, and nothing is continued."""
    await ended(setup.begin(settings=TurnSettings(temperature=0.5, top_k=3, max_tokens=9)))
    (request,) = setup.assistant.chat_requests
    assert (request.messages, request.model, request.continue_last, request.closed) == (QUESTION, None, False, True)
    assert (
        request.params.temperature,
        request.params.top_k,
        request.params.max_tokens,
        request.params.top_logprobs,
    ) == (0.5, 3, 9, 10)


async def test_values_are_kept(setup: TurnSetup) -> None:
    """The values of an answer under a format are saved with its end, and its tokens with what the grammar did."""
    settings = TurnSettings(model=MODEL, answer_format="json_object")
    value = JsonField("/a", 1, 0.5, 0.25, 1, OtherValue(2, 0.5))
    script = [replace(one, grammar=GrammarScore(0.25, 2, -0.5)) for one in tokens('{"a": ', "1", "}")]
    turn = await ended(setup.begin(*script, Finish(FinishReason.STOP, usage(3), fields=(value,)), settings=settings))
    assert setup.assistant.chat_requests[0].query.grammar is not None
    details = setup.saved.details
    assert details is not None
    assert [(one.path, one.value, one.mass, one.tokens, one.other and one.other.value) for one in details.fields] == [
        ("/a", 1, 0.25, (1, 2), 2)
    ]
    assert [token.grammar for token in unpack(setup.store.tokens(OWNER, setup.conversation, setup.node))] == [
        GrammarScore(0.25, 2, -0.5)
    ] * 3
    assert "<code" in "".join(turn.blocks)


async def test_calls_are_kept(setup: TurnSetup) -> None:
    """The calls of an answer that was stopped are saved; one that did not end is incomplete."""
    settings = TurnSettings(model=MODEL, tools='[{"type": "function", "function": {"name": "f"}}]')
    begun = replace(token("", data=b"x"), part=CallPart(0, (CallDelta(0, "", "c1", "f"),)))
    turn = setup.begin(
        begun,
        replace(token("", data=b"{"), part=CallPart(0, (CallDelta(0, "{"),))),
        *tokens("!"),
        None,
        settings=settings,
    )
    await until(turn, "!")
    await turn.stop()
    details = setup.saved.details
    assert details is not None
    assert [(one.id, one.name, one.arguments, one.complete) for one in details.calls] == [("c1", "f", "{", False)]


async def test_continuing(setup: TurnSetup) -> None:
    """An answer is continued after its text and tokens."""
    turn = setup.begin(*tokens("lo"), text="Hel", batches=(pack(tokens("Hel")),))
    assert (turn.text, turn.end) == ("Hel", None)
    await ended(turn)
    assert setup.assistant.chat_requests[0].continue_last
    assert turn.text == "Hello"
    assert [token.text for token in unpack(turn.batches)] == ["Hel", "lo"]
    assert setup.saved_tokens == ["lo"]


@pytest.mark.parametrize("reason", list(FinishReason))
async def test_ends(setup: TurnSetup, reason: FinishReason) -> None:
    """An answer ends for the assistant's reason; an error without a sentence gets a general one."""
    turn = await ended(setup.begin(*tokens("a"), Finish(reason, Usage(generated=1))))
    assert (turn.end, setup.saved.end, turn.text) == (reason, reason, "a")
    assert turn.error == setup.saved.error == (FAILED if reason is FinishReason.ERROR else None)


async def test_it_is_saved_as_it_comes(setup: TurnSetup) -> None:
    """Tokens are saved before the answer ends, without an end; those that arrive together are saved together."""
    go = asyncio.Event()
    turn = setup.begin(*tokens(*"ab"), go, *tokens(*"cdef"))
    await until(turn, "ab")
    assert (setup.saved.text, setup.saved.end, setup.saved_tokens) == ("ab", None, ["a", "b"])

    go.set()
    await ended(turn)
    assert (setup.saved.text, len(turn.batches)) == ("abcdef", 2)


async def test_stop(setup: TurnSetup) -> None:
    """A stop ends an answer at once, closes its stream, and keeps its text and usage."""
    turn = setup.begin(*tokens("a", "b"), None)
    await until(turn, "ab")

    await turn.stop()

    assert (turn.text, turn.end, turn.error, turn.usage.generated) == ("ab", FinishReason.CANCELLED, None, 2)
    assert (setup.saved.text, setup.saved.end, setup.saved.usage) == ("ab", FinishReason.CANCELLED, usage(2))
    assert setup.assistant.chat_requests[0].closed
    assert setup.turns.find(setup.node) is None


async def test_stop_keeps_what_was_not_saved_yet(setup: TurnSetup) -> None:
    """Tokens that arrive just before a stop are saved."""
    turn = setup.begin(*tokens("a", "b"), None)
    while turn.generated < 2:
        await asyncio.sleep(0)
    await turn.stop()
    assert (turn.text, setup.saved.text, setup.saved_tokens) == ("ab", "ab", ["a", "b"])


@pytest.mark.parametrize("steps", range(5))
async def test_stop_at_any_moment(setup: TurnSetup, steps: int) -> None:
    """A stop before the first token, a second stop, and a stop after the end do no harm: there is one end, and it is saved."""
    turn = setup.begin(*tokens("a"))
    for _ in range(steps):
        await asyncio.sleep(0)
    await asyncio.gather(turn.stop(), turn.stop())
    await turn.stop()
    assert turn.end is setup.saved.end
    assert turn.end in (FinishReason.STOP, FinishReason.CANCELLED)
    assert turn.text == setup.saved.text


async def test_stop_of_what_was_not_begun(setup: TurnSetup) -> None:
    """A turn that was never started has nothing to stop."""
    turn = Turn(setup.store, setup.node)
    await turn.stop()
    assert turn.end is None


async def test_an_error(setup: TurnSetup) -> None:
    """An error is reported in its own sentence, and saved; the text before it stays."""
    turn = await ended(setup.begin(*tokens("so far"), UnavailableError("No server answers.")))
    assert (turn.text, turn.end, turn.error) == ("so far", FinishReason.ERROR, "No server answers.")
    assert (setup.saved.text, setup.saved.end, setup.saved.error) == (
        "so far",
        FinishReason.ERROR,
        "No server answers.",
    )


async def test_an_error_before_anything(setup: TurnSetup) -> None:
    """An error before the first token is reported as well; settings out of bounds are such an error."""
    turn = await ended(setup.begin(settings=TurnSettings(top_p=2)))
    assert (turn.text, turn.end, turn.error, turn.rate, turn.first_token) == (
        "",
        FinishReason.ERROR,
        "top_p must be above 0 and at most 1, not 2.",
        None,
        None,
    )


async def test_a_failure(setup: TurnSetup, caplog: pytest.LogCaptureFixture) -> None:
    """An unexpected error is reported without its details, which are logged."""
    with caplog.at_level(logging.ERROR):
        turn = await ended(setup.begin(*tokens("a"), RuntimeError("details")))
    assert (turn.text, turn.end, turn.error, setup.saved.error) == ("a", FinishReason.ERROR, UNEXPECTED, UNEXPECTED)
    assert "details" in caplog.text


async def test_an_answer_that_cannot_be_kept(setup: TurnSetup) -> None:
    """An answer whose conversation is erased meanwhile ends with an error, and its text is still available."""
    go = asyncio.Event()
    turn = setup.begin(*tokens("a"), go, *tokens("b"), None)
    await until(turn, "a")
    setup.store.deleted.erase(OWNER, setup.conversation)
    go.set()
    await ended(turn)
    assert (turn.text, turn.end) == ("ab", FinishReason.ERROR)
    assert turn.error == "There is no such message: its conversation may have been deleted."
    while not setup.assistant.chat_requests[0].closed:
        await asyncio.sleep(0)


async def test_half_characters(setup: TurnSetup) -> None:
    """Tokens without text are saved with their bytes."""
    halves = [token("", 1, data=b"\xf0\x9f"), token("😀", 2, data=b"\x98\x80")]
    await ended(setup.begin(*halves))
    assert setup.saved.text == "😀"
    assert [one.bytes for one in unpack(setup.store.tokens(OWNER, setup.conversation, setup.node))] == [
        b"\xf0\x9f",
        b"\x98\x80",
    ]


class TestUpdates:
    async def test_a_late_look(self, setup: TurnSetup) -> None:
        """A reader after the end gets the end once."""
        turn = await ended(setup.begin(*tokens("a")))
        assert [turn.text async for _ in turn.updates()] == ["a"]

    async def test_an_early_look(self, setup: TurnSetup) -> None:
        """A reader before the first token gets that state, then the tokens."""
        turn = Turn(setup.store, setup.node)
        seen: list[tuple[str, bool]] = []

        async def look() -> None:
            seen.extend([(turn.text, turn.end is None) async for _ in turn.updates()])

        looking = asyncio.create_task(look())
        await asyncio.sleep(0)
        setup.assistant.scripts = [tokens("a")]
        setup.turns.start(turn, setup.assistant, QUESTION, SETTINGS)
        await looking
        assert (seen[0], seen[-1]) == (("", True), ("a", False))

    async def test_what_comes_meanwhile_comes_together(self, setup: TurnSetup) -> None:
        """Changes during a slow reader's update reach it as one update."""
        gates = [asyncio.Event() for _ in range(3)]
        turn = setup.begin(gates[0], *tokens("a"), gates[1], *tokens("b"), gates[2], *tokens("c"), None)
        updates = turn.updates()
        await anext(updates)
        for gate, text in zip(gates, ("a", "ab", "abc"), strict=True):
            gate.set()
            await until(turn, text)
        await anext(updates)
        assert turn.text == "abc"
        waiting = asyncio.ensure_future(anext(updates))
        await asyncio.sleep(0)
        assert not waiting.done()
        await turn.stop()
        await waiting
        with pytest.raises(StopAsyncIteration):
            await anext(updates)

    async def test_the_end_while_busy(self, setup: TurnSetup) -> None:
        """An end during a slow reader's update is an update of its own."""
        turn = setup.begin(*tokens("a"))
        seen: list[FinishReason | None] = []
        async for _ in turn.updates():
            seen.append(turn.end)
            if turn.end is None:
                await ended(turn)
        assert seen == [None, FinishReason.STOP]

    async def test_many_look(self, setup: TurnSetup) -> None:
        """All readers get the end, and one that stops early does no harm."""
        turn = setup.begin(*tokens("a", "b"))
        await anext(turn.updates())
        lookers = await asyncio.gather(*(ended(turn) for _ in range(5)))
        assert [looker.text for looker in lookers] == ["ab"] * 5


@hypothesis_settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.text(max_size=2) | st.none(), max_size=6), st.lists(st.integers(0, 3), max_size=6), st.integers(0, 8)
)
def test_every_reader_gets_the_end(
    tmp_path: Path, script: list[str | None], pauses: list[int], stop_after: int
) -> None:
    """In any order of readers and generation, and whenever it is stopped, the last update is the end with the whole text."""

    async def main(store: ConversationStore) -> None:
        id = store.create(OWNER, SETTINGS)
        setup = TurnSetup(store, id, store.add(OWNER, id, None, ASSISTANT, ""))
        events = [asyncio.Event() for _ in script]
        items: list[Item] = [event if text is None else token(text) for text, event in zip(script, events, strict=True)]
        turn = setup.begin(*items)
        seen: list[tuple[str, FinishReason | None]] = []

        async def look() -> None:
            waits = iter([*pauses, *[0] * 100])
            async for _ in turn.updates():
                seen.append((turn.text, turn.end))
                for _ in range(next(waits)):
                    await asyncio.sleep(0)

        looking = asyncio.create_task(look())
        for event in events[:stop_after]:
            event.set()
            await asyncio.sleep(0)
        if stop_after < len(events):
            await turn.stop()
        await looking
        assert seen[-1] == (turn.text, turn.end) == (setup.saved.text, setup.saved.end)
        assert turn.end is not None
        assert [end for _, end in seen[:-1]] == [None] * (len(seen) - 1)

    with closing(ConversationStore(tmp_path / "conversations.db")) as store:
        asyncio.run(main(store))


class TestTurns:
    async def test_all_end(self, setup: TurnSetup) -> None:
        """Closing stops all answers, and keeps their text."""
        other = setup.store.add(OWNER, setup.conversation, None, ASSISTANT, "")
        turn = setup.begin(*tokens("a"), None)
        second = setup.turns.start(
            Turn(setup.store, other), ScriptedPageAssistant([[*tokens("b"), None]]), QUESTION, SETTINGS
        )
        await asyncio.gather(until(turn, "a"), until(second, "b"))

        await setup.turns.aclose()

        assert (turn.end, second.end) == (FinishReason.CANCELLED, FinishReason.CANCELLED)
        assert setup.turns.find(setup.node) is setup.turns.find(other) is None
        await setup.turns.aclose()

    async def test_one_conversation_at_a_time(self) -> None:
        """A conversation has one lock while it is held or referenced."""
        turns = Turns()
        lock = turns.lock("a")
        assert turns.lock("a") is lock
        assert turns.lock("b") is not lock


ANSWER = """
import asyncio, sys
from pathlib import Path
from pellucid_webui.conversations.turn_settings import TurnSettings
from pellucid_webui.conversations.storage.store import ConversationStore
from pellucid_webui.conversations.turn import Turn, Turns
from support.page.scripted_assistant import MODEL, ScriptedPageAssistant, token

class Endless(ScriptedPageAssistant):
    async def chat(self, query, *, on_usage=None):
        number = 0
        while True:
            yield token(f"{number} ", number)
            number += 1
            await asyncio.sleep(0.001)

async def main():
    store = ConversationStore(Path(sys.argv[1]))
    id = store.create("ann", TurnSettings(model=MODEL))
    turn = Turn(store, store.add("ann", id, None, "assistant", ""))
    Turns().start(turn, Endless(), [], TurnSettings(model=MODEL))
    async for _ in turn.updates():
        print(len(turn.text), flush=True)

asyncio.run(main())
"""


async def test_a_kill_in_the_middle(tmp_path: Path) -> None:
    """After a kill -9 during an answer all that was shown of it is saved with its tokens, and can be continued."""
    path = tmp_path / "conversations.db"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", ANSWER, path, stdout=subprocess.PIPE, env=environment
    )
    assert process.stdout is not None
    shown = 0
    while shown < 200:
        shown = int(await process.stdout.readline())
    process.kill()
    shown = max([shown, *map(int, (await process.communicate())[0].split())])

    with closing(ConversationStore(path)) as store:
        (found,) = store.list(OWNER)
        (node,) = store.conversation(OWNER, found.id).nodes.values()
        numbers = node.text.split()
        assert numbers == [str(number) for number in range(len(numbers))]
        assert len(node.text) >= shown
        assert node.end is None
        setup = TurnSetup(store, found.id, node.id)
        assert "".join(setup.saved_tokens) == node.text
        assert len(store.list(OWNER, numbers[-1])) == 1
        turn = await ended(
            setup.begin(*tokens("and on"), text=node.text, batches=tuple(store.tokens(OWNER, found.id, node.id)))
        )
        assert setup.saved.text == turn.text == node.text + "and on"


async def test_blocks(setup: TurnSetup) -> None:
    """The blocks of a running answer are those of its text from its beginning, and are rendered once for all readers."""
    pieces = tokens("# One", "\n\ntwo *three*", "\n\n```python\n", "x = 1\n", "```\n\nfour")
    turn = setup.begin(*pieces, text="Zero\n\n")
    async for _ in turn.updates():
        found = turn.blocks
        assert uncoloured(found) == uncoloured(blocks(turn.text))
        assert turn.blocks is found
    assert turn.blocks == blocks("Zero\n\n# One\n\ntwo *three*\n\n```python\nx = 1\n```\n\nfour")


def uncoloured(found: list[str]) -> list[str]:
    return [re.sub("</?span[^>]*>", "", html) for html in found]
