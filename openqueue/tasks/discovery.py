"""Finding tasks: import what is in the task directories and the named modules, in order.

A file is imported under the name the program itself would use (`tasks.mail` from the working
directory), so that it is not loaded twice when others import it; what the task is called follows from
the directory (`naming`). A directory off the path becomes a package of its own.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable, Iterator
from hashlib import sha256
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from os import PathLike
from pathlib import Path

from openqueue.errors import ConfigError, InvalidTask, did_you_mean
from openqueue.tasks.declared import declaring
from openqueue.tasks.naming import roots, set_roots
from openqueue.tasks.registry import Registry
from openqueue.tasks.tracebacks import tell_broken

__all__ = ["discover", "reach", "task_files"]

_SKIPPED_DIRS = {"__pycache__", "tests", "test", "node_modules", "site-packages", "venv"}
_SKIPPED_FILES = {"conftest.py", "setup.py", "__main__.py"}


def discover(
    dirs: Iterable[str | PathLike[str]] = (),
    modules: Iterable[str] = (),
    *,
    allow_missing: bool = False,
) -> Registry:
    """Import the directories' files and the modules, one after the other, and return their tasks.

    Sets the directories that name tasks in this process, and puts the working directory on the import
    path, as `python -m` does. With `allow_missing` a directory that does not exist is passed over.
    Raises ConfigError for what cannot be imported, with the lines that are at fault, and InvalidTask for
    two tasks of one name and for a signature that cannot be used.
    """
    roots = [Path(one) for one in dirs]
    set_roots(roots)
    _reach_working_directory()
    imported: list[str] = []
    with declaring() as heard:
        for root in roots:
            imported += _import_directory(root, allow_missing=allow_missing)
        for name in modules:
            imported.append(_import(name, f"module {name}"))
    registry = Registry.collect(imported, heard)
    _check_signatures(registry)
    return registry


def task_files(root: Path) -> Iterator[Path]:
    """The Python files below a directory, in order; without tests, caches, hidden ones and environments."""
    for entry in sorted(root.iterdir()):
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            if entry.name not in _SKIPPED_DIRS and not (entry / "pyvenv.cfg").exists():
                yield from task_files(entry)
        elif entry.suffix == ".py" and not _is_skipped(entry.name):
            yield entry


def reach(module: str) -> None:
    """Make a module below a task directory off the path importable by the name that `discover` gave it."""
    for root in roots():
        if root.is_dir() and module.partition(".")[0] == _package_name(root.resolve()):
            _made_package(root.resolve())


def _is_skipped(name: str) -> bool:
    return name in _SKIPPED_FILES or name.startswith("test_") or name.endswith("_test.py")


def _reach_working_directory() -> None:
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)


def _import_directory(root: Path, *, allow_missing: bool) -> list[str]:
    if not root.is_dir():
        if allow_missing and not root.exists():
            return []
        raise ConfigError(
            f"The task directory {root} does not exist (looked for {root.absolute()})."
            " Create it, or say where the tasks are with --dir or --module (in the settings: dirs, modules)."
        )
    absolute = root.resolve()
    packages = _packages(absolute)
    files = list(task_files(absolute))
    return [_import(_module_name(file, absolute, packages), str(file)) for file in files]


def _packages(root: Path) -> list[str]:
    """What others may call `root`: "" where it is on the path itself, a package where an entry is above."""
    bases = [Path(entry or ".").resolve() for entry in sys.path]
    names = [".".join(root.relative_to(base).parts) for base in bases if root.is_relative_to(base)]
    return sorted(dict.fromkeys(names), key=lambda name: name != "")


def _module_name(file: Path, root: Path, packages: list[str]) -> str:
    """The name to import a file by: as it was, as the program would, else below a package made for `root`."""
    parts = list(file.relative_to(root).with_suffix("").parts)
    if any("." in part for part in parts):
        raise ConfigError(f"{file} has a dot in its name, so it cannot be imported. Rename it.")
    if parts[-1] == "__init__":
        parts.pop()
    names = list(filter(None, (".".join(filter(None, [package, *parts])) for package in packages)))
    for name in names:
        if _same(getattr(sys.modules.get(name), "__file__", None), file):
            return name
    for name in names:
        if (spec := _found(name, str(file))) is not None and _same(spec.origin, file):
            return name
    return ".".join([_made_package(root), *parts])


def _same(found: str | None, file: Path) -> bool:
    return found is not None and Path(found).resolve() == file


def _found(name: str, what: str) -> ModuleSpec | None:
    try:
        return find_spec(name)
    except (ModuleNotFoundError, ValueError):  # ValueError: a module that has no spec, as __main__
        return None
    except Exception as error:
        raise ConfigError(tell_broken(what, error)) from error


def _package_name(root: Path) -> str:
    return f"{root.name}_{sha256(str(root).encode()).hexdigest()[:8]}"


def _made_package(root: Path) -> str:
    """A package for a directory off the path; its name says which, and hides no other module."""
    name = _package_name(root)
    if name in sys.modules:
        return name
    start = root / "__init__.py"
    if not start.exists():
        bare = ModuleSpec(name, None, is_package=True)
        bare.submodule_search_locations = [str(root)]
        sys.modules[name] = module_from_spec(bare)
        return name
    spec = spec_from_file_location(name, start, submodule_search_locations=[str(root)])
    assert spec is not None
    assert spec.loader is not None
    sys.modules[name] = package = module_from_spec(spec)
    try:
        spec.loader.exec_module(package)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise ConfigError(tell_broken(str(start), error)) from error
    return name


def _import(name: str, what: str) -> str:
    """Import a module and return its name; what goes wrong becomes a ConfigError that shows where."""
    if "/" in name or name.startswith("."):  # import_module would speak of a package of its own
        raise ConfigError(_missing(name, name))
    try:
        importlib.import_module(name)
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and error.name and _is_or_above(error.name, name):
            raise ConfigError(_missing(name, error.name)) from None
        raise ConfigError(tell_broken(what, error)) from error
    return name


def _is_or_above(parent: str, name: str) -> bool:
    return name == parent or name.startswith(parent + ".")


def _missing(name: str, missing: str) -> str:
    return (
        f"There is no module {name!r} ({missing!r} was not found from {Path.cwd()})."
        f"{_meant(name)} Correct --module (in the settings: modules),"
        " or start where the program is."
    )


def _meant(name: str) -> str:
    """What may have been meant: the module of a file, or what has nearly this name in its package."""
    file = Path(name)
    if len(file.parts) > 1 and not file.is_absolute() and ".." not in file.parts:
        return f" Did you mean {'.'.join(file.with_suffix('').parts)!r}?"
    package, dot, _ = name.rpartition(".")
    if dot and package in sys.modules:
        inside = getattr(sys.modules[package], "__path__", ())
        return did_you_mean(name, [f"{package}.{one}" for place in inside for one in _modules(Path(place))])
    return did_you_mean(name.partition(".")[0], _modules(Path.cwd()))


def _modules(place: Path) -> list[str]:
    return [one.stem for one in place.iterdir() if one.suffix in ("", ".py")] if place.is_dir() else []


def _check_signatures(registry: Registry) -> None:
    for task in registry:
        try:
            task.arguments.check()
        except InvalidTask as error:
            raise InvalidTask(f"{error} (task {task.name!r}, {task.place})") from error
