"""A model on an OpenAI-compatible server: completions and, with ``echo``, logprobs."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from typing import Any

import httpx

from pellucid.client.connection import CONNECT_SECONDS
from pellucid.errors import NotSupportedError, PellucidError, UnavailableError, unknown_model
from pellucid.learn.evaluate.subjects import Ability, Subject
from pellucid.vocabulary.finish import Finish, FinishReason, Usage
from pellucid.vocabulary.query import ChatQuery, CompletionQuery, ScoreQuery
from pellucid.vocabulary.token import Token

PROBE = "The sky is blue."
UNKNOWN_CONTEXT = 1 << 30
"""Unknown in OpenAI's API; the server rejects overlong prompts."""


class OpenAIServer:
    """Client for completions. All other queries raise NotSupportedError.

    ``transport`` replaces the network in tests.
    """

    def __init__(
        self, url: str, api_key: str | None = None, *, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self.url = url.rstrip("/").removesuffix("/v1")
        self._http = httpx.AsyncClient(
            base_url=self.url,
            headers={} if api_key is None else {"authorization": f"Bearer {api_key}"},
            timeout=httpx.Timeout(None, connect=CONNECT_SECONDS),
            transport=transport,
            trust_env=False,
        )

    async def aclose(self) -> None:
        await self._http.aclose()

    async def subject(self, name: str) -> Subject:
        """Return a model with the abilities found by probing, or raise NotFoundError."""
        listed = [str(model.get("id")) for model in (await self._request("GET", "/v1/models")).get("data") or []]
        if name not in listed:
            raise unknown_model(name, listed, f"at {self.url}")
        abilities = {Ability.COMPLETE}
        if await self._shows_probabilities(name):
            abilities.add(Ability.SCORE)
        identity: dict[str, str | int] = {"name": name, "server": "OpenAI-compatible", "url": self.url}
        description = f"served at {self.url}"
        return Subject(
            name, description, identity, self, frozenset(abilities), UNKNOWN_CONTEXT, infill=False, chat=False
        )

    async def complete(self, query: CompletionQuery) -> AsyncGenerator[Token | Finish]:
        """Yield the answer as one token. Suffixes are rejected: some servers ignore suffixes."""
        if query.suffix is not None or query.extra:
            raise NotSupportedError(f"{self.url} may silently ignore a suffix: send only the prefix.")
        params, stop = query.params, query.stop
        body: dict[str, Any] = {"model": query.model, "prompt": query.prefix}
        body |= {"max_tokens": params.max_tokens, "temperature": params.temperature}
        if params.seed is not None:
            body["seed"] = params.seed
        ends: list[str] = []
        if len(stop) <= 4:  # OpenAI's limit
            body["stop"] = list(stop)
        else:
            ends = list(stop)
        reply = await self._request("POST", "/v1/completions", body)
        choice = _choice(reply, self.url)
        text, reason = (
            str(choice.get("text") or ""),
            FinishReason.LENGTH if choice.get("finish_reason") == "length" else FinishReason.STOP,
        )
        cut = min((at for at in (text.find(end) for end in ends) if at >= 0), default=len(text))
        if cut < len(text):
            text, reason = text[:cut], FinishReason.STOP
        yield Token(0, text, text.encode(), 0, None, None, None)
        yield Finish(reason, _usage(reply))

    async def score(self, query: ScoreQuery) -> AsyncGenerator[Token | Finish]:
        """Yield tokens with logprobs. The API has no ranks, entropies or ids."""
        text = query.text
        if not isinstance(text, str) or query.special:
            raise NotSupportedError(f"{self.url} reports probabilities only for plain text: send text.")
        reply = await self._request("POST", "/v1/completions", _echo(query.model, text))
        pieces = _echoed(_choice(reply, self.url), text)
        if pieces is None:
            raise NotSupportedError(
                f"{self.url} does not report the probabilities of a given text: omit suites that need them."
            )
        for number, (piece, logprob) in enumerate(pieces):
            yield Token(0, piece, piece.encode(), number, logprob, None, None)
        yield Finish(FinishReason.STOP, _usage(reply))

    def chat(self, query: ChatQuery) -> AsyncGenerator[Token | Finish]:
        """Raise NotSupportedError: the API does not show the text of a chat prompt."""
        raise NotSupportedError(f"{self.url} is used only for completions: omit suites that need chats.")

    async def token_ids(self, text: str, *, model: str | None = None) -> list[int]:
        """Raise NotSupportedError: the API does not show token ids."""
        raise NotSupportedError(f"{self.url} does not report token ids: omit suites that need them.")

    async def _shows_probabilities(self, model: str) -> bool:
        """Return True if ``echo`` works: some servers ignore the field."""
        try:
            reply = await self._request("POST", "/v1/completions", _echo(model, PROBE))
            return _echoed(_choice(reply, self.url), PROBE) is not None
        except UnavailableError:
            raise
        except PellucidError:
            return False

    async def _request(self, method: str, route: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        try:
            response = await self._http.request(method, route, json=body)
        except httpx.HTTPError as error:
            raise UnavailableError(f"The connection to {self.url} failed: {error or type(error).__name__}.") from error
        try:
            reply = json.loads(response.content)
        except ValueError:
            reply = None
        if response.status_code != httpx.codes.OK or not isinstance(reply, dict):
            raise PellucidError(
                f"{self.url}{route} answered with status {response.status_code}: {response.text[:200] or 'nothing'}."
            )
        return reply


def _echo(model: str | None, text: str) -> dict[str, Any]:
    """Build the request, with one generated token, because some servers refuse zero tokens."""
    return {"model": model, "prompt": text, "max_tokens": 1, "temperature": 0, "echo": True, "logprobs": 1}


def _choice(reply: dict[str, Any], url: str) -> dict[str, Any]:
    choices = reply.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise PellucidError(f"{url} answered without choices, which OpenAI's API requires.")
    choice: dict[str, Any] = choices[0]
    return choice


def _echoed(choice: dict[str, Any], text: str) -> list[tuple[str, float | None]] | None:
    """Return tokens and logprobs; None if incomplete or inconsistent with the text.

    Offsets are not used: some servers count the characters of BOS before the text.
    """
    reported = choice.get("logprobs")
    tokens, logprobs = (
        reported.get(name) if isinstance(reported, dict) else None for name in ("tokens", "token_logprobs")
    )
    if not isinstance(tokens, list) or not isinstance(logprobs, list) or len(tokens) != len(logprobs):
        return None
    own: list[tuple[str, float | None]] = []
    left = text
    for piece, logprob in zip(map(str, tokens), logprobs, strict=True):
        if not left:
            break
        if left.startswith(piece):
            own.append((piece, logprob))
            left = left.removeprefix(piece)
        elif own or piece in text:
            return None
    if left or len(own) < 2 or any(logprob is None for _, logprob in own[1:]):
        return None
    return own


def _usage(reply: dict[str, Any]) -> Usage:
    usage = reply.get("usage") or {}
    return Usage(computed=int(usage.get("prompt_tokens") or 0), generated=int(usage.get("completion_tokens") or 0))
