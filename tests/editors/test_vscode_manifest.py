"""The VS Code extension's settings are the language server's: what package.json says of them is what settings.py says."""

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
"""What the extension reads itself."""

DECIDED = {f"{SECTION}.statusNotifications", f"{SECTION}.partialSuggestions", f"{SECTION}.doubtfulRests"}
"""What the extension decides, not its user: it needs the status, and accepts doubtful rests but no
unfinished answers.
"""


def settings_of(kind: type[Any] = EditorSettings, path: str = SECTION) -> Iterator[tuple[str, Any, Field[Any]]]:
    """Every setting with its name in an editor and its type."""
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
    """The manifest names every setting of the server, and none that the server would refuse."""
    assert set(SETTINGS) == set(PROPERTIES) - OWN


@pytest.mark.parametrize("name", SETTINGS)
def test_schema(name: str) -> None:
    """Type, default, bounds, choices and description are the server's own, and the manifest adds no other rule."""
    extras = {"scope", "enumDescriptions", "uniqueItems"}
    assert schema_of(*SETTINGS[name]) == {key: value for key, value in PROPERTIES[name].items() if key not in extras}


@pytest.mark.parametrize("name", [name for name, rules in PROPERTIES.items() if "enum" in rules])
def test_choices(name: str) -> None:
    """Every choice of a setting is described."""
    assert len(PROPERTIES[name]["enum"]) == len(PROPERTIES[name]["enumDescriptions"])


@pytest.mark.parametrize("name", ["command", "server.url", "server.apiKey", "server.start"])
def test_trust(name: str) -> None:
    """A folder that is not trusted cannot say what is run, nor where its text is sent."""
    assert f"{SECTION}.{name}" in MANIFEST["capabilities"]["untrustedWorkspaces"]["restrictedConfigurations"]


@pytest.mark.parametrize("name", ["command", "server.url", "server.apiKey"])
def test_what_a_workspace_cannot_set(name: str) -> None:
    """The command, the server's address and its key are settings of the user, not of a folder, trusted or not."""
    assert PROPERTIES[f"{SECTION}.{name}"]["scope"] == "machine"


def test_commands() -> None:
    """Every key and menu of the manifest runs a command that it declares."""
    declared = {command["command"] for command in MANIFEST["contributes"]["commands"]}
    bound = {binding["command"] for binding in MANIFEST["contributes"]["keybindings"]}
    assert bound <= declared


def test_version() -> None:
    """The extension has the version of the project."""
    project = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    assert f'\nversion = "{MANIFEST["version"]}"\n' in project


def test_walkthrough() -> None:
    """Every picture of the walkthrough is in the package and described, and every link names a command that exists."""
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
