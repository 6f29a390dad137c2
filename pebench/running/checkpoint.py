"""Checkpoints: weights, the optimiser's state and a few numbers, in formats that cannot carry code.

Random numbers need none: every draw is a function of the seed and the step.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pebench import atomic
from pebench.errors import UserError
from pebench.specification.run_spec import Frozen


class State(Frozen):
    """Where training stands.

    Attributes:
        step: updates done.
        items: tokens or images read.
        seconds: spent on the timed ones among them.
        timed_items: items that those seconds were spent on; the first update after a start is not timed.
        diverged_at: the update at which the loss stopped being a number.
    """

    step: int = 0
    items: int = 0
    seconds: float = 0.0
    timed_items: int = 0
    diverged_at: int | None = None


def save(folder: Path, model: nn.Module, optimiser: torch.optim.Optimizer, state: State) -> None:
    """Adds a checkpoint and then removes the older ones. A folder is complete if it has its final name."""
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{os.getpid()}.{secrets.token_hex(4)}.tmp"
    temporary.mkdir()
    try:
        save_file(_plain(model.state_dict()), temporary / "model.safetensors")
        save_file(_plain(_optimiser_tensors(optimiser)), temporary / "optimiser.safetensors")
        (temporary / "state.json").write_text(state.model_dump_json())
        for file in temporary.iterdir():
            with file.open("rb") as written:
                os.fsync(written.fileno())
        # Another worker of the same run may have got here first: equal steps are equal checkpoints.
        with contextlib.suppress(OSError):
            temporary.rename(folder / f"step-{state.step:08d}")
        atomic.sync_folder(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    for older in folder.iterdir():
        if older.name.startswith("step-") and older.name < f"step-{state.step:08d}":
            shutil.rmtree(older, ignore_errors=True)


def newest(folder: Path) -> str:
    """The name of the newest checkpoint, empty if there is none."""
    return max((path.name for path in folder.glob("step-*")), default="")


def step_of(name: str) -> int:
    """The updates done at a checkpoint, by its name as `newest` has it; none before the first."""
    return int(name.removeprefix("step-") or 0)


def load(
    folder: Path, name: str, model: nn.Module, optimiser: torch.optim.Optimizer, device: torch.device
) -> State:
    """Brings model and optimiser to a checkpoint.

    Args:
        folder: of the checkpoints.
        name: of one of them, or empty for the beginning.
        model, optimiser: to restore.
        device: where the model is.

    Returns:
        Where training stands.

    Raises:
        UserError: it cannot be read.
    """
    if not name:
        return State()
    chosen = folder / name
    try:
        state = State.model_validate_json((chosen / "state.json").read_bytes())
        model.load_state_dict(load_file(chosen / "model.safetensors", device=str(device)))
        _restore(optimiser, load_file(chosen / "optimiser.safetensors", device=str(device)))
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"checkpoint {chosen} cannot be read ({reason}); remove it to go back.") from error
    return state


def save_weights(path: Path, model: nn.Module, metadata: dict[str, str]) -> None:
    """Writes the weights of a finished run, with what they belong to."""
    with atomic.replacing(path) as temporary:
        save_file(_plain(model.state_dict()), temporary, metadata={"pebench": json.dumps(metadata)})


def clear(folder: Path) -> None:
    """Removes all checkpoints."""
    shutil.rmtree(folder, ignore_errors=True)


def _plain(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().contiguous() for name, tensor in tensors.items()}


_GROUP, _NUMBER = "group-", ".number"


def _optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's state of each parameter and group; numbers as tensors without axes."""
    whole = optimiser.state_dict()
    found: dict[str, Tensor] = {}
    remembered = {str(index): values for index, values in whole["state"].items()}
    remembered |= {f"{_GROUP}{number}": values for number, values in enumerate(whole["param_groups"])}
    for owner, values in remembered.items():
        for name, value in values.items():
            if isinstance(value, Tensor):
                found[f"{owner}.{name}"] = value
            elif isinstance(value, int | float):
                found[f"{owner}.{name}{_NUMBER}"] = torch.tensor(
                    value, dtype=torch.float64 if isinstance(value, float) else None
                )
    return found


def _restore(optimiser: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    groups = optimiser.state_dict()["param_groups"]
    state: dict[int, dict[str, Any]] = {}
    for key, tensor in tensors.items():
        owner, _, name = key.removesuffix(_NUMBER).partition(".")
        value = tensor.item() if key.endswith(_NUMBER) else tensor
        if owner.startswith(_GROUP):
            # Optimisers keep these on the CPU.
            groups[int(owner.removeprefix(_GROUP))][name] = (
                value.cpu() if isinstance(value, Tensor) else value
            )
        else:
            state.setdefault(int(owner), {})[name] = value
    optimiser.load_state_dict({"state": state, "param_groups": groups})
