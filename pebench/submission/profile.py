"""A cluster's profile: what is asked of it every time, in one file.

    partition: gpu
    account: lab
    time: 12:00:00
    gpus: 1
    cpus: 8
    mem: 32G
    max-parallel: 16
    setup: [module load cuda/12.4]
    slurm: {reservation: spring}

Its keys are the options of `pebench submit` for SLURM, and the command line beats it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from pebench.errors import UserError, unknown
from pebench.specification.options import validated
from pebench.submission.resources import Resources
from pebench.sweeping import yaml_file


def profiles_folder() -> Path:
    """Where a user's profiles are, ``~/.config/pebench/clusters`` on Linux."""
    import platformdirs

    return platformdirs.user_config_path("pebench") / "clusters"


def read_profile(name: str, beside: Path | None) -> dict[str, Any]:
    """The fields of `Resources` that a profile sets.

    Args:
        name: a file, as ``mine.yaml``, or ``mine``, which is looked for beside the sweep and then among the
            user's own.
        beside: the file of the sweep, None where there is none.

    Raises:
        UserError: there is none, or a key or a value in it is wrong.
    """
    path = _find(name, beside)
    values, _ = yaml_file.read_mapping(path)
    written = {key.replace("-", "_"): value for key, value in values.items() if value is not None}
    return validated(Resources, written, f"profile {path}").model_dump(exclude_unset=True)


def merged(profile: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """The fields that a profile and the command line set together.

    Where both do, the command line counts; the parameters in `slurm` are merged one by one.
    """
    parameters = {**_hyphened(profile.get("slurm", {})), **_hyphened(given.get("slurm", {}))}
    return {**profile, **given, **({"slurm": parameters} if parameters else {})}


def _hyphened(parameters: dict[str, Any]) -> dict[str, Any]:
    return {key.lstrip("-").replace("_", "-"): value for key, value in parameters.items()}


def _find(name: str, beside: Path | None) -> Path:
    path = Path(name)
    if yaml_file.is_named(name) or len(path.parts) > 1:
        return path
    known = {file.stem: file for file in sorted(profiles_folder().glob("*.yaml"))}
    if beside is not None:
        others = sorted(beside.parent.glob("*.yaml"))
        known |= {file.stem: file for file in others if not _is_sweep(file)}
    if name not in known:
        error = unknown("profile", name, known)
        raise UserError(
            f"{str(error).rstrip('.')} ({profiles_folder()} and the folder of the sweep hold them)."
        )
    return known[name]


def _is_sweep(file: Path) -> bool:
    text = file.read_text(encoding="utf-8", errors="replace")
    return re.search(r"^encodings:", text, re.MULTILINE) is not None
