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
from typing import Annotated, Any

from pydantic import BeforeValidator

from pebench import quantities
from pebench.errors import UserError, unknown
from pebench.options import validated
from pebench.spec import Frozen
from pebench.submission.resources import Switch
from pebench.sweeping import yaml_file


def _minutes(value: Any) -> Any:
    return value if isinstance(value, int) else quantities.minutes(str(value))


def _gigabytes(value: Any) -> Any:
    return quantities.gigabytes(str(value))


def _lines(value: Any) -> Any:
    return value.splitlines() if isinstance(value, str) else value


class Profile(Frozen):
    """What may stand in the file of a profile; see `pebench.submission.resources.Resources`."""

    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    time: Annotated[int, BeforeValidator(_minutes)] | None = None
    nodes: int | None = None
    ranks: int | None = None
    gpus: int | None = None
    cpus: int | None = None
    mem: Annotated[float, BeforeValidator(_gigabytes)] | None = None
    max_parallel: int | None = None
    pack: int | None = None
    at_once: int | None = None
    max_requeues: int | None = None
    setup: Annotated[tuple[str, ...], BeforeValidator(_lines)] | None = None
    slurm: dict[str, str | int | float | Switch] | None = None

    def resources(self) -> dict[str, Any]:
        """What it says, by the names of `Resources`."""
        other = {"time": "minutes", "mem": "memory", "max_parallel": "parallel"}
        values = self.model_dump(exclude_none=True)
        return {other.get(name, name): value for name, value in values.items()}


def profiles_folder() -> Path:
    """Where a user's profiles are, ``~/.config/pebench/clusters`` on Linux."""
    import platformdirs

    return platformdirs.user_config_path("pebench") / "clusters"


def read_profile(name: str, beside: Path | None) -> Profile:
    """The profile of a file, or of a name that is looked for beside the sweep and then among the user's own.

    Args:
        name: ``mine.yaml``, or ``mine``. beside: the file of the sweep, None where there is none.

    Raises:
        UserError: there is none, or a key or a value in it is wrong.
    """
    path = _find(name, beside)
    values, _ = yaml_file.read_mapping(path)
    written = {key.replace("-", "_"): value for key, value in values.items()}
    return validated(Profile, written, f"profile {path}")


def merged(profile: Profile | None, options: dict[str, Any]) -> dict[str, Any]:
    """What a profile and the command line say together: where both do, the command line.

    Args:
        profile: None for none. options: by the names of `Resources`; None where the command line is silent.
    """
    values = profile.resources() if profile is not None else {}
    given = {name: value for name, value in options.items() if value not in (None, (), {})}
    parameters = {**_hyphened(values.get("slurm", {})), **_hyphened(given.get("slurm", {}))}
    return {**values, **given, **({"slurm": parameters} if parameters else {})}


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
    return (
        re.search(r"^encodings:", file.read_text(encoding="utf-8", errors="replace"), re.MULTILINE)
        is not None
    )
