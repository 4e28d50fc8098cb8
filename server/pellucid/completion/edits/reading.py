"""Log odds of a proposed change: the model's logprob of new lines minus old lines."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from pellucid.client.assistant_protocol import Reader
from pellucid.completion.edits.candidate import Candidate
from pellucid.completion.edits.edit_history import joined
from pellucid.vocabulary.query import BACKGROUND, CompletionQuery, Extra, ScoreQuery, Terms

PREFIX_LINES, SUFFIX_LINES = 4, 2
"""Number of lines around a change read by the model.

8 and 4 lines hardly improve decisions, and take 1.6 times as long.
"""


async def log_odds(
    assistant: Reader,
    candidate: Candidate,
    lines: Sequence[str],
    model: str | None = None,
    extra: Sequence[Extra] = (),
    terms: Terms = BACKGROUND,
) -> float:
    """Return log p(new lines) - log p(old lines) in nats; minus infinity if cut short.

    Both texts end with the next line with text.
    """
    if lines and not lines[-1]:  # The text after the last line end is not a line
        lines = lines[:-1]
    end = candidate.first + len(candidate.old)
    follows = next((index + 1 for index in range(end, len(lines)) if lines[index].strip()), len(lines))
    prefix = joined(lines[max(candidate.first - PREFIX_LINES, 0) : candidate.first])
    suffix = joined(lines[follows : follows + SUFFIX_LINES])
    query = ScoreQuery("", model, terms=terms, gap=CompletionQuery(prefix, suffix, extra))
    new, old = [joined([*part, *lines[end:follows]]) for part in (candidate.new, candidate.old)]
    odds = await text_log_odds(assistant, query, new, old)
    return -inf if odds is None else odds


async def text_log_odds(assistant: Reader, query: ScoreQuery, new: str, old: str) -> float | None:
    """Return log p(new text) - log p(old text) in nats, or None if a reading was cut short.

    A single request reads both texts in place of the query's text.
    """
    new_logprob, old_logprob = await assistant.logprob_sums(query, [new, old])
    return None if new_logprob is None or old_logprob is None else new_logprob - old_logprob
