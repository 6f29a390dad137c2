"""Resources of a job: the one description behind flags, profiles, SLURM's parameters and this package.

A field ``max_parallel`` is written ``--max-parallel`` on the command line and ``max-parallel`` in a profile.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainSerializer, field_validator

from pebench.notation import quantities
from pebench.specification.run_spec import Frozen

Switch = bool
"""True for a parameter of sbatch that takes no value."""


@dataclass(frozen=True)
class Option:
    """How a field of `Resources` is offered to a user.

    Attributes:
        help: a sentence for ``--help``.
        metavar: the placeholder of its value there.
        sbatch: long names of the parameters of sbatch that it decides; the first is the one that is passed.
        clusters: where it has a meaning.
    """

    help: str
    metavar: str
    sbatch: tuple[str, ...] = ()
    clusters: tuple[str, ...] = ("slurm",)


def _minutes(value: Any) -> Any:
    return value if isinstance(value, int) else quantities.minutes(str(value))


def _gigabytes(value: Any) -> Any:
    return None if value is None else quantities.gigabytes(str(value))


def _lines(value: Any) -> Any:
    return value.splitlines() if isinstance(value, str) else value


class Resources(Frozen):
    """Resources of each job; None leaves a choice to SLURM or to the sweep.

    The memory is in gigabytes, the time in minutes; both are written as SLURM's users do.
    """

    partition: Annotated[str | None, Option("SLURM's partition.", "NAME", ("partition",))] = None
    account: Annotated[str | None, Option("SLURM's account.", "NAME", ("account",))] = None
    qos: Annotated[str | None, Option("SLURM's quality of service.", "NAME", ("qos",))] = None
    constraint: Annotated[str | None, Option("Features of a node.", "FEATURES", ("constraint",))] = None
    time: Annotated[
        int,
        BeforeValidator(_minutes),
        PlainSerializer(quantities.time_limit),
        Field(ge=1),
        Option(
            "Time limit of a job: minutes, hours:minutes:seconds or days-hours. A run that reaches it goes "
            "on in another job.  [default: 4 hours]",
            "TIME",
            ("time",),
        ),
    ] = 240
    nodes: Annotated[
        int,
        Field(ge=1),
        Option("Machines that the ranks of a job are spread over.  [default: 1]", "N", ("nodes",)),
    ] = 1
    ranks: Annotated[
        int | None,
        Field(ge=1),
        Option(
            "Processes that share each batch of a cell.  [default: what the sweep says, or 1]",
            "N",
            ("ntasks-per-node", "ntasks"),
            ("inline", "local", "slurm"),
        ),
    ] = None
    gpus: Annotated[
        int,
        Field(ge=0),
        Option("GPUs of a job on each of its nodes.  [default: 0]", "N", ("gpus-per-node", "gpus")),
    ] = 0
    cpus: Annotated[
        int | None,
        Field(ge=1),
        Option(
            "CPUs of each rank; on this machine its threads.", "N", ("cpus-per-task",), ("local", "slurm")
        ),
    ] = None
    mem: Annotated[
        Annotated[float, Field(gt=0)] | None,
        BeforeValidator(_gigabytes),
        PlainSerializer(lambda value: None if value is None else quantities.memory(value)),
        Option("Memory of a job on each of its nodes, as 16G.", "SIZE", ("mem",)),
    ] = None
    max_parallel: Annotated[
        int | None,
        Field(ge=1),
        Option("Jobs at a time; for 'local', workers (default 1).", "N", clusters=("local", "slurm")),
    ] = None
    pack: Annotated[int, Field(ge=1), Option("Cells that share one job.  [default: 1]", "N")] = 1
    at_once: Annotated[
        int | None,
        Field(ge=1),
        Option("Cells of a job that run side by side; 1 is one after another.  [default: all]", "N"),
    ] = None
    max_requeues: Annotated[
        int,
        Field(ge=0),
        Option(
            "How often a job that was interrupted is queued again; after that its cells have failed.  "
            "[default: 100]",
            "N",
        ),
    ] = 100
    setup: Annotated[
        tuple[str, ...],
        BeforeValidator(_lines),
        Option(
            "A line of shell that a job begins with, as 'module load cuda'. Can be given several times.",
            "LINE",
        ),
    ] = ()
    slurm: Annotated[
        dict[str, str | int | float | Switch],
        Option(
            "Any other parameter of sbatch, as reservation=spring. Can be given several times.", "KEY=VALUE"
        ),
    ] = Field(default_factory=dict)

    @field_validator("setup")
    @classmethod
    def _whole_lines(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for line in value:
            if not line.strip() or "\0" in line:
                raise ValueError("a line of the set-up is empty")
        return value

    @property
    def width(self) -> int:
        """Cells of a job that run side by side."""
        return min(self.at_once or self.pack, self.pack)

    def named(self) -> dict[str, str | int]:
        """Every field that decides a parameter of sbatch and is not its default, as a user would write it."""
        written = self.model_dump(exclude_defaults=True)
        return {name: written[name] for name, option in OPTIONS.items() if option.sbatch and name in written}


def flag(name: str) -> str:
    """The spelling of a field on the command line."""
    return f"--{name.replace('_', '-')}"


OPTIONS: dict[str, Option] = {
    name: next(part for part in field.metadata if isinstance(part, Option))
    for name, field in Resources.model_fields.items()
}
"""The `Option` of every field, by name."""

OWN = {parameter: flag(name) for name, option in OPTIONS.items() for parameter in option.sbatch}
"""The flag that decides a parameter of sbatch, by its long name."""
