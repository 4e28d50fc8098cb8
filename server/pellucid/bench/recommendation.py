"""Choice of a catalog model for completion on this machine, and what the choice gives up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pellucid.models.catalog import CatalogEntry, catalog
from pellucid.serving.saved_speeds import Speed
from pellucid.system.atomic_files import human

FAST_KEYSTROKE = 1.0
"""Time limit in seconds for a suggestion to arrive while the suggestion still matters."""

NOT_TRIED = "not tried where Pellucid is developed"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model for completion; ``memory`` is in bytes."""

    entry: CatalogEntry
    speed: Speed
    memory: int

    @property
    def is_fast(self) -> bool:
        return self.speed.keystroke < FAST_KEYSTROKE

    @property
    def rank(self) -> tuple[bool, int, bool, float]:
        """Compare models that fit: first the licence, then the size, then tried before untried."""
        return self.entry.commercial, self.entry.shape.parameters, self.entry.tried, -self.speed.keystroke

    @property
    def wait(self) -> str:
        return f"{'about ' if self.speed.estimated else ''}{self.speed.keystroke:.2f} s a keystroke"


def recommendation(speeds: Mapping[str, Speed], free: int | None, context: int) -> Iterator[str]:
    """Yield sentences: the recommended model, the models given up, and the command to start.

    ``speeds`` has all models of the catalog; ``free`` is the free memory in bytes, if known.
    """
    candidates = [
        Candidate(entry, speed := speeds[entry.name], speed.weights + entry.cache_bytes(context))
        for entry in catalog().values()
        if entry.infill is not None and entry.next_edit is None
    ]
    fitting = [one for one in candidates if free is None or one.memory <= free]
    if not fitting:
        yield "No model fits into the free memory: close other programs, and try again."
        return
    fast = [one for one in fitting if one.is_fast]
    chosen = max(fast, key=lambda one: one.rank) if fast else min(fitting, key=lambda one: one.speed.keystroke)
    entry = chosen.entry
    if not fast:
        yield f"No model answers a keystroke within {FAST_KEYSTROKE:g} s here; the model with the shortest wait:"
    tried = "tried" if entry.tried else NOT_TRIED
    yield f"{entry.name}: {chosen.wait}, {human(chosen.memory)} of memory, {tried}, licence {entry.licence_terms}."
    larger = [one for one in candidates if one.entry.shape.parameters > entry.shape.parameters]
    if larger:
        size = min(one.entry.shape.parameters for one in larger)
        best = max((one for one in larger if one.entry.shape.parameters == size), key=lambda one: one.rank)
        drawbacks = ", ".join(_drawbacks(best, chosen, fits=best in fitting))
        yield f"Given up: {best.entry.name}, the next larger model: {drawbacks}."
    tested = [one for one in fitting if one.entry.tried]
    if tested and not entry.tried:
        safest = max(tested, key=lambda one: one.rank)
        yield f"The largest tried model is {safest.entry.name}: {safest.wait}, licence {safest.entry.licence_terms}."
    yield f"Use it: pellucid serve --model {entry.name}"


def _drawbacks(one: Candidate, chosen: Candidate, *, fits: bool) -> Iterator[str]:
    yield one.wait
    if not fits:
        yield f"{human(one.memory)} do not fit into the free memory"
    if chosen.entry.tried and not one.entry.tried:
        yield NOT_TRIED
    if not one.entry.commercial:
        yield f"licence {one.entry.licence_terms}"
