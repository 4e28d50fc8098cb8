"""The models that a server serves, by name."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import Future

from pellucid.engine.port import Engine
from pellucid.errors import InvalidRequestError, unknown_model
from pellucid.models.served_model import ServedModel
from pellucid.text.text_model import TextModel
from pellucid.vocabulary.model_card import ModelCard


class ServedModels:
    """The models of an engine, with the default model first. Adapters come and go."""

    def __init__(self, engine: Engine, models: Sequence[ServedModel]) -> None:
        assert models, "an assistant needs a model"
        self._engine = engine
        self._served: dict[str, TextModel] = {}
        # Bases first, because models with an adapter share parts of the base.
        for model in sorted(models, key=lambda model: model.base is not None):
            self._served[model.name] = self._prepared(model)
        self._served = {model.name: self._served[model.name] for model in models}

    def find(self, name: str | None) -> TextModel:
        """Return a model by full name or unambiguous adapter name; None: the default model."""
        if name is None:
            return next(iter(self._served.values()))
        served = self._served.get(name)
        if served is None:
            named = [other for other in self.all() if other.model.adapter and other.model.adapter.name == name]
            if len(named) != 1:
                raise unknown_model(name, self._served)
            served = named[0]
        return served

    def all(self) -> list[TextModel]:
        return [*self._served.values()]

    def cards(self) -> list[ModelCard]:
        return [served.card() for served in self.all()]

    async def add(self, model: ServedModel) -> None:
        self._served[model.name] = await asyncio.to_thread(self._prepared, model)

    def remove(self, name: str) -> Future[None]:
        """Accept no new requests for a model with an adapter.

        The future is done after the last answer.
        """
        served = self.find(name)
        if served.model.base is None:
            raise InvalidRequestError(
                f"{served.name} has no adapter: only models with an adapter can be unloaded.", param="model"
            )
        removed = self._engine.remove_model(served.name)
        del self._served[served.name]
        return removed

    def _prepared(self, model: ServedModel) -> TextModel:
        return TextModel(model, self._engine, None if model.base is None else self._served[model.base])
