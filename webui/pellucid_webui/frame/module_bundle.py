"""The page's ES modules as a single module, because a browser asks for few files at a time."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping

FROM = r'"(?P<path>\.[^"]+)";$'
IMPORT = re.compile(rf"^(?:import|export)\b[^;\"]*{FROM}", re.MULTILINE)
RUN = re.compile(rf"^import {FROM}", re.MULTILINE)
IMPORT_NAMES = re.compile(rf"^import (?P<names>\{{[^}}]*\}}) from {FROM}", re.MULTILINE)
IMPORT_ALL = re.compile(rf"^import \* as (?P<names>\w+) from {FROM}", re.MULTILINE)
EXPORT_FROM = re.compile(rf"^export \{{ (?P<names>\w+) \}} from {FROM}", re.MULTILINE)
EXPORT = re.compile(r"^export (?=(?:async )?(?:function\*?|class|const) (\w+))", re.MULTILINE)
OTHER = re.compile(r"^(?:import|export)\b.*", re.MULTILINE)


def bundle(files: Mapping[str, str], main: str) -> str:
    """Return a module that runs ``main`` and the imported modules in a browser's order.

    ``files`` are the modules' texts by path. A module becomes a function of the bundle; the
    function returns the module's exports. The bundle exports the exports of ``main``.

    Raises:
        ValueError: a module is missing, modules import themselves in a circle, or a statement isn't
            understood, for instance ``export let``, because a bundle would freeze the variable.
    """
    functions: dict[str, str] = {}

    def add(name: str, importing: tuple[str, ...]) -> None:
        if name in importing or name not in files:
            fault = "import themselves in a circle" if name in files else "import a missing module"
            raise ValueError(f"Modules {fault}: {' -> '.join((*importing, name))}.")
        for found in IMPORT.finditer(files[name]):
            if (path := _path(name, found)) not in functions:
                add(path, (*importing, name))
        functions[name] = _as_function(name, files[name])

    add(main, ())
    exported = ", ".join(found["names"] for found in EXPORT_FROM.finditer(files[main]))
    return "\n".join(
        ["const modules = {};", *functions.values(), f"export const {{ {exported} }} = modules[{main!r}];\n"]
    )


def _as_function(name: str, text: str) -> str:
    def module(found: re.Match[str]) -> str:
        return f"modules[{_path(name, found)!r}]"

    def bind(found: re.Match[str]) -> str:
        return f"const {found['names'].replace(' as ', ': ')} = {module(found)};"

    exports = [f"{found['names']}: {module(found)}.{found['names']}" for found in EXPORT_FROM.finditer(text)]
    exports += EXPORT.findall(text)
    body = EXPORT.sub("", EXPORT_FROM.sub("", RUN.sub("", text)))
    body = IMPORT_ALL.sub(bind, IMPORT_NAMES.sub(bind, body))
    if other := OTHER.search(body):
        raise ValueError(f"{name}: the bundle doesn't understand {other[0]!r}.")
    return f"modules[{name!r}] = (() => {{\n{body}\nreturn {{ {', '.join(exports)} }};\n}})();"


def _path(name: str, found: re.Match[str]) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(name), found["path"]))
