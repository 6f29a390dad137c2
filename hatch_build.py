"""Puts encodings, tasks and sweeps into the wheel; an editable install reads those of the checkout."""

from __future__ import annotations

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class TopLevelFolders(BuildHookInterface[Any]):
    """Lays the top-level folders into the package."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Adds them, unless the install is editable: it would copy them, and the copies grow old."""
        if version != "editable":
            folders = ("encodings", "tasks", "sweeps")
            build_data["force_include"] |= {folder: f"pebench/{folder}" for folder in folders}
