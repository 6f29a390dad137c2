"""What each job gets, wherever that was written."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from pebench.spec import Frozen

Switch = bool
"""True for a parameter of sbatch that takes no value."""


class Resources(Frozen):
    """What each job gets. All but `cpus`, `parallel` and `ranks` is for SLURM alone.

    Attributes:
        partition, account, qos, constraint: as sbatch knows them, None for SLURM's default.
        minutes: time limit of a job; a job that reaches it goes on in a new one.
        nodes: machines of a job.
        ranks: processes that share each batch of a cell, equally many on each node; None leaves it to the
            sweep.
        gpus: of a job on each of its nodes.
        cpus: of each rank; on this machine its threads. None leaves it to the sweep, or to SLURM.
        memory: gigabytes of a job on each of its nodes, None for its default.
        parallel: jobs at a time; None for no bound in SLURM, and for one worker on this machine.
        pack: cells that one job carries out.
        at_once: how many of these run side by side, None for all; the others wait for their turn.
        max_requeues: how often SLURM may queue a job again; after that its runs have failed.
        setup: lines of shell that a job begins with, as ``module load cuda``.
        slurm: further parameters of sbatch by their long names.
    """

    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    minutes: Annotated[int, Field(ge=1)] = 240
    nodes: Annotated[int, Field(ge=1)] = 1
    ranks: Annotated[int, Field(ge=1)] | None = None
    gpus: Annotated[int, Field(ge=0)] = 0
    cpus: Annotated[int, Field(ge=1)] | None = None
    memory: Annotated[float, Field(gt=0)] | None = None
    parallel: Annotated[int, Field(ge=1)] | None = None
    pack: Annotated[int, Field(ge=1)] = 1
    at_once: Annotated[int, Field(ge=1)] | None = None
    max_requeues: Annotated[int, Field(ge=0)] = 100
    setup: tuple[str, ...] = ()
    slurm: dict[str, str | int | float | Switch] = Field(default_factory=dict)

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
