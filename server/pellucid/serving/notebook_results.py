"""Results in Python and notebooks: a text with tokens, a heat map and a table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from math import exp, log2
from typing import TYPE_CHECKING

from pellucid.errors import ConfigError
from pellucid.system.entropy_text import entropy_in_bits
from pellucid.terminal.coloured_tokens import LEVELS, ProbabilityLevel, level_of
from pellucid.vocabulary.finish import Finish
from pellucid.vocabulary.token import Token

if TYPE_CHECKING:
    import pandas

NATS_TO_BITS = log2(exp(1))

COLUMNS = (
    "position",
    "id",
    "text",
    "logprob",
    "probability",
    "rank",
    "entropy",
    "entropy_low",
    "entropy_high",
    "sampled",
    "alternatives",
)


@dataclass(frozen=True, slots=True)
class TokenTrace:
    tokens: tuple[Token, ...]
    finish: Finish
    model: str

    @property
    def text(self) -> str:
        return "".join(token.text for token in self.tokens)

    @property
    def surprisal_bits(self) -> float:
        """The sum of -log2 p over the tokens with a probability, in bits."""
        return -sum(token.logprob for token in self.tokens if token.logprob is not None) * NATS_TO_BITS

    @property
    def bits_per_byte(self) -> float | None:
        """Surprisal per byte of the tokens with a probability."""
        size = sum(len(token.bytes) for token in self.tokens if token.logprob is not None)
        return self.surprisal_bits / size if size else None

    @property
    def perplexity(self) -> float | None:
        """The exponential of the mean negative logprob per token."""
        logprobs = [token.logprob for token in self.tokens if token.logprob is not None]
        return exp(-sum(logprobs) / len(logprobs)) if logprobs else None

    def __str__(self) -> str:
        return self.text

    def __len__(self) -> int:
        return len(self.tokens)

    def __iter__(self) -> Iterator[Token]:
        return iter(self.tokens)

    def to_dataframe(self) -> pandas.DataFrame:
        """Return one row per token. Raise ConfigError without pandas.

        Logprob and entropy are in nats. ``entropy_low`` and ``entropy_high`` are the bounds of an
        inexact entropy. ``alternatives`` is a list of (text, logprob), the most probable first.
        """
        try:
            from pandas import DataFrame
        except ModuleNotFoundError as error:
            raise ConfigError("to_dataframe needs pandas: run pip install pandas.") from error
        rows = [
            {
                "position": token.position,
                "id": token.id,
                "text": token.text,
                "logprob": token.logprob,
                "probability": None if token.logprob is None else exp(token.logprob),
                "rank": token.rank,
                "entropy": token.entropy,
                "entropy_low": None if token.entropy_range is None else token.entropy_range[0],
                "entropy_high": None if token.entropy_range is None else token.entropy_range[1],
                "sampled": token.sampled,
                "alternatives": [(one.text, one.logprob) for one in token.top],
            }
            for token in self.tokens
        ]
        return DataFrame(rows, columns=list(COLUMNS))

    def _repr_html_(self) -> str:
        """Return the heat map for Jupyter, without scripts and external files."""
        spans = "".join(
            f'<span style="{_style(level_of(one.logprob))}" title="{escape(_describe(one))}">{escape(one.text)}</span>'
            for one in self.tokens
        )
        legend = " ".join(f'<span style="{_style(level)}">{escape(level.label)}</span>' for level in LEVELS)
        perplexity = "" if self.perplexity is None else f", perplexity {self.perplexity:.2f}"
        return (
            '<figure style="margin: 0" role="group" aria-label="Token heat map">'
            f'<pre style="white-space: pre-wrap; line-height: 1.6; text-align: left">{spans}</pre>'
            f'<figcaption style="font-size: small">{escape(self.model)}: {len(self.tokens)} tokens{perplexity}, '
            f"{self.finish.reason}. Probability: {legend}</figcaption></figure>"
        )


def _style(level: ProbabilityLevel) -> str:
    colours = f"color: {level.foreground}; background: {level.background}" if level.background else ""
    return colours + ("; text-decoration: underline" if level.underline else "")


def _describe(token: Token) -> str:
    if token.logprob is None:
        return f"{token.text!r}: the first token has no probability"
    lines = [f"{token.text!r}: p = {exp(token.logprob):.4f}, rank {token.rank}"]
    if entropy := entropy_in_bits(token):
        lines[0] += f", entropy {entropy} bits"
    lines += [f"{exp(one.logprob):.4f} {one.text!r}" for one in token.top]
    return "\n".join(lines)
