"""The relevant settings from clients of the Copilot language server."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

from pellucid_lsp.editor_settings import EditorSettings


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """Settings with Copilot's names."""

    automatic: bool = True
    """``enableAutoCompletions``: if false, suggestions are only requested by hand."""
    languages_off: tuple[str, ...] = ()
    """``disabledLanguages``."""
    model: str = ""
    """``github.copilot.selectedCompletionModel``: a name from ``copilot/models``."""

    def updated(self, given: object) -> Self:
        """Return the settings after a notification; missing and invalid settings stay unchanged."""
        automatic, languages = _at(given, "enableAutoCompletions"), _at(given, "disabledLanguages")
        model = _at(given, "github", "copilot", "selectedCompletionModel")
        return replace(
            self,
            automatic=automatic if isinstance(automatic, bool) else self.automatic,
            languages_off=_languages(languages) if isinstance(languages, list) else self.languages_off,
            model=model if isinstance(model, str) else self.model,
        )

    def added_to(self, settings: EditorSettings, model: str) -> EditorSettings:
        """Return Pellucid's settings with these settings; an empty ``model`` changes nothing."""
        off = dict.fromkeys((*settings.completion.languages_off, *self.languages_off))
        completion = replace(settings.completion, languages_off=tuple(off))
        return replace(settings, completion=completion, model=model or settings.model)


def _at(given: object, *names: str) -> Any:
    for name in names:
        given = given.get(name) if isinstance(given, dict) else None
    return given


def _languages(given: list[Any]) -> tuple[str, ...]:
    ids = (_at(one, "languageId") for one in given)
    return tuple(id for id in ids if isinstance(id, str))
