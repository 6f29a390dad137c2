"""Sweeps that train in a blink, for tests of what happens around a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from pebench.sweeping.sweep import Sweep, load_sweep


def tiny(folder: Path, name: str = "tiny", **changes: Any) -> dict[str, Any]:
    """What may stand in the file of a tiny sweep over the text of a `place`."""
    data = str(folder / "text.txt")
    task = {"data": data, "extent": 16, "evaluate": [16, 32], "tokens": 128, "protocols": ["non-overlapping"]}
    return {
        "name": name,
        "encodings": ["none", "rope"],
        "tasks": [{"language-modeling": task}],
        "seeds": 1,
        "model": {"width": 16, "heads": 2, "layers": 1},
        "train": {"steps": 4, "batch": 2},
        "execution": {"device": "cpu", "threads": 1},
        **changes,
    }


def write(folder: Path, written: Any, name: str = "tiny.yaml") -> Path:
    """A sweep's file."""
    path = folder / name
    path.write_text(
        written if isinstance(written, str) else yaml.safe_dump(written, sort_keys=False), "utf-8"
    )
    return path


def load(folder: Path, **changes: Any) -> Sweep:
    """A tiny sweep."""
    return load_sweep(write(folder, tiny(folder, **changes)))
