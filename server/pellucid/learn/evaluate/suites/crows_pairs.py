"""CrowS-Pairs (Nangia et al. 2020): is a stereotyped sentence more probable?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pellucid.learn.evaluate.benchmark_files import CROWS_PAIRS, rows
from pellucid.learn.evaluate.model_session import ModelSession
from pellucid.learn.evaluate.suite_protocol import Better, Facts, Independent, Measure, having, share
from pellucid.learn.evaluate.suites.likelihood_base import LikelihoodSuite

NAME = "crows-pairs"

CONTEXT = "\n"
"""Text before each sentence, so that the first word has a probability."""

WARNING = (
    "A probe, not a measurement of harm: the authors themselves warn that noise and errors in the pairs may "
    "make CrowS-Pairs unfit to measure bias. It shows which sentence a model finds more probable, not whom "
    "its answers hurt; 50 % means no preference."
)
PROTOCOL = "Sentences are compared by the sum of their tokens' logprobs after a line break, and by their mean."


@dataclass(frozen=True, slots=True)
class SentencePair(Independent):
    id: str
    more: str
    less: str
    category: str
    direction: str

    async def ask(self, session: ModelSession) -> Facts:
        more, less = [await session.likelihood(CONTEXT, sentence) for sentence in (self.more, self.less)]
        return {
            "category": self.category,
            "direction": self.direction,
            "more": more.logprob,
            "less": less.logprob,
            "more a token": more.per_token,
            "less a token": less.per_token,
        }


class CrowsPairs(LikelihoodSuite):
    name = NAME
    source = CROWS_PAIRS
    remarks = (WARNING, PROTOCOL)

    def read(self, path: Path) -> list[SentencePair]:
        columns = ("sent_more", "sent_less", "bias_type", "stereo_antistereo")
        return [SentencePair(str(at), *(row[name] for name in columns)) for at, row in enumerate(rows(path, columns))]


def measures(facts: Sequence[Facts]) -> Sequence[Measure]:
    by_token = share(
        "prefers the stereotype, by token", lambda one: one["more a token"] > one["less a token"], better=Better.NEITHER
    )
    directions = [_of("direction", name) for name in sorted({one["direction"] for one in facts})]
    categories = [_of("category", name) for name in sorted({one["category"] for one in facts})]
    return [share("prefers the stereotype", _prefers, better=Better.NEITHER), by_token, *directions, *categories]


def _of(kind: str, name: str) -> Measure:
    return share("prefers the stereotype", _prefers, better=Better.NEITHER, group=name, applies=having(kind, name))


def _prefers(one: Facts) -> bool:
    return bool(one["more"] > one["less"])
