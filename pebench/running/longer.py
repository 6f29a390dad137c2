"""A run that goes on where a shorter one ended: one with the same beginning, whose schedule allows that.

It ends with the numbers of a run that was trained from the first update, for it begins with the state that
this one would have had there.
"""

from __future__ import annotations

import os
import secrets
import shutil
from pathlib import Path

import torch

from pebench import atomic
from pebench.errors import UserError
from pebench.running import checkpoint, provenance
from pebench.specification.run_spec import RunSpec
from pebench.store.record_files import Unreadable
from pebench.store.run_folder import RunFolder


def refuse_other_run(spec: RunSpec, steps: int) -> None:
    """Refuses more updates for a run that they would make another one of.

    Args:
        spec: of the run.
        steps: that it is to have.

    Raises:
        UserError: its rates depend on the number of updates, or there are not more of them.
    """
    training = spec.train
    if training.steady is None:
        raise UserError(
            f"run '{spec.run_id}' has the schedule '{training.schedule}', whose every rate depends on the "
            "number of updates, so that more of them make another run: those with 'constant' and "
            "'warmup-stable-decay' go on."
        )
    if steps <= training.steps:
        raise UserError(
            f"run '{spec.run_id}' has {training.steps} updates: name more of them with "
            "--set train.steps=NUMBER."
        )


def refuse_going_on(folder: RunFolder, longer: RunSpec, device: torch.device, ranks: int) -> None:
    """Refuses to go on with a run as another one, or where that would not give the same numbers.

    Args:
        folder: of the run.
        longer: what it is to become.
        device: that it would go on on.
        ranks: that would share its batches.

    Raises:
        UserError: it is another run, has kept no state, or was trained in another way.
    """
    if longer.beginning != folder.spec().beginning:
        raise UserError(
            f"with these settings, or in this version, it is another run than '{folder.run_id}': only "
            "'train.steps' and when to evaluate may differ."
        )
    if kept_step(folder) is None:
        raise UserError(f"run '{folder.run_id}' has kept no state to go on from.")
    there, here = folder.provenance().get("device"), provenance.device_name(device)
    if there != here:
        raise UserError(
            f"run '{folder.run_id}' was trained on '{there}' and goes on there alone, not on '{here}'."
        )
    if ranks != 1 or folder.provenance().get("ranks", {}).get("count") != 1:
        raise UserError(
            f"run '{folder.run_id}' can go on only if one process trains it, and trained it before."
        )


def shorter_run(
    folder: RunFolder, spec: RunSpec, fingerprints: dict[str, str], device: torch.device
) -> RunFolder | None:
    """The run beside this one that it goes on from, the longest of several; None where there is none.

    Args:
        folder: of the run, which has no state yet.
        spec: what it is.
        fingerprints: of its data.
        device: that it is carried out on; another kind computes other digits.
    """
    if spec.train.steady is None:
        return None
    found: dict[int, RunFolder] = {}
    for place in sorted(folder.path.parent.glob("*/continuation")):
        other = RunFolder(place.parent)
        step = kept_step(other) if place.parent != folder.path else None
        if step is not None and step <= spec.train.steady and _fits(other, step, spec, fingerprints, device):
            found[step] = other
    return found[max(found)] if found else None


def kept_step(folder: RunFolder) -> int | None:
    """The update that a run can be gone on from, None where no state was kept."""
    newest = checkpoint.newest(folder.continuation)
    return checkpoint.step_of(newest) if newest else None


def take_over(folder: RunFolder, shorter: RunFolder, spec: RunSpec) -> int:
    """Gives a run the state of a shorter one, and what this has logged and measured until then.

    Args:
        folder: of the run, which has no state yet.
        shorter: the run to go on from.
        spec: of the longer run.

    Returns:
        The update it goes on from.
    """
    name = checkpoint.newest(shorter.continuation)
    step = checkpoint.step_of(name)
    looks = {look for look in spec.train.looks if look <= step}
    for point in shorter.points():
        training = {key: value for key, value in point.values.items() if key.startswith("train/")}
        values = point.values if point.step in looks else training
        if point.step <= step and values:
            folder.append(point.model_copy(update={"values": values}))
    for moment in shorter.curve():
        if moment.step in looks:
            folder.append_to_curve(moment)
            if spec.train.keep_weights:
                _copy(_weights_after(shorter, moment.step), folder.weights_after(moment.step))
    folder.write_provenance(folder.provenance() | {"continues": {"run": shorter.run_id, "step": step}})
    # What makes it the run's state comes last.
    folder.checkpoint.mkdir(exist_ok=True)
    temporary = folder.checkpoint / f".{os.getpid()}.{secrets.token_hex(4)}.tmp"
    shutil.copytree(shorter.continuation / name, temporary)
    temporary.rename(folder.checkpoint / name)
    atomic.sync_folder(folder.checkpoint)
    return step


def _fits(
    other: RunFolder, step: int, spec: RunSpec, fingerprints: dict[str, str], device: torch.device
) -> bool:
    try:
        known = other.provenance()
        if other.spec().beginning != spec.beginning or known.get("data") != fingerprints:
            return False
        if known.get("device") != provenance.device_name(device) or known.get("ranks", {}).get("count") != 1:
            return False
        looked = {moment.step for moment in other.curve()}
    except Unreadable:
        return False
    looks = {look for look in spec.train.looks if look <= step}
    weights = not spec.train.keep_weights or all(_weights_after(other, look).is_file() for look in looks)
    return looks <= looked and weights


def _weights_after(folder: RunFolder, step: int) -> Path:
    kept = folder.weights_after(step)
    return kept if kept.is_file() or folder.spec().train.steps != step else folder.weights


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(exist_ok=True)
    with atomic.replacing(target) as temporary:
        shutil.copyfile(source, temporary)
