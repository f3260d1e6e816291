"""Changes that a gate must let through."""

from __future__ import annotations

import ast
from pathlib import Path

from mainline.drill import edits
from mainline.drill.kinds import NotApplicable

WRAPPED = '''

# Moved, and called by its old name.
_moved = {function}


def {function}(*args, **kwargs):
    """As before."""
    return _moved(*args, **kwargs)
'''


def comment(root: Path) -> str:
    """A comment at the end of the forker's modules."""
    paths = {edits.features(root)[0], edits.estimator(root)[0]}
    for path in paths:
        edits.append(path, "# A comment changes nothing.\n")
    return f"a comment in {len(paths)} modules"


def refactoring(root: Path) -> str:
    """Both entry points are moved behind another function that does the same."""
    for path, function in {edits.features(root), edits.estimator(root)}:
        edits.append(path, WRAPPED.format(function=function))
    return "both entry points call what they were"


def renamed(root: Path) -> str:
    """A local variable of an entry point gets another name, and the module another layout."""
    for path, function in (edits.features(root), edits.estimator(root)):
        tree = ast.parse(path.read_text("utf-8"))
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and node.name == function:
                name = _local(node)
                if name:
                    _Renamed(name, f"{name}_renamed").visit(node)
                    path.write_text(ast.unparse(tree) + "\n", encoding="utf-8")
                    return f"the variable {name!r} of {path.name} is called {name}_renamed"
    raise NotApplicable("neither entry point has a local variable")


def _local(function: ast.FunctionDef) -> str | None:
    nested = (ast.FunctionDef, ast.Lambda, ast.Global, ast.Nonlocal)
    if any(isinstance(n, nested) for n in ast.walk(function) if n is not function):
        return None
    given = {a.arg for a in ast.walk(function.args) if isinstance(a, ast.arg)}
    stored = [n.id for n in ast.walk(function)
              if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]  # fmt: skip
    return next((name for name in stored if name not in given), None)


class _Renamed(ast.NodeTransformer):
    def __init__(self, old: str, new: str) -> None:
        self.old, self.new = old, new

    def visit_Name(self, node: ast.Name) -> ast.Name:
        if node.id == self.old:
            node.id = self.new
        return node
