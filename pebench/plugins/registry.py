"""Which encodings and tasks there are, known from the names of their files and imported on first use.

Plugins come from three places: the folders `encodings/` and `tasks/`, packaging entry points of the groups
`pebench.encodings` and `pebench.tasks`, and single files named on the command line.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import importlib
import importlib.util
import inspect
import pkgutil
import sys
import traceback
from dataclasses import dataclass, field
from importlib.machinery import SourceFileLoader
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import CodeType
from typing import Any, Generic, TypeVar

from pebench.errors import UserError, join_and, quoted, shown, unknown
from pebench.specification.plugin_ref import misplaced_options

Base = TypeVar("Base")


@dataclass(frozen=True)
class Origin:
    """Where a plugin comes from.

    Attributes:
        name: the name it is known by.
        module: the module to import.
        file: its source, None where it has none that can be found without importing it.
        attribute: the class in the module, None to take the only one there is.
        provider: ``"pebench"``, ``"<distribution> <version>"`` or ``"file"``.
    """

    name: str
    module: str
    file: Path | None
    attribute: str | None
    provider: str

    def __str__(self) -> str:
        return str(self.file or self.module)


@dataclass
class Registry(Generic[Base]):
    """The plugins of one kind.

    Attributes:
        kind: what a plugin is called in messages, ``"encoding"`` or ``"task"``.
        package: the package whose modules are plugins; also the entry point group.
        base: ``"module:Class"`` that a plugin's class must derive from, so that this file imports neither.
    """

    kind: str
    package: str
    base: str
    _files: dict[str, Origin] = field(default_factory=dict)

    def origins(self) -> dict[str, Origin]:
        """Every plugin by name, sorted; nothing is imported.

        Raises:
            UserError: two plugins claim one name.
        """
        found: dict[str, Origin] = {}
        for origin in [*self._built_in(), *self._entry_points(), *self._files.values()]:
            other = found.setdefault(origin.name, origin)
            if other is not origin:
                raise UserError(f"two {self.kind}s are named '{origin.name}': {other} and {origin}.")
        return dict(sorted(found.items()))

    def origin(self, name: str) -> Origin:
        """Where `name` comes from.

        Raises:
            UserError: nothing is called so; the message names what is nearest.
        """
        origins = self.origins()
        if name not in origins:
            raise misplaced_options(self.kind, name, origins) or unknown(self.kind, name, origins)
        return origins[name]

    def load(self, name: str) -> type[Base]:
        """The class behind a name, imported now.

        Raises:
            UserError: the name is unknown, or its file cannot be imported or holds no such class.
        """
        return self._class(self.origin(name))

    def add_file(self, path: Path) -> str | None:
        """Takes a plugin file in, imports it, and returns the name it is known by from now on.

        Returns:
            The name, or None where the file holds no plugin of this kind.

        Raises:
            UserError: the file cannot be read or imported, or its name is taken.
        """
        try:
            path = path.resolve()
            there = path.is_file()
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise UserError(f"no plugin file at {quoted(str(path))}: {reason}.") from error
        if not there:
            raise UserError(f"no plugin file at {path}.")
        name = path.stem.replace("_", "-")
        known = self._files.get(name)
        if known is not None and known.file is not None and _same_content(known.file, path):
            return name
        origin = Origin(name, f"pebench_plugin_{path.stem.replace('-', '_')}", path, None, "file")
        classes = self._classes(_import(origin, self.kind))
        if not classes:
            return None
        self._only(origin, classes)
        taken = self.origins().get(name)
        if taken is not None:
            raise UserError(f"two {self.kind}s are named '{name}': {taken} and {path}.")
        self._files[name] = origin
        return name

    def literals(self, name: str) -> dict[str, Any]:
        """Facts in the source of a plugin, read without importing it.

        Returns:
            The first line of the docstring as ``"summary"``, and every class attribute that is a literal.
            Empty where the source cannot be found without an import.

        Raises:
            UserError: nothing is called so, or its source is not Python.
        """
        file = self.origin(name).file
        if file is None:
            return {}
        try:
            return dict(_facts(file.read_bytes(), str(file)))
        except (OSError, SyntaxError, ValueError) as error:
            raise UserError(f"{self.kind} '{name}' ({file}) cannot be read: {error}.") from error

    def _built_in(self) -> tuple[Origin, ...]:
        package = importlib.import_module(self.package)
        return _in_folders(self.package, tuple(package.__path__))

    def _entry_points(self) -> list[Origin]:
        origins = []
        for point in _installed(self.package):
            provider = f"{point.dist.name} {point.dist.version}" if point.dist else point.module
            file = _source_without_import(point.module)
            origins.append(Origin(point.name, point.module, file, point.attr or None, provider))
        return origins

    def _class(self, origin: Origin) -> type[Base]:
        module = _import(origin, self.kind)
        if origin.attribute is not None:
            named = getattr(module, origin.attribute, None)
            if not (inspect.isclass(named) and issubclass(named, self._base())):
                raise UserError(f"{origin}: '{origin.attribute}' is not a {self._base().__name__}.")
            return self._whole(origin, named)
        return self._whole(origin, self._only(origin, self._classes(module)))

    def _whole(self, origin: Origin, found: type[Base]) -> type[Base]:
        """The class, which has all that its base leaves open."""
        constants = [name for name in inspect.get_annotations(self._base()) if not hasattr(found, name)]
        missing = sorted([*constants, *getattr(found, "__abstractmethods__", ())])
        if missing:
            raise UserError(f"{origin}: {found.__name__} lacks {join_and(missing)}.")
        return found

    def _only(self, origin: Origin, classes: list[type[Base]]) -> type[Base]:
        if len(classes) != 1:
            raise UserError(f"{origin} must define one {self._base().__name__}, but defines {len(classes)}.")
        return classes[0]

    def _classes(self, module: Any) -> list[type[Base]]:
        base = self._base()
        return [
            value
            for value in vars(module).values()
            if inspect.isclass(value)
            and issubclass(value, base)
            and value is not base
            and value.__module__ == module.__name__
            and not value.__name__.startswith("_")
        ]

    def _base(self) -> type[Base]:
        module, _, name = self.base.partition(":")
        base: type[Base] = getattr(importlib.import_module(module), name)
        return base


encodings: Registry[Any] = Registry(
    "encoding", "pebench.encodings", "pebench.position_encoding:PositionEncoding"
)
tasks: Registry[Any] = Registry("task", "pebench.tasks", "pebench.task:Task")


def load_plugin(path: Path) -> None:
    """Takes in a file that defines an encoding or a task.

    Raises:
        UserError: it defines neither, cannot be imported, or its name is taken.
    """
    if encodings.add_file(path) is None and tasks.add_file(path) is None:
        raise UserError(f"{path} defines neither a PositionEncoding nor a Task.")


def told_of_plugin(error: Exception) -> str | None:
    """A sentence about an error in the code of a plugin that is not pebench's own, with the line of it that
    ran last; None where no such line ran."""
    found = _line_of_plugin(error)
    if found is None:
        return None
    what, origin, line = found
    reason = shown(" ".join(f"{type(error).__name__}: {error}".split()))
    return f"{what} ({origin}, line {line}) ended in {reason}."


def reason_with_line(error: Exception) -> str:
    """What an error says, and the line of a plugin that is not pebench's own from which it came: whoever
    writes one sees where, whoever uses pebench's own gets the reason alone."""
    reason, found = str(error).rstrip("."), _line_of_plugin(error)
    return reason if found is None else f"{reason} ({found[1]}, line {found[2]})"


def _line_of_plugin(error: Exception) -> tuple[str, Origin, int | None] | None:
    """What the plugin is called, where it comes from, and its line that ran last; None where none did."""
    others: dict[str, tuple[str, Origin]] = {}
    for registry in (encodings, tasks):
        with contextlib.suppress(UserError):
            for name, origin in registry.origins().items():
                if origin.provider != "pebench":
                    others[str(origin.file)] = (f"{registry.kind} '{name}'", origin)
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if frame.filename in others:
            return *others[frame.filename], frame.lineno
    return None


def _import(origin: Origin, kind: str) -> Any:
    if origin.module in sys.modules and origin.provider != "file":
        return sys.modules[origin.module]
    try:
        if origin.provider != "file":
            return importlib.import_module(origin.module)
        loaded = sys.modules.get(origin.module)
        if loaded is not None and getattr(loaded, "__file__", None) == str(origin.file):
            return loaded
        assert origin.file is not None
        spec = importlib.util.spec_from_file_location(origin.module, origin.file)
        if spec is None or spec.loader is None:
            raise ImportError("not a Python file")
        if isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Uncached(spec.loader.name, spec.loader.path)
        module = importlib.util.module_from_spec(spec)
        sys.modules[origin.module] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[origin.module]
            raise
        return module
    except (Exception, SystemExit) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"{kind} '{origin.name}' ({origin}) cannot be imported: {reason}") from error


class _Uncached(SourceFileLoader):
    """Reads the source of a plugin each time: nothing compiled is written beside it, nor taken for it when an
    edit leaves size and second as they were."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        code: CodeType = self.source_to_code(self.get_data(path), path)
        return code


@functools.cache
def _in_folders(package: str, folders: tuple[str, ...]) -> tuple[Origin, ...]:
    # Looking for the files takes 5 ms, and a sweep asks thousands of times.
    origins = []
    for name in sorted({module.name for module in pkgutil.iter_modules(folders)}):
        forms = (f"{name}.py", f"{name}/__init__.py")
        places = (Path(folder) / form for folder in folders for form in forms)
        file = next((place for place in places if place.is_file()), None)
        origins.append(Origin(name.replace("_", "-"), f"{package}.{name}", file, None, "pebench"))
    return tuple(origins)


@functools.cache
def _installed(group: str) -> tuple[EntryPoint, ...]:
    # Reading the metadata of all distributions takes 10 ms and more, and a sweep asks thousands of times.
    return tuple(entry_points(group=group))


def _same_content(one: Path, other: Path) -> bool:
    """Whether two plugin files are copies of each other, as a run's own copy is of its original."""
    return one == other or (one.is_file() and one.read_bytes() == other.read_bytes())


def _source_without_import(module: str) -> Path | None:
    """The file of a module, found through its top-level package alone, which may be a namespace of others."""
    top, *rest = module.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    if not rest:
        return Path(spec.origin) if spec.origin else None
    for place in spec.submodule_search_locations or []:
        file = Path(place, *rest).with_suffix(".py")
        if file.is_file():
            return file
        package = Path(place, *rest, "__init__.py")
        if package.is_file():
            return package
    return None


@functools.cache
def _facts(source: bytes, file: str) -> dict[str, Any]:
    """The literals of a file with this content. A sweep asks for those of every encoding cell by cell."""
    tree = ast.parse(source, filename=file)
    facts: dict[str, Any] = {"summary": (ast.get_docstring(tree) or "").partition("\n")[0]}
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            facts.update(_class_literals(node))
    return facts


def _class_literals(node: ast.ClassDef) -> dict[str, Any]:
    facts = {}
    for statement in node.body:
        target: ast.expr
        if isinstance(statement, ast.AnnAssign) and statement.value is not None:
            target, value = statement.target, statement.value
        elif isinstance(statement, ast.Assign) and len(statement.targets) == 1:
            target, value = statement.targets[0], statement.value
        else:
            continue
        if isinstance(target, ast.Name):
            try:
                facts[target.id] = ast.literal_eval(value)
            except ValueError:
                continue
    return facts
