"""How a run is carried out: all that does not change its result, and so is no part of its identity."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Literal, Protocol

from pydantic import Field

from pebench.errors import UserError
from pebench.specification.run_spec import Frozen, RunSpec

if TYPE_CHECKING:
    import torch


class Execution(Frozen):
    """Where and how a run is carried out.

    Attributes:
        device: ``auto`` takes CUDA where there is one.
        threads: of PyTorch on the CPU; None for one beside CUDA, where more do nothing, else for all cores,
            of which cells side by side have equal shares.
        compile: whether training goes through `torch.compile`; evaluation, whose lengths differ, does not.
        ranks: processes that share each batch of a run.
        log_every: steps between lines of metrics.
        checkpoint_every: seconds between checkpoints.
    """

    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: Annotated[int, Field(ge=1)] | None = None
    compile: bool = False
    ranks: Annotated[int, Field(ge=1)] = 1
    log_every: Annotated[int, Field(ge=1)] = 10
    checkpoint_every: Annotated[float, Field(ge=0)] = 60.0


def torch_device(name: str) -> torch.device:
    """The device of a name; ``auto`` is CUDA where there is one.

    Raises:
        UserError: there is no such device here.
    """
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(f"'{name}' is no device; ask for 'cpu', 'cuda' or 'auto'.") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError("there is no CUDA device here; ask for 'cpu' or 'auto'.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(f"there is no device '{name}' here, only {torch.cuda.device_count()} of CUDA.")
    return device


def check_ranks(spec: RunSpec, ranks: int) -> None:
    """Refuses a batch that a number of ranks cannot share.

    Raises:
        UserError: it does not divide.
    """
    batch = spec.train.batch
    if batch % ranks and spec.train.steps:
        near = [count for count in range(1, batch + 1) if batch % count == 0]
        best = min(near, key=lambda count: abs(count - ranks))
        raise UserError(
            f"a batch of {batch} does not divide into equal parts for {ranks} ranks: take {best}, or another "
            "batch."
        )


class Observer(Protocol):
    """Who watches a run: a progress display or a log."""

    def training(self, step: int, steps: int, values: dict[str, float], rate: float | None) -> None:
        """`step` of `steps` updates are done; `values` are the newest losses, `rate` is in steps a second."""
        ...

    def evaluating(self, done: int, total: int, what: str) -> None:
        """`done` of `total` evaluations are finished, and `what` is next."""
        ...


Stop = Callable[[], bool]
"""Asked after every step: True ends the run there, with a checkpoint."""
