"""Which model of the server's is completed with, what it can read, and how far its suggestions can be trusted."""

from __future__ import annotations

from pellucid.client.protocol import Assistant
from pellucid.completion.trust.calibration import Calibration
from pellucid.errors import ConfigError, NotFoundError
from pellucid.tokens import ModelCard

UNKNOWN = "Nothing was asked of a model server yet."
UNTOLD = "The model server tells of no calibration of this model: run pellucid calibrate on a folder of yours."


class ModelChoice:
    """What the server at the other end of a client serves; asked once for each client."""

    def __init__(self) -> None:
        self._client: Assistant | None = None
        self._models: list[ModelCard] = []
        self._calibrations: dict[str, Calibration] = {}
        self._why_not: dict[str, str] = {}

    async def find(self, client: Assistant, name: str) -> ModelCard:
        """The model of this name, or the server's first for an empty one; raises NotFoundError with the names that there are."""
        if client is not self._client:
            self._models = await client.cards()
            self._client = client
            self._read_calibrations()
        for model in self._models:
            if name in ("", model.name):
                return model
        names = ", ".join(model.name for model in self._models)
        raise NotFoundError(f"The server does not serve {name!r}: set pellucid.model to one of {names}.")

    def calibration(self, name: str) -> Calibration | None:
        """How far the suggestions of a model can be trusted; None where it was not calibrated, and thresholds decide."""
        return self._calibrations.get(name)

    def why_not(self, name: str) -> str | None:
        """Why a model's suggestions are not judged by a calibration, in a sentence; None if they are."""
        return None if name in self._calibrations else self._why_not.get(name, UNKNOWN)

    def _read_calibrations(self) -> None:
        self._calibrations, self._why_not = {}, {}
        for model in self._models:
            if model.calibration is None:
                self._why_not[model.name] = model.calibration_note or UNTOLD
                continue
            try:
                self._calibrations[model.name] = Calibration.read(model.calibration)
            except ConfigError as error:
                self._why_not[model.name] = str(error)
