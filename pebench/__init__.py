"""pebench: fair comparisons of Transformer position encodings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pebench.api import (
        Extrapolation,
        Geometry,
        encoded_positions,
        encoding,
        grid,
        load,
        load_plugin,
        load_sweep,
        results,
        run,
        status,
        submit,
        tabulate,
    )

__all__ = [
    "Extrapolation",
    "Geometry",
    "encoded_positions",
    "encoding",
    "grid",
    "load",
    "load_plugin",
    "load_sweep",
    "results",
    "run",
    "status",
    "submit",
    "tabulate",
]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Imports the public functions on first use: `import pebench` alone must not cost an import of torch."""
    if name in __all__:
        from pebench import api

        return getattr(api, name)
    raise AttributeError(f"module 'pebench' has no attribute '{name}'")


def __dir__() -> list[str]:
    """The public names, for completion."""
    return sorted([*__all__, "__version__"])
