"""The tree of a text's continuations above a probability, found best first.

A place is a possible text. The place's mass is the probability of all known token sequences for the
text, so that different tokens with equal texts join.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from math import exp
from typing import Any

from pellucid.vocabulary.token import Token

MAX_REQUESTS = 200

MAX_READ = 2000
"""Maximum number of places with known next tokens."""

SENTENCE_TOKENS = 48
"""Maximum length where a sentence or a line is the limit."""

LEAST_JOINED = 0.001
"""Least mass by different tokens for a remark."""

_MARKER = re.compile(rb"<\|.*\|>|<\xef\xbd\x9c.*\xef\xbd\x9c>|</?s>|<(eos|EOT)>|<(start|end)_of_turn>|<\|?turn\|?>")
"""Markers of known models: an alternative does not distinguish markers from text."""

_SENTENCE = re.compile(r"\s*+\S.*(((?<!\d)[.!?]|[\u3002\uff01\uff1f])[\"'\u201d\u2019)\]*_]*+\s*+$|\n)", re.DOTALL)
"""The end of a sentence or a line; the point of a number ends no sentence."""

Follow = Callable[[str, int], AsyncGenerator[Token]]
"""Yields the most probable tokens after a text, up to a number, with alternatives and including the
end of the answer."""


@dataclass(slots=True, eq=False)
class Place:
    """A text, or the end of the answer after the text; ``depth`` counts the fewest tokens.

    Attributes:
        sources, choices: The probabilities of the tokens from earlier places, and to later places.
        main: The source of most of the mass, of places in a payload.
        unlisted: The highest possible probability of a token outside the reported alternatives.
        read_tokens: The text's number of tokens when the model read the text. The number differs
            from the lineage's where the tokenizer divides the text differently.
    """

    text: bytes
    ends: bool
    depth: int
    mass: float = 0.0
    sources: dict[Place, float] = field(default_factory=dict)
    choices: dict[Place, float] = field(default_factory=dict)
    main: Place = field(init=False)
    is_read: bool = False
    unlisted: float = 0.0
    read_tokens: int | None = None

    @property
    def is_whole(self) -> bool:
        """Return whether the text ends with a whole character."""
        return self.text.decode(errors="ignore").encode() == self.text

    @property
    def reread(self) -> bool:
        return self.read_tokens is not None and self.read_tokens != sum(1 for _ in self.lineage)

    @property
    def lineage(self) -> Iterator[Place]:
        place = self
        while place.sources:
            yield place
            place = place.main


class ContinuationTree:
    """Continuations above ``threshold``, of up to ``limit`` tokens (None: a sentence or line)."""

    def __init__(self, threshold: float, limit: int | None) -> None:
        self.threshold = threshold
        self.limit = limit or SENTENCE_TOKENS
        self._by_sentence = limit is None
        self.root = Place(b"", False, 0, 1.0)
        self._places = {(b"", False): self.root}
        self._first_position = 0
        self.requests = self.read_places = 0

    async def grow(self, follow: Follow) -> AsyncGenerator[None]:
        """Read open places, the most probable first, each with the most probable continuation.

        Yields whenever the tree has grown.
        """
        while self.requests < MAX_REQUESTS and self.read_places < MAX_READ and (place := self._most_probable()):
            self.requests += 1
            begin = place
            async with aclosing(follow(place.text.decode(), self.limit - place.depth)) as tokens:
                async for token in tokens:
                    place = self.read(place, token)
                    yield
                    if not self._can_go_on(place):
                        break
            begin.is_read = True  # Also without tokens, where the model has no room for more.

    def read(self, place: Place, token: Token) -> Place:
        """Add the alternatives of the token after a place, and return the token's place."""
        if place is self.root:
            self._first_position = token.position
        place.is_read, self.read_places = True, self.read_places + 1
        place.read_tokens = token.position - self._first_position
        # At the beginning, the token's text may omit the tokenizer's leading space.
        strips = not place.text and len(token.bytes) > 1 and token.bytes[:1] == b" " and token.text[:1] != " "
        is_hidden = token.bytes.strip() != b"" and not token.text and token.part is None
        is_end = is_hidden and Place(place.text + token.bytes, False, 0).is_whole
        listed = [(one.id, one.bytes, one.logprob) for one in token.top]
        if all(id != token.id for id, _, _ in listed) and token.logprob is not None:
            listed.append((token.id, token.bytes, token.logprob))
        following = place
        for id, data, logprob in listed:
            data = data.removeprefix(b" ") if strips and data != b" " else data
            ends = (is_end and id == token.id) or _MARKER.fullmatch(data) is not None
            if data:
                child = self._follow(place, data, exp(logprob), ends=ends)
                following = child if id == token.id else following
        place.unlisted = min([token.rest, *place.choices.values()])
        _spread(place)
        return following

    def _follow(self, place: Place, data: bytes, probability: float, *, ends: bool) -> Place:
        key = (place.text if ends else place.text + data, ends)
        child = self._places.setdefault(key, Place(*key, place.depth + 1))
        child.depth = min(child.depth, place.depth + 1)
        place.choices[child] = child.sources[place] = place.choices.get(child, 0.0) + probability
        return child

    def _can_go_on(self, place: Place) -> bool:
        has_ended = place.is_read or place.ends
        return place.mass >= self.threshold and not has_ended and not self._is_complete(place)

    def _is_open(self, place: Place) -> bool:
        """Return whether a request can begin here. No request can begin inside a character."""
        return self._can_go_on(place) and place.is_whole

    def _is_complete(self, place: Place) -> bool:
        is_sentence = self._by_sentence and _SENTENCE.match(place.text.decode(errors="ignore")) is not None
        return place.depth >= self.limit or is_sentence

    def _most_probable(self) -> Place | None:
        return max(filter(self._is_open, self._places.values()), key=lambda place: place.mass, default=None)

    def payload(self) -> dict[str, Any]:
        """Return the tree for the page; a chain of places without a fork is a single node."""
        shown = [place for place in self._places.values() if place.mass >= self.threshold and place is not self.root]
        for place in shown:
            place.main = max(place.sources, key=lambda source: source.mass * place.sources[source])
        leaves = [place for place in shown if not any(child.mass >= self.threshold for child in place.choices)]
        covered = min(sum(leaf.mass for leaf in leaves), 1.0)
        below: defaultdict[Place, list[Place]] = defaultdict(list)
        # A leaf is shown once, after the tokens with most of the mass.
        for leaf in leaves:
            for place in leaf.lineage:
                if place in below[place.main]:
                    break
                below[place.main].append(place)
        known, moved = [place for place in self._places.values() if place.is_read], self._moved(shown)
        return {
            "nodes": self._nodes(self.root, below, moved),
            "covered": covered,
            "rest": 1.0 - covered,
            "leaves": len(leaves),
            "unlisted": max((place.mass * place.unlisted for place in known), default=1.0),
            "isCut": any(map(self._is_open, self._places.values())),
        }

    def _moved(self, shown: list[Place]) -> dict[Place, float]:
        """Return the mass to add to places, because each text is shown only once."""
        moved: defaultdict[Place, float] = defaultdict(float)
        for place in sorted(shown, key=lambda one: (len(one.text), one.ends), reverse=True):
            moved[place.main] += moved[place]
            for source, probability in place.sources.items():
                moved[place.main] += source.mass * probability
                moved[source] -= source.mass * probability
        return moved

    def _nodes(self, place: Place, below: dict[Place, list[Place]], moved: dict[Place, float]) -> list[dict[str, Any]]:
        """Return the nodes below a place, the most probable one first."""
        found = [self._node(child, below, moved) for child in below[place]]
        return sorted(found, key=lambda node: -node["mass"])

    def _node(self, place: Place, below: dict[Place, list[Place]], moved: dict[Place, float]) -> dict[str, Any]:
        pieces, joined, reread = [_piece(place)], _joined(place), place.reread
        while len(below[place]) == 1:
            place = below[place][0]
            pieces.append(_piece(place))
            joined, reread = max(joined, _joined(place)), reread or place.reread
        nodes = self._nodes(place, below, moved)
        return {
            "pieces": [piece for piece in pieces if piece[0]],
            "mass": place.mass + moved.get(place, 0.0),
            "joined": joined if joined >= LEAST_JOINED else 0.0,
            "reread": reread,
            "end": "" if nodes else self._end(place),
            "nodes": nodes,
        }

    def _end(self, place: Place) -> str:
        """Return why nothing is shown after a leaf."""
        if place.ends:
            return "end"
        if not place.is_whole:
            return "half"
        return "limit" if self._is_complete(place) else "split" if place.choices else "unread"


def _spread(place: Place) -> None:
    """Add a place's mass to all places after it, each of them once, the shortest texts first."""
    waiting = {place: place.mass}
    while waiting:
        place = min(waiting, key=lambda one: len(one.text))
        mass = waiting.pop(place)
        for child, probability in place.choices.items():
            child.mass += mass * probability
            if child.choices:
                waiting[child] = waiting.get(child, 0.0) + mass * probability


def _piece(place: Place) -> list[Any]:
    """Return what a place adds to the text of the place before, and its probability there."""
    before = place.main.text.decode(errors="ignore")
    return [place.text.decode(errors="ignore")[len(before) :], place.sources[place.main]]


def _joined(place: Place) -> float:
    return place.mass - place.main.mass * place.sources[place.main]
