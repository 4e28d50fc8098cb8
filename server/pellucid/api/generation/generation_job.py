"""Generation of a request's answers, sent whole or as events."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from contextlib import aclosing

from fastapi import Request
from starlette.responses import Response

from pellucid.api.generation.generated_answer import GeneratedAnswer, Items
from pellucid.api.schema.common import ReplyDetails
from pellucid.api.server_state import state_of
from pellucid.door.event_stream import SSE, Event, StreamFormat, attend, event_stream
from pellucid.system.concurrent_work import run_all, stream_from
from pellucid.text.assistant import LocalAssistant
from pellucid.vocabulary.finish import Finish, OnUsage
from pellucid.vocabulary.model_card import ModelCard
from pellucid.vocabulary.token import Token


class GenerationJob(ABC):
    """A request for one or several answers, numbered from 0.

    Subclasses make the query, and write the reply and the events of a route. Tokens pass no further
    generator. With ``usage_on_the_way``, an answer's usage is known with each token.
    """

    def __init__(
        self,
        request: Request,
        assistant: LocalAssistant,
        card: ModelCard,
        count: int,
        *,
        usage_on_the_way: bool = False,
        ignored: Sequence[str] = (),
    ) -> None:
        self.request = request
        self.state = state_of(request)
        self.assistant = assistant
        self.card = card
        self.answers = [GeneratedAnswer() for _ in range(count)]
        self._usage_on_the_way = usage_on_the_way
        self._details = ReplyDetails(ignored=list(ignored)) if ignored else None

    @property
    def model(self) -> str:
        return self.card.name

    def details(self) -> ReplyDetails | None:
        """Return the details of the request, only for the first part of a reply."""
        details, self._details = self._details, None
        return details

    @abstractmethod
    def ask(self, number: int, on_usage: OnUsage | None) -> Items:
        """Begin the generation of an answer."""

    @abstractmethod
    async def whole(self) -> Response:
        """Return the reply with all answers."""

    @abstractmethod
    def part(self, number: int, token: Token) -> Event:
        """Return the event of a token."""

    @abstractmethod
    async def last_part(self, number: int, finish: Finish) -> Event:
        """Return the last event of an answer."""

    def parts(self, number: int, token: Token) -> Iterable[Event]:
        """Return all events of a token, for routes with several events per token."""
        return (self.part(number, token),)

    async def first_part(self, number: int) -> Event | None:
        """Return an event to send before an answer's first token, if any."""
        return None

    def closing(self) -> Event | None:
        """Return an event to send after all answers, if any."""
        return None

    async def respond(self, *, stream: bool, format: StreamFormat = SSE) -> Response:
        """Generate all answers. ``format`` is for streams."""
        if not stream:
            return await attend(self.request, self.state.closing, self._respond_whole())
        return await event_stream(
            self.request, self.state.closing, stream_from(self._generate_all), self.closing, format
        )

    async def _respond_whole(self) -> Response:
        await self._generate_all(None)
        return await self.whole()

    async def _generate_all(self, send: Callable[[Event], None] | None) -> None:
        await run_all([self._generate(number, send) for number in range(len(self.answers))])

    async def _generate(self, number: int, send: Callable[[Event], None] | None) -> None:
        """Generate an answer, and send its events if streamed.

        A slow client does not delay the generation: stop texts and time limits take effect here,
        and would free the slot late.
        """
        answer, begun = self.answers[number], False
        with self.state.metrics.timer(self.model, self.state.clock) as timer:
            async with aclosing(self.ask(number, answer.note if send and self._usage_on_the_way else None)) as items:
                async for item in items:
                    timer.note(item)
                    answer.take(item)
                    if send is None:
                        continue
                    if not begun and (first := await self.first_part(number)) is not None:
                        send(first)
                    begun = True
                    if isinstance(item, Token):
                        for event in self.parts(number, item):
                            send(event)
                    else:
                        send(await self.last_part(number, item))
