"""The settings of a turn, such as the model and the temperature, and their JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import Field, asdict, dataclass, fields
from typing import Any, Self

from pellucid.errors import InvalidRequestError
from pellucid.tokens import SamplingParams

ALTERNATIVES = 10
"""Alternatives that are kept for each token of an answer."""


LARGEST = 2**53 - 1
"""The largest whole number that every JSON parser reads exactly, including those of browsers."""


_MAX_SHOWN = 80


@dataclass(frozen=True, slots=True)
class TurnSettings:
    """The model and sampling of a turn. An empty ``model`` is the server's first one; ``seed`` None draws a random seed."""

    model: str = ""
    system: str = ""
    temperature: float = 0.7
    top_p: float = 0.95
    top_k: int = 0
    min_p: float = 0.05
    seed: int | None = None
    max_tokens: int = 512

    def sampling(self) -> SamplingParams:
        """Return the sampling parameters for the engine. Raises InvalidRequestError, which names a setting that is out of bounds."""
        for name in ("max_tokens", "top_k"):
            if getattr(self, name) > LARGEST:  # it could not be sent to the page, so that the conversation could not be opened again
                raise InvalidRequestError(f"{name} must be at most {LARGEST}.", param=name)
        try:
            return SamplingParams(
                max_tokens=self.max_tokens,
                temperature=self.temperature,
                top_p=self.top_p,
                top_k=self.top_k,
                min_p=self.min_p,
                seed=self.seed,
                top_logprobs=ALTERNATIVES,
            )
        except ValueError as error:
            raise InvalidRequestError(str(error)) from error

    def record(self) -> dict[str, Any]:
        """Return the settings as JSON."""
        return asdict(self)

    @classmethod
    def read(cls, record: Mapping[str, Any]) -> Self:
        """Return the settings of a JSON record, with defaults for what is missing. Raises InvalidRequestError for wrong types."""
        return cls(**{one.name: _typed(one, record[one.name]) for one in fields(cls) if one.name in record})


_KINDS: Mapping[str, tuple[type, ...]] = {"str": (str,), "int": (int,), "float": (float, int), "int | None": (int, type(None))}


def _typed(setting: Field[Any], value: object) -> Any:
    kinds = _KINDS[str(setting.type)]
    if not isinstance(value, kinds) or isinstance(value, bool):
        shown = repr(value)[:_MAX_SHOWN]
        raise InvalidRequestError(
            f"The setting {setting.name} of a turn must be of the type {setting.type}, not {shown}.", param=setting.name
        )
    return value
