"""The plugins of a run, from the copies in its folder."""

from __future__ import annotations

import hashlib

from pebench.errors import UserError
from pebench.registry import load_plugin
from pebench.spec import RunSpec
from pebench.store import RunFolder


def load_plugins(folder: RunFolder, spec: RunSpec) -> None:
    """Loads the run's own copies of its plugins.

    Raises:
        UserError: one is missing or not what was asked for.
    """
    for name, digest in spec.plugins.items():
        path = folder.plugins / name
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            raise UserError(f"plugin {path} is missing or has been changed.")
        load_plugin(path)
