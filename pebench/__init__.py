"""pebench: fair comparisons of Transformer position encodings."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pebench.api import encoding, load_sweep, run

__all__ = ["encoding", "load_sweep", "run"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Imports the public functions on first use: `import pebench` alone must not cost an import of torch."""
    if name in __all__:
        from pebench import api

        return getattr(api, name)
    raise AttributeError(f"module 'pebench' has no attribute '{name}'")


class _Package(ModuleType):
    """Keeps `pebench.run` and `pebench.encoding` functions, although modules bear these names too.

    An import of `pebench.encoding` would otherwise hang the module over the function, and which of the two a
    user gets would depend on what was imported before. `from pebench.encoding import …` is not concerned.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in __all__ and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
