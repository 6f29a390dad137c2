"""Finished runs of a few steps, for tests of what can be done with one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from specimens.tiny_sweeps import tiny

from pebench.resolve import resolve
from pebench.running.execution import Execution
from pebench.running.run import execute
from pebench.store.run_folder import RunFolder


def trained(
    place: Path, encoding: str = "rope", steps: int = 4, *, model: dict[str, Any] | None = None, **task: Any
) -> RunFolder:
    """A finished run over the text of a `place`, in the folder `runs` there."""
    written = tiny(place)
    options = {**written["tasks"][0]["language-modeling"], **task}
    spec = resolve(
        encoding,
        {"language-modeling": options},
        model=model or written["model"],
        train={**written["train"], "steps": steps, "learning_rate": 1e-2},
    )
    folder = RunFolder(place / "runs" / spec.run_id)
    folder.create(spec, {})
    execute(folder, Execution(device="cpu", threads=1))
    return folder
