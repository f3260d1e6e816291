"""Rules of the house that can be read off its sources."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from copies import ROOT

HOUSE = ROOT / "src" / "mainline"
ORDER = ("data", "train", "evaluate", "compare", "report", "register", "serve", "rollout",
         "monitor", "retrain", "drill", "loop")  # fmt: skip
# Those that put steps together; nothing below may import them.
ABOVE = ("cli", "pipeline", "status", "console", "__main__")
# A verdict's file is written by all and posted by one; the report and the gate stand on nothing.
SOURCES = sorted(HOUSE.rglob("*.py"))


def imports(path: Path) -> set[str]:
    """The modules that a file imports anywhere, as dotted names."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{a.name}" for a in node.names}
    return found


def part(dotted: str) -> str | None:
    """The part of the house in which a module is: `data` of mainline.data.split."""
    words = dotted.split(".")
    return words[1] if words[0] == "mainline" and len(words) > 1 else None


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(HOUSE)))
def test_a_step_imports_only_earlier_ones(path: Path) -> None:
    """data < train < evaluate < ... < loop; what all share imports no step."""
    own = path.relative_to(HOUSE).parts[0].removesuffix(".py")
    if own in ABOVE:
        return
    others = {p for p in map(part, imports(path)) if p in ORDER and p != own}
    if own in ORDER:
        assert {p for p in others if ORDER.index(p) > ORDER.index(own)} == set()
    else:
        assert others == set(), "a foundation imports a step"


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(HOUSE)))
def test_the_house_knows_no_forker_and_no_pickle(path: Path) -> None:
    """`project` and `sample` are never imported by name, and nothing unpickles."""
    roots = {name.split(".")[0] for name in imports(path)}
    assert roots & {"project", "sample"} == set()
    assert roots & {"pickle", "cPickle", "joblib", "dill", "cloudpickle", "shelve"} == set()


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(HOUSE)))
def test_nothing_goes_through_a_shell_and_nothing_is_hashed_by_hash(path: Path) -> None:
    """No shell=True, no os.system, no eval; Python's salted `hash` decides nothing."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Call):
            assert not any(
                k.arg == "shell" and not (isinstance(k.value, ast.Constant) and not k.value.value)
                for k in node.keywords
            )
            name = ast.unparse(node.func)
            assert name not in {"hash", "eval", "exec", "os.system", "os.popen"}, name


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(HOUSE)))
def test_what_is_public_says_what_it_does(path: Path) -> None:
    """Every module and every public function and class has a docstring."""
    tree = ast.parse(path.read_text("utf-8"))
    assert ast.get_docstring(tree)
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
            assert ast.get_docstring(node), node.name
