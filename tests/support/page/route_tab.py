"""Plays a tab of the browser over the chat's routes, without a browser."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from pellucid_webui.conversations.turn_settings import TurnSettings
from pellucid_webui.routes.chat import ChatRoute

Payload = dict[str, Any]


def shown(settings: TurnSettings) -> Payload:
    """Return the values of the controls by name, as ``chat_settings.js`` sends the values."""
    return settings.record() | {"seed": "" if settings.seed is None else str(settings.seed)}


@dataclass
class RouteTab:
    """A tab with the open conversation, and settings in the controls."""

    route: ChatRoute
    owner: str = "me"
    conversation: str | None = None
    settings: TurnSettings = field(default_factory=TurnSettings)

    async def act(self, verb: str, **more: Any) -> Payload:
        """Run an action, and open the conversation that the result names."""
        asked = {"verb": verb, "conversation": self.conversation, "settings": shown(self.settings)} | more
        (result,) = [found async for found in self.route.act(self.owner, asked)]
        self.conversation = result.get("opens") or result.get("conversation") or self.conversation
        return result

    async def show(self, **more: Any) -> Payload:
        """Return the state of the conversation with parsed messages."""
        state = await self.act("show", **more)
        return state | {"messages": [json.loads(message) for message in state["messages"]]}

    def follow(self, node: int, after: int = 0, *, tokens: bool = False) -> AsyncGenerator[Payload]:
        asked = {"conversation": self.conversation, "node": node, "after": after, "tokens": tokens}
        return self.route.follow(self.owner, asked)

    async def send(self, text: str = "Hello", **more: Any) -> int:
        """Send a message, and return the node of the answer that has begun."""
        node = (await self.act("send", text=text, **({"messageId": uuid4().hex} | more)))["node"]
        assert isinstance(node, int)
        return node

    async def send_and_wait(self, text: str = "Hello", **more: Any) -> Payload:
        return await self.ended(await self.send(text, **more))

    async def act_and_wait(self, verb: str, **more: Any) -> Payload:
        """Run an action, and return the state after the end of the answer."""
        return await self.ended((await self.act(verb, **more)).get("node"))

    async def ended(self, node: int | None) -> Payload:
        """Follow an answer to the end, and return the state."""
        if node is not None:
            async for _ in self.follow(node):
                pass
        return await self.show()


@dataclass
class FollowedAnswer:
    """The blocks and tokens of an answer, built from the events of a stream."""

    n: int = 0
    blocks: list[str] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    is_ended: bool = False
    error: str | None = None

    async def grow(self, events: AsyncGenerator[Payload], until: int | None = None) -> None:
        """Take events up to the batch ``until``, or up to the end."""
        async for event in events:
            self.n = event["n"]
            if event.get("end"):
                self.is_ended, self.error = True, event["error"]
            else:
                self.blocks[event["keep"] :] = event["blocks"]
                self.tokens += event.get("tokens", [])
            if until is not None and self.n >= until:
                return
        assert self.is_ended, "the last event of a stream is the end"
