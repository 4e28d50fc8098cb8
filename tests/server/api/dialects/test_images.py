"""Pictures in the bodies of each dialect's client reach the model as images of a message."""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from collections.abc import Callable
from typing import Any

import anthropic
import ollama
import openai
import pytest

from pellucid.client.http_client import Client
from pellucid.vocabulary.message import Image, Message
from pellucid.vocabulary.model_card import ModelCard
from pellucid.vocabulary.query import ChatQuery, ScoreQuery
from support.servers.http_servers import TINY, TINY_PLAIN, LiveServer, ScriptedAssistant, live_scripted

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
"""A picture of a single pixel."""

URL = f"data:image/png;base64,{PIXEL}"
SCHEMELESS = f"data:image/unknown;base64,{PIXEL}"
QUESTION = "What is in the pictures?"


def sent(ask: Callable[[LiveServer], Any]) -> list[Message]:
    """Return the messages of the query that a client's request causes."""
    assistant = ScriptedAssistant()
    with live_scripted(assistant) as server:
        ask(server)
    (call,) = assistant.calls
    return list(call["messages"] if call["verb"] == "chat" else call["text"])


def posted(path: str, body: dict[str, Any]) -> list[Message]:
    return sent(lambda server: server.http.post(path, json=body).raise_for_status())


def test_chat_of_the_openai_package() -> None:
    """An image of a chat is placed after the texts before the image."""

    def ask(server: LiveServer) -> None:
        with openai.OpenAI(base_url=f"{server.url}/v1", api_key="unused", max_retries=0) as client:
            client.chat.completions.create(
                model=TINY,
                messages=[
                    {"role": "system", "content": "Be brief."},
                    {
                        "role": "user",
                        "content": [
                            {"type": "text", "text": "First: "},
                            {"type": "image_url", "image_url": {"url": URL}},
                            {"type": "text", "text": "Second: "},
                            {"type": "image_url", "image_url": {"url": URL}},
                            {"type": "image_url", "image_url": {"url": URL}},
                        ],
                    },
                ],
            )

    images = (Image(7, URL), Image(15, URL), Image(15, URL))
    assert sent(ask) == [Message("system", "Be brief.", []), Message("user", "First: Second: ", [], images=images)]


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/score"])
def test_an_address_without_an_object(path: str) -> None:
    """The image_url of a part may be the URL itself, also on /v1/score."""
    parts = [{"type": "image_url", "image_url": URL}, {"type": "text", "text": QUESTION}]
    asked = posted(path, {"messages": [{"role": "user", "content": parts}]})
    assert asked == [Message("user", QUESTION, [], images=(Image(0, URL),))]


def test_responses_of_the_openai_package() -> None:
    """Messages and results of calls have images on /v1/responses; the detail is ignored."""
    ignored: list[str] = []

    def ask(server: LiveServer) -> None:
        with openai.OpenAI(base_url=f"{server.url}/v1", api_key="unused", max_retries=0) as client:
            reply = client.responses.create(
                input=[
                    {
                        "role": "user",
                        "content": [
                            {"type": "input_text", "text": QUESTION},
                            {"type": "input_image", "image_url": URL, "detail": "high"},
                        ],
                    },
                    {"type": "function_call", "call_id": "c", "name": "look", "arguments": "{}"},
                    {
                        "type": "function_call_output",
                        "call_id": "c",
                        "output": [{"type": "input_image", "image_url": URL}],
                    },
                ]
            )
        ignored.extend((reply.model_extra or {})["pellucid"]["ignored"])

    question, _, result = sent(ask)
    assert question == Message("user", QUESTION, images=(Image(len(QUESTION), URL),))
    assert result == Message("tool", "", tool_call_id="c", images=(Image(0, URL),))
    assert ignored == ["input.content.detail"]


def test_messages_of_the_anthropic_package() -> None:
    """Messages and results of calls have images on /v1/messages."""
    picture: anthropic.types.ImageBlockParam = {
        "type": "image",
        "source": {"type": "base64", "media_type": "image/png", "data": PIXEL},
        "cache_control": {"type": "ephemeral"},
    }

    def ask(server: LiveServer) -> None:
        with anthropic.Anthropic(base_url=server.url, api_key="unused", max_retries=0) as client:
            client.messages.create(
                model=TINY,
                max_tokens=9,
                messages=[
                    {"role": "user", "content": [picture, {"type": "text", "text": QUESTION}, picture]},
                    {"role": "assistant", "content": [{"type": "tool_use", "id": "c", "name": "look", "input": {}}]},
                    {
                        "role": "user",
                        "content": [
                            {
                                "type": "tool_result",
                                "tool_use_id": "c",
                                "content": [{"type": "text", "text": "Here: "}, picture],
                            }
                        ],
                    },
                ],
            )

    question, _, result = sent(ask)
    assert question == Message("user", QUESTION, (), images=(Image(0, URL), Image(len(QUESTION), URL)))
    assert result == Message("tool", "Here: ", tool_call_id="c", images=(Image(6, URL),))


def test_requests_of_the_ollama_package() -> None:
    """The images of ollama's clients are base64, and precede the content."""
    picture = ollama.Image(value=PIXEL)

    def chat(server: LiveServer) -> None:
        with ollama.Client(host=server.url, trust_env=False) as client:
            client.chat(TINY, [{"role": "user", "content": QUESTION, "images": [picture]}])

    assert sent(chat) == [Message("user", QUESTION, [], images=(Image(0, SCHEMELESS),))]

    asked = posted("/api/chat", {"messages": [{"role": "user", "images": [URL]}]})
    assert asked == [Message("user", "", [], images=(Image(0, URL),))]


def with_part(part: dict[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [part]}], "max_tokens": 1}


@pytest.mark.parametrize("prompt", [QUESTION, ""])
def test_a_generation_with_images(prompt: str) -> None:
    """A prompt with images is a question on /api/generate, even without text."""
    body = {"model": TINY, "prompt": prompt, "images": [PIXEL]}
    asked = posted("/api/generate", body)
    assert asked == [Message("user", prompt, images=(Image(0, SCHEMELESS),))]
    with live_scripted(Seeing()) as server:
        for more, status, sentence in (
            ({"suffix": "x"}, 400, "images is not supported together with suffix: omit it."),
            ({"raw": True}, 400, "images is not supported together with raw: omit it."),
            ({"model": TINY_PLAIN}, 501, f"{TINY_PLAIN} has no chat template, so it cannot read images: omit images."),
        ):
            refused = server.http.post("/api/generate", json=body | more)
            assert (refused.status_code, refused.json()["error"]) == (status, sentence)


FETCHES = "Pellucid fetches no files: send the picture as a data URL (data:image/png;base64,...)."
NO_PICTURE = "this is not a picture in base64: send the picture as a data URL (data:image/png;base64,...)."


@pytest.mark.parametrize(
    ("path", "body", "sentence"),
    [
        (
            "/v1/chat/completions",
            with_part({"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}),
            f"messages.0.content.0.image_url.url: {FETCHES}",
        ),
        (
            "/v1/chat/completions",
            with_part({"type": "image_url", "image_url": "file:///etc/passwd"}),
            f"messages.0.content.0.image_url: {FETCHES}",
        ),
        (
            "/v1/chat/completions",
            with_part({"type": "image_url", "image_url": {"url": "data:text/plain;base64,AAAA"}}),
            f"messages.0.content.0.image_url.url: {NO_PICTURE}",
        ),
        (
            "/v1/chat/completions",
            with_part({"type": "image_url", "image_url": {"url": "data:image/svg+xml,<svg/>"}}),
            f"messages.0.content.0.image_url.url: {NO_PICTURE}",
        ),
        (
            "/v1/chat/completions",
            with_part({"type": "image_url", "image_url": {}}),
            "messages.0.content.0.image_url.url is required.",
        ),
        (
            "/apply-template",
            with_part({"type": "image_url", "image_url": PIXEL}) | {"max_tokens": None},
            f"messages.0.content.0.image_url: {NO_PICTURE}",
        ),
        (
            "/v1/responses",
            {"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "file-1"}]}]},
            "input.0.content.0.file_id: nothing is stored here: send the picture in image_url.",
        ),
        (
            "/v1/responses",
            {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "http://example.org"}]}]},
            f"input.0.content.0.image_url: {FETCHES}",
        ),
        (
            "/v1/messages",
            with_part({"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}}),
            "messages.0.content.0.source.type: pictures are neither fetched nor stored here: send the picture itself, "
            "with the type base64.",
        ),
        (
            "/v1/messages",
            with_part({"type": "image", "source": {"type": "base64", "media_type": "image/tiff", "data": PIXEL}}),
            "messages.0.content.0.source.media_type: Input should be 'image/jpeg', 'image/png', 'image/gif' or "
            "'image/webp', not 'image/tiff'.",
        ),
        (
            "/api/chat",
            {"messages": [{"role": "user", "content": "x", "images": ["http://example.org/a.png"]}]},
            f"messages.0.images.0: {FETCHES}",
        ),
        ("/api/generate", {"prompt": "x", "images": ["data:,x"]}, f"images.0: {NO_PICTURE}"),
    ],
)
def test_refused_pictures(small_server: LiveServer, path: str, body: dict[str, Any], sentence: str) -> None:
    """A picture elsewhere, or content of another kind, is refused with the place and a remedy."""
    reply = small_server.http.post(path, json=body)

    error = reply.json()["error"]
    assert (reply.status_code, error if isinstance(error, str) else error["message"]) == (400, sentence)


def test_the_detail_is_ignored(small_server: LiveServer) -> None:
    """The detail of a picture is listed as ignored."""
    body = with_part({"type": "image_url", "image_url": {"url": URL, "detail": "low"}})
    with live_scripted() as server:
        reply = server.http.post("/v1/chat/completions", json=body)
    assert reply.json()["pellucid"]["ignored"] == ["messages.content.image_url.detail"]


async def test_private_wire() -> None:
    """Images reach the server unchanged in a chat, a conversation to read and a continuation."""
    assistant = ScriptedAssistant()
    messages = [Message("user", QUESTION, images=[Image(0, SCHEMELESS), Image(5, URL)]), Message("assistant", "A")]
    with live_scripted(assistant) as server:
        async with Client(server.url) as client:
            _ = [item async for item in client.chat(ChatQuery(messages))]
            _ = [item async for item in client.score(ScoreQuery(messages))]
            await client.logprob_sums(ScoreQuery("", continued=messages), ["text"])
        refused = [
            server.http.post("/pellucid/chat", json={"messages": [{"role": "user", "content": "a", "images": [image]}]})
            for image in ({"at": 2, "url": URL}, {"at": -1, "url": URL}, {"at": 0, "url": "http://x"}, {"at": 0})
        ]

    chat, score, read = assistant.calls
    assert chat["messages"] == score["text"] == read["continued"] == messages
    assert [reply.status_code for reply in refused] == [400] * 4
    assert "images are at [2] in 1 characters" in refused[0].json()["error"]["message"]
    assert FETCHES in refused[2].json()["error"]["message"]


def test_an_image_has_no_characters() -> None:
    """The characters of a message do not count the images."""
    assert Message("user", "hi", images=[Image(0, URL)]).characters == Message("user", "hi").characters


def test_a_picture_of_several_megabytes() -> None:
    """A picture of 11 MB passes the default limit; a larger body is refused with a remedy."""
    photo = b64encode(bytes(11_000_000)).decode()
    body = json.dumps({"messages": [{"role": "user", "content": QUESTION, "images": [photo]}]})
    assert len(body) < 16 * 2**20
    assistant = ScriptedAssistant()
    with live_scripted(assistant, max_body_bytes=16 * 2**20) as server:
        assert server.http.post("/api/chat", content=body, headers=JSON).status_code == 200
        larger = server.http.post("/api/chat", content=body.replace(photo, photo * 2), headers=JSON)

    assert assistant.calls[0]["messages"][0].images == (Image(0, f"data:image/unknown;base64,{photo}"),)
    assert larger.status_code == 413
    assert "--max-body-bytes" in larger.json()["error"]


JSON = {"content-type": "application/json"}


class Seeing(ScriptedAssistant):
    """A scripted assistant with a model that sees images, and a model of texts."""

    def scripted_cards(self) -> list[ModelCard]:
        return [ModelCard(TINY, 64, images=True), ModelCard(TINY_PLAIN, 64, chat=False)]


@pytest.mark.parametrize(("name", "sees"), [(TINY, True), (TINY_PLAIN, False)])
def test_models_that_see_images(name: str, *, sees: bool) -> None:
    """The descriptions of a model say whether messages may have images."""
    with live_scripted(Seeing()) as server:
        http = server.http
        assert http.get(f"/v1/models/{name}").json()["meta"]["images"] is sees
        assert http.get("/props", params={"model": name}).json()["modalities"] == {"vision": sees, "audio": False}
        assert ("vision" in http.post("/api/show", json={"model": name}).json()["capabilities"]) is sees
        assert {card.name: card.images for card in asyncio.run(cards_of(server))}[name] is sees


async def cards_of(server: LiveServer) -> list[ModelCard]:
    async with Client(server.url) as client:
        return await client.cards()
