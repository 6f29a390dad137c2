"""Completion of names in a shell: encodings, tasks, sweeps and runs."""

from __future__ import annotations

from pathlib import Path

import click


def _beginning(names: list[str], incomplete: str) -> list[str]:
    return sorted({name for name in names if name.startswith(incomplete)})


def _runs(context: click.Context) -> Path:
    from pebench.store.run_folder import runs_folder

    return Path(context.params.get("runs") or runs_folder())


def encodings(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Names of encodings that begin so."""
    from pebench.plugins import registry

    return _beginning(list(registry.encodings.origins()), incomplete)


def tasks(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Names of tasks that begin so."""
    from pebench.plugins import registry

    return _beginning(list(registry.tasks.origins()), incomplete)


def plugins(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Names of encodings and tasks, and of what else ``pebench show`` knows, that begin so."""
    others = _beginning(["train", "execution", "sweep", "tune"], incomplete)
    return others + encodings(context, parameter, incomplete) + tasks(context, parameter, incomplete)


def sweeps(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Names of sweeps that were submitted, or have a file, and begin so; YAML files too."""
    from pebench.store.sweep_records import read_sweeps
    from pebench.sweeping.names import names

    files = [str(path) for path in Path().glob(f"{incomplete}*.yaml")]
    return _beginning(
        [*names(), *files, *(record.name for record in read_sweeps(_runs(context)))], incomplete
    )


def runs(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Ids of runs that begin so."""
    ids = [path.parent.name for path in _runs(context).glob("*/spec.json")]
    return _beginning(ids, incomplete)


def runs_and_sweeps(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Both."""
    return sweeps(context, parameter, incomplete) + runs(context, parameter, incomplete)
