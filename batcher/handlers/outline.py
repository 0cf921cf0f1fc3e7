"""What a file of functions holds, read without running it: for a check, which runs nobody's code.

It errs on one side: a name that running the file might make a handler is taken for one, so that
what is called missing is missing.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from batcher.errors import UsageError

__all__ = ["outline"]

_BY_NAME: Final = "HANDLERS"


def outline(path: Path) -> frozenset[str] | None:
    """Name the tools that a file may have functions for; None where only running it would tell.

    Raises:
        UsageError: There is no such file, or it is no Python.
    """
    try:
        tree = ast.parse(path.read_bytes(), path.name)
    except OSError:
        raise UsageError(f"handlers.python: there is no Python file {path}") from None
    except (SyntaxError, ValueError) as error:
        where = f" (line {error.lineno})" if isinstance(error, SyntaxError) else ""
        raise UsageError(f"{path.name} is no Python{where}") from None
    names: set[str] = set()
    for node in _outside_functions(tree):
        bound = _bound_by(node)
        if bound is None:
            return None
        names |= bound
    return frozenset(name for name in names if not name.startswith("_"))


def _outside_functions(node: ast.AST) -> Iterator[ast.AST]:
    """Walk what runs when the file does, and is not within a function or a class."""
    for child in ast.iter_child_nodes(node):
        yield child
        if not isinstance(
            child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda
        ):
            yield from _outside_functions(child)


def _bound_by(node: ast.AST) -> set[str] | None:
    """Name what a node binds, `HANDLERS` by its keys; None where it may bind anything."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return {node.name}
    if isinstance(node, ast.Assign | ast.AnnAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        if any(isinstance(one, ast.Name) and one.id == _BY_NAME for one in targets):
            return _keys(node.value)
    if isinstance(node, ast.Name):
        by_name = node.id == _BY_NAME and isinstance(node.ctx, ast.Load)
        if by_name or node.id in {"globals", "vars", "exec", "locals", "setattr"}:
            return None
        return {node.id} if isinstance(node.ctx, ast.Store) else set()
    if isinstance(node, ast.ImportFrom) and _BY_NAME in {
        one.asname or one.name for one in node.names
    }:
        return None
    # What else is imported is no handler by itself.
    return None if isinstance(node, ast.alias) and node.name == "*" else set()


def _keys(value: ast.expr | None) -> set[str] | None:
    """Name the keys of a mapping that is written out."""
    if not isinstance(value, ast.Dict):
        return None
    keys = [key.value for key in value.keys if isinstance(key, ast.Constant)]
    return {str(key) for key in keys} if len(keys) == len(value.keys) else None
