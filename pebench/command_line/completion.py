"""Completion in a shell: encodings, tasks, sweeps and runs, and options and settings up to their ``=``."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pebench.errors import UserError

if TYPE_CHECKING:
    from pydantic import BaseModel


def _beginning(names: Iterable[str], incomplete: str) -> list[str]:
    return sorted({name for name in names if name.startswith(incomplete)})


def _files(incomplete: str, suffix: str) -> list[str]:
    above, slash, beginning = incomplete.rpartition("/")
    names = [path.name for path in Path(f"{above}{slash}").glob(f"*{suffix}")]
    return [f"{above}{slash}{name}" for name in _beginning(names, beginning)]


def _runs(context: click.Context) -> Path:
    from pebench.store.run_folder import runs_folder

    return Path(context.params.get("runs") or runs_folder())


def encodings(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Names of encodings that begin so; behind a ``+`` those of the next part."""
    from pebench.plugins import registry

    parts, plus, part = incomplete.rpartition("+")
    before = parts + plus + part[: len(part) - len(part.lstrip())]
    return [before + name for name in _beginning(registry.encodings.origins(), part.lstrip())]


def encodings_and_files(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Likewise, and files of Python."""
    return encodings(context, parameter, incomplete) + _files(incomplete, ".py")


def tasks(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Names of tasks that begin so."""
    from pebench.plugins import registry

    return _beginning(registry.tasks.origins(), incomplete)


def plugins(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Names of encodings and tasks, and of what else ``pebench show`` knows, that begin so."""
    others = _beginning(["train", "execution", "sweep", "tune"], incomplete)
    return others + encodings(context, parameter, incomplete) + tasks(context, parameter, incomplete)


def sweeps(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Names of sweeps that were submitted, or have a file, and begin so; YAML files too."""
    from pebench.store.sweep_records import read_sweeps
    from pebench.sweeping.names import names

    found = [*names(), *_files(incomplete, ".yaml")]
    # A record that cannot be read is told by the command.
    with suppress(UserError):
        found += [record.name for record in read_sweeps(_runs(context))]
    return _beginning(found, incomplete)


def runs(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Ids of runs that begin so."""
    ids = [path.parent.name for path in _runs(context).glob("*/spec.json")]
    return _beginning(ids, incomplete)


def runs_and_sweeps(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Both."""
    return sweeps(context, parameter, incomplete) + runs(context, parameter, incomplete)


def compared(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Both, and the encodings that finished runs have."""
    from pebench.specification.run_spec import COMPOSITIONS

    names: set[str] = set()
    for file in _runs(context).glob("*/result.json"):
        with suppress(OSError, ValueError, LookupError, TypeError, RecursionError):
            names.add(str(json.loads((file.parent / "spec.json").read_bytes())["encoding"]["name"]))
    found = _beginning(names - {*COMPOSITIONS}, incomplete)
    return found + runs_and_sweeps(context, parameter, incomplete)


def options(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Options of the encoding that stands on the command line before."""
    # An option without its value ends the reading of a command line, and leaves its arguments where they are.
    encoding = context.params.get("encoding") or next(iter(context.args), None)
    found = _described(encoding)
    rows = found["options"] if "acts" in found and "options" in found else []
    return _beginning((f"{row['name']}=" for row in rows), incomplete)


def settings_of_schedule(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Paths of the settings of a schedule."""
    from pebench.specification.run_spec import Training

    return _beginning((f"train.{path}=" for path in _paths(Training)), incomplete)


def settings_of_run(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Likewise, and those of the task and its model."""
    found = _described(context.params.get("task") or "language-modeling")
    places = {"task": found["options"], "model": found["model"]} if "model" in found else {}
    own = [f"{place}.{row['name']}=" for place, rows in places.items() for row in rows]
    return _beginning(own, incomplete) + settings_of_schedule(context, parameter, incomplete)


def settings_of_sweep(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Likewise those of a schedule, and the keys of a sweep's file."""
    from pebench.sweeping.sweep_file import SweepFile

    keys = (f"{name}=" for name in SweepFile.model_fields)
    return _beginning(keys, incomplete) + settings_of_schedule(context, parameter, incomplete)


def _paths(model: type[BaseModel]) -> list[str]:
    """The fields of a model, and behind dots those of the models in it."""
    found: list[str] = []
    for name, field in model.model_fields.items():
        inner: Any = field.annotation
        has_fields = hasattr(inner, "model_fields")
        found += [f"{name}.{path}" for path in _paths(inner)] if has_fields else [name]
    return found


def _described(name: str | None) -> dict[str, Any]:
    """What ``pebench show --json`` says of an encoding or a task; nothing where it would refuse the name."""
    from pebench.commands.show import description

    with suppress(UserError):
        return description(name) if name else {}
    return {}
