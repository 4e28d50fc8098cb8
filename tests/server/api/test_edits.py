"""/v1/edits changes a selection by an instruction, as a whole or line by line."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from pellucid.completion.edits.by_instruction.hunk_syntax import BROKEN
from pellucid.completion.edits.by_instruction.instructed_edits import UNCHANGED
from pellucid.vocabulary.finish import Finish, FinishReason, Usage
from support.servers.http_servers import TINY, ScriptedAssistant, live_scripted, spoken

BODY = {
    "prefix": "class A:\n",
    "selection": "    x = 1\n    y = 2\n",
    "suffix": "\nz = 3\n",
    "instruction": "Set y to 5.",
    "path": "a.py",
}
ANSWER = [spoken(text) for text in ("x = 1", "\ny", " = 5\n", "```\n", "never")]


def post(script: list[Any], **fields: Any) -> tuple[httpx.Response, ScriptedAssistant]:
    assistant = ScriptedAssistant([*script, Finish(FinishReason.STOP, Usage(generated=len(script)))])
    with live_scripted(assistant) as server:
        return server.http.post("/v1/edits", json=BODY | fields), assistant


def test_a_whole_edit() -> None:
    """The reply has the new text, and the hunk with tokens and the state of the syntax."""
    response, assistant = post(ANSWER)
    reply = response.json()

    assert (reply["object"], reply["model"], reply["first"], reply["reason"]) == ("edit", TINY, 1, None)
    assert (reply["old"], reply["text"]) == ("    x = 1\n    y = 2\n", "    x = 1\n    y = 5\n")
    (hunk,) = reply["hunks"]
    assert (hunk["first"], hunk["old"], hunk["new"]) == (2, ["    y = 2"], ["    y = 5"])
    assert (hunk["breaks_syntax"], reply["note"]) == (False, None)
    assert [token["token"] for token in hunk["tokens"]] == ["\ny", " = 5\n"]
    assert [call["verb"] for call in assistant.calls] == ["chat"]
    assert reply["usage"]["prompt_tokens"] == 4


def test_an_edit_that_does_not_parse() -> None:
    """The reply says which hunk breaks the syntax, and a sentence for the user."""
    reply = post([spoken("x = 1\ny = (5\n```\n")])[0].json()
    assert ([hunk["breaks_syntax"] for hunk in reply["hunks"]], reply["note"]) == ([True], BROKEN)


def test_a_streamed_edit() -> None:
    """The indented lines come in order, and the edit is the last event."""
    response, _ = post(ANSWER, stream=True)
    *events, done = [line.removeprefix("data: ") for line in response.text.splitlines() if line]
    *lines, last = map(json.loads, events)

    assert done == "[DONE]"
    assert [(event["object"], event["lines"]) for event in lines] == [
        ("edit.lines", ["    x = 1"]),
        ("edit.lines", ["    y = 5"]),
    ]
    assert (last["object"], last["text"]) == ("edit", "    x = 1\n    y = 5\n")


def test_the_metrics() -> None:
    """An edit with a closed fence counts as stopped, although the rest is not read."""
    with live_scripted([*ANSWER, Finish(FinishReason.STOP, Usage())]) as server:
        server.http.post("/v1/edits", json=BODY)
        metrics = server.http.get("/metrics").text
    assert f'pellucid_generations_total{{model="{TINY}",reason="stop"}} 1.0' in metrics


def test_no_change() -> None:
    """An answer equal to the selection is a reply with a sentence."""
    response, _ = post([spoken("x = 1\ny = 2\n```")])
    assert (response.status_code, response.json()["reason"], response.json()["hunks"]) == (200, UNCHANGED, [])


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"instruction": ""}, "instruction"),
        ({"instruction": "  "}, "instruction"),
        ({"temperature": -1}, "temperature"),
        ({"n": 2}, "n"),
    ],
)
def test_refusals(fields: dict[str, Any], param: str) -> None:
    """Bad input is a 400 with the name of the field, before any request to the model."""
    response, assistant = post(ANSWER, **fields)
    assert (response.status_code, response.json()["error"]["param"], assistant.calls) == (400, param, [])


def test_the_terms_and_the_seed_reach_the_model() -> None:
    """The request's seed, temperature and priority reach the model."""
    _, assistant = post(ANSWER, seed=3, temperature=0.25, priority="background", top_logprobs=6)
    params = assistant.calls[0]["params"]
    assert (params.seed, params.temperature, params.top_logprobs) == (3, 0.25, 6)
    assert str(assistant.calls[0]["terms"].priority.name) == "BACKGROUND"
