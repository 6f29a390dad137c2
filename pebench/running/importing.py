"""Imports of large libraries."""

from __future__ import annotations

import gc
import importlib
import sys


def import_for_good(*modules: str) -> None:
    """Imports modules that the process keeps, unless it has them.

    Python would look for garbage among all that they define, many times while they are imported and in every
    search thereafter: a fifth of the time that the import of PyTorch and its compiler takes.
    """
    if all(module in sys.modules for module in modules):
        return
    searched = gc.isenabled()
    gc.disable()
    try:
        for module in modules:
            importlib.import_module(module)
    finally:
        gc.freeze()
        if searched:
            gc.enable()
