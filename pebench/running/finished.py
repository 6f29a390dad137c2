"""A finished run, taken from its folder for use: the model with its trained weights, and what feeds it."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from pebench.errors import UserError
from pebench.resolve import build_task, encoding_of
from pebench.running.plugins import load_plugins
from pebench.specification.run_spec import RunSpec
from pebench.store.run_folder import RunFolder
from pebench.task import AnyTask


class FinishedRun(NamedTuple):
    """A trained model.

    Attributes:
        folder: of the run.
        spec: what it is.
        task: restored, so that its tokenizer is known; it has read no data if the folder sufficed.
        model: a `PositionedModel` in evaluation mode, without gradients, on the device asked for.
    """

    folder: RunFolder
    spec: RunSpec
    task: AnyTask
    model: nn.Module

    def __repr__(self) -> str:
        """Which run it is."""
        asked = f"{self.spec.encoding.label}, {self.spec.task.name}, seed {self.spec.seed}"
        return f"FinishedRun({self.folder.run_id}: {asked})"


def load_finished(folder: RunFolder, device: torch.device, step: int | None = None) -> FinishedRun:
    """The model of a finished run.

    Args:
        folder: of the run.
        device: that the model is to be on.
        step: the update whose weights were kept, None for the last.

    Raises:
        UserError: the run is not finished, diverged, or something in its folder is missing or changed.
    """
    spec = folder.spec()
    require_weights(folder)
    weights = folder.weights if step in (None, spec.train.steps) else _kept_weights(folder, step)
    load_plugins(folder, spec)
    task = build_task(spec)
    _restore(task, folder)
    encoding = encoding_of(spec, task)
    model = task.build(encoding, spec.seed)
    if spec.keeps_weights:
        try:
            model.load_state_dict(load_file(weights))
        except (OSError, RuntimeError, SafetensorError) as error:
            reason = str(error).splitlines()[0].rstrip(".:")
            raise UserError(f"{weights} cannot be read: {reason}.") from error
    else:
        _take_published(folder, spec, model)
    return FinishedRun(folder, spec, task, model.to(device).eval().requires_grad_(False))


def require_weights(folder: RunFolder) -> None:
    """Refuses a run that has no trained model.

    Raises:
        UserError: it is not finished, or it diverged.
    """
    result = folder.result()
    if result is None:
        raise UserError(f"run '{folder.run_id}' is not finished; 'pebench status' says where it stands.")
    if result.status == "diverged":
        raise UserError(
            f"run '{folder.run_id}' diverged at step {result.diverged_at}: its weights are no model."
        )
    if folder.spec().keeps_weights and not folder.weights.is_file():
        raise UserError(f"run '{folder.run_id}' has no weights: {folder.weights} is not there.")


def _take_published(folder: RunFolder, spec: RunSpec, model: nn.Module) -> None:
    """Gives a model the weights of the published one that the run evaluated.

    Raises:
        UserError: they are not there any more, or have changed.
    """
    from pebench.running.warm_start import load_start, start_of_run

    start = start_of_run(folder.path.parent, spec.start)
    assert start is not None
    load_start(start, spec, model)


def _kept_weights(folder: RunFolder, step: int | None) -> Path:
    """
    Raises:
        UserError: none were kept after that update.
    """
    last = folder.spec().train.steps
    kept = [moment for moment in folder.spec().train.looks if folder.weights_after(moment).is_file()]
    if step not in kept:
        others = ", ".join(str(moment) for moment in dict.fromkeys([*kept, last]))
        raise UserError(f"run '{folder.run_id}' kept no weights after update {step}, but after {others}.")
    return folder.weights_after(step)


def _restore(task: AnyTask, folder: RunFolder) -> None:
    """Gets the task ready, from what the run was trained with and nothing else."""
    trained = folder.provenance().get("data", {})
    for name, fingerprint in task.restore(folder.path).items():
        if trained.get(name, fingerprint) != fingerprint:
            raise UserError(f"the {name} of run '{folder.run_id}' is not the one that it was trained with.")
