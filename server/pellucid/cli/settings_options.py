"""Command options from the fields of ``Settings``: a single source for names, types and help."""

from __future__ import annotations

from functools import cache
from inspect import Parameter, Signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer
from typer.core import TyperCommand

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

GIVEN = "pellucid.settings"

SHORT = {"models": "-m"}
REPEATED = {"models": "NAME", "adapters": "NAME", "engines": "URL"}
"""Options that are repeated per item, with the item's name in the help; further lists are separated
by commas.
"""


def settings_command(*names: str) -> type[TyperCommand]:
    """Return a command class with options for the named settings (default: all settings).

    The options are created when the command runs or shows its help, so that no other command
    imports pydantic.
    """

    class SettingsCommand(TyperCommand):
        def get_params(self, ctx: Any) -> list[Any]:
            return [*_options(names), *super().get_params(ctx)]

    return SettingsCommand


def given_settings(context: typer.Context) -> dict[str, Any]:
    return dict(context.meta.get(GIVEN, {}))


@cache  # typer asks for the options several times.
def _options(names: tuple[str, ...]) -> list[Any]:
    from pellucid.config import Settings

    def command(**_: Any) -> None:
        """Have the signature of a command with these options."""

    chosen = names or tuple(Settings.model_fields)
    parameters = [_parameter(name, Settings.model_fields[name]) for name in chosen]
    command.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    maker = typer.Typer(add_completion=False, rich_markup_mode=None)
    maker.command()(command)
    return list(typer.main.get_command(maker).params)


def _parameter(name: str, field: FieldInfo) -> Parameter:
    from pellucid.config import flag_of

    flag, description = flag_of(name), field.description or ""
    kind = _kind(name, field)
    option = typer.Option(
        f"{flag}/--no-{flag.removeprefix('--')}" if kind is bool else flag,
        *([SHORT[name]] if name in SHORT else []),
        metavar=REPEATED.get(name),
        help=f"{description[0].upper()}{description[1:]}."
        + (" May be given several times." if name in REPEATED else ""),
        expose_value=False,
        callback=_keep,
    )
    return Parameter(name, Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind | None, option])


def _kind(name: str, field: FieldInfo) -> Any:
    """Return the type for the command line's conversion; the settings check every value later."""
    if name in REPEATED:
        return list[str]
    kinds = (field.annotation, *get_args(field.annotation))
    return next((kind for kind in (bool, int, Path) if kind in kinds), str)


def _keep(ctx: typer.Context, param: typer.CallbackParam, value: Any) -> Any:
    if value is not None and value != []:
        ctx.meta.setdefault(GIVEN, {})[param.name] = tuple(value) if isinstance(value, list) else value
    return value
