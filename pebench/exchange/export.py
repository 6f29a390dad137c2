"""`pebench export`: the runs of sweeps as one archive."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple

import pebench
from pebench import atomic
from pebench.errors import UserError
from pebench.exchange.archive import (
    FINISHED,
    FORMAT,
    MANIFEST,
    WEIGHTS,
    Content,
    Manifest,
    compressed,
    compression,
)
from pebench.store.run_folder import RunFolder
from pebench.store.sweep_records import SweepRecord
from pebench.store.tuned_choices import choices_folder, is_slot


class Exported(NamedTuple):
    """Counts of an archive.

    Attributes:
        runs: all of them.
        finished: among these.
        waiting: those that are not finished, and begin with a finished one whose weights are left out.
    """

    runs: int
    finished: int
    waiting: int


def export(runs: Path, sweeps: Sequence[SweepRecord], output: Path, weights: bool = False) -> Exported:
    """Writes the runs of sweeps as one archive, the same bytes for the same runs.

    A finished run is there with all that says where its numbers come from; of one that is not finished its
    specification is, so that the cells of a sweep stay together.

    Args:
        runs: the folder of runs.
        sweeps: which of them.
        output: the archive, its ending says how it is compressed.
        weights: whether to add the weights of finished models.

    Raises:
        UserError: a run has no folder, a file of it is damaged, or the ending is unknown.
    """
    kind = compression(output)
    ids = sorted({run_id for sweep in sweeps for run_id in sweep.runs if not is_slot(run_id)})
    texts = {
        f"sweeps/{sweep.name}.json": (sweep.model_dump_json(indent=1) + "\n").encode() for sweep in sweeps
    }
    files = {name: path for run_id in ids for name, path in _files(RunFolder(runs / run_id), weights)}
    for key in sorted({key for sweep in sweeps for key in sweep.choices}):
        for path in sorted((choices_folder(runs) / key).glob("*.json")):
            files[f"choices/{key}/{path.name}"] = path
    contents = {name: _content(io.BytesIO(text)) for name, text in texts.items()}
    for name, path in files.items():
        with path.open("rb") as file:
            contents[name] = _content(file)
    manifest = Manifest(format=FORMAT, pebench=pebench.__version__, files=contents)
    with (
        atomic.replacing(output) as temporary,
        temporary.open("wb") as raw,
        compressed(raw, kind) as stream,
        tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as archive,
    ):
        _add(archive, MANIFEST, io.BytesIO((manifest.model_dump_json(indent=1) + "\n").encode()))
        for name, text in texts.items():
            _add(archive, name, io.BytesIO(text))
        for name, path in files.items():
            with path.open("rb") as file:
                _add(archive, name, file, contents[name].size)
    finished = {run_id for run_id in ids if f"runs/{run_id}/result.json" in files}
    left_out = (
        set() if weights else {run_id for run_id in finished if RunFolder(runs / run_id).weights.is_file()}
    )
    starts = [RunFolder(runs / run_id).spec().start for run_id in ids if run_id not in finished]
    waiting = sum(start is not None and start.run in left_out for start in starts)
    return Exported(len(ids), len(finished), waiting)


def _files(folder: RunFolder, weights: bool) -> Iterator[tuple[str, Path]]:
    """The files of a run that are exported, by their names in the archive; the result comes last."""
    if not (folder.path / "spec.json").exists():
        raise UserError(
            f"run {folder.run_id} has no folder in '{folder.path.parent}': submit its sweep again."
        )
    # Whoever imports it would be the first to be told.
    for read in (folder.spec, folder.result, folder.provenance, folder.failure, folder.examples):
        read()
    names = ["spec.json", *(f"plugins/{path.name}" for path in sorted(folder.plugins.glob("*.py")))]
    if (folder.path / "result.json").exists():
        kept = sorted((folder.path / "weights").glob("step-*.safetensors"))
        names += [*WEIGHTS, *(f"weights/{path.name}" for path in kept)] if weights else []
        names += FINISHED
    else:
        names.append("failure.json")
    for name in names:
        if (folder.path / name).is_file():
            yield f"runs/{folder.run_id}/{name}", folder.path / name


def _content(file: io.BytesIO | io.BufferedReader) -> Content:
    digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Content(sha256=digest, size=file.seek(0, io.SEEK_END))


def _add(archive: tarfile.TarFile, name: str, file: IO[bytes], size: int | None = None) -> None:
    """Adds a file with nothing of this machine in its entry: no owner, no time."""
    entry = tarfile.TarInfo(name)
    entry.size = size if size is not None else file.seek(0, io.SEEK_END)
    file.seek(0)
    archive.addfile(entry, file)
