"""Tests the summary of a comparison in words and numbers, and the exported files."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from html import escape
from html.parser import HTMLParser

import pytest

from pellucid.vocabulary.finish import FinishReason, Usage
from pellucid.vocabulary.token import Token
from pellucid_webui.conversations.turn_settings import TurnSettings
from pellucid_webui.inspection.compared_places import ComparedPlaces
from pellucid_webui.inspection.comparison import REFERENCE, Column, ComparedText, Comparison
from pellucid_webui.inspection.comparison_export import export
from pellucid_webui.inspection.comparison_payload import INFINITE_NATS, about, payload
from pellucid_webui.inspection.comparison_summary import figures, jumps, matrix, percent, quoted, sentences, times
from support.page.scripted_assistant import tokens

A = TurnSettings(model="m-a", temperature=0.0, top_p=1.0, min_p=0.0, max_tokens=64)
B = replace(A, model="m-b")


def likely(texts: Sequence[str], logprob: float) -> list[Token]:
    return [replace(one, logprob=logprob) for one in tokens(*texts)]


def places(
    a: Sequence[Token],
    b: Sequence[Token],
    read_a: Sequence[Token] | None = None,
    read_b: Sequence[Token] | None = None,
    b_is: TurnSettings = B,
) -> ComparedPlaces:
    """Return the places of two answers, each read by the other column."""
    columns = [Column("A", A, tokens=list(a)), Column("B", b_is, tokens=list(b))]
    texts = [ComparedText(column.letter, column.text, {at: column.tokens}) for at, column in enumerate(columns)]
    for at, read in enumerate((read_a, read_b)):
        if read is not None:
            texts[at].tokens[1 - at] = list(read)
    return ComparedPlaces(Comparison("Say it.", "", columns, ended=True, texts=texts))


def test_sentences() -> None:
    """The summary has the common beginning, the difference, and likelihood ratios per token."""
    said, other = ["It", " is", " red"], ["It", " is", " blue"]
    a, b = likely(said, math.log(0.5)), likely(other, math.log(0.25))
    read_a, read_b = likely(said, math.log(0.2)), likely(other, math.log(0.5))
    assert sentences(places(a, b, read_a, read_b)) == [
        "A and B write the same first 2 tokens, then differ at token 3: A has “ red” (50 %), B has “ blue” (25 %).",
        "A finds its own answer 2.5 times as likely per token as B does.",
        "A finds B's answer 2.0 times as likely per token as B does.",
    ]


def test_the_first_token() -> None:
    """Answers without a common beginning differ from the first token."""
    (first, *_) = sentences(places(tokens("Yes"), tokens("No")))
    assert first == "The answers of A and B differ from the first token: A has “Yes” (78 %), B has “No” (78 %)."


def test_an_answer_that_ends() -> None:
    """An answer that is the beginning of the other answer ends at the difference."""
    (first, *_) = sentences(places(tokens("It", " is"), tokens("It", " is", " red")))
    assert first == "A and B write the same first 2 tokens, then differ at token 3: A ends, B has “ red” (78 %)."


def test_equal_answers() -> None:
    """Equal answers have no differences to jump to."""
    found = places(tokens("It"), tokens("It"), tokens("It"), tokens("It"))
    assert sentences(found)[0] == "A and B write the same answer (1 token)."
    assert jumps(found) == []


def test_other_tokenizers() -> None:
    """Both token counts are given if the counts differ at the first difference."""
    (first, *_) = sentences(places(tokens("word", " red"), tokens("wo", "rd", " blue")))
    assert first == "A and B agree up to token 1 of A and token 2 of B: A has “ red” (78 %), B has “ blue” (78 %)."


def test_one_model_at_two_temperatures() -> None:
    """Columns of the same model are shown as sampled, with the reason, without ratios."""
    found = places(tokens("It"), tokens("He"), tokens("It"), tokens("He"), replace(A, temperature=1.0))
    *_, last = sentences(found)
    assert last.startswith("All columns have the same model and system prompt")
    assert "shown as sampled" in last
    assert json.loads(payload(found.comparison)["analysis"])["view"] == "sampled"
    same = places(tokens("It"), tokens("He"), tokens("It"), tokens("He"), replace(A, seed=4))
    assert sentences(same)[-1].endswith("they differ only in the tokens that were drawn.")


def test_jumps() -> None:
    """Jumps lead to the differences in order, and to the five largest log ratios."""
    said = ["It", " is", " red", ".", " So", " it", " goes"]
    a = likely(said, -0.5)
    read = [replace(one, logprob=-0.5 - 0.5 * n) for n, one in enumerate(a)]
    found = jumps(places(a, tokens("It", " is", " blue", ".", " So", " it", " ends"), read))
    assert [(one.kind, one.text, one.token) for one in found] == [
        ("first", 0, 2),
        ("difference", 0, 6),
        *[("large", 0, at) for at in (6, 5, 4, 3, 2)],
    ]
    assert found[0].words == "token 3: A has “ red” (61 %), B has “ blue” (78 %)"
    assert found[2].words == "A's token 7: A finds “ goes” 20 times as likely as B does"


def test_matrix() -> None:
    """Each text has a perplexity and total bits under each column, if scored."""
    found = places(
        likely(["x", "y"], math.log(0.5)), likely(["z"], math.log(0.25)), likely(["x", "y"], math.log(0.125))
    )
    found.comparison.texts.append(
        ComparedText(REFERENCE, "r", {0: likely(["r"], math.log(1e-4)), 1: likely(["r"], math.log(1e-9))})
    )
    assert matrix(found.comparison) == [
        ["", "under A", "under B"],
        ["A's answer", "2.000 (2.0 bits)", "8.000 (6.0 bits)"],
        ["B's answer", "–", "4.000 (2.0 bits)"],
        ["the reference", "10,000 (13.3 bits)", "1.0e+09 (29.9 bits)"],
    ]


def test_figures() -> None:
    """Figures include bounds of the mean divergence, agreement, tokens and seconds."""
    found = places(tokens("x"), tokens("y"), tokens("x"), tokens("y"))
    found.columns[0].took = 1.25
    rows = {name: cells for name, *cells in figures(found)}
    low, high = rows["KL divergence to B, bits per token"][0].split(" to ")
    assert float(low) == 0 < float(high)
    assert rows["same first choice as B"] == ["100.0 %", "–"]
    assert (rows["tokens"], rows["seconds"]) == (["1", "1"], ["1.2", "–"])


def test_failures() -> None:
    """The summary names failed columns and a stop."""
    found = places(tokens("x"), tokens("y"))
    found.comparison.stopped = True
    found.columns[1].error = "It is out of memory."
    assert sentences(found)[:2] == [
        "Stopped before all answers were complete and scored.",
        "B failed; see the message in the column.",
    ]
    assert payload(found.comparison)["columns"][1]["note"] == "It is out of memory."


def test_numbers_in_words() -> None:
    """Percentages and ratios keep two significant digits, and extremes are put into words."""
    assert [percent(one) for one in (1.0, 0.9996, 0.41, 0.0123, 1e-9)] == [
        "100 %",
        "99.96 %",
        "41 %",
        "1.2 %",
        "under 0.001 %",
    ]
    assert [times(math.log(one)) for one in (1.26, 55.2, 12345, 1e9)] == [
        "1.3 times",
        "55 times",
        "12,345 times",
        "over a million times",
    ]
    assert quoted("a\nb" + "c" * 60) == f"“a↵b{'c' * 36}…”"


def test_settings_in_words() -> None:
    """Only settings with an effect are named."""
    warm = replace(A, temperature=0.7, top_p=0.9, top_k=40, seed=3, system="Be\nbrief.")
    assert about(Column("A", A)) == "greedy, at most 64 tokens"
    assert (
        about(Column("B", warm))
        == "temperature 0.7, top-p 0.9, top-k 40, seed 3, at most 64 tokens, system prompt “Be brief.”"
    )


def test_the_note() -> None:
    """A complete column has the speed, and a note about a reached token limit."""
    found = places(tokens("x", "y"), tokens("y"))
    found.columns[0].usage, found.columns[0].took = Usage(generated=11, decode=2.0), 2.5
    found.columns[0].end = FinishReason.LENGTH
    shown = payload(found.comparison)["columns"][0]
    assert shown["note"] == "11 tokens in 2.5 s, 5.0 tokens/s. Stopped at the limit of 64 tokens."


def test_infinity() -> None:
    """An infinite divergence is sent as a finite number for JSON parsers."""
    found = places(tokens("It"), tokens("It"), tokens("It"), tokens("It"), replace(A, temperature=1.0))
    links = json.loads(payload(found.comparison)["analysis"])["links"]
    assert links[1][0][0][-2:] == [INFINITE_NATS, INFINITE_NATS]


def test_csv() -> None:
    """The CSV file has a row for each token of each text under each column that scored the text."""
    found = places(tokens("x", "y"), tokens("z"), tokens("xy"))
    name, media, text = export(found.comparison, {}, "csv")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert (name, media) == ("comparison.csv", "text/csv")
    assert [(row["text"], row["column"], row["token"]) for row in rows] == [
        ("A", "A", "x"),
        ("A", "A", "y"),
        ("A", "B", "xy"),
        ("B", "B", "z"),
    ]
    assert float(rows[0]["probability"]) == pytest.approx(math.exp(-0.25))


def test_csv_of_a_range_of_entropies() -> None:
    """The CSV file has either an exact entropy or bounds."""
    exact, other = tokens("x", "y")
    ranged = replace(other, entropy=None, entropy_range=(0.25, 1.5))
    _, _, text = export(places([exact, ranged], tokens("z"), tokens("xy")).comparison, {}, "csv")
    rows = list(csv.DictReader(io.StringIO(text)))[:2]
    columns = ("entropy_bits", "entropy_bits_low", "entropy_bits_high")
    assert [[row[name] for name in columns] for row in rows] == [
        [str(0.5 / math.log(2)), "", ""],
        ["", str(0.25 / math.log(2)), str(1.5 / math.log(2))],
    ]


def test_json() -> None:
    """The JSON file has the form, the summary and the divergences, in strict JSON."""
    found = places(tokens("x"), tokens("x"), tokens("x"), tokens("x"), replace(A, temperature=1.0))
    _, _, text = export(found.comparison, {"prompt": "Say it."}, "json")
    read = json.loads(text, parse_constant=lambda name: pytest.fail(name))
    assert read["form"] == {"prompt": "Say it."}
    assert read["summary"] == sentences(found)
    assert read["texts"][1]["divergences"]["A"][0]["sampled"]["kl_bits"] == [None, None]


class _Elements(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.attributes += attrs


def test_html() -> None:
    """The HTML page has answers as text, and no script or address."""
    hostile = "<script>alert(1)</script><img src=http://x.test onerror=alert(1)>"
    found = places(tokens("It", hostile), tokens("It", "'\"&"), tokens("It", hostile))
    found.comparison.prompt = hostile
    _, _, text = export(found.comparison, {}, "html")
    elements = _Elements()
    elements.feed(text)
    assert not {"script", "img", "link", "iframe"} & set(elements.names)
    assert not [value for name, value in elements.attributes if name.startswith("on") or name in ("src", "href")]
    assert escape(sentences(found)[1]) in text
    assert "&lt;script&gt;" in text
