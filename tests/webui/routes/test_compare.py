"""Tests the Compare tab's server side: the form, the state of each browser tab, and exports."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from pellucid.client.assistant_protocol import shared
from pellucid.errors import UnavailableError
from pellucid.vocabulary.model_card import ModelCard
from pellucid.vocabulary.token import Token
from pellucid_webui.routes.compare import NOTHING, CompareRoute
from pellucid_webui.routes.comparison_form import default_form
from support.page.scripted_assistant import MODEL, ScriptedPageAssistant, Text, token, tokens
from support.scripted_answers import Item

FORM = {"prompt": "Say it.", "reference": "", "columns": [{"model": MODEL}, {"model": MODEL, "temperature": 1}]}


def view(*answers: Sequence[Item], max_tokens: int = 1000) -> CompareRoute:
    return CompareRoute(
        shared(ScriptedPageAssistant(list(answers), reads=lambda _text, _model: [token("x")])), max_tokens=max_tokens
    )


async def act(found: CompareRoute, owner: str = "me", tab: str = "1", **data: Any) -> list[dict[str, Any]]:
    return [shown async for shown in found.act(owner, {"tab": tab, **data})]


def card(name: str, *, chat: bool = True) -> ModelCard:
    return ModelCard(name=name, context=64, chat=chat)


async def test_compare() -> None:
    """A comparison ends with a summary, and the payload has the form."""
    *_, last = await act(view(tokens("It"), tokens("He")), verb="compare", form=FORM)
    assert (last["running"], last["wrong"], last["models"]) == (False, False, [MODEL])
    assert [column["letter"] for column in last["columns"]] == ["A", "B"]
    assert last["summary"]["sentences"][0].startswith("The answers of A and B differ from the first token")
    assert last["form"]["columns"][1]["temperature"] == 1


async def test_a_text_without_a_prompt() -> None:
    """Without a prompt the columns only read the reference as plain text."""
    texts: list[Text] = []

    def reads(text: Text, _model: str | None) -> Sequence[Token]:
        texts.append(text)
        return [replace(one, logprob=logprob) for one, logprob in zip(tokens("a", " b"), (None, -1.0), strict=True)]

    found = CompareRoute(shared(ScriptedPageAssistant([], reads=reads)), max_tokens=1000)
    *_, last = await act(found, verb="compare", form=FORM | {"prompt": " ", "reference": "a b"})
    assert (last["running"], last["wrong"]) == (False, False)
    assert texts == ["a b"] * 2
    assert [column["about"] for column in last["columns"]] == ["reads the text"] * 2
    assert last["summary"]["sentences"] == ["A and B are equally sure of the text: 1.4 bits of surprisal."]
    assert [row[0] for row in last["summary"]["matrix"]] == ["", "the text"]
    assert last["form"]["columns"][0].get("answer") is None


async def test_long_prompts_are_not_kept() -> None:
    """The memory for kept comparisons counts their texts too."""
    found = view(*[tokens("It")] * 4, max_tokens=1000)
    for tab in "12":
        await act(found, tab=tab, verb="compare", form=FORM | {"prompt": "word " * 1000})
    assert [(await act(found, tab=tab, verb="open"))[0]["number"] > 0 for tab in "12"] == [False, True]


async def test_a_reload() -> None:
    """The last comparison of a browser tab survives a reload, invisible to other tabs and users."""
    found = view(tokens("It"), tokens("He"))
    *_, last = await act(found, verb="compare", form=FORM)
    (again,) = await act(found, verb="open")
    assert again == last
    for other in ({"tab": "2"}, {"owner": "you"}):
        (shown,) = await act(found, verb="open", **other)
        assert (shown["number"], shown["columns"]) == (0, [])


async def test_a_reload_while_it_runs() -> None:
    """A second view of a running comparison follows to the end."""
    hold = asyncio.Event()
    found = view([*tokens("It"), hold], tokens("He"))
    running = found.act("me", {"tab": "1", "verb": "compare", "form": FORM})
    await anext(running)
    following = found.act("me", {"tab": "1", "verb": "open"})
    assert (await anext(following))["running"]
    hold.set()
    (*_, last), (*_, followed) = [[shown async for shown in stream] for stream in (running, following)]
    assert followed == last
    assert not last["running"]


async def test_closed_while_it_answers() -> None:
    """A comparison closed during the answers keeps the text so far."""
    found = view([*tokens("It"), None], [*tokens("He"), None])
    running = found.act("me", {"tab": "1", "verb": "compare", "form": FORM})
    async for shown in running:
        if all(column["batches"] for column in shown["columns"]):
            break
    await running.aclose()
    (again,) = await act(found, verb="open")
    assert (again["running"], [column["batches"] for column in again["columns"]]) == (
        False,
        [column["batches"] for column in shown["columns"]],
    )


async def test_stop() -> None:
    """Stop ends the comparison of this tab, and keeps the text."""
    found = view([*tokens("It"), None], tokens("He"))
    stream = found.act("me", {"tab": "1", "verb": "compare", "form": FORM})
    async for shown in stream:
        if shown["columns"][0]["batches"]:
            break
    assert await act(found, tab="2", verb="stop") == []
    assert await act(found, verb="stop") == []
    *_, last = [shown async for shown in stream]
    assert last["summary"]["sentences"][0].startswith("Stopped")
    assert last["columns"][0]["batches"]


async def test_a_new_comparison_stops_the_old_one() -> None:
    """A second comparison in a tab ends the first, which has a lower number."""
    found = view([*tokens("It"), None], [None], tokens("He"))
    stream = found.act("me", {"tab": "1", "verb": "compare", "form": FORM})
    async for first in stream:
        if first["columns"][0]["batches"]:
            break
    *_, second = await act(found, verb="compare", form=FORM)
    *_, last = [shown async for shown in stream]
    assert last["number"] == first["number"] < second["number"]
    assert (await act(found, verb="open"))[-1]["number"] == second["number"]


async def test_the_limit() -> None:
    """The oldest comparisons are dropped at too many tokens, but never the newest."""
    found = view(tokens("It", " is"), max_tokens=5)
    for tab in "123":
        await act(found, tab=tab, verb="compare", form=FORM)
    assert [(await act(found, tab=tab, verb="open"))[-1]["number"] > 0 for tab in "123"] == [False, False, True]


@pytest.mark.parametrize(
    ("form", "sentence"),
    [
        (None, "The page sent no form: reload it."),
        (
            FORM | {"prompt": " "},
            "The prompt is empty: write one, or a reference text that all columns read.",
        ),
        (FORM | {"columns": FORM["columns"][:1]}, "A comparison has 2 to 4 columns: add or remove some."),
        (FORM | {"columns": [{"model": MODEL}] * 5}, "A comparison has 2 to 4 columns: add or remove some."),
        (FORM | {"columns": [{"model": MODEL}, "x"]}, "Column B: it has no settings."),
        (
            FORM | {"columns": [{"model": MODEL}, {"model": "gone"}]},
            "Column B: the server has no model 'gone'. Choose one of scripted.",
        ),
        (
            FORM | {"columns": [{"model": MODEL}, {"model": MODEL, "top_p": 3}]},
            "Column B: top_p must be above 0 and at most 1, not 3.",
        ),
    ],
)
async def test_wrong(form: Any, sentence: str) -> None:
    """An invalid form is refused in a sentence, and the last comparison stays."""
    found = view(tokens("It"), tokens("He"))
    *_, before = await act(found, verb="compare", form=FORM)
    (shown,) = await act(found, verb="compare", form=form)
    assert shown == before | {"status": sentence, "wrong": True}


async def test_text_in_a_number_field() -> None:
    """An invalid number is named with the column."""
    columns = [{"model": MODEL, "temperature": "warm"}, {"model": MODEL}]
    (shown,) = await act(view(tokens("It")), verb="compare", form=FORM | {"columns": columns})
    assert shown["status"].startswith("Column A: The setting temperature")


async def test_half_characters() -> None:
    """Half a character is replaced, because it cannot be stored."""
    *_, last = await act(view(tokens("It")), verb="compare", form=FORM | {"prompt": "a\ud800"})
    assert last["form"]["prompt"] == "a\ufffd"


async def test_export() -> None:
    """A finished comparison is exported; unknown kinds and missing comparisons are refused."""
    found = view(tokens("It"), tokens("He"))
    (nothing,) = await act(found, verb="export", kind="csv")
    assert nothing["status"] == "The server no longer has this comparison: compare again, then export."
    *_, last = await act(found, verb="compare", form=FORM)
    (shown,) = await act(found, verb="export", kind="json")
    assert shown == last | {"file": shown["file"]}
    assert shown["file"]["name"] == "comparison.json"
    (refused,) = await act(found, verb="export", kind="pdf")
    assert refused["status"] == "Comparisons are exported as csv, json, html, not as 'pdf'."


def test_the_default_varies_one_thing() -> None:
    """By default only the temperature differs, or with several models only the model."""
    (a, b) = default_form([card("m"), card("n", chat=False)])["columns"]
    assert (a["temperature"], b["temperature"]) == (0, 1)
    assert a == b | {"temperature": 0}
    (a, b) = default_form([card("m"), card("n"), card("o")])["columns"]
    assert (a["model"], b["model"]) == ("m", "n")
    assert a == b | {"model": "m"}
    assert default_form([])["columns"] == []


async def test_no_models() -> None:
    """If the models cannot be listed, the page shows the reason."""

    class Down(ScriptedPageAssistant):
        async def cards(self) -> list[ModelCard]:
            raise UnavailableError("The server is busy.")

    (shown,) = await act(CompareRoute(shared(Down())), verb="open")
    assert shown == dict(NOTHING) | {"status": "The server is busy.", "wrong": True}
