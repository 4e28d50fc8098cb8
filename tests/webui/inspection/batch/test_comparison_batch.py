"""Tests batches of comparisons: rows, seeds, figures, stop and resume, summary and files."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import math
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace

import pytest

from pellucid.errors import InvalidRequestError, QueueFullError
from pellucid.vocabulary.finish import Finish, OnUsage
from pellucid.vocabulary.message import Message
from pellucid.vocabulary.query import ChatQuery
from pellucid.vocabulary.token import Token
from pellucid_webui.conversations.turn_settings import LARGEST, TurnSettings
from pellucid_webui.inspection.batch.batch_export import export
from pellucid_webui.inspection.batch.batch_summary import figures, most_different, sentences, table
from pellucid_webui.inspection.batch.comparison_batch import MAX_ROWS, ComparisonBatch
from pellucid_webui.inspection.batch.prompt_file import FilePrompt
from pellucid_webui.inspection.batch.row_figures import figures_of
from pellucid_webui.inspection.comparison import Column
from pellucid_webui.inspection.comparison_payload import payload
from support.page.scripted_assistant import ScriptedPageAssistant, Text, last_message, token, tokens

A = TurnSettings(model="m-a", temperature=1.0)
B = TurnSettings(model="m-b", temperature=1.0)


class Echo(ScriptedPageAssistant):
    """Answers with the prompt's words and, under m-b, "more"; can refuse, fail or wait.

    Chats beyond ``places`` are refused. The other model finds the words less likely.
    """

    hold: asyncio.Event | None = None
    broken: str = ""
    places: int = 100

    async def chat(self, query: ChatQuery, *, on_usage: OnUsage | None = None) -> AsyncGenerator[Token | Finish]:
        if not self.places:
            raise QueueFullError("Too many requests.")
        self.places -= 1
        try:
            # Other chats start meanwhile.
            await asyncio.sleep(0)
            async for item in self._answer(query, on_usage):
                yield item
        finally:
            self.places += 1

    async def _answer(self, query: ChatQuery, on_usage: OnUsage | None) -> AsyncGenerator[Token | Finish]:
        prompt = query.messages[-1].content
        if self.hold is not None and prompt.startswith("wait"):
            await self.hold.wait()
        if prompt == self.broken:
            raise InvalidRequestError("The prompt is too long.")
        words = [*prompt.split(" "), *(["more"] if query.model == "m-b" else [])]
        self.scripts = [tokens(*(f"{word} " for word in words))]
        async for item in super().chat(query, on_usage=on_usage):
            yield item


def reads(text: Text, _model: str | None) -> Sequence[Token]:
    last = last_message(text)
    if not last.endswith(" "):
        return [token(last)]
    return [replace(one, logprob=-1.0) for one in tokens(*(f"{word} " for word in last.split()))]


def echo() -> Echo:
    return Echo([], reads=reads)


def batch(
    *prompts: str | FilePrompt, seeds: int = 1, a: TurnSettings = A, b: TurnSettings = B, reference: str = ""
) -> ComparisonBatch:
    found = [FilePrompt(one, n) if isinstance(one, str) else one for n, one in enumerate(prompts, 1)]
    return ComparisonBatch("p.txt", found, reference, [Column("A", a), Column("B", b)], seeds)


async def run(found: ComparisonBatch, assistant: Echo) -> ComparisonBatch:
    async for _ in found.run(lambda: assistant):
        pass
    return found


async def test_rows() -> None:
    """Each prompt is compared once, and the row has the figures of the opened comparison."""
    found = await run(batch("one", "two three"), echo())
    assert [row.figures is not None for row in found.rows] == [True, True]
    (pair,) = found.rows[1].figures.pairs if found.rows[1].figures else ()
    assert pair.difference_place == 3
    # A space in front of a word belongs to the word, and here also to the token "three ".
    assert pair.same_tokens == pytest.approx(2 / 5)
    assert [one.tokens for one in found.rows[1].figures.columns] == [2, 3] if found.rows[1].figures else False
    compressed = found.rows[1].compressed
    assert compressed is not None
    comparison = compressed.open()
    assert [column.text for column in comparison.columns] == ["two three ", "two three more "]
    assert figures_of(comparison) == found.rows[1].figures
    assert payload(comparison)["summary"]["matrix"][1][0] == "A's answer"


async def test_a_compressed_comparison_is_the_same() -> None:
    """A compressed comparison keeps the summary and the analysis."""
    found = batch("one two")
    comparison = found.comparison_of(found.rows[0])
    async for _ in comparison.run(echo()):
        pass
    before = payload(comparison)
    await run(found, echo())
    compressed = found.rows[0].compressed
    assert compressed is not None
    after = payload(compressed.open())
    for name in ("summary", "analysis"):
        if name == "summary":
            before[name]["figures"].pop()  # Seconds
            after[name]["figures"].pop()
        assert after[name] == before[name]


async def test_history_and_system() -> None:
    """The messages before a prompt are sent; a column's system prompt replaces the file's."""
    assistant = echo()
    prompt = FilePrompt(
        "Why?", 1, (Message("system", "from the file"), Message("user", "Hi"), Message("assistant", "Yes?"))
    )
    await run(batch(prompt, b=replace(B, system="of the column")), assistant)
    queries = [one.query for one in assistant.chats]
    sent = {query.model: [(message.role, message.content) for message in query.messages] for query in queries}
    rest = [("user", "Hi"), ("assistant", "Yes?"), ("user", "Why?")]
    assert sent == {"m-a": [("system", "from the file"), *rest], "m-b": [("system", "of the column"), *rest]}


async def test_seeds() -> None:
    """Each prompt has the requested number of seeds, from the column's seed or a shared seed."""
    assistant = echo()
    found = await run(batch("one", "two", seeds=3, b=replace(B, seed=7)), assistant)
    assert [row.seeds[1] for row in found.rows] == [7, 8, 9, 7, 8, 9]
    used = {one.query.params.seed for one in assistant.chats if one.query.model == "m-b"}
    assert used == {7, 8, 9}
    both = batch("one", seeds=2)
    assert all(row.seeds[0] == row.seeds[1] for row in both.rows)


async def test_stop_and_resume() -> None:
    """A stop keeps the finished rows, and a resume runs only the rest."""
    assistant = echo()
    assistant.hold = asyncio.Event()
    found = batch(*(f"quick {n}" for n in range(3)), "wait 1", "wait 2")
    async for _ in found.run(lambda: assistant):
        if len(found.finished) == 3:
            found.stop()
    assert not found.running
    assert [row.number for row in found.left] == [3, 4]
    assert "Stopped" in sentences(found)[0]
    asked = len(assistant.chats)
    assistant.hold.set()
    await run(found, assistant)
    assert found.left == []
    assert len(assistant.chats) - asked == 4
    assert sentences(found)[0] == "5 prompts: 5 of 5 done."


async def test_closing() -> None:
    """Closing the generator, as a closed page does, stops all running rows."""
    assistant = echo()
    assistant.hold = asyncio.Event()
    found = batch("wait 1", "wait 2")
    stream = found.run(lambda: assistant)
    await anext(stream)
    await stream.aclose()
    assert not found.running
    assert len(found.left) == 2


async def test_a_row_that_fails() -> None:
    """A failed row names the reason and the column, and a resume tries the row again."""
    assistant = echo()
    assistant.broken = "bad"
    found = await run(batch("good", "bad", "fine"), assistant)
    assert found.rows[1].error == "Column A: The prompt is too long. Column B: The prompt is too long."
    assert sentences(found)[0] == "3 prompts: 2 of 3 done, 1 failed."
    assistant.broken = ""
    await run(found, assistant)
    assert (found.rows[1].error, found.left) == ("", [])


async def test_rows_that_are_refused() -> None:
    """Refused rows run later; a batch with all rows refused reports the reason and can resume."""
    assistant = echo()
    assistant.places = 2
    found = await run(batch("one", "two", "three", "four", "five"), assistant)
    assert (found.left, [row.error for row in found.rows]) == ([], [""] * 5)
    assistant.places = 0
    found = batch("one", "two", "three", "four", "five")
    with pytest.raises(QueueFullError, match=r"Too many requests\."):
        await run(found, assistant)
    assert (len(found.left), found.finished, found.running) == (5, [], False)
    assistant.places = 100
    await run(found, assistant)
    assert found.left == []


async def test_summary() -> None:
    """The summary has intervals over the prompts' means, and the table has all figures."""
    found = await run(batch("one", "two three", "four five six", seeds=2), echo())
    said = sentences(found)
    assert said[0] == "3 prompts, 2 seeds each: 6 of 6 done."
    assert said[1] == (
        "A and B write the same answer in 0 of 6 comparisons (0 %, 95 % interval 0 % to 39 %). "
        "Where they differ, the median first difference is at token 3 of A's answer."
    )
    assert "over 3 prompts" in said[3]
    assert said[-1].startswith("Each prompt counts once")
    rows = {name: cells for name, *cells in table(found)}
    assert rows[""] == ["mean", "95 % interval", "prompts"]
    assert rows["A: tokens"] == ["2.0", "0.0 to 4.5", "3"]  # 1, 2 and 3: 2 ± 4.303 · 1 / √3
    assert [name for name in rows if name] == [
        f"{one.name} (at least)" if one.key == "kl_bits_low_AB" else one.name for one in figures(found)
    ]


async def test_a_single_prompt_with_seeds() -> None:
    """Intervals of a single prompt are over the seeds; a single comparison has no interval."""
    found = await run(batch("one", seeds=3), echo())
    assert sentences(found)[0] == "One prompt, 3 seeds: 3 of 3 done."
    assert table(found)[0][-1] == "seeds"
    single = await run(batch("one"), echo())
    assert {cells[2] for cells in table(single)[1:]} == {"needs two or more"}


async def test_the_surer_column() -> None:
    """The column less surprised by its own answers is named, with the paired interval."""
    found = await run(batch("one", "two", "three"), echo())
    for row, gap in zip(found.rows, (0.4, 0.5, 0.6), strict=True):
        assert row.figures is not None
        bits = zip(row.figures.columns, (1.0, 1.0 + gap), strict=True)
        columns = tuple(replace(one, mean_surprisal_bits=mean) for one, mean in bits)
        row.figures = replace(row.figures, columns=columns)
    half = 4.302653 * 0.1 / math.sqrt(3)
    interval = f"95 % interval {0.5 - half:.3f} to {0.5 + half:.3f} over 3 prompts"
    expected = f"A is surer of its own answers than B, by 0.500 bits per token ({interval})."
    assert expected in sentences(found)


async def test_most_different() -> None:
    """The rows with the largest divergence are listed, the largest first."""
    found = await run(batch("one", "two", "three"), echo())
    for row, kl in zip(found.rows, (0.1, 0.0, 0.3), strict=True):
        assert row.figures is not None
        row.figures = replace(row.figures, pairs=(replace(row.figures.pairs[0], kl_bits_low=kl),))
    assert most_different(found) == [2, 0]


async def test_reference() -> None:
    """All columns read the reference of the prompt, or by default the form's, in bits per byte."""
    found = await run(batch(FilePrompt("one", 1, reference="xy "), "two", reference="xyz "), echo())
    bits = [row.figures.columns[0].reference_bits_per_byte for row in found.rows if row.figures]
    assert bits == pytest.approx([1 / math.log(2) / 3, 1 / math.log(2) / 4])
    assert "reference under A" in [one.name for one in figures(found)]


@pytest.mark.parametrize(
    ("count", "seeds", "settings", "sentence"),
    [
        (1, 0, A, "Seeds must be a whole number from 1 to 5000, not 0."),
        (3, MAX_ROWS // 2, A, "3 prompts with 2500 seeds each are 7500 comparisons: a batch has at most 5000."),
        (
            1,
            2,
            replace(A, temperature=0),
            "All columns are greedy (temperature 0), so every seed gives the same answers",
        ),
        (1, 2, replace(A, seed=LARGEST), "Column A: with 2 seeds the last one would be larger than"),
    ],
)
def test_batches_that_are_refused(count: int, seeds: int, settings: TurnSettings, sentence: str) -> None:
    """A batch that is too large, or has useless seeds, is refused in a sentence."""
    with pytest.raises(InvalidRequestError) as caught:
        batch(*["x"] * count, seeds=seeds, a=settings, b=replace(settings, seed=None))
    assert str(caught.value).startswith(sentence)


async def test_files() -> None:
    """The files have a row for each comparison with prompt, status, figures and answers."""
    assistant = echo()
    assistant.broken = "bad"
    found = await run(batch('say "a, b"', "bad"), assistant)
    name, media, text = export(found, {"columns": []}, "csv")
    assert (name, media) == ("comparisons.csv", "text/csv")
    first, second = csv.DictReader(io.StringIO(text))
    assert (first["row"], first["line"], first["prompt"], first["status"]) == ("1", "1", 'say "a, b"', "done")
    assert first["answer_B"] == 'say "a, b" more '
    assert float(first["difference_place_AB"]) == 4
    assert (second["status"], second["kl_bits_low_AB"]) == ("failed", "")
    rows = json.loads(export(found, {"columns": []}, "json")[2])["rows"]
    assert rows[0]["figures"]["columns"][1]["tokens"] == 4
    assert rows[1]["error"].startswith("Column A: The prompt is too long.")
