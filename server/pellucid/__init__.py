"""A transparent local server for code completion and chat; ``pellucid.load`` loads a model."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pellucid.serving.python_api import load as load


def __getattr__(name: str) -> Any:
    """Import ``load`` at first use: the package itself stays light for the language server."""
    if name == "load":
        from pellucid.serving.python_api import load

        return load
    raise AttributeError(f"module 'pellucid' has no attribute {name!r}")
