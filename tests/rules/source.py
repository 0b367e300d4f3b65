"""The package's source as the rules read it: modules, their imports, their texts."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "openqueue"


@dataclass(frozen=True)
class Import:
    """One import of a module of ours by another."""

    importer: str
    imported: str
    line: int
    at_load: bool  # not inside a function

    def __str__(self) -> str:
        return f"{self.importer}:{self.line} imports {self.imported}"


class Module:
    """A module of the package."""

    def __init__(self, path: Path) -> None:
        self.path = path
        parts = path.relative_to(ROOT).with_suffix("").parts
        self.name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.path.read_text(), filename=str(self.path))

    @property
    def lines(self) -> int:
        return len(self.path.read_text().splitlines())

    def imports(self, known: set[str]) -> Iterator[Import]:
        """What it imports of `known` modules at run time: TYPE_CHECKING blocks do not count."""
        for node, at_load in _run_time_nodes(self.tree, at_load=True):
            for target in _targets(node, known):
                yield Import(self.name, target, node.lineno, at_load)


def modules() -> dict[str, Module]:
    """All modules of the package by name."""
    found = (Module(path) for path in sorted(PACKAGE.rglob("*.py")))
    return {module.name: module for module in found}


@cache
def imports() -> list[Import]:
    """All imports of the package's modules by each other; read once a process, and only where needed."""
    all_modules = modules()
    return [found for module in all_modules.values() for found in module.imports(set(all_modules))]


def _run_time_nodes(node: ast.AST, *, at_load: bool) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child, at_load
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for other in child.orelse:
                yield from _run_time_nodes(other, at_load=at_load)
        else:
            inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from _run_time_nodes(child, at_load=at_load and not inside)


def _targets(node: ast.Import | ast.ImportFrom, known: set[str]) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names if alias.name in known)
        return
    assert node.level == 0, "imports are absolute (ruff: TID252)"
    for alias in node.names:
        whole = f"{node.module}.{alias.name}"
        if whole in known:
            yield whole
        elif node.module in known:
            yield f"{node.module}:{alias.name}" if node.module == "openqueue" else str(node.module)
