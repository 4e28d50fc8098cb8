"""Tests the server side of batches in the Compare tab: file, progress, state of a tab, and rows."""

from __future__ import annotations

import asyncio
import json
import os
from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pellucid.client.assistant_protocol import shared
from pellucid.errors import PellucidError
from pellucid_webui.conversations.storage.blind_reviews import AnswerPair, Review, Reviews
from pellucid_webui.inspection.batch.prompt_file import MAX_FILE_BYTES
from pellucid_webui.routes.compare import CompareRoute
from pellucid_webui.routes.compare_batch import MAX_CHOSEN_FILES, NO_BATCH, BatchRoute, KeptBatches
from support.page.scripted_assistant import MODEL, ScriptedPageAssistant, last_message, token, tokens
from support.scripted_answers import Item

FORM = {"prompt": "Say it.", "reference": "", "columns": [{"model": MODEL}, {"model": MODEL, "temperature": 1}]}


def view(*answers: Sequence[Item], max_tokens: int = 10_000, reviews: Path = Path(os.devnull)) -> BatchRoute:
    assistant = ScriptedPageAssistant(list(answers), reads=lambda text, _model: [token(last_message(text))])
    return BatchRoute(shared(assistant), Reviews(reviews), KeptBatches(max_tokens))


async def act(found: BatchRoute, owner: str = "me", tab: str = "1", **data: Any) -> list[dict[str, Any]]:
    return [shown async for shown in found.act(owner, {"tab": tab, **data})]


def file(name: str, content: str) -> dict[str, str]:
    return {"name": name, "data": b64encode(content.encode()).decode()}


async def start(found: BatchRoute, tab: str = "1", form: Any = FORM) -> list[dict[str, Any]]:
    """Start a batch as the page does, with the name of the shown file."""
    file = found.batches.chosen.get(("me", tab))
    return await act(found, tab=tab, verb="start", form=form, file=None if file is None else file.name)


async def chosen(found: BatchRoute, *lines: str) -> dict[str, Any]:
    (shown,) = await act(found, verb="choose", file=file("p.txt", "\n".join(lines)))
    return shown


def rows(shown: dict[str, Any]) -> list[list[Any]]:
    return [row for batch in shown["rows"] for row in json.loads(batch)]


async def test_a_file() -> None:
    """A chosen file is read; an invalid file is refused, and the previous file stays."""
    found = view(tokens("It"))
    assert (await chosen(found, "one", "two"))["chosen"] == {"name": "p.txt", "count": 2}
    (shown,) = await act(found, verb="choose", file=file("q.jsonl", "{}"))
    assert shown["wrong"]
    assert shown["status"].startswith("q.jsonl was not used. Line 1: ")
    assert shown["chosen"] == {"name": "p.txt", "count": 2}
    (shown,) = await act(found, verb="remove")
    assert shown["chosen"] is None
    (shown,) = await act(found, verb="choose", file=file("big.txt", "x" * (MAX_FILE_BYTES + 1)))
    assert shown["status"] == "big.txt is larger than 4000 kB: use only the relevant part of it."


async def test_progress() -> None:
    """Each payload has all finished rows, and the last also the summary."""
    found = view(tokens("It"))
    await chosen(found, "one", "two", "three")
    payloads = await start(found, form=FORM)
    counts = [len(rows(shown)) for shown in payloads]
    assert counts == sorted(counts)
    last = payloads[-1]
    assert sorted(row[0] for row in rows(last)) == [0, 1, 2]
    assert (last["running"], last["left"], last["total"]) == (False, 0, 3)
    assert [row[1] for row in sorted(rows(last))] == ["one", "two", "three"]
    assert all(len(row) == 4 + len(last["heads"]) for row in rows(last))
    assert last["summary"]["sentences"][0] == "3 prompts: 3 of 3 done."
    assert [one["order"] for one in payloads] == sorted(one["order"] for one in payloads)


async def test_seeds_of_the_prompt() -> None:
    """Without a file the form's prompt runs with each seed; an invalid number is refused."""
    found = view(tokens("It"))
    *_, last = await start(found, form=FORM | {"seeds": 3})
    assert [row[1] for row in rows(last)] == ["Say it."] * 3
    assert last["form"]["seeds"] == 3
    (shown,) = await start(found, form=FORM | {"seeds": "many"})
    assert (shown["status"], shown["number"]) == ("Seeds must be a whole number, not 'many'.", last["number"])


async def test_a_reload() -> None:
    """A browser tab's batch and file survive a reload, invisible to other tabs and users."""
    found = view(tokens("It"))
    await chosen(found, "one", "two")
    *_, last = await start(found, form=FORM)
    (again,) = await act(found, verb="open")
    assert again | {"order": 0} == last | {"order": 0}
    for other in ({"tab": "2"}, {"owner": "you"}):
        (shown,) = await act(found, verb="open", **other)
        assert shown == dict(NO_BATCH) | {
            "order": shown["order"],
            "status": "",
            "wrong": False,
            "limit": MAX_FILE_BYTES,
            "chosen": None,
        }


async def test_stop_and_resume() -> None:
    """Stop ends the batch of this tab and keeps the rows; resume runs the rest."""
    hold = asyncio.Event()
    found = view(tokens("It"), tokens("It"), [*tokens("It"), hold], tokens("It"))
    await chosen(found, "one", "two")
    stream = found.act("me", {"tab": "1", "verb": "start", "form": FORM, "file": "p.txt"})
    async for shown in stream:
        if rows(shown):
            break
    assert await act(found, tab="2", verb="stop") == []
    assert await act(found, verb="stop") == []
    *_, last = [shown async for shown in stream]
    assert (last["running"], last["left"]) == (False, 1)
    hold.set()
    *_, last = await act(found, verb="resume")
    assert sorted(row[0] for row in rows(last)) == [0, 1]
    assert last["left"] == 0


async def test_a_reload_while_it_runs() -> None:
    """A second view of a running batch follows to the end."""
    hold = asyncio.Event()
    found = view([*tokens("It"), hold], tokens("It"))
    await chosen(found, "one")
    running = found.act("me", {"tab": "1", "verb": "start", "form": FORM, "file": "p.txt"})
    await anext(running)
    following = found.act("me", {"tab": "1", "verb": "open"})
    assert (await anext(following))["running"]
    hold.set()
    (*_, last), (*_, followed) = [[shown async for shown in stream] for stream in (running, following)]
    assert followed["rows"] == last["rows"]
    assert not last["running"]


async def test_a_new_batch_stops_the_old_one() -> None:
    """A second batch in a tab ends the first, and the first stream yields nothing of the second."""
    found = view([None], [None], tokens("It"))
    stream = found.act("me", {"tab": "1", "verb": "start", "form": FORM})
    first = await anext(stream)
    await asyncio.sleep(0.05)
    *_, second = await start(found, form=FORM)
    assert {shown["number"] async for shown in stream} <= {first["number"]}
    assert first["number"] < second["number"]


async def test_a_row_opens() -> None:
    """A row opens as a new comparison that survives a reload and can be exported."""
    found = view(tokens("It", " is"), tokens("He"))
    compare = CompareRoute(found.assistant_for, batches=found.batches)
    await chosen(found, "one", "two")
    *_, before = [shown async for shown in compare.act("me", {"tab": "1", "verb": "compare", "form": FORM})]
    await start(found, form=FORM)
    (opened,) = [shown async for shown in compare.act("me", {"tab": "1", "verb": "row", "row": 1})]
    assert opened["number"] > before["number"]
    assert opened["form"]["prompt"] == "two"
    assert opened["analysis"] is not None
    (again,) = [shown async for shown in compare.act("me", {"tab": "1", "verb": "open"})]
    assert again == opened
    (exported,) = [shown async for shown in compare.act("me", {"tab": "1", "verb": "export", "kind": "json"})]
    assert json.loads(exported["file"]["text"])["form"]["prompt"] == "two"


@pytest.mark.parametrize("row", [7, -1, None, "0"])
async def test_a_row_that_does_not_open(row: object) -> None:
    """A missing row is refused in a sentence."""
    found = view(tokens("It"))
    compare = CompareRoute(found.assistant_for, batches=found.batches)
    await start(found, form=FORM)
    (shown,) = [one async for one in compare.act("me", {"tab": "1", "verb": "row", "row": row})]
    assert (shown["status"], shown["wrong"]) == ("This row has not been run yet: press Resume.", True)
    (shown,) = [one async for one in compare.act("me", {"tab": "2", "verb": "row", "row": row})]
    assert shown["status"] == "The server no longer has this batch: run it again, then open the row."


async def test_the_limit() -> None:
    """The oldest batches are dropped at too many tokens, but never the newest."""
    found = view(tokens("It", " is"), max_tokens=5)
    for tab in "123":
        await start(found, tab)
    assert [(await act(found, tab=tab, verb="open"))[-1]["number"] > 0 for tab in "123"] == [False, False, True]


async def test_export() -> None:
    """A batch is exported as CSV or JSON; unknown kinds and missing batches are refused."""
    found = view(tokens("It"))
    (shown,) = await act(found, verb="export", kind="csv")
    assert shown["status"] == "The server no longer has this batch: run it again, then export."
    await start(found, form=FORM)
    (shown,) = await act(found, verb="export", kind="csv")
    assert shown["file"]["name"] == "comparisons.csv"
    (shown,) = await act(found, verb="export", kind="png")
    assert shown["status"] == "Batches are exported as csv, json, not as 'png'."


async def test_a_file_that_is_gone() -> None:
    """A batch of a file dropped by the server is refused, without the form's prompt instead."""
    found = view(tokens("It"))
    await chosen(found, "one", "two")
    for n in range(MAX_CHOSEN_FILES):
        await act(found, tab=f"other {n}", verb="choose", file=file("q.txt", "three"))
    (shown,) = await act(found, verb="start", form=FORM, file="p.txt")
    assert shown["status"] == "The server no longer has the file p.txt: choose it again."
    assert (shown["number"], shown["chosen"]) == (0, None)


async def test_a_review(tmp_path: Path) -> None:
    """A batch becomes a review of its answered prompts, without the failed rows."""
    failed: list[Item] = [*tokens("So"), PellucidError("Broken.")]
    found = view(tokens("It"), tokens("That"), tokens("It"), failed, tokens("No"), reviews=tmp_path)
    said = [("user", "Hi"), ("assistant", "Yes?"), ("user", "Why?")]
    lines = [{"messages": [{"role": role, "content": text} for role, text in said]}, {"prompt": "fails"}]
    content = "\n".join(map(json.dumps, lines))
    await act(found, verb="choose", file=file("p.jsonl", content))
    columns = [{"model": MODEL}, {"model": MODEL, "temperature": 0.5, "top_k": 4, "seed": 3, "system": "Rhyme."}]
    shown = (await start(found, form=FORM | {"columns": columns}))[-1]
    assert (shown["left"], shown["total"]) == (1, 2)
    (shown,) = await act(found, verb="review", review="mine")
    assert (shown["review"], shown["wrong"]) == ("mine", False)
    pair = AnswerPair("user: Hi\n\nassistant: Yes?\n\nWhy?", "It", "That")
    sides = (f"{MODEL}, greedy", f"{MODEL}, temperature 0.5, top-k 4, seed 3, system prompt 'Rhyme.'")
    assert Reviews(tmp_path).find("mine") == Review("mine", *sides, (pair,))


EQUAL = "A and B have the same model and settings, so their answers are the same: change the model or the temperature"


@pytest.mark.parametrize(
    ("name", "columns", "sentence"),
    [
        ("", FORM["columns"], "'' is not a valid name for a review: use up to 64 letters"),
        ("taken", FORM["columns"], "A review named 'taken' exists already: choose another name."),
        ("new", [{"model": MODEL}] * 2, EQUAL),
        ("new", [{"model": MODEL}] * 3, "A review compares two columns: remove the others, and run the batch again."),
    ],
)
async def test_a_review_that_cannot_be(tmp_path: Path, name: str, columns: Any, sentence: str) -> None:
    """A review that could not be stored, or would be meaningless, is refused before any answer."""
    Reviews(tmp_path).create(Review("taken", "a", "b", (AnswerPair("?", "1", "2"),)))
    found = view(tokens("It"), reviews=tmp_path)
    await chosen(found, "one")
    (shown,) = await act(found, verb="start", form=FORM | {"columns": columns}, file="p.txt", review=name)
    assert shown["wrong"]
    assert shown["status"].startswith(sentence)
    assert shown["number"] == 0


async def test_a_review_without_a_folder() -> None:
    """A folder that cannot be written is named in a sentence, and the answers are kept."""
    found = view(tokens("It"))
    (shown,) = await act(found, verb="review", review="mine")
    assert shown["status"].startswith("The server no longer has this batch: run it again")
    await chosen(found, "one")
    await start(found)
    (shown,) = await act(found, verb="review", review="mine")
    assert shown["status"].startswith(f"{os.devnull}/mine.json cannot be written (")
    assert (shown["wrong"], shown["total"], shown["left"]) == (True, 1, 0)
