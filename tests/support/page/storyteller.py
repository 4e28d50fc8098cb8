"""Provides the page of two scripted models that tell a story word by word."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pellucid.vocabulary.finish import Finish, FinishReason, OnUsage
from pellucid.vocabulary.model_card import ModelCard
from pellucid.vocabulary.query import ChatQuery, ScoreQuery
from pellucid.vocabulary.token import Token
from pellucid_webui.hosting.gradio_host import pellucid_view
from support.page.page_tabs import PATIENCE
from support.page.scripted_assistant import token
from support.page.small_page_server import PagedServer, paged
from support.scripted_answers import Asked, Item, play, usage
from support.servers.http_servers import ScriptedAssistant, scripted_state

LARGE, SMALL = "large-model", "small-model"

WORDS = ("Once", " a", " fox", " met", " a", " hen", " by", " the", " river", " and", " both", " sang", " of", " snow,")

SEEN = -0.125
"""The logprob of each word after an image."""

PACE = 0.03
"""Seconds for a word, so that a story of thousands of words never ends within a test."""


@dataclass
class Storyteller(ScriptedAssistant):
    """Tells a story up to the limit of tokens, or says a test's ``script``, as either model.

    A continued story continues at the next word. The small model sees images, and finds words after
    images more likely. ``running`` counts the answers in progress.
    """

    script: Sequence[Token | Finish | Exception] = ()
    served: tuple[str, ...] = (LARGE, SMALL)
    context: int = 32_768
    queries: list[ChatQuery] = field(default_factory=list)
    running: int = 0

    def scripted_cards(self) -> list[ModelCard]:
        return [
            ModelCard(
                name,
                self.context,
                weight_bytes=531_000_000,
                description="int8 weights on cpu",
                reasoning=name == LARGE,
                images=name == SMALL,
            )
            for name in self.served
        ]

    async def chat(self, query: ChatQuery, *, on_usage: OnUsage | None = None) -> AsyncGenerator[Token | Finish]:
        self.queries.append(query)
        self.running += 1
        script: Iterable[Item] = self.script
        before, reason = self.before, FinishReason.STOP
        if not self.script:
            script, before, reason = self._story(query), before or _pace, FinishReason.LENGTH
        answer = play(script, Asked(query), on_usage=on_usage, before=before, reason=reason)
        try:
            async with aclosing(answer) as items:
                async for item in items:
                    yield item
        finally:
            self.running -= 1

    async def score(self, query: ScoreQuery) -> AsyncGenerator[Token | Finish]:
        """Read a text, or the last message, word by word."""
        last = query.text if isinstance(query.text, str) else getattr(query.text[-1], "content", "")
        words = re.findall(r"\s*\S+", str(last))
        sees = any(getattr(message, "images", ()) for message in query.text)
        for number, word in enumerate(words, 1):
            found = token(word, number, " other")
            yield replace(found, logprob=SEEN, top=(replace(found.top[0], logprob=SEEN),)) if sees else found
        yield Finish(FinishReason.STOP, usage(len(words)))

    def _story(self, query: ChatQuery) -> Iterator[Token]:
        start = len(query.messages[-1].content.split()) if query.continue_last else 0
        for number in range(start, start + query.params.max_tokens):
            # The first word of a story is never the first word of another model's story.
            word = WORDS[number % len(WORDS)] if number else WORDS[query.model == SMALL]
            yield token(word, number + 1, " other", " third")

    def reset(self) -> None:
        """Forget the queries and the script of an earlier test."""
        self.script, self.served, self.before = (), (LARGE, SMALL), None
        self.queries.clear()

    async def until_running(self, is_running: bool = True) -> None:
        """Wait until an answer is in progress, or no answer."""
        async with asyncio.timeout(PATIENCE):
            while bool(self.running) != is_running:
                await asyncio.sleep(0.02)


async def _pace(_number: int) -> None:
    await asyncio.sleep(PACE)


@contextmanager
def story_page(folder: Path, teller: ScriptedAssistant, **settings: Any) -> Iterator[PagedServer]:
    """Serve the page over these scripted models, with settings of the server's state."""
    with paged(folder, pellucid_view, state=scripted_state(teller, **settings)) as server:
        server.wait()
        yield server
