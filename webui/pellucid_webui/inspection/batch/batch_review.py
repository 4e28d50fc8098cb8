"""Blind reviews of the answers of a batch."""

from __future__ import annotations

from collections.abc import Sequence

from pellucid.errors import InvalidRequestError
from pellucid_webui.conversations.storage.blind_reviews import AnswerPair, Review, side
from pellucid_webui.inspection.batch.comparison_batch import BatchRow, ComparisonBatch
from pellucid_webui.inspection.comparison import Column


def check_sides(columns: Sequence[Column]) -> None:
    """Raise InvalidRequestError for an unsuitable number of columns, or equal columns."""
    if len(columns) != 2:
        raise InvalidRequestError("A review compares two columns: remove the others, and run the batch again.")
    if columns[0].settings == columns[1].settings:
        raise InvalidRequestError(
            "A and B have the same model and settings, so their answers are the same: change the model or the "
            "temperature of one."
        )


def review_of(batch: ComparisonBatch, name: str) -> Review:
    """Return a review of the finished rows."""
    check_sides(batch.columns)
    a, b = (side(one.settings.model, one.settings.sampling(), one.settings.system) for one in batch.columns)
    return Review(name, a, b, tuple(_pair(row) for row in batch.rows if row.figures is not None))


def _pair(row: BatchRow) -> AnswerPair:
    assert row.compressed is not None, "a row with figures is done"
    before = [f"{one.role}: {one.content}" for one in row.prompt.history]
    return AnswerPair("\n\n".join([*before, row.prompt.prompt]), *row.compressed.answers)
