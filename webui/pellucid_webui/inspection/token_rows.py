"""Tokens as rows of exported files; ``assets/tokens/token_export.js`` has the same columns."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping
from math import exp, log
from typing import Any

from pellucid.client.token_json import clamped
from pellucid.vocabulary.token import Token

COLUMNS = (
    "place",
    "id",
    "token",
    "bytes_hex",
    "logprob",
    "probability",
    "surprisal_bits",
    "rank",
    "entropy_bits",
    "entropy_bits_low",
    "entropy_bits_high",
    "sampling_probability",
    "allowed_probability",
    "rest_probability",
    "alternatives",
)


def token_row(token: Token, place: int) -> dict[str, Any]:
    """Return a token's figures, None if unknown; ``place`` counts from 1.

    Logprobs are natural logarithms. The entropy is exact, or has bounds.
    """
    logprob = None if token.logprob is None else clamped(token.logprob)
    figures = (None, None, None) if logprob is None else (logprob, exp(logprob), -logprob / log(2) + 0.0)
    nats = (token.entropy, *(token.entropy_range or (None, None)))
    values = (
        *(place, token.id, token.text, token.bytes.hex(), *figures, token.rank),
        *(None if one is None else one / log(2) for one in nats),
        *(token.sampled, token.allowed if token.grammar is None else token.grammar.mass, token.rest),
        [[one.text, clamped(one.logprob)] for one in token.top],
    )
    return dict(zip(COLUMNS, values, strict=True))


def rows_as_csv(columns: Iterable[str], rows: Iterable[Mapping[str, Any]]) -> str:
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(columns)
    writer.writerows(
        [json.dumps(one, ensure_ascii=False) if isinstance(one, list) else one for one in row.values()] for row in rows
    )
    return out.getvalue()
