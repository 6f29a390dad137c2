"""`pebench export`: the runs of sweeps as one archive."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
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
    run_of,
)
from pebench.specification.run_spec import RunSpec
from pebench.store.record_files import Unreadable
from pebench.store.run_folder import RunFolder
from pebench.store.sweep_records import SweepRecord
from pebench.store.tuned_choices import choices_folder, is_slot


class Exported(NamedTuple):
    """Counts of an archive.

    Attributes:
        runs: all of them.
        finished: among these.
        waiting: those that are not finished, and begin with a finished one whose weights are left out.
        vanished: ids of those of which the specification alone is there: they were removed, or begun anew,
            while the archive was written.
    """

    runs: int
    finished: int
    waiting: int
    vanished: tuple[str, ...] = ()


Source = bytes | Path
"""Content of a file in the archive, or where to read it."""


class _Vanished(Exception):
    """A file is gone that was there before."""

    def __init__(self, run_id: str) -> None:
        super().__init__(run_id)
        self.run_id = run_id


class _Run(NamedTuple):
    """What is exported of a run, by the names in the archive.

    Attributes:
        spec: of the run.
        specification: its files, which make the run known.
        outcome: what it has come to, the result last.
    """

    spec: RunSpec
    specification: dict[str, Source]
    outcome: dict[str, Source]


def export(runs: Path, sweeps: Sequence[SweepRecord], output: Path, weights: bool = False) -> Exported:
    """Writes the runs of sweeps as one archive, the same bytes for the same runs.

    A finished run is there with all that says where its numbers come from; of one that is not finished its
    specification is, so that the cells of a sweep stay together. Others may work on the runs meanwhile.

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
    found = {run_id: _look(RunFolder(runs / run_id), weights) for run_id in ids}
    texts: dict[str, Source] = {
        f"sweeps/{sweep.name}.json": (sweep.model_dump_json(indent=1) + "\n").encode() for sweep in sweeps
    }
    choices = _choices(runs, sweeps)
    vanished: list[str] = []
    while True:
        files = texts.copy()
        for run in found.values():
            files |= run.specification | run.outcome
        try:
            _write(output, kind, files | choices)
            break
        except _Vanished as gone:
            # The manifest, which comes first, has told of the file.
            vanished.append(gone.run_id)
            found[gone.run_id] = found[gone.run_id]._replace(outcome={})
    finished = {run_id for run_id in ids if f"runs/{run_id}/result.json" in files}
    left_out = (
        set() if weights else {run_id for run_id in finished if RunFolder(runs / run_id).weights.is_file()}
    )
    starts = [run.spec.start for run_id, run in found.items() if run_id not in finished]
    waiting = sum(start is not None and start.run in left_out for start in starts)
    return Exported(len(ids), len(finished), waiting, tuple(vanished))


def _look(folder: RunFolder, weights: bool) -> _Run:
    """What is exported of a run as it stands now. What a next attempt would take away is held in memory."""
    place = f"runs/{folder.run_id}"
    try:
        # Whoever imports it would be the first to be told of damage.
        spec = folder.spec()
        specification: dict[str, Source] = {f"{place}/spec.json": (folder.path / "spec.json").read_bytes()}
        for path in sorted(folder.plugins.glob("*.py")):
            specification[f"{place}/plugins/{path.name}"] = path.read_bytes()
    except (FileNotFoundError, Unreadable):
        if (folder.path / "spec.json").exists():
            raise
        raise UserError(
            f"run {folder.run_id} has no folder in '{folder.path.parent}': submit its sweep again."
        ) from None
    result = folder.result()
    for read in (folder.provenance, folder.failure, folder.examples):
        read()
    if result is None:
        outcome: dict[str, Source] = {}
        with suppress(FileNotFoundError):
            outcome[f"{place}/failure.json"] = (folder.path / "failure.json").read_bytes()
        return _Run(spec, specification, outcome)
    names: list[str] = []
    if weights:
        with suppress(FileNotFoundError):
            kept = sorted((folder.path / "weights").glob("step-*.safetensors"))
            names = [*WEIGHTS, *(f"weights/{path.name}" for path in kept)]
    # Where the result is gone by now, whoever reads it will say so.
    there = [name for name in (*names, *FINISHED) if name == "result.json" or (folder.path / name).is_file()]
    return _Run(spec, specification, {f"{place}/{name}": folder.path / name for name in there})


def _choices(runs: Path, sweeps: Sequence[SweepRecord]) -> dict[str, Source]:
    """The files of the settings that sweeps tune."""
    return {
        f"choices/{key}/{path.name}": path.read_bytes()
        for key in sorted({key for sweep in sweeps for key in sweep.choices})
        for path in sorted((choices_folder(runs) / key).glob("*.json"))
    }


def _write(output: Path, kind: str, files: dict[str, Source]) -> None:
    contents = {name: _content(name, source) for name, source in files.items()}
    manifest = Manifest(format=FORMAT, pebench=pebench.__version__, files=contents)
    with (
        atomic.replacing(output) as temporary,
        temporary.open("wb") as raw,
        compressed(raw, kind) as stream,
        tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as archive,
    ):
        text = (manifest.model_dump_json(indent=1) + "\n").encode()
        _add(archive, MANIFEST, io.BytesIO(text), len(text))
        for name, source in files.items():
            with _opened(name, source) as file:
                _add(archive, name, file, contents[name].size)


@contextmanager
def _opened(name: str, source: Source) -> Iterator[io.BytesIO | io.BufferedReader]:
    """
    Raises:
        _Vanished: it is a file of a run that is not there any more.
    """
    if isinstance(source, bytes):
        yield io.BytesIO(source)
        return
    try:
        file = source.open("rb")
    except FileNotFoundError as error:
        run_id = run_of(name)
        assert run_id is not None, "all others are in memory"
        raise _Vanished(run_id) from error
    with file:
        yield file


def _content(name: str, source: Source) -> Content:
    if isinstance(source, bytes):
        return Content(sha256=hashlib.sha256(source).hexdigest(), size=len(source))
    with _opened(name, source) as file:
        # The log of a run that has just finished may get a last line meanwhile, which is left out.
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return Content(sha256=digest, size=file.tell())


def _add(archive: tarfile.TarFile, name: str, file: IO[bytes], size: int) -> None:
    """Adds a file with nothing of this machine in its entry: no owner, no time."""
    entry = tarfile.TarInfo(name)
    entry.size = size
    archive.addfile(entry, file)
