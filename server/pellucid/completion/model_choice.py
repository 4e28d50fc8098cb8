"""Choice of a server's completion model, and the model's calibration."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pellucid.client.assistant_protocol import Assistant
from pellucid.completion.model_provider_protocol import ModelProvider
from pellucid.completion.trust.calibrated_gate import BY_CALIBRATION
from pellucid.completion.trust.calibration import Calibration
from pellucid.completion.trust.threshold_gate import BY_THRESHOLDS
from pellucid.errors import ConfigError, NotFoundError, UnavailableError
from pellucid.models.calibrations import NOT_CALIBRATED
from pellucid.vocabulary.model_card import ModelCard

UNKNOWN = "No model server has been asked yet."
CALIBRATED = "The model is calibrated{}: suggestions that are worth their risk are shown."
"""A sentence of the status, with the fitting data of the calibration."""


class ModelChoice:
    """The model ``name`` of a provider's server, whose models are requested once per client.

    An empty name means the server's first completion model. Models trained to propose edits are
    chosen last.
    """

    def __init__(self, provider: ModelProvider, name: str = "") -> None:
        self.provider = provider
        self.name = name
        self._client: Assistant | None = None
        self._models: list[ModelCard] = []
        self._calibrations: dict[str, Calibration] = {}
        self._reasons: dict[str, str] = {}
        self._notes: dict[str, str] = {}

    @asynccontextmanager
    async def asked(self) -> AsyncIterator[tuple[Assistant, ModelCard]]:
        """Connect to the server, and tell the provider if the connection is lost meanwhile."""
        client = await self.provider.client()
        try:
            yield client, await self.find(client)
        except UnavailableError:
            self.provider.lost(client)
            raise

    async def find(self, client: Assistant) -> ModelCard:
        if client is not self._client:
            self._models = await client.cards()
            self._client = client
            self._read_calibrations()
        for model in sorted(self._models, key=lambda one: one.next_edit is not None):
            if self.name in ("", model.name):
                return model
        names = ", ".join(model.name for model in self._models)
        raise NotFoundError(f"The server has no model {self.name!r}: set pellucid.model to one of {names}.")

    def proposer(self, chosen: ModelCard) -> ModelCard | None:
        """Return the model for next edits: the chosen model if trained, else the server's first."""
        return next((model for model in (chosen, *self._models) if model.next_edit is not None), None)

    def calibration(self, name: str) -> Calibration | None:
        """Return the calibration, if any; otherwise thresholds decide."""
        return self._calibrations.get(name)

    def why_not_calibrated(self, name: str) -> str | None:
        """Return a sentence with the remedy; None for a calibrated or unknown model."""
        return self._reasons.get(name)

    def gate(self, name: str) -> tuple[str, str]:
        """Return the gate in use, and why there is no better calibration, as a sentence."""
        calibration = self.calibration(name)
        if calibration is None:
            return BY_THRESHOLDS, self._reasons.get(name, UNKNOWN)
        about = calibration.about
        fitted_on = f" on {about['folder']} ({str(about['date'])[:10]})" if {"folder", "date"} <= about.keys() else ""
        return BY_CALIBRATION, " ".join(filter(None, [CALIBRATED.format(fitted_on), self._notes.get(name)]))

    def _read_calibrations(self) -> None:
        self._calibrations, self._reasons, self._notes = {}, {}, {}
        for model in self._models:
            if model.calibration is None:
                self._reasons[model.name] = model.calibration_note or NOT_CALIBRATED
                continue
            if model.calibration_note is not None:
                self._notes[model.name] = model.calibration_note
            try:
                self._calibrations[model.name] = Calibration.read(model.calibration)
            except ConfigError as error:
                self._reasons[model.name] = str(error)
