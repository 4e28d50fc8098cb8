"""Finds names in Python code that exist neither in the file nor in any package."""

from __future__ import annotations

import ast
import builtins
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import packages_distributions

OF_MODULES = frozenset(
    {"__name__", "__file__", "__doc__", "__package__", "__spec__", "__loader__", "__builtins__", "__annotations__"}
)
OF_CLASSES = frozenset({"__class__", "__module__", "__qualname__"})


@dataclass(frozen=True, slots=True)
class Names:
    """Names without attributes: checking attributes needs types."""

    imports: tuple[str, ...]
    uses: tuple[str, ...]
    unknown: tuple[str, ...]

    @property
    def all(self) -> int:
        return len(self.imports) + len(self.uses)


def names_of(before: str, answer: str, after: str) -> Names | None:
    """Return the names in the answer; None for invalid Python or a star import."""
    try:
        tree = ast.parse(before + answer + after)
    # All errors of the parser for generated code.
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    if any(isinstance(node, ast.ImportFrom) and node.names[0].name == "*" for node in ast.walk(tree)):
        return None
    first = before.count("\n") + 1
    last = first + answer.rstrip("\n").count("\n")
    own = [node for node in ast.walk(tree) if first <= getattr(node, "lineno", 0) <= last]
    imports = tuple(dict.fromkeys(name for node in own for name in _imported(node)))
    uses = tuple(
        dict.fromkeys(node.id for node in own if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load))
    )
    known = OF_MODULES | OF_CLASSES | frozenset(_bound(tree))
    wrong = [name for name in imports if name not in modules()]
    wrong += [name for name in uses if not (name in known or hasattr(builtins, name) or name in modules())]
    return Names(imports, uses, tuple(wrong))


@cache
def modules() -> frozenset[str]:
    return frozenset(sys.stdlib_module_names) | frozenset(packages_distributions())


def _imported(node: ast.AST) -> Iterator[str]:
    """Yield top-level modules. Relative imports are not checked."""
    if isinstance(node, ast.Import):
        yield from (alias.name.partition(".")[0] for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
        yield node.module.partition(".")[0]


def _bound(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
                yield name
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.arg(arg=name):
                yield name
            case ast.alias(name=name, asname=other):
                yield other or name.partition(".")[0]
            case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                yield name
            case ast.MatchMapping(rest=str(name)):
                yield name
            case ast.Global(names=names) | ast.Nonlocal(names=names):
                yield from names
