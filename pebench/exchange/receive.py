"""`pebench import`: adds the runs of an archive to a folder of runs, all of them or none."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock
from pydantic import ValidationError

from pebench import atomic
from pebench.errors import UserError
from pebench.exchange.archive import run_of
from pebench.exchange.unpack import unpack
from pebench.store.record_files import NoNumber
from pebench.store.records import Result
from pebench.store.run_folder import RunFolder
from pebench.store.sweep_records import SweepRecord, write_sweep
from pebench.store.tuned_choices import choices_folder, is_slot, read_choice, submitted_sweeps


@dataclass
class Received:
    """Result of an import.

    Attributes:
        added: ids of runs that were not there.
        completed: of runs that nobody had begun here.
        known: of runs that are here already, with the same scores or not yet finished in the archive.
        weighted: of those among them that get the weights that they lack here.
        kept: of runs whose own results were kept because they are others.
        sweeps: names of the sweeps.
    """

    added: list[str] = field(default_factory=list)
    completed: list[str] = field(default_factory=list)
    known: list[str] = field(default_factory=list)
    weighted: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    sweeps: list[str] = field(default_factory=list)


def receive(
    path: Path, runs: Path, *, name: str | None = None, keep_own: bool = False, most: int = 20 * 2**30
) -> Received:
    """Checks an archive and adds its runs.

    Args:
        path: the archive.
        runs: the folder of runs, made if it is not there.
        name: what to call its sweep here, by default as it was called there.
        keep_own: whether to leave runs of other content as they are here and add the rest.
        most: bytes that the archive may have when it is unpacked.

    Raises:
        UserError: the archive is damaged, a run in it is not what its id says, or something else is here
            under one of its names. Nothing is added then.
    """
    runs.mkdir(parents=True, exist_ok=True)
    with _staging(runs) as folder:
        received, sweeps = _checked(path, folder, runs, name, keep_own, most)
        for run_id in received.added:
            (folder / "runs" / run_id).rename(runs / run_id)
        for run_id in received.completed:
            _complete(folder / "runs" / run_id, runs / run_id)
        for run_id in received.weighted:
            _add_weights(RunFolder(folder / "runs" / run_id), RunFolder(runs / run_id))
        atomic.sync_folder(runs)
        for sweep in sweeps:
            _add_choices(folder, runs, sweep)
            write_sweep(runs, sweep)
    return received


def preview(
    path: Path, runs: Path, *, name: str | None = None, keep_own: bool = False, most: int = 20 * 2**30
) -> Received:
    """Checks an archive as `receive` does, and says what that would add; the runs stay as they are."""
    with tempfile.TemporaryDirectory(prefix="pebench-import-") as folder:
        return _checked(path, Path(folder), runs, name, keep_own, most)[0]


def _checked(
    path: Path, folder: Path, runs: Path, name: str | None, keep_own: bool, most: int
) -> tuple[Received, list[SweepRecord]]:
    """Unpacks an archive into a folder, and says what of it is to be added to the runs."""
    manifest = unpack(path, folder, most)
    ids = sorted({run for file in manifest.files if (run := run_of(file)) is not None})
    for run_id in ids:
        _check(folder / "runs" / run_id)
    sweeps = _sweeps(folder, set(ids), name)
    _check_sweeps(runs, sweeps)
    for sweep in sweeps:
        _check_choices(folder, sweep)
    received = _sort(runs, folder / "runs", ids)
    if received.kept and not keep_own:
        raise UserError(
            f"{_some(received.kept)} {'has' if len(received.kept) == 1 else 'have'} other content here: "
            "nothing is imported; --keep-own leaves what is here and adds the rest."
        )
    received.sweeps = [sweep.name for sweep in sweeps]
    return received, sweeps


@contextmanager
def _staging(runs: Path) -> Iterator[Path]:
    """A folder beside the runs that is gone afterwards, with what a killed import has left."""
    with FileLock(runs / ".import.lock"):
        for left in runs.glob(".import-*"):
            shutil.rmtree(left, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix=".import-", dir=runs) as folder:
            yield Path(folder)


def _check(path: Path) -> None:
    """Refuses a run that is not what its id says, or whose result cannot be followed.

    Raises:
        UserError: it is so.
    """
    folder = RunFolder(path)
    if not (path / "spec.json").exists():
        raise UserError(f"run {folder.run_id} in the archive has no specification.")
    try:
        spec, result, provenance = folder.spec(), folder.result(), folder.provenance()
    except NoNumber as error:
        raise UserError(f"run {folder.run_id} in the archive has a score that is no number.") from error
    except UserError as error:
        raise UserError(f"run {folder.run_id} in the archive cannot be read.") from error
    if spec.run_id != folder.run_id:
        raise UserError(f"run {folder.run_id} in the archive has the specification of {spec.run_id}.")
    for file, digest in spec.plugins.items():
        copy = path / "plugins" / Path(file).name
        if not copy.is_file() or hashlib.sha256(copy.read_bytes()).hexdigest() != digest:
            raise UserError(
                f"run {folder.run_id} in the archive lacks the plugin '{file}' of its specification."
            )
    if result is not None and not (isinstance(provenance, dict) and provenance):
        raise UserError(f"run {folder.run_id} in the archive has a result but no provenance.")


def _sweeps(folder: Path, ids: set[str], name: str | None) -> list[SweepRecord]:
    """The sweeps of the archive, whose runs are all in it.

    Raises:
        UserError: one cannot be read or lacks a run, or several were to have one name.
    """
    found = []
    for path in sorted((folder / "sweeps").glob("*.json")):
        try:
            sweep = SweepRecord.model_validate_json(path.read_bytes())
        except ValidationError as error:
            raise UserError(f"the sweep '{path.stem}' in the archive cannot be read.") from error
        if sweep.name != path.stem:
            raise UserError(f"the sweep '{path.stem}' in the archive calls itself another name.")
        missing = [run_id for run_id in sweep.runs if run_id not in ids and not is_slot(run_id)]
        if missing:
            raise UserError(f"the sweep '{sweep.name}' in the archive lacks its run {missing[0][:100]!r}.")
        found.append(sweep)
    if name is not None:
        if len(found) != 1:
            raise UserError(f"--name names one sweep, and the archive has {len(found)}.")
        return [found[0].model_copy(update={"name": name})]
    return found


def _check_choices(folder: Path, sweep: SweepRecord) -> None:
    """Refuses choices that are not whole, or that name runs of others.

    Raises:
        UserError: one is so.
    """
    for key in sweep.choices:
        try:
            choice, chosen = read_choice(folder, key, "choices")
        except UserError as error:
            raise UserError(f"the choice '{key[:100]}' in the archive cannot be read.") from error
        cells = set(chosen.cells.values()) if chosen is not None else set()
        if choice.key != key or not {*choice.trials, *cells} <= set(sweep.runs):
            raise UserError(f"the choice '{key[:100]}' in the archive is none of sweep '{sweep.name}'.")


def _add_choices(folder: Path, runs: Path, sweep: SweepRecord) -> None:
    """Adds the choices of a sweep; those that are here stay as they are."""
    for key in sweep.choices:
        own = choices_folder(runs) / key
        own.mkdir(parents=True, exist_ok=True)
        for name in ("candidates.json", "chosen.json"):
            arrived = folder / "choices" / key / name
            if arrived.is_file() and not (own / name).exists():
                arrived.rename(own / name)


def _check_sweeps(runs: Path, sweeps: list[SweepRecord]) -> None:
    here = {sweep.name: sweep for sweep in submitted_sweeps(runs)}
    for sweep in sweeps:
        own = here.get(sweep.name)
        if own is not None and (set(own.runs), own.baseline) != (set(sweep.runs), sweep.baseline):
            raise UserError(
                f"a sweep '{sweep.name}' of other cells is here: "
                "give the imported one another name with --name."
            )


def _sort(runs: Path, arrived: Path, ids: list[str]) -> Received:
    """Sorts the runs by what the import does with them."""
    received = Received()
    for run_id in ids:
        theirs, own = RunFolder(arrived / run_id), RunFolder(runs / run_id)
        result = theirs.result()
        if not own.path.exists():
            received.added.append(run_id)
        elif result is None:
            received.known.append(run_id)
        elif (mine := own.result()) is not None:
            same = _same(mine, result)
            (received.known if same else received.kept).append(run_id)
            if same and theirs.weights.is_file() and not own.weights.exists():
                received.weighted.append(run_id)
        elif any((own.path / name).exists() for name in ("worker.json", "metrics.jsonl", "checkpoint")):
            received.kept.append(run_id)
        else:
            received.completed.append(run_id)
    return received


def _same(mine: Result, theirs: Result) -> bool:
    """Whether two results say the same; what a run cost may differ from machine to machine."""
    return mine.model_copy(update={"cost": theirs.cost}) == theirs


def _complete(arrived: Path, own: Path) -> None:
    """Adds the files of a finished run to a folder in which nobody has begun, the result last."""
    for name in ("plugins", "weights"):
        if (arrived / name).is_dir():
            (own / name).mkdir(exist_ok=True)
    files = sorted(path for path in arrived.rglob("*") if path.is_file() and path.name != "spec.json")
    for path in sorted(files, key=lambda path: path.name == "result.json"):
        path.rename(own / path.relative_to(arrived))
    (own / "failure.json").unlink(missing_ok=True)


def _add_weights(arrived: RunFolder, own: RunFolder) -> None:
    """Adds the weights of a finished run, the last ones last."""
    for path in sorted((arrived.path / "weights").glob("*")):
        kept = own.path / "weights" / path.name
        kept.parent.mkdir(exist_ok=True)
        if not kept.exists():
            path.rename(kept)
    arrived.weights.rename(own.weights)


def _some(ids: list[str]) -> str:
    shown = ", ".join(ids[:3])
    return (
        f"run {shown}"
        if len(ids) == 1
        else shown
        if len(ids) <= 3
        else f"{shown} and {len(ids) - 3} more runs"
    )
