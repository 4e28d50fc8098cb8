"""Reads the settings that clients of the Copilot language server send, as far as they mean something here."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

from pellucid_lsp.editor_settings import EditorSettings


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """Settings with the names of the Copilot language server.

    All others, such as proxies and telemetry, have no meaning here.
    """

    automatic: bool = True
    """``enableAutoCompletions``: false leaves only the suggestions that are requested by hand."""
    languages_off: tuple[str, ...] = ()
    """``disabledLanguages``."""
    model: str = ""
    """``github.copilot.selectedCompletionModel``: a model that ``copilot/models`` lists."""

    def updated(self, given: object) -> Self:
        """Return the settings after a notification.

        Those that it omits, or that are of a wrong type, stay as they are.
        """
        automatic, languages = _at(given, "enableAutoCompletions"), _at(given, "disabledLanguages")
        model = _at(given, "github", "copilot", "selectedCompletionModel")
        return replace(
            self,
            automatic=automatic if isinstance(automatic, bool) else self.automatic,
            languages_off=_languages(languages) if isinstance(languages, list) else self.languages_off,
            model=model if isinstance(model, str) else self.model,
        )

    def added_to(self, settings: EditorSettings, model: str) -> EditorSettings:
        """Return Pellucid's settings with these.

        ``model`` is the selected one if the model server has it, else empty.
        """
        off = dict.fromkeys((*settings.completion.languages_off, *self.languages_off))
        completion = replace(settings.completion, languages_off=tuple(off))
        return replace(settings, completion=completion, model=model or settings.model)


def _at(given: object, *names: str) -> Any:
    """Return the value at a path of names, or None."""
    for name in names:
        given = given.get(name) if isinstance(given, dict) else None
    return given


def _languages(given: list[Any]) -> tuple[str, ...]:
    ids = (_at(one, "languageId") for one in given)
    return tuple(id for id in ids if isinstance(id, str))
