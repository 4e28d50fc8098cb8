"""The language server's settings, read from the nested camelCase objects of editors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import Field, dataclass, field, fields, is_dataclass, replace
from difflib import get_close_matches
from enum import StrEnum
from typing import Any, NoReturn, Self, get_args, get_origin, get_type_hints

from pellucid.completion.settings import CompletionSettings, ContextSettings, setting
from pellucid.errors import ConfigError

SECTION = "pellucid"
"""The section of Pellucid's settings in clients."""


class LogLevel(StrEnum):
    """The minimum severity of messages logged to stderr."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"
    DEBUG = "debug"


class SurpriseMode(StrEnum):
    OFF = "off"
    ON_DEMAND = "onDemand"
    ON_SAVE = "onSave"


@dataclass(frozen=True, slots=True)
class ServerSettings:
    url: str = setting(
        "", "address of the model server; empty: the one in Pellucid's own settings, 127.0.0.1:8437 by default"
    )
    api_key: str = setting(
        "",
        "API key of the model server; empty: the one in Pellucid's own settings, which is sent only to the address"
        " given there",
    )
    start: bool = setting(True, "start `pellucid serve` if no server answers")
    idle_minutes: int = setting(
        30, "minutes without a request after which a model server that an editor started exits; 0: never", least=0
    )


@dataclass(frozen=True, slots=True)
class EditorSettings:
    enabled: bool = setting(True, "show suggestions; if off, nothing is sent, also for edits and marks")
    model: str = setting("", "model that completes; empty: the server's first that is not a next-edit model")
    server: ServerSettings = field(default_factory=ServerSettings)
    completion: CompletionSettings = field(default_factory=CompletionSettings)
    context: ContextSettings = field(default_factory=ContextSettings)
    next_edits: bool = setting(
        True,
        "suggest edits after your last one, in editors that show edits: the same change elsewhere, and what a next-edit"
        " model proposes",
    )
    surprise: SurpriseMode = setting(
        SurpriseMode.ON_DEMAND,
        "mark words of existing code for which the model finds another likelier: off, onDemand (by a command) or onSave"
        " (also on saving, in the lines that differ from git's last commit)",
    )
    instructed_edits: bool = setting(True, "offer edits by instruction, and code actions with ready-made instructions")
    status_notifications: bool = setting(False, "send pellucid/didChangeStatus whenever the state changes")
    partial_suggestions: bool = setting(
        False,
        "suggest the sure beginning of an answer that is not finished; only for clients that repeat the request then",
    )
    doubtful_rests: bool = setting(
        False,
        "send the doubtful rest of a suggestion with it; only for clients that accept the sure beginning by itself",
    )
    find_definitions: bool = setting(
        False,
        "ask the client where names near the cursor are defined; only for clients that answer pellucid/findDefinitions",
    )
    log_level: LogLevel = setting(LogLevel.WARNING, "log level on stderr: error, warning, info or debug")

    @classmethod
    def read(cls, given: object, base: Self | None = None) -> Self:
        """Return a client's settings; missing settings are taken from ``base`` (the defaults).

        Raise ConfigError with the name of the first invalid setting.
        """
        settings: Self = _read(base or cls(), given, SECTION, _refuse)
        return settings

    @classmethod
    def read_valid(cls, given: object, base: Self | None = None) -> tuple[Self, tuple[str, ...]]:
        """Return the valid settings over ``base``, and a sentence per invalid setting."""
        errors: list[str] = []
        settings: Self = _read(base or cls(), given, SECTION, lambda error: errors.append(str(error)))
        return settings, tuple(errors)


def _refuse(error: ConfigError) -> NoReturn:
    raise error


def _read(base: Any, given: object, path: str, refuse: Callable[[ConfigError], None]) -> Any:
    """Return ``base`` with the given settings; ``refuse`` is called with each error."""
    if given is None:
        return base
    if not isinstance(given, Mapping):
        refuse(ConfigError(f"{path} should be an object of settings, not {given!r}."))
        return base
    names = {camel(one.name): one.name for one in fields(base)}
    values: dict[str, Any] = {}
    for name, value in given.items():
        try:
            if name not in names:
                raise ConfigError(f"{path}.{name} is not a setting of Pellucid: {_hint(f'{path}.{name}')}")
            if value is not None:  # Editors send null for unset settings.
                values[names[name]] = _field(base, names[name], value, f"{path}.{name}", refuse)
        except ConfigError as error:
            refuse(error)
    if isinstance(base, ServerSettings) and values.get("url", base.url) != base.url:
        values = {"api_key": ""} | values  # The key belongs to the other address.
    return replace(base, **values)


def _field(base: Any, name: str, value: object, path: str, refuse: Callable[[ConfigError], None]) -> Any:
    known = getattr(base, name)
    if is_dataclass(known) and not isinstance(known, type):
        return _read(known, value, path, refuse)
    (one,) = (one for one in fields(base) if one.name == name)
    return _value(get_type_hints(type(base))[name], value, path, one.metadata)


def _hint(unknown: str) -> str:
    """Suggest a setting with the same name in another group, or with a similar name."""
    paths = {f"{SECTION}.{path}": path.rpartition(".")[2] for path, _ in settings_by_path()}
    similar = get_close_matches(unknown.rpartition(".")[2], paths.values(), n=1)
    close = [path for path, name in paths.items() if name in similar]
    return f"did you mean {close[0]}?" if close else "docs/settings.md lists all settings."


def _value(kind: Any, value: object, path: str, rules: Mapping[str, Any]) -> Any:
    if get_origin(kind) is tuple:
        assert get_args(kind) == (str, ...)
        if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
            return tuple(value)
        raise ConfigError(f"{path} should be a list of strings, not {value!r}.")
    if issubclass(kind, StrEnum):
        if value in list(kind):
            return kind(value)
        raise ConfigError(f"{path} should be one of {', '.join(kind)}, not {value!r}.")
    if kind is int and isinstance(value, float) and value.is_integer():  # Lua and Emacs may send integers as floats.
        value = int(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        word = {bool: "true or false", int: "a whole number", str: "a string"}[kind]
        shown = "" if path.endswith("apiKey") else f", not {value!r}"
        raise ConfigError(f"{path} should be {word}{shown}.")
    least, most = rules["least"], rules["most"]
    if isinstance(value, int) and ((least is not None and value < least) or (most is not None and value > most)):
        bounds = f"between {least} and {most}" if most is not None else f"{least} or more"
        raise ConfigError(f"{path} should be {bounds}, not {value}.")
    return value


def camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(map(str.capitalize, others))


def settings_by_path(kind: type[Any] = EditorSettings, path: str = "") -> Iterator[tuple[str, Field[Any]]]:
    hints = get_type_hints(kind)
    for one in fields(kind):
        name = path + camel(one.name)
        if is_dataclass(hints[one.name]):
            yield from settings_by_path(hints[one.name], name + ".")
        else:
            yield name, one
