"""The grammar of a request, in the shapes of OpenAI, vLLM and llama.cpp."""

from __future__ import annotations

import json
from typing import Any

from pellucid.api.schema.structured import FormatFields, GrammarFields, ResponseFormat, StructuredOutputs
from pellucid.errors import InvalidRequestError
from pellucid.vocabulary.query import Grammar


def requested_grammar(body: GrammarFields) -> Grammar | None:
    """Return the grammar of a request. Raises InvalidRequestError for several grammars."""
    found: list[Grammar | None] = []
    if isinstance(body, FormatFields):
        found += [_of_response_format(body.response_format), _of_structured_outputs(body.structured_outputs)]
    found += [
        None if body.json_schema is None else schema_grammar(body.json_schema, "json_schema"),
        Grammar("grammar", body.grammar, field="grammar") if body.grammar else None,
    ]
    grammars = [grammar for grammar in found if grammar is not None]
    if len(grammars) > 1:
        raise InvalidRequestError(
            f"{grammars[0].field} and {grammars[1].field} both limit the answer: send only one of them.",
            param=grammars[1].field,
        )
    return grammars[0] if grammars else None


def _of_response_format(format: ResponseFormat | None) -> Grammar | None:
    if format is None:
        return None
    name = "response_format"
    if format.json_schema is not None and format.schema_ is not None:
        raise InvalidRequestError(
            "response_format has two schemas: send only one of schema and json_schema.", param=name
        )
    schema = format.schema_ if format.json_schema is None else format.json_schema.schema_
    match format.type:
        case "text":
            if schema is not None:
                raise InvalidRequestError(
                    "response_format of type text has no schema: use the type json_schema.", param=name
                )
            return None
        case "json_object":
            return Grammar("json_object", field=name) if schema is None else schema_grammar(schema, name)
        case "json_schema":
            if schema is None:
                raise InvalidRequestError(
                    "response_format of type json_schema needs a schema in json_schema.schema.", param=name
                )
            return schema_grammar(schema, name)


def _of_structured_outputs(asked: StructuredOutputs | None) -> Grammar | None:
    if asked is None:
        return None
    name = "structured_outputs"
    if asked.disable_any_whitespace and asked.whitespace_pattern is not None:
        raise InvalidRequestError(
            "structured_outputs: whitespace_pattern and disable_any_whitespace contradict each other.", param=name
        )
    white = "" if asked.disable_any_whitespace else asked.whitespace_pattern
    found = [
        None if asked.json_ is None else schema_grammar(asked.json_, name, white),
        Grammar("json_object", "", white, name) if asked.json_object else None,
        None if asked.regex is None else Grammar("regex", asked.regex, field=name),
        None if asked.choice is None else Grammar("choice", json.dumps(asked.choice), field=name),
        None if asked.grammar is None else Grammar("grammar", asked.grammar, field=name),
    ]
    grammars = [grammar for grammar in found if grammar is not None]
    if len(grammars) != 1:
        raise InvalidRequestError(
            "structured_outputs needs exactly one of json, json_object, regex, choice and grammar.", param=name
        )
    if white is not None and grammars[0].kind not in ("json_schema", "json_object"):
        raise InvalidRequestError("structured_outputs: only JSON has white space between its parts.", param=name)
    return grammars[0]


def schema_grammar(schema: str | dict[str, Any] | bool, field: str, whitespace: str | None = None) -> Grammar:
    return Grammar("json_schema", schema if isinstance(schema, str) else json.dumps(schema), whitespace, field)
