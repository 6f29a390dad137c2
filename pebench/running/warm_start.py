"""Warm start: a run that begins with the weights of another."""

from __future__ import annotations

import hashlib
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from pebench.errors import UserError
from pebench.running.finished import require_weights
from pebench.spec import Start
from pebench.store import RunFolder


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


def check_data(folder: RunFolder, fingerprints: dict[str, str]) -> None:
    """Refuses data whose tokens mean something else to the weights.

    Args:
        folder: of the run to start from.
        fingerprints: of what this run reads, by name.

    Raises:
        UserError: the tokenizers differ.
    """
    trained = folder.provenance().get("data", {}).get("tokenizer")
    own = fingerprints.get("tokenizer", trained)
    if trained is not None and own != trained:
        raise UserError(
            f"run '{folder.run_id}' was trained with another tokenizer than this one: leave the option "
            "'tokenizer' out to take over the one of that run."
        )


def load_start(folder: RunFolder, model: nn.Module) -> str:
    """Gives a model the weights of a finished run, every one of them.

    Returns:
        SHA-256 of the file they came from.

    Raises:
        UserError: they cannot be read, or are not those of such a model.
    """
    try:
        weights = load_file(folder.weights)
        digest = hashlib.sha256(folder.weights.read_bytes()).hexdigest()
    except (OSError, SafetensorError) as error:
        raise UserError(f"{folder.weights} cannot be read: {str(error).splitlines()[0]}.") from error
    own = model.state_dict()
    for name in sorted(own.keys() ^ weights.keys()):
        where = "that run has no such weights" if name in own else "this one has no such weights"
        raise UserError(f"a run cannot start from '{folder.run_id}': {where} as '{name}'.")
    for name, tensor in weights.items():
        if tensor.shape != own[name].shape:
            raise UserError(
                f"a run cannot start from '{folder.run_id}': its '{name}' is {_shape(tensor.shape)}, and "
                f"here it is {_shape(own[name].shape)}."
            )
    model.load_state_dict(weights)
    return digest


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(str(size) for size in shape) or "a single number"
