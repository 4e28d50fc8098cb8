"""Choice of the suggested edits, by the probability that a user would make the edit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import exp, isfinite
from typing import Any, Self

from pellucid.completion.settings import GateLevel
from pellucid.errors import ConfigError
from pellucid.models.calibrations import NOT_OWN, default_edit_calibration
from pellucid.vocabulary.model_card import ModelCard

LEAST = {GateLevel.QUIET: 0.75, GateLevel.NORMAL: 0.5, GateLevel.EAGER: 0.3}

MAX_LOGIT = 30.0

KIND = "platt"

FEATURES = {"version": 2, "names": ["log odds", "likeness", "evidence"]}


@dataclass(frozen=True, slots=True)
class EditGate:
    """Calibration of a model's next edits: a logistic function (Platt 1999).

    The input is log p(new) - log p(old) in nats, with the evidence for the change added.
    ``about`` holds the file's remaining entries.
    """

    bias: float
    slope: float
    about: Mapping[str, Any] = field(default_factory=dict)

    def probability(self, log_odds: float) -> float:
        return 1 / (1 + exp(-max(-MAX_LOGIT, min(self.bias + self.slope * log_odds, MAX_LOGIT))))

    @property
    def record(self) -> dict[str, Any]:
        return {"features": FEATURES, "kind": KIND, "numbers": [self.bias, self.slope], "about": dict(self.about)}

    @classmethod
    def read(cls, record: Mapping[str, Any]) -> Self:
        """Return the calibration in a ``record``."""
        try:
            if (record["features"], record["kind"]) != (FEATURES, KIND):
                raise ConfigError(
                    "The calibration of next edits was made by another version of Pellucid: "
                    "run pellucid calibrate --edits again."
                )
            bias, slope = (float(number) for number in record["numbers"])
            about = dict(record.get("about", {}))
        except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
            raise ConfigError(
                f"The calibration of next edits is damaged ({type(error).__name__}: {error}): "
                "run pellucid calibrate --edits again."
            ) from None
        if not (isfinite(bias) and isfinite(slope) and slope > 0):
            raise ConfigError(
                "The calibration of next edits is damaged (its coefficients are out of bounds): "
                "run pellucid calibrate --edits again."
            )
        return cls(bias, slope, about)


def default_gate() -> EditGate:
    """Return the default model's gate, also for models without a gate."""
    return EditGate.read(default_edit_calibration())


def gate_of(card: ModelCard) -> tuple[EditGate, str | None]:
    """Return a model's gate, and a sentence if the model's own calibration is not used."""
    if card.edit_calibration is None:
        return default_gate(), card.edit_calibration_note or NOT_OWN
    try:
        return EditGate.read(card.edit_calibration), card.edit_calibration_note
    except ConfigError as error:
        return default_gate(), str(error)
