"""pebench: fair comparisons of Transformer position encodings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pebench.api import encoding, load, load_sweep, run

__all__ = ["encoding", "load", "load_sweep", "run"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Imports the public functions on first use: `import pebench` alone must not cost an import of torch."""
    if name in __all__:
        from pebench import api

        return getattr(api, name)
    raise AttributeError(f"module 'pebench' has no attribute '{name}'")
