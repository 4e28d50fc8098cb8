"""Adds an editor's log to a replay, with a limited weight."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pellucid.completion.trust.features import NAMES
from pellucid.completion.trust.suggestion_log import LogEntry, Reaction
from pellucid.learn.calibrate.training_rows import Table

MAX_WEIGHT = 0.5
"""Maximum weight of the log relative to the replay.

The log has only suggestions that passed the gate, and accepted suggestions may still be edited. The
log is used only for fitting: a calibration selected by acceptance learns to show less.
"""


def logged_table(entries: Sequence[LogEntry], replayed: float) -> Table | None:
    """Return the rows of a log, if any.

    A shortened suggestion is wrong, with a right part. A suggestion shortened by the gate is not
    whole. An editor session counts as a file, because its suggestions are not independent.
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
    weight = min(1.0, MAX_WEIGHT * replayed / len(entries))
    return Table(
        np.array(numbers, dtype=np.float64).reshape(len(rows), len(NAMES)),
        np.array(right, dtype=np.bool_),
        np.full(len(rows), weight),
        np.array(whole, dtype=np.bool_),
        np.array(suggestions, dtype=np.int64),
        np.array([codes[name] for name in sessions], dtype=np.int64),
    )
