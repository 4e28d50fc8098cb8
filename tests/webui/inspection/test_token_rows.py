"""Tests the columns of exported tokens, in Python and in the browser's JavaScript."""

from __future__ import annotations

import csv
import io
import json
from math import log
from pathlib import Path
from typing import Any

import pytest

from pellucid.vocabulary.token import Alternative, GrammarScore, Token
from pellucid_webui.conversations.compact_tokens import record, token_of
from pellucid_webui.inspection.token_rows import COLUMNS, rows_as_csv, token_row
from support.node_modules import in_node

OTHER = (Alternative(8, ' "b",\r\n', b' "b",\r\n', log(0.5)), Alternative(9, "\ufffd", b"\xf0\x9f", -9999.0))

TOKENS = (
    Token(1, "NA", b"NA", 0, None, None, None),
    Token(2, ' say "x", ', b' say "x", ', 1, log(0.25), 2, 0.75, OTHER, 0.125, 0.5),
    Token(3, "\r\né", "\r\né".encode(), 2, 0.0, 1, None, (), 0.0, None, entropy_range=(0.5, 1.25)),
    Token(4, "", b"\xf0\x9f", 3, -float("inf"), 900, 2.0, OTHER, 1.0, 1.0, allowed=0.25),
    Token(5, "[1]", b"[1]", 4, -1e-9, 1, 0.0, OTHER, 1e-9, 1.0, grammar=GrammarScore(0.75, 3, -0.5)),
)


def table(text: str) -> list[dict[str, Any]]:
    """Return the rows of a CSV file, with the values of all cells but texts."""
    return [
        {name: json.loads(cell) if name not in ("token", "bytes_hex") and cell else cell for name, cell in row.items()}
        for row in csv.DictReader(io.StringIO(text, newline=""))
    ]


def test_row() -> None:
    """Places count from 1, surprisal and entropy are in bits, and unknown figures are None."""
    first, second, third, _, last = (token_row(token, place) for place, token in enumerate(TOKENS, 1))
    unknown = {name for name, value in first.items() if value is None}
    assert unknown == {
        *("logprob", "probability", "surprisal_bits", "rank", "sampling_probability"),
        *("entropy_bits", "entropy_bits_low", "entropy_bits_high"),
    }
    assert (second["place"], second["logprob"], second["rank"]) == (2, log(0.25), 2)
    assert (second["probability"], second["surprisal_bits"]) == (pytest.approx(0.25), pytest.approx(2))
    assert second["entropy_bits"] == pytest.approx(0.75 / log(2))
    assert (third["entropy_bits"], third["entropy_bits_high"]) == (None, pytest.approx(1.25 / log(2)))
    assert (second["allowed_probability"], last["allowed_probability"]) == (1, 0.75)


def test_the_browser_has_the_same_columns() -> None:
    """The browser and the server write the same CSV and JSON of the same tokens."""
    records = [record(token) for token in TOKENS]
    rows = [token_row(token_of(one, at), at + 1) for at, one in enumerate(records)]
    found = in_node(
        'import { tokensAsCsv, tokensAsJson } from "assets/tokens/token_export.js";',
        '(records) => [tokensAsCsv(records), tokensAsJson(records, { model: "m" })]',
        records,
    )
    server, browser = table(rows_as_csv(COLUMNS, rows)), table(found[0])
    assert list(browser[0]) == list(COLUMNS)
    assert browser == [_nearly(row) for row in server]
    whole = json.loads(found[1])
    assert whole["tokens"] == [_nearly(row) for row in rows]
    assert (whole["model"], whole["tokens_with_probability"], whole["tokens_without_probability"]) == ("m", 4, 1)


def _nearly(row: dict[str, Any]) -> dict[str, Any]:
    return {name: pytest.approx(value, rel=1e-14) if isinstance(value, float) else value for name, value in row.items()}


def test_pandas_reads_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Python that the page offers reads all texts exactly, and computes the same perplexity."""
    imports = 'import { meanSurprisal, pandasSnippet, tokensAsCsv } from "assets/tokens/token_export.js";'
    function = "(records) => [tokensAsCsv(records), pandasSnippet('tokens.csv'), 2 ** meanSurprisal(records).bits]"
    read = TOKENS[:3]
    text, snippet, perplexity = in_node(imports, function, [record(one) for one in read])
    (tmp_path / "tokens.csv").write_text(text, encoding="utf-8", newline="")
    monkeypatch.chdir(tmp_path)
    found: dict[str, Any] = {}
    exec(snippet, found)
    tokens = found["tokens"]
    assert list(tokens["token"]) == [one.text for one in read]
    assert json.loads(tokens["alternatives"][1]) == [[one.text, pytest.approx(one.logprob, rel=1e-5)] for one in OTHER]
    assert 2 ** tokens["surprisal_bits"].mean() == pytest.approx(perplexity)
    assert perplexity == pytest.approx(2, rel=1e-5)


@pytest.mark.parametrize(
    ("logprobs", "words"),
    [
        ([log(0.5), log(0.125)], "surprisal 2.000 bits per token, perplexity 4.000"),
        (
            [None, log(0.25)],
            "surprisal 2.000 bits per token, perplexity 4.000 (without a token that has no probability)",
        ),
        ([None, None], "perplexity unknown: no token has a probability"),
        ([0.0], "surprisal 0.000 bits per token, perplexity 1.000"),
        ([], ""),
    ],
)
def test_mean_surprisal_in_words(logprobs: list[float | None], words: str) -> None:
    """The perplexity is 2 to the mean surprisal; tokens without a probability are not counted."""
    found = in_node(
        'import { meanSurprisal, surprisalWords } from "assets/tokens/token_export.js";',
        "(logprobs) => surprisalWords(meanSurprisal(logprobs.map((l) => ({ l }))))",
        logprobs,
    )
    assert found == words
