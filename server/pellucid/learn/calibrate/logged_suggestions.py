"""What an editor's log adds to a replay: suggestions that somebody took, shortened or dismissed, with the weight that is due to them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pellucid.completion.trust.features import NAMES
from pellucid.completion.trust.suggestion_log import LogEntry, Reaction
from pellucid.learn.calibrate.table import Table

MOST_WEIGHT = 0.5
"""What the log weighs at most where the replay weighs 1.

Only what a gate has let through is in it, and what somebody accepts is not always what they end up with: it says how this
user's code differs, and is not to outvote what is known for certain. It takes no part in choosing or measuring either: a
calibration that is judged by how much is accepted learns to show less.
"""


def logged_table(entries: Sequence[LogEntry], replayed: float) -> Table | None:
    """The rows of a log beside a replay of so many suggestions; None where nothing is logged.

    What was accepted is right and what was dismissed is wrong; of what was shortened the part is right and what was shown wrong.
    What the gate had shortened before it was shown is no whole suggestion, as its numbers say.
    Each editor's session is a file of its own, as one suggestion's neighbours are no strangers to it.
    """
    rows: list[tuple[tuple[float, ...], bool, bool, int, str]] = []
    for number, entry in enumerate(entries):
        session = entry.id.rpartition("-")[0]
        is_whole = entry.features[NAMES.index("whole")] == 1
        rows.append((entry.features, entry.outcome is Reaction.ACCEPTED, is_whole, number, session))
        if entry.outcome is Reaction.SHORTENED and entry.accepted_features is not None:
            rows.append((entry.accepted_features, True, False, number, session))
    if not rows:
        return None
    numbers, right, whole, suggestions, sessions = zip(*rows, strict=True)
    codes = {name: code for code, name in enumerate(sorted(set(sessions)))}
    weight = min(1.0, MOST_WEIGHT * replayed / len(entries))
    return Table(
        np.array(numbers, dtype=np.float64).reshape(len(rows), len(NAMES)),
        np.array(right, dtype=np.bool_),
        np.full(len(rows), weight),
        np.array(whole, dtype=np.bool_),
        np.array(suggestions, dtype=np.int64),
        np.array([codes[name] for name in sessions], dtype=np.int64),
    )
