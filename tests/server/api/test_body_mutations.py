"""The API answers every wrong body with a sentence and keeps serving."""

from __future__ import annotations

from random import Random
from typing import Any

import httpx
import pytest

from pellucid.api.app import create_app
from pellucid.api.server_state import ServerState
from support.servers.body_mutations import mutations
from support.servers.http_servers import ADAPTER, TINY, LiveServer
from support.trial_counts import trial_count

SEED = 13
COUNT = trial_count(3000)

SAMPLING: dict[str, Any] = {
    "temperature": 0.5,
    "top_p": 0.9,
    "top_k": 3,
    "min_p": 0.01,
    "seed": 1,
    "stop": ["x"],
    "logit_bias": {"65": 1},
}
TERMS: dict[str, Any] = {"model": TINY, "priority": "chat", "supersede": "a", "deadline": 5.0}
MESSAGES = [{"role": "system", "content": "s"}, {"role": "user", "content": [{"type": "text", "text": "u"}]}]
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
TOOLS: dict[str, Any] = {"tools": [TOOL], "tool_choice": "none"}
LLAMA: dict[str, Any] = {
    "n_predict": 2,
    "n_probs": 2,
    "stream": True,
    "samplers": ["top_k"],
    "response_fields": ["content"],
    "id_slot": 0,
}
OLLAMA: dict[str, Any] = {
    "model": TINY,
    "options": {
        "num_predict": 2,
        "temperature": 0.5,
        "top_k": 3,
        "top_p": 0.9,
        "seed": 1,
        "stop": ["x"],
        "num_ctx": 9,
        "repeat_last_n": 0,
    },
    "logprobs": True,
    "top_logprobs": 2,
    "keep_alive": "5m",
    "format": "",
    "think": False,
}
SNIPPETS = [{"filepath": "f", "body": "b", "score": 1.5}]
SEGMENTS: dict[str, Any] = {
    "prefix": "a",
    "suffix": "b",
    "filepath": "f",
    "git_url": "g",
    "declarations": [{"filepath": "f", "body": "b"}],
    "relevant_snippets_from_changed_files": SNIPPETS,
    "relevant_snippets_from_recently_opened_files": SNIPPETS,
    "clipboard": "c",
}
TABBY: dict[str, Any] = {
    "language": "python",
    "segments": SEGMENTS,
    "user": "u",
    "temperature": 0.1,
    "seed": 1,
    "debug_options": {},
}
FIM: dict[str, Any] = {
    "prompt": "ab",
    "suffix": "c",
    "max_tokens": 2,
    "random_seed": 1,
    "stream": True,
    "logprobs": True,
    "stop": "x",
    **TERMS,
}
RESPONSES: dict[str, Any] = {
    "input": [
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "u"}]},
        {"type": "reasoning", "summary": []},
    ],
    "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}}, {"type": "web_search"}],
    "tool_choice": "none",
    "instructions": "i",
    "max_output_tokens": 2,
    "include": ["message.output_text.logprobs"],
    "top_logprobs": 2,
    "text": {"format": {"type": "text"}, "verbosity": "low"},
    "reasoning": {"effort": "low"},
    "stream": True,
    **TERMS,
}
MESSAGE_FIELDS: dict[str, Any] = {
    "model": TINY,
    "system": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}],
    "messages": [{"role": "user", "content": [{"type": "text", "text": "u"}, {"type": "thinking", "thinking": "t"}]}],
    "tools": [{"name": "f", "input_schema": {"type": "object"}}, {"type": "web_search_20250305", "name": "web_search"}],
    "tool_choice": {"type": "none"},
    "thinking": {"type": "disabled"},
    "output_config": {"effort": "low"},
}
ANTHROPIC: dict[str, Any] = {
    "max_tokens": 2,
    "stop_sequences": ["x"],
    "logprobs": True,
    "top_logprobs": 2,
    "metadata": {"user_id": "u"},
    "stream": True,
    **MESSAGE_FIELDS,
    **TERMS,
}
EDIT = {"temperature": 0.5, "top_logprobs": 2, "stream": True, **TERMS}
BODIES: dict[str, dict[str, Any]] = {
    "/v1/completions": {
        "prompt": "ab",
        "suffix": "c",
        "max_tokens": 2,
        "logprobs": 2,
        "n": 1,
        "stream": True,
        **TERMS,
        **SAMPLING,
    },
    "/v1/chat/completions": {
        **TOOLS,
        "messages": MESSAGES,
        "max_tokens": 2,
        "logprobs": True,
        "top_logprobs": 2,
        **TERMS,
        **SAMPLING,
    },
    "/v1/responses": RESPONSES,
    "/v1/messages": ANTHROPIC,
    "/v1/messages/count_tokens": MESSAGE_FIELDS,
    "/v1/score": {"text": "abc", "top_logprobs": 2, "stream": True, **TERMS},
    "/v1/edits": {
        "selection": "ab",
        "prefix": "c",
        "suffix": "d",
        "instruction": "e",
        "path": "f",
        "language": "g",
        "seed": 1,
        **EDIT,
    },
    "/v1/embeddings": {"input": ["ab", "c"], "encoding_format": "base64", "dimensions": 48, "user": "u", "model": TINY},
    "/api/embed": {
        "input": ["ab", "c"],
        "truncate": False,
        "dimensions": 48,
        "options": {"num_ctx": 8},
        "keep_alive": 5,
        "model": TINY,
    },
    "/api/embeddings": {"prompt": "ab", "options": {"num_ctx": 8}, "keep_alive": "5m", "model": TINY},
    "/infill": {
        "input_prefix": "a",
        "input_suffix": "b",
        "input_extra": [{"filename": "f", "text": "t"}],
        **LLAMA,
        **SAMPLING,
    },
    "/completion": {"prompt": ["ab", [65, 66]], **LLAMA, **SAMPLING},
    "/tokenize": {"content": "ab", "add_special": True, "parse_special": True, "with_pieces": True, "model": TINY},
    "/detokenize": {"tokens": [65, 66], "model": TINY},
    "/apply-template": {**TOOLS, "messages": MESSAGES, "model": TINY},
    "/v1/fim/completions": FIM,
    "/fim/completions": FIM,
    "/api/generate": {"prompt": "ab", "suffix": "c", "system": "", "raw": False, "stream": True, **OLLAMA},
    "/api/chat": {"messages": [{"role": "user", "content": "u", "images": []}], "stream": False, "tools": [], **OLLAMA},
    "/api/show": {"model": TINY, "name": TINY, "verbose": True},
    "/api/pull": {"model": TINY, "name": TINY, "stream": False, "insecure": False},
    "/v1/events": {
        "type": "select",
        "completion_id": "c",
        "choice_index": 0,
        "view_id": "v",
        "elapsed": 1,
        "select_kind": "line",
    },
    "/v1/suggestions/outcomes": {"model": TINY, "shown": 2, "accepted": 1, "id": "r"},
    "/v1/adapters": {"name": "other", "model": TINY},
    "/models/load": {"model": TINY},
    "/models/unload": {"model": TINY},
    "/v1/load_lora_adapter": {"lora_name": "other", "lora_path": "other", "load_inplace": False},
    "/v1/unload_lora_adapter": {"lora_name": ADAPTER},
}

DATA_URL = "data:image/png;base64,iVBORw0KGgo="
PICTURE = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}
WITH_IMAGES: list[tuple[str, dict[str, Any]]] = [
    (
        "/v1/chat/completions",
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "image_url", "image_url": {"url": DATA_URL, "detail": "low"}},
                        {"type": "image_url", "image_url": DATA_URL},
                    ],
                }
            ]
        },
    ),
    (
        "/v1/responses",
        {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": DATA_URL, "detail": "auto"}]}]},
    ),
    ("/v1/messages/count_tokens", {"messages": [{"role": "user", "content": [{"type": "image", "source": PICTURE}]}]}),
    ("/api/chat", {"messages": [{"role": "user", "content": "u", "images": ["iVBORw0KGgo="]}], "stream": False}),
]
"""Bodies with pictures, which a model of texts refuses."""


def test_all_routes_are_there() -> None:
    """The mutations cover every route with a body."""
    paths = create_app(ServerState(models=(TINY,))).openapi()["paths"]
    assert set(BODIES) == {
        path for path, methods in paths.items() for method in methods.values() if "requestBody" in method
    }


@pytest.mark.parametrize(("path", "valid"), [*BODIES.items(), ("/v1/completions", TABBY), *WITH_IMAGES])
def test_bodies(path: str, valid: dict[str, Any], small_server: LiveServer) -> None:
    """Mutated bodies get no 5xx except 501, and errors have the shape of the route."""
    count = -(-COUNT // len(BODIES))
    with httpx.Client(base_url=small_server.url, timeout=120, trust_env=False) as http:
        for body in mutations(valid, Random(f"{SEED} {path}"), count):
            answer = http.post(path, content=body, headers={"content-type": "application/json"})
            assert answer.status_code < 500 or answer.status_code == 501, (body, answer.text)
            if answer.status_code >= 400:
                error = answer.json()["error"]
                assert (answer.json().get("type") == "error") == path.startswith("/v1/messages")
                assert isinstance(error, str) == path.startswith("/api/")
                if isinstance(error, str):
                    assert error, body
                    continue
                assert error.get("code", answer.status_code) == answer.status_code
                assert error["message"], body
        slots = http.get("/slots").json()
    assert not any(slot["is_processing"] for slot in slots)
