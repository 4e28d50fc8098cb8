"""A local code-completion and chat server that you can see through.

``pellucid.load`` gives a model in Python.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pellucid.serving.python_api import load as load


def __getattr__(name: str) -> Any:
    """Import ``load`` when it is first used: the package itself stays light for the language server."""
    if name == "load":
        from pellucid.serving.python_api import load

        return load
    raise AttributeError(f"module 'pellucid' has no attribute {name!r}")
