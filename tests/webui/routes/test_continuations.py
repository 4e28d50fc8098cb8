"""Tests the tree of continuations over the page's routes, and versions from continuations."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pellucid.client.assistant_protocol import shared
from pellucid.errors import InvalidRequestError, NotFoundError
from pellucid.vocabulary.finish import Finish, FinishReason
from pellucid.vocabulary.query import BACKGROUND
from pellucid_webui.conversations.compact_tokens import unpack
from pellucid_webui.conversations.storage.store import ConversationStore
from pellucid_webui.conversations.turn import Turns
from pellucid_webui.conversations.turn_settings import TurnSettings
from pellucid_webui.inspection.continuation_tree import ContinuationTree
from pellucid_webui.routes import continuations
from pellucid_webui.routes.chat import ChatRoute
from pellucid_webui.routes.continuations import ContinuationsRoute
from support.page.forking_teller import ForkingTeller
from support.page.route_tab import RouteTab
from support.scripted_answers import usage

GREEDY = TurnSettings(model="large-model", temperature=0.0)

Payload = dict[str, Any]


@dataclass
class Answered:
    """A conversation with an answer about Canberra as node 2."""

    teller: ForkingTeller
    store: ConversationStore
    tab: RouteTab
    route: ContinuationsRoute

    def grow(self, owner: str = "me", **more: Any) -> AsyncGenerator[Payload]:
        place = {"conversation": self.tab.conversation, "node": 2, "index": 0}
        return self.route.grow(owner, place | {"threshold": 0.02, "limit": None} | more)

    async def tree(self, **more: Any) -> Payload:
        return [event async for event in self.grow(**more)][-1]


@pytest.fixture
async def answered(tmp_path: Path) -> AsyncGenerator[Answered]:
    with closing(ConversationStore(tmp_path / "conversations.db")) as store:
        teller, turns = ForkingTeller(), Turns()
        tab = RouteTab(ChatRoute(store, shared(teller), turns), settings=GREEDY)
        await tab.send_and_wait("What is the capital of Australia?")
        teller.queries.clear()
        yield Answered(teller, store, tab, ContinuationsRoute(store, shared(teller), turns))


def leaves(nodes: list[Payload], before: str = "") -> Iterator[tuple[str, float]]:
    for node in nodes:
        text = before + "".join(piece for piece, _ in node["pieces"])
        if node["nodes"]:
            yield from leaves(node["nodes"], text)
        else:
            yield text, node["mass"]


async def test_the_tree_of_an_answer(answered: Answered) -> None:
    """The masses are products of the model's probabilities, and equal texts join."""
    tree = await answered.tree()
    assert dict(leaves(tree["nodes"])) == pytest.approx(
        {"It is Canberra.": 0.378, "It is Sydney.": 0.108, "Canberra.": 0.2 * 0.9 + 0.1, "Sydney.": 0.05}
    )
    assert (tree["before"], tree["isWhole"], tree["isCut"]) == ("", True, False)
    assert (tree["covered"], tree["rest"]) == pytest.approx((0.816, 0.184))
    joined = next(node for node in tree["nodes"] if node["joined"])
    assert (joined["mass"], joined["joined"]) == pytest.approx((0.28, 0.1))
    assert await answered.tree(index=2, limit=1) == tree | {
        "before": "It is",
        "covered": pytest.approx(0.9),
        "rest": pytest.approx(0.1),
        "leaves": 2,
        "nodes": [
            {"pieces": [[text, share]], "mass": share, "joined": 0, "reread": False, "end": "limit", "nodes": []}
            for text, share in ((" Canberra", pytest.approx(0.7)), (" Sydney", pytest.approx(0.2)))
        ],
        "unlisted": pytest.approx(0.01),
    }


async def test_its_requests(answered: Answered) -> None:
    """The requests are greedy, in the background, and continue the text of the answer so far."""
    await answered.tree(index=2)
    for query in answered.teller.queries:
        assert (query.terms, query.params.temperature, query.params.ignore_eos) == (BACKGROUND, 0.0, True)
        assert (query.model, query.continue_last) == ("large-model", True)
    assert [query.messages[-1].content for query in answered.teller.queries] == ["It is", "It is Sydney"]


async def test_updates(answered: Answered, monkeypatch: pytest.MonkeyPatch) -> None:
    """The growing tree is sent, and leaving the tree ends the request."""
    monkeypatch.setattr(continuations, "UPDATE_SECONDS", 0.0)
    async with aclosing(answered.grow()) as events:
        first = await anext(events)
        assert (first["isWhole"], len(answered.teller.queries)) == (False, 1)
    assert len(answered.teller.queries) == 1


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"conversation": None}, "no valid place"),
        ({"index": "0"}, "no valid place"),
        ({"index": 9}, "no such token"),
        ({"node": 1}, "no such answer"),
        ({"node": 99}, "no such answer"),
        ({"threshold": 0.001}, "no valid threshold"),
        ({"threshold": None}, "no valid threshold"),
        ({"limit": 1000}, "no valid limit"),
        ({"limit": "8"}, "no valid limit"),
    ],
)
async def test_impossible_requests(answered: Answered, more: Payload, sentence: str) -> None:
    """An impossible place, threshold or length is refused before the model is asked."""
    with pytest.raises(InvalidRequestError, match=sentence):
        await answered.tree(**more)
    assert answered.teller.queries == []


async def test_conversations_of_others(answered: Answered) -> None:
    """A user's answers have no tree for a second user."""
    with pytest.raises(NotFoundError):
        await anext(answered.grow("you"))


async def test_a_version_from_a_continuation(answered: Answered) -> None:
    """A version begins with the whole continuation, and is marked at the first difference."""
    shown = await answered.tab.act_and_wait("branch", node=2, index=0, text="It is Sydney")
    version = answered.store.conversation("me", str(answered.tab.conversation)).nodes[3]
    assert (shown["messages"][-1]["text"], version.origin, version.branched) == ("It is Sydney.", 2, 2)
    kept = unpack(answered.store.tokens("me", str(answered.tab.conversation), 3))
    assert [token.text for token in kept] == ["It", " is", " Sydney", "."]
    assert all(token.top for token in kept)
    with pytest.raises(InvalidRequestError, match="nothing can continue"):
        await answered.tab.act("branch", node=2, index=0, text="")


async def test_a_failure_of_the_model() -> None:
    """A request ended early by the server is an error, not a smaller tree."""

    class Failing(ForkingTeller):
        async def chat(self, query: Any, **_: Any) -> AsyncGenerator[Any]:
            yield Finish(FinishReason.DEADLINE, usage(0))

    place = continuations.AnswerBefore((), "It", GREEDY)
    tree = ContinuationTree(0.1, 4)
    with pytest.raises(Exception, match="interrupted"):
        async for _ in tree.grow(lambda text, most: continuations.most_probable(Failing(), place, text, most)):
            pass
