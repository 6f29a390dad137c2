"""Installed packages: their versions, and what the files of those hold that bring encodings and tasks in."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import importlib.util
import json
from collections.abc import Iterable
from pathlib import Path

from pebench.plugins.registry import Origin, encodings, tasks


def packages(encoding: Iterable[str], task: str) -> dict[str, str]:
    """The packages that the parts of an encoding and a task come from, but for pebench itself.

    Args:
        encoding: the names of its parts.
        task: its name.

    Returns:
        SHA-256 of all their files by name and version: ``{"my-encodings 0.2": …}``.

    Raises:
        UserError: there is no such encoding or task.
    """
    origins = (*map(encodings.origin, encoding), tasks.origin(task))
    return {o.provider: _digest(o) for o in origins if o.provider not in ("pebench", "file")}


def version(name: str) -> str | None:
    """The version of an installed package, None for one that is not."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


@functools.cache
def _digest(origin: Origin) -> str:
    files = {**_of_distribution(origin), **_of_module(origin)}
    hashes = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()}
    return hashlib.sha256(json.dumps(hashes, sort_keys=True).encode()).hexdigest()


def _of_distribution(origin: Origin) -> dict[str, Path]:
    """The files that the installer wrote, by their paths, without what it says of itself."""
    try:
        distribution = importlib.metadata.distribution(origin.provider.rpartition(" ")[0])
    except (importlib.metadata.PackageNotFoundError, ValueError):
        return {}
    found = {}
    for file in distribution.files or ():
        path = Path(str(distribution.locate_file(file)))
        about = file.parts[0] == ".." or file.parts[0].endswith((".dist-info", ".egg-info"))
        if not about and file.suffix != ".pth" and _is_source(path):
            found[file.as_posix()] = path
    return found


def _of_module(origin: Origin) -> dict[str, Path]:
    """The files of the package that the module lies in: those of one that is installed to be edited are
    listed nowhere. Of a namespace that several distributions share, those beside the module."""
    top, *_ = origin.module.split(".")
    spec = importlib.util.find_spec(top)
    file = Path(spec.origin) if spec is not None and spec.origin else origin.file
    if file is None:
        return {}
    if spec is not None and spec.origin and not spec.submodule_search_locations:
        return {file.name: file}
    root = file.parent
    prefix = top if spec is not None and spec.origin else "/".join(origin.module.split(".")[:-1])
    paths = root.rglob("*") if spec is not None and spec.origin else root.glob("*")
    return {f"{prefix}/{path.relative_to(root).as_posix()}": path for path in paths if _is_source(path)}


def _is_source(path: Path) -> bool:
    """Whether it is a file that was written by somebody."""
    return path.is_file() and path.suffix not in (".pyc", ".pyo") and "__pycache__" not in path.parts
