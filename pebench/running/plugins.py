"""The plugins of a run: files from the copies in its folder, packages as they are installed."""

from __future__ import annotations

import hashlib

from pebench.errors import UserError
from pebench.plugins.packages import packages
from pebench.plugins.registry import load_plugin
from pebench.specification.run_spec import RunSpec
from pebench.store.run_folder import RunFolder


def load_plugins(folder: RunFolder, spec: RunSpec) -> None:
    """Loads the run's own copies of its plugins, and makes sure of those that are installed.

    Raises:
        UserError: one is missing or not what was asked for.
    """
    for name, digest in spec.plugins.items():
        path = folder.plugins / name
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            raise UserError(f"plugin {path} is missing or has been changed.")
        load_plugin(path)
    if spec.packages:
        _check_packages(spec)


def _check_packages(spec: RunSpec) -> None:
    here = packages([part.name for part in spec.encoding.parts], spec.task.name)
    for name, digest in here.items():
        if spec.packages.get(name) == digest:
            continue
        was = next((asked for asked in spec.packages if _package(asked) == _package(name)), "no package")
        how = "which has other files here" if was == name else f"and here is {name}"
        raise UserError(
            f"run '{spec.run_id}' was asked for with {was}, {how}: install what it was, or submit it again."
        )


def _package(provider: str) -> str:
    return provider.rpartition(" ")[0]
