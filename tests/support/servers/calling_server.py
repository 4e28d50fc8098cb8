"""A model of bytes with scripted tool calls, behind a real server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pellucid.api.server_state import ServerState
from pellucid.models.tokenizers.tokenizer import Conventions, Tokenizer, Vocabulary
from pellucid.text.assistant import LocalAssistant
from support.models.served_models import served_model
from support.servers.http_servers import LiveServer, live
from support.servers.scripted_engine import ScriptedEngine

CALLING = "calling"
MARKERS = ("<|im_start|>", "<|im_end|>", "<tool_call>", "</tool_call>")
TEMPLATE = (
    "{% if tools %}<|im_start|>tools{% for tool in tools %}{{ '\n' }}{{ tool | tojson }}{% endfor %}"
    "<|im_end|>\n{% endif %}"
    "{% for message in messages %}<|im_start|>{{ message.role }}{{ ' ' + message.name if message.name }}"
    "\n{{ message.content }}"
    "{% for call in message.tool_calls %}"
    '<tool_call>{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}</tool_call>'
    "{% endfor %}{{ ' for ' + message.tool_call_id if message.tool_call_id }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
ANSWER = 'I look. <tool_call>\n{"name": "weather", "arguments": {"city": "Zürich", "days": 2}}\n</tool_call>'
ARGUMENTS = '{"city": "Zürich", "days": 2}'
TWO_CALLS = (
    '<tool_call>{"name": "f", "arguments": {"a": 1}}</tool_call>\n<tool_call>{"name": "g", "arguments": {}}</tool_call>'
)


def tool(name: str, **properties: Any) -> dict[str, Any]:
    """Return a function with these parameters."""
    return {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": properties}}}


TOOLS = [tool("weather", city={"type": "string"}, days={"type": "integer"}), tool("f"), tool("g")]


def calling_tokenizer(template: str = TEMPLATE) -> Tokenizer:
    """Return a tokenizer of bytes and markers."""
    special = {text: 256 + index for index, text in enumerate(MARKERS)}
    pieces = [*(bytes([byte]) for byte in range(256)), *(text.encode() for text in MARKERS)]
    conventions = Conventions(eos_ids=frozenset({special["<|im_end|>"]}), chat_template=template)
    return Tokenizer(
        lambda text: list(text.encode()), Vocabulary(lambda: list(pieces), len(pieces), special), conventions
    )


def calling_assistant(answer: str, template: str = TEMPLATE) -> tuple[LocalAssistant, ScriptedEngine]:
    """Return an assistant with this answer, and the engine."""
    tokenizer = calling_tokenizer(template)
    engine = ScriptedEngine(tokenizer.encode(answer, special=True), context=4096)
    return LocalAssistant(engine, [served_model(CALLING, tokenizer)]), engine


@contextmanager
def calling_server(answer: str, template: str = TEMPLATE) -> Iterator[tuple[LiveServer, ScriptedEngine]]:
    """Run a server with a model that gives this answer to every request."""
    assistant, engine = calling_assistant(answer, template)
    state = ServerState(models=(CALLING,), grace=0.0)
    state.open(assistant, engine)
    with live(state) as server:
        yield server, engine


def prompt_of(engine: ScriptedEngine) -> str:
    """Return the prompt of the last request as text."""
    tokenizer = calling_tokenizer()
    return b"".join(map(tokenizer.token_bytes, engine.requests[-1].prompt)).decode()
