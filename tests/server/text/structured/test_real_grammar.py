"""Tests of the default model under grammars."""

from __future__ import annotations

import json
from typing import Any

import httpx
import jsonschema
import pytest

pytestmark = pytest.mark.model

CITY: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 20},
        "country": {"enum": ["France", "Germany"]},
        "capital": {"type": "boolean"},
    },
    "required": ["name", "country", "capital"],
    "additionalProperties": False,
}
ASKED = {
    "messages": [
        {
            "role": "user",
            "content": "Describe the city of Paris in JSON with name, country and capital (true or false).",
        }
    ],
    "temperature": 0,
    "max_tokens": 100,
    "logprobs": True,
    "top_logprobs": 5,
}


def test_a_schema(served_model: str) -> None:
    """The answer is right under the schema, with a probability and an alternative for values."""
    asked = ASKED | {"response_format": {"type": "json_schema", "json_schema": {"name": "city", "schema": CITY}}}
    choice = httpx.post(f"{served_model}/v1/chat/completions", json=asked, timeout=120).json()["choices"][0]
    answer = json.loads(choice["message"]["content"])
    jsonschema.validate(answer, CITY)
    assert (answer["name"], answer["country"], answer["capital"]) == ("Paris", "France", True)
    assert choice["pellucid"]["complete"]
    fields = {field["path"]: field for field in choice["pellucid"]["fields"]}
    assert fields["/country"]["probability"] > 0.9
    assert fields["/capital"]["other"]["value"] is False
    assert fields["/capital"]["probability"] + fields["/capital"]["other"]["probability"] <= 1.001


def test_special_tokens(served_model: str) -> None:
    """A Lark grammar may demand special tokens around a schema, with ids but without text."""
    call = json.dumps(
        {
            "type": "object",
            "properties": {"name": {"const": "weather"}},
            "required": ["name"],
            "additionalProperties": False,
        }
    )
    lark = f'start: <tool_call> "\\n" call "\\n" </tool_call>\ncall: %json {call}'
    asked = ASKED | {"grammar": lark, "return_token_ids": True}
    choice = httpx.post(f"{served_model}/v1/chat/completions", json=asked, timeout=120).json()["choices"][0]
    assert json.loads(choice["message"]["content"]) == {"name": "weather"}
    assert (choice["token_ids"][0], choice["token_ids"][-1]) == (151657, 151658)
    assert choice["pellucid"]["complete"]


def test_lookup_and_logprobs(served_model: str) -> None:
    """The logprobs of an answer under a grammar are equal to the logprobs of the text when read."""
    body = {
        "prompt": "The capital of France in JSON: ",
        "temperature": 0,
        "max_tokens": 40,
        "logprobs": 0,
        "return_token_ids": True,
    }
    asked = body | {"structured_outputs": {"json": CITY, "disable_any_whitespace": True}}
    choice = httpx.post(f"{served_model}/v1/completions", json=asked, timeout=120).json()["choices"][0]
    ids = choice["prompt_token_ids"] + choice["token_ids"]
    read = httpx.post(f"{served_model}/v1/score", json={"tokens": ids}, timeout=120).json()["tokens"][
        len(choice["prompt_token_ids"]) :
    ]
    # The grammar changed the answer.
    assert [token["rank"] == 1 for token in read].count(True) < len(read)
    for generated, scored in zip(choice["logprobs"]["pellucid"], read, strict=True):
        assert generated["logprob"] == pytest.approx(scored["logprob"], abs=0.05)
