"""Checks of a machine: each finds one thing, and none stops the next."""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import importlib.util
import platform
import shutil
import sqlite3
import sys
import tempfile
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pebench.data.cache import cache_folder
from pebench.errors import UserError
from pebench.notation.quantities import counted

_PACKAGES = (
    "torch",
    "timm",
    "datasets",
    "tokenizers",
    "lm-eval",
    "mlflow",
    "submitit",
    "pandas",
    "scipy",
    "matplotlib",
)
_OPTIONAL = {"transformers": "language models in its format need it: 'pip install pebench[hf]'"}
_ENOUGH_DISK = 2 * 10**9
_PATIENCE = 5.0


class Finding(NamedTuple):
    """The outcome of one check.

    Attributes:
        subject: what was looked at.
        state: ``absent`` is something one can do without.
        text: what was found, and what to do if it is not good.
    """

    subject: str
    state: Literal["good", "absent", "broken"]
    text: str


def examine(runs: Path) -> Iterator[Finding]:
    """Looks at everything, one finding after another.

    Args:
        runs: the folder that runs are to be written to.
    """
    yield Finding("Python", "good", f"{platform.python_version()} at {sys.executable}")
    for package in _PACKAGES:
        yield _package(package)
    for package, purpose in _OPTIONAL.items():
        found = _package(package)
        yield found if found.state == "good" else Finding(package, "absent", f"not installed; {purpose}")
    checks: tuple[tuple[str, Callable[[], Iterator[Finding]]], ...] = (
        ("torch", _torch),
        ("SLURM", _slurm),
        ("encodings and tasks", _plugins),
        ("runs folder", lambda: _folder("runs folder", runs)),
        ("data", lambda: _data(runs)),
        ("cache", lambda: _folder("cache", cache_folder())),
        ("tracking store", lambda: _tracking(runs)),
    )
    for subject, check in checks:
        try:
            yield from check()
        except UserError as error:
            yield Finding(subject, "broken", str(error))
        except Exception as error:  # a check that breaks is a finding, and the others still have to be made
            yield Finding(subject, "broken", f"{type(error).__name__}: {error}")


def _package(name: str) -> Finding:
    try:
        return Finding(name, "good", importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return Finding(name, "broken", f"not installed: 'pip install {name}' installs it")


def _torch() -> Iterator[Finding]:
    import torch

    yield Finding("CPU", "good", f"{torch.get_num_threads()} threads")
    if not Path(importlib.util.cache_from_source(torch.__file__)).exists():
        yield Finding(
            "compiled Python files",
            "absent",
            "Python keeps none of torch here and compiles it in every process, which takes seconds: "
            f"'python -m compileall -q {Path(torch.__file__).parents[1]}' makes them, and so does Python in "
            "the folder that PYTHONPYCACHEPREFIX names unless PYTHONDONTWRITEBYTECODE is set",
        )
    if not torch.cuda.is_available():
        reason = (
            f"built for CUDA {torch.version.cuda}, but there is no device"
            if torch.version.cuda
            else "a CPU build"
        )
        yield Finding("GPU", "absent", f"none; torch is {reason}, and runs train on the CPU")
        return
    for index in range(torch.cuda.device_count()):
        device = torch.cuda.get_device_properties(index)
        yield Finding(f"GPU {index}", "good", f"{device.name}, {device.total_memory / 2**30:.0f} GiB")


def _slurm() -> Iterator[Finding]:
    from pebench.submission import scheduler

    commands = ("sbatch", "squeue", "scontrol", "srun", "sacct")
    missing = [name for name in commands if shutil.which(name) is None]
    if "sbatch" in missing:
        yield Finding(
            "SLURM", "absent", "no 'sbatch' in the PATH; '--cluster inline' and '--cluster local' work"
        )
        return
    try:
        settings = scheduler.settings()
    except scheduler.SchedulerSilent as error:
        yield Finding("SLURM", "absent", f"{error}; jobs cannot be submitted now")
        return
    yield Finding(
        "SLURM", "good", f"{settings.get('SLURM_VERSION', 'unknown version')}, {settings.get('ClusterName')}"
    )
    for name in missing:
        yield Finding(
            name, "absent", "not in the PATH; requeueing needs scontrol, jobs need srun, the others help"
        )
    if "preempt_send_user_signal" in settings.get("SlurmctldParameters", ""):
        yield Finding("preemption", "good", "a preempted job is told in time to write a checkpoint")
    else:
        yield Finding(
            "preemption",
            "absent",
            "preempt_send_user_signal is not set: a preempted job gets SIGTERM alone, writes a checkpoint "
            "and waits until SLURM ends it and queues it again",
        )


def _plugins() -> Iterator[Finding]:
    from pebench.plugins.registry import encodings, tasks
    from pebench.specification.options import of_signature

    registries: tuple[Any, ...] = (encodings, tasks)
    for registry in registries:
        for name, origin in registry.origins().items():
            subject = f"{registry.kind} {name}"
            try:
                found = registry.load(name)
                if registry is encodings:
                    of_signature(found)
            except UserError as error:
                yield Finding(subject, "broken", str(error))
            else:
                yield Finding(subject, "good", origin.provider)


def _data(runs: Path) -> Iterator[Finding]:
    """Data that runs left out, each sentence once."""
    from pebench.data.left_out import LEFT_OUT
    from pebench.store.run_folder import RunFolder

    found: Counter[str] = Counter()
    for path in sorted(runs.glob("*/provenance.json")):
        try:
            data = RunFolder(path.parent).provenance().get("data")
        except UserError as error:
            yield Finding("data", "broken", str(error))
            continue
        found.update(
            text
            for name, text in (data.items() if isinstance(data, dict) else ())
            if name == LEFT_OUT or name.endswith(", passed over")
        )
    for text, count in sorted(found.items()):
        yield Finding("data", "absent", f"{text} ({counted(count, 'run')})")


def _folder(subject: str, folder: Path) -> Iterator[Finding]:
    try:
        existing = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
        with tempfile.TemporaryFile(dir=existing):
            free = shutil.disk_usage(existing).free
    except OSError as error:
        yield Finding(subject, "broken", f"{folder} cannot be written: {error.strerror}")
        return
    text = f"{folder}, {free / 1e9:.0f} GB free"
    if free < _ENOUGH_DISK:
        yield Finding(subject, "broken", f"{text}: too little for checkpoints")
    else:
        yield Finding(subject, "good", text)


def _tracking(runs: Path) -> Iterator[Finding]:
    from pebench.tracking import address

    uri = address.tracking_uri(runs)
    shown = address.without_secrets(uri)
    file = address.database_file(uri)
    if file is not None:
        if (problem := _problem_of_database(file)) is not None:
            yield Finding(
                "tracking store", "absent", f"{shown} cannot be used ({problem}) until that is mended"
            )
            return
        finding = next(_folder("tracking store", file.parent))
        yield finding._replace(
            text=f"{shown}{'' if file.exists() else ', made on first use'}: {finding.text}"
        )
    elif address.is_server(uri):
        yield _server(uri, shown)
    else:
        yield Finding("tracking store", "good", f"{shown}, not asked")


def _problem_of_database(file: Path) -> str | None:
    """Why an SQLite file that is there cannot be read, None if it can."""
    if not file.exists():
        return None
    try:
        address = f"{file.as_uri()}?mode=ro"
        with contextlib.closing(sqlite3.connect(address, uri=True, timeout=1)) as database:
            database.execute("PRAGMA schema_version").fetchone()
    except sqlite3.Error as error:
        return str(error)
    return None


def _server(uri: str, shown: str) -> Finding:
    try:
        with urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=_PATIENCE):
            return Finding("tracking store", "good", f"{shown} answers")
    except (OSError, ValueError) as error:
        # Runs never need it: they write files, and a later sync mirrors them.
        return Finding(
            "tracking store", "absent", f"{shown} does not answer ({error}); sync works once it does"
        )
