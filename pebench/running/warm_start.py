"""Warm start: a run that begins with the weights of another."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from pebench.encoding_config import same_encoding
from pebench.errors import UserError
from pebench.models.timm_weights import TimmModel, trained_weights
from pebench.notation.brevity import briefly
from pebench.position_encoding import PositionEncoding
from pebench.pretrained.hf_model import HfModel
from pebench.pretrained.published import Published, published_model
from pebench.running.finished import load_finished, require_weights
from pebench.specification.run_spec import PluginConfig, RunSpec, Start
from pebench.store.run_folder import RunFolder
from pebench.store.task_record import TaskRecord, task_record
from pebench.task import AnyTask

ENCODING = "encoding."
"""Beginning of the names of an encoding's parameters in a model."""

HEAD = "transformer.head."
"""Beginning of the names of a classifier's parameters in a model of timm's."""


class StartMissing(UserError):
    """The run to start from has no weights, and gets none by waiting."""


def start_of_run(runs: Path, start: Start | None) -> RunFolder | Published | None:
    """What a run starts from, ready for use; None for initial weights.

    Raises:
        StartMissing: see `start_folder`.
        UserError: it cannot be had, or has changed.
    """
    if start is None:
        return None
    if start.is_run:
        return start_folder(runs, start)
    found = published_model(start.run)
    if isinstance(found, HfModel) and found.source.digest != start.digest:
        raise UserError(
            f"the files of '{start.run}' have changed since this run was asked for: ask for it again."
        )
    return found


def take_over_tokenizer(task: AnyTask, start: RunFolder | Published | None) -> None:
    """Gives a task what its start reads text with.

    Raises:
        UserError: it cannot be read, or the task reads none.
    """
    if isinstance(start, RunFolder):
        task.inherit(start.path)
    elif isinstance(start, HfModel):
        task.inherit(start.tokenizer_folder())


def start_folder(runs: Path, start: Start) -> RunFolder:
    """The folder of the run to start from, once it is finished.

    Raises:
        StartMissing: it is not finished, failed or diverged, or has no weights.
    """
    folder = RunFolder(runs / start.run)
    failure = folder.failure()
    if failure is not None and folder.result() is None:
        reason = briefly(failure.message).rstrip(".")
        raise StartMissing(f"it starts from run '{start.run}', which failed: {reason}.")
    try:
        require_weights(folder)
    except UserError as error:
        raise StartMissing(f"it cannot start: {error}") from error
    return folder


def check_vocabulary(folder: RunFolder | Published | None, vocabulary: str | None) -> None:
    """Refuses data whose tokens mean something else to the weights.

    Args:
        folder: of the run to start from.
        vocabulary: the fingerprint of this run's, None for a model without tokens.

    Raises:
        UserError: the vocabularies differ.
    """
    if folder is None or isinstance(folder, TimmModel):
        return
    trained: str | None
    if isinstance(folder, HfModel):
        trained, name = folder.tokenizer.fingerprint, f"'{folder.label}'"
        if vocabulary is None:
            raise UserError(f"{name} reads text, and this task has tokens of its own.")
    else:
        trained = task_record(folder.spec(), folder.provenance()).vocabulary
        name = f"run '{folder.run_id}'"
    if trained is not None and vocabulary not in (None, trained):
        raise UserError(
            f"{name} was trained with another tokenizer than this one: leave the option "
            "'tokenizer' out to take over the one of that run."
        )


def describe_task(
    task: AnyTask, fingerprints: dict[str, str], start: RunFolder | Published | None
) -> TaskRecord:
    """The record of a task that is ready.

    Args:
        task: of the run.
        fingerprints: of what it reads, by name.
        start: what it starts from, None for initial weights.
    """
    trained: tuple[int, ...] | None = task.trained_extent()
    if isinstance(start, TimmModel) and not task.trains:
        trained = start.image
    elif isinstance(start, HfModel) and not task.trains:
        trained = start.geometry.extent
    elif isinstance(start, RunFolder) and not task.trains:
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
        digest: SHA-256 of the file that they came from, or the commit.
        anew: names of the encoding's parameters that begin anew, for that run has no such weights.
        dropped: names of that run's encoding's parameters that this one has no use for.
        refitted: names of those that were made for this run's extent of that one's.
    """

    digest: str
    anew: tuple[str, ...]
    dropped: tuple[str, ...]
    refitted: tuple[str, ...] = ()

    def __str__(self) -> str:
        parts = [f"weights {self.digest[:12]}"]
        parts += [f"anew: {', '.join(self.anew)}"] if self.anew else []
        parts += [f"dropped: {', '.join(self.dropped)}"] if self.dropped else []
        parts += [f"refitted: {', '.join(self.refitted)}"] if self.refitted else []
        return "; ".join(parts)


def load_start(start: RunFolder | Published, spec: RunSpec, model: nn.Module) -> Loaded:
    """Gives a model the weights of a finished run, or published ones: all that are not the encoding's, and of
    its own those that agree in name and shape, which in a run with the same encoding is all of them.

    A classifier of published weights begins anew in training where it is for other classes.

    Args:
        start: the finished run, or the published model.
        spec: of the run that begins.
        model: its `PositionedModel`.

    Raises:
        UserError: they cannot be read, or are not those of such a model.
    """
    weights, digest, name_of_start, begun = _weights(start)
    converts = not same_encoding(begun, spec.encoding)
    anew = (ENCODING,) if converts else ()
    if isinstance(start, TimmModel) and spec.train.steps:
        anew = (*anew, HEAD)
    own = model.state_dict()
    refitted: tuple[str, ...] = ()
    if not isinstance(start, TimmModel) and spec.start is not None and not converts:
        weights, refitted = _refitted(model, weights, spec.start.extent)
    fits = {name for name, tensor in weights.items() if name in own and own[name].shape == tensor.shape}
    free = {name for name in own.keys() | weights.keys() if name.startswith(anew)}
    for name in sorted((own.keys() | weights.keys()) - fits - free):
        if name in own and name in weights:
            raise UserError(
                f"a run cannot start from '{name_of_start}': its '{name}' is {_shape(weights[name].shape)}, "
                f"and here it is {_shape(own[name].shape)}."
            )
        where = "that run has no such weights" if name in own else "this one has no such weights"
        raise UserError(f"a run cannot start from '{name_of_start}': {where} as '{name}'.")
    model.load_state_dict(own | {name: weights[name] for name in fits})
    return Loaded(digest, tuple(sorted(own.keys() - fits)), tuple(sorted(weights.keys() - fits)), refitted)


def _refitted(
    model: nn.Module, weights: Mapping[str, Tensor], extent: tuple[int, ...]
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Weights of a model whose encoding was built for an extent, as this one's needs them, and the names of
    those that are not what they were."""
    encoding = model.encoding
    assert isinstance(encoding, PositionEncoding)
    theirs = {name[len(ENCODING) :]: part for name, part in weights.items() if name.startswith(ENCODING)}
    found = {ENCODING + name: part for name, part in encoding.refitted(theirs, extent).items()}
    others = {name: part for name, part in weights.items() if not name.startswith(ENCODING)}
    changed = sorted(name for name, part in found.items() if part.shape != weights[name].shape)
    return others | found, tuple(changed)


def _weights(start: RunFolder | Published) -> tuple[Mapping[str, Tensor], str, str, PluginConfig]:
    """The weights, their SHA-256, how messages call where they come from, and the encoding that they had."""
    if isinstance(start, TimmModel):
        return *trained_weights(start), start.reference, start.encoding
    if isinstance(start, HfModel):
        return start.weights(), start.fingerprint, start.label, start.encoding
    spec = start.spec()
    if spec.start is not None and not spec.keeps_weights:
        found = load_finished(start, torch.device("cpu")).model.state_dict()
        return found, spec.start.identity, start.run_id, spec.encoding
    try:
        digest = hashlib.sha256(start.weights.read_bytes()).hexdigest()
        return load_file(start.weights), digest, start.run_id, start.spec().encoding
    except (OSError, SafetensorError) as error:
        raise UserError(f"{start.weights} cannot be read: {str(error).splitlines()[0]}.") from error


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(str(size) for size in shape) or "a single number"
