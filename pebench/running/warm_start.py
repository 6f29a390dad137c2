"""Warm start: a run that begins with the weights of another."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from pebench.errors import UserError
from pebench.running.finished import require_weights
from pebench.spec import Start
from pebench.store import RunFolder
from pebench.task import AnyTask
from pebench.task_record import TaskRecord, task_record

ENCODING = "encoding."
"""Beginning of the names of an encoding's parameters in a model."""


class StartMissing(UserError):
    """The run to start from has no weights, and gets none by waiting."""


def start_folder(runs: Path, start: Start) -> RunFolder:
    """The folder of the run to start from, once it is finished.

    Raises:
        StartMissing: it is not finished, failed or diverged, or has no weights.
    """
    folder = RunFolder(runs / start.run)
    failure = folder.failure()
    if failure is not None and folder.result() is None:
        raise StartMissing(f"it starts from run '{start.run}', which failed: {failure.message.rstrip('.')}.")
    try:
        require_weights(folder)
    except UserError as error:
        raise StartMissing(f"it cannot start: {error}") from error
    return folder


def check_vocabulary(folder: RunFolder, vocabulary: str | None) -> None:
    """Refuses data whose tokens mean something else to the weights.

    Args:
        folder: of the run to start from.
        vocabulary: the fingerprint of this run's, None for a model without tokens.

    Raises:
        UserError: the vocabularies differ.
    """
    trained = task_record(folder.spec(), folder.provenance()).vocabulary
    if trained is not None and vocabulary not in (None, trained):
        raise UserError(
            f"run '{folder.run_id}' was trained with another tokenizer than this one: leave the option "
            "'tokenizer' out to take over the one of that run."
        )


def describe_task(task: AnyTask, fingerprints: dict[str, str], start: RunFolder | None) -> TaskRecord:
    """The record of a task that is ready.

    Args:
        task: of the run.
        fingerprints: of what it reads, by name.
        start: the run that it starts from, None for initial weights.
    """
    trained: tuple[int, ...] | None = task.trained_extent()
    if start is not None and not task.trains:
        result = start.result()
        alike = result is not None and result.extent_unit == task.extent_unit
        trained = task_record(start.spec(), start.provenance()).trained_extent if alike else None
    return TaskRecord(
        trained_extent=trained,
        evaluation_data=task.evaluation_data(),
        vocabulary=fingerprints.get(task.vocabulary) if task.vocabulary is not None else None,
    )


class Loaded(NamedTuple):
    """The weights of another run, taken over.

    Attributes:
        digest: SHA-256 of the file that they came from.
        anew: names of the encoding's parameters that begin anew, for that run has no such weights.
        dropped: names of that run's encoding's parameters that this one has no use for.
    """

    digest: str
    anew: tuple[str, ...]
    dropped: tuple[str, ...]

    def __str__(self) -> str:
        parts = [f"weights {self.digest[:12]}"]
        parts += [f"anew: {', '.join(self.anew)}"] if self.anew else []
        parts += [f"dropped: {', '.join(self.dropped)}"] if self.dropped else []
        return "; ".join(parts)


def load_start(folder: RunFolder, model: nn.Module, converts: bool) -> Loaded:
    """Gives a model the weights of a finished run: all that are not the encoding's, and of its own in a
    conversion those that agree in name and shape.

    Args:
        folder: of the finished run.
        model: a `PositionedModel`.
        converts: whether the encoding is another one than that of the run.

    Raises:
        UserError: they cannot be read, or are not those of such a model.
    """
    try:
        weights = load_file(folder.weights)
        digest = hashlib.sha256(folder.weights.read_bytes()).hexdigest()
    except (OSError, SafetensorError) as error:
        raise UserError(f"{folder.weights} cannot be read: {str(error).splitlines()[0]}.") from error
    own = model.state_dict()
    fits = {name for name, tensor in weights.items() if name in own and own[name].shape == tensor.shape}
    free = {name for name in own.keys() | weights.keys() if converts and name.startswith(ENCODING)}
    for name in sorted((own.keys() | weights.keys()) - fits - free):
        if name in own and name in weights:
            raise UserError(
                f"a run cannot start from '{folder.run_id}': its '{name}' is {_shape(weights[name].shape)}, "
                f"and here it is {_shape(own[name].shape)}."
            )
        where = "that run has no such weights" if name in own else "this one has no such weights"
        raise UserError(f"a run cannot start from '{folder.run_id}': {where} as '{name}'.")
    model.load_state_dict(own | {name: weights[name] for name in fits})
    return Loaded(digest, tuple(sorted(own.keys() - fits)), tuple(sorted(weights.keys() - fits)))


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(str(size) for size in shape) or "a single number"
