"""The VS Code extension's package.json has exactly the settings of the language server."""

import json
import re
from collections.abc import Iterator
from dataclasses import Field, fields
from enum import StrEnum
from pathlib import Path
from typing import Any, get_origin, get_type_hints

import pytest

from pellucid_lsp.editor_settings import SECTION, EditorSettings, camel

MANIFEST: dict[str, Any] = json.loads((Path(__file__).parents[2] / "editors/vscode/package.json").read_text())
PROPERTIES: dict[str, dict[str, Any]] = {
    name: rules for part in MANIFEST["contributes"]["configuration"] for name, rules in part["properties"].items()
}
OWN = {f"{SECTION}.command"}
"""Settings for the extension alone."""

DECIDED = {
    f"{SECTION}.{name}" for name in ("statusNotifications", "partialSuggestions", "doubtfulRests", "findDefinitions")
}
"""Decided by the extension, not by the user: the extension needs the status, and accepts doubtful
rests but no unfinished answers.
"""


def settings_of(kind: type[Any] = EditorSettings, path: str = SECTION) -> Iterator[tuple[str, Any, Field[Any]]]:
    """Yield every setting with name, type and field."""
    hints = get_type_hints(kind)
    for one in fields(kind):
        name = f"{path}.{camel(one.name)}"
        if "description" in one.metadata:
            yield name, hints[one.name], one
        else:
            yield from settings_of(hints[one.name], name)


SETTINGS = {name: (kind, one) for name, kind, one in settings_of() if name not in DECIDED}


def schema_of(kind: Any, one: Field[Any]) -> dict[str, Any]:
    """Return the manifest's entry for a setting."""
    description = one.metadata["description"]
    default: Any = one.default
    schema: dict[str, Any] = {"default": default, "markdownDescription": f"{description[0].upper()}{description[1:]}."}
    if get_origin(kind) is tuple:
        return schema | {"type": "array", "items": {"type": "string"}, "default": list(default)}
    if issubclass(kind, StrEnum):
        return schema | {"type": "string", "enum": list(kind)}
    bounds = {"minimum": one.metadata["least"], "maximum": one.metadata["most"]}
    schema |= {name: bound for name, bound in bounds.items() if bound is not None}
    return schema | {"type": {bool: "boolean", int: "integer", str: "string"}[kind]}


def test_names() -> None:
    """The manifest names every setting of the server and no unknown settings."""
    assert set(SETTINGS) == set(PROPERTIES) - OWN


@pytest.mark.parametrize("name", SETTINGS)
def test_schema(name: str) -> None:
    """Type, default, bounds, choices and description equal the server's, without more rules."""
    extras = {"scope", "enumDescriptions", "uniqueItems"}
    assert schema_of(*SETTINGS[name]) == {key: value for key, value in PROPERTIES[name].items() if key not in extras}


@pytest.mark.parametrize("name", [name for name, rules in PROPERTIES.items() if "enum" in rules])
def test_choices(name: str) -> None:
    """Every choice of a setting is described."""
    assert len(PROPERTIES[name]["enum"]) == len(PROPERTIES[name]["enumDescriptions"])


@pytest.mark.parametrize("name", ["command", "server.url", "server.apiKey", "server.start"])
def test_trust(name: str) -> None:
    """An untrusted folder cannot choose the command or the destination of the text."""
    assert f"{SECTION}.{name}" in MANIFEST["capabilities"]["untrustedWorkspaces"]["restrictedConfigurations"]


@pytest.mark.parametrize("name", ["command", "server.url", "server.apiKey"])
def test_what_a_workspace_cannot_set(name: str) -> None:
    """The command, the server's address and the key are user settings, even in trusted folders."""
    assert PROPERTIES[f"{SECTION}.{name}"]["scope"] == "machine"


def test_commands() -> None:
    """Every key of the manifest runs a declared command."""
    declared = {command["command"] for command in MANIFEST["contributes"]["commands"]}
    bound = {binding["command"] for binding in MANIFEST["contributes"]["keybindings"]}
    assert bound <= declared


def test_version() -> None:
    """The extension has the version of the project."""
    project = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    assert f'\nversion = "{MANIFEST["version"]}"\n' in project


def test_walkthrough() -> None:
    """The walkthrough's pictures are in the package and described, and links name commands."""
    folder = Path(__file__).parents[2] / "editors/vscode"
    commands = {one["command"] for one in MANIFEST["contributes"]["commands"]} | {"workbench.action.openSettings"}
    (walkthrough,) = MANIFEST["contributes"]["walkthroughs"]
    for step in walkthrough["steps"]:
        image = step["media"]["image"]
        for name in [image] if isinstance(image, str) else image.values():
            assert (folder / name).is_file(), name
        assert step["media"]["altText"]
        links = re.findall(r"\(command:([\w.]+)", step["description"])
        assert links
        assert set(links) <= commands
