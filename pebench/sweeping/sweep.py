"""A sweep: one YAML file that stands for many runs.

    name: quickstart                  # the file's name by default
    encodings:                        # names, options, and what is to be different for one of them
      - none
      - {rope: {rotated: 0.25}}
      - {alibi: {}, train: {weight_decay: 0.01}}
      - rope + ssmax                            # both in every layer
      - compose: [learned, {rope: {base: 500}}] # the same, with options
      - layers: [{compose: [rope, {window: {size: 512}}], times: 3}, none]  # again and again, layer by layer
    tasks:
      - &text {language-modeling: {extent: 128}}
      - {question-answering: {extent: 128}, from: *text}      # begins with the weights of that cell
      - {question-answering: {data: squad}, from: {run: rope-3f2a}}               # or of any run
      - {retrieval: {}, from: hf:models/smollm}        # or of a published model; its encoding is 'own'
      - {language-modeling: {}, from: {language-modeling: {}, encoding: rope}}    # converted from RoPE
    seeds: 3                          # a number of seeds, or a list of them
    model: {size: tiny}
    train: {steps: 300}
    grid:                             # every combination of these values
      train.learning_rate: [1e-3, 3e-4]
      model: [{block: gpt2}, {block: llama, qk_norm: true}]
    tune:                             # settings that are chosen for each encoding, by trials
      settings: {train.learning_rate: [1e-3, 3e-3, 1e-2]}   # or {low: 1e-4, high: 1e-2, log: true}
    baseline: rope                    # what the others are compared with
    execution: {device: cpu}          # how to run, no part of what is run
    plugins: [my_encoding.py]         # beside this file

Its cells are encodings × tasks × grid × seeds, in this order, the last running fastest. What a cell starts
from is a cell too, with the same encoding and seed, and comes before it; the grid's values for `task` and
`train` are not for it. In a sweep that tunes the trials come first; see `pebench.sweeping.tune`.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import BeforeValidator, Field, StrictInt, field_validator, model_validator

from pebench.data.files import existing
from pebench.errors import FEW, UserError, join_and, quoted, shown, unknown
from pebench.memo import remembered
from pebench.options import validated
from pebench.plugin_ref import split
from pebench.registry import load_plugin
from pebench.running.execution import Execution
from pebench.spec import PUBLISHED, Frozen, RunSpec
from pebench.store import SweepRecord
from pebench.sweeping import yaml_file
from pebench.sweeping.candidates import Values
from pebench.sweeping.cell import Cell
from pebench.sweeping.tune import Tune, checked_paths, stage
from pebench.tuned_choices import Choice

MOST_SEEDS = 1000
"""More seeds than anybody trains: a list of them may name any, but a number this large is a seed itself."""

MOST_CELLS = 100_000
"""Cells of a sweep."""

MOST_LETTERS = 120
"""Of a sweep's name, of which files are made that have longer ones."""

_OVERRIDES = ("model", "train")


class StartRun(Frozen):
    """A finished run by its id or enough of its beginning, or ``timm:`` or ``hf:`` and a published model."""

    run: str


class Entry(Frozen):
    """An encoding or a task of a sweep.

    It is written as ``name``, as ``{name: {option: value}}``, or as ``{name: …, train: …, model: …}`` where
    the training or the model of its cells differs from that of the sweep. A task may have ``from`` beside it,
    another such task, ``{run: ID}`` or a published model, with whose weights its cells begin; beside that
    task ``encoding`` may name another encoding than the cell's, from which the cell is converted.

    Attributes:
        name, options: as the registry and the plugin know them.
        overrides: what to merge into the sweep's ``model`` and ``train``.
        start: what stands at ``from``.
        encoding: that the cells of a start have; None for that of the cells that start from them.
        tune: candidate values of an encoding, in place of those of the sweep's ``tune``.
    """

    name: str
    options: dict[str, Any] = Field(default_factory=dict)
    overrides: dict[str, dict[str, Any]] = Field(default_factory=dict)
    start: Entry | StartRun | None = None
    encoding: Entry | None = None
    tune: Values | None = None

    @field_validator("tune")
    @classmethod
    def _tunable(cls, value: Values | None) -> Values | None:
        return None if value is None else checked_paths(value)

    @model_validator(mode="before")
    @classmethod
    def _written(cls, value: Any) -> Any:
        if isinstance(value, str):
            name, options = split(value, "encoding")
            return {"name": name, "options": options}
        if not isinstance(value, Mapping):
            raise ValueError(f"write 'name' or 'name: {{option: value}}', not {shown(value)}")
        overrides = {place: value[place] for place in _OVERRIDES if place in value}
        names = [key for key in value if key not in (*_OVERRIDES, "from", "encoding", "tune")]
        if len(names) != 1 or not isinstance(names[0], str):
            written = join_and(str(name) for name in names) or "none"
            raise ValueError(
                "an entry names one thing, and beside it may stand 'model', 'train', 'tune', 'from' and "
                f"'encoding', not {written}"
            )
        start = value.get("from")
        if isinstance(start, str) and start.startswith(PUBLISHED):
            start = StartRun(run=start)
        elif isinstance(start, Mapping) and "run" in start:
            start = StartRun.model_validate(start)
        elif start is not None:
            start = Entry.model_validate(start)
        name, options = split({names[0]: value[names[0]]}, "encoding")
        own = {"name": name, "options": options, "overrides": overrides, "start": start}
        return own | {"encoding": value.get("encoding"), "tune": value.get("tune")}


def _seeds(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        if value < 1:
            raise ValueError("a sweep needs at least one seed")
        if value > MOST_SEEDS:
            raise ValueError(f"a sweep has {MOST_SEEDS:,} seeds at the most, not {shown(value)}")
        return tuple(range(value))
    if isinstance(value, list) and len({str(seed) for seed in value}) < len(value):
        raise ValueError("a seed stands twice")
    return value


class SweepFile(Frozen):
    """Its cells are encodings × tasks × grid × seeds.

    Attributes:
        name: of the sweep, by which every command knows it; that of the file by default.
        encodings: what is compared: names, ``{name: {option: value}}`` or compositions such as
            ``rope + ssmax``; beside one may stand ``train``, ``model`` and ``tune`` where these differ.
        tasks: likewise; beside one may stand ``from``, a task, run or published model whose weights it begins
            with.
        seeds: a number of them, or a list.
        model: its size, as ``pebench show TASK`` lists it.
        train: as ``pebench show train`` lists it.
        grid: every combination of these values, by paths such as ``train.learning_rate``.
        tune: settings that are chosen for each encoding by trials, as ``pebench show tune`` lists it.
        baseline: the encoding that the others are compared with.
        execution: as ``pebench show execution`` lists it; no part of what is run.
        plugins: files with encodings and tasks, beside the sweep's own.
    """

    name: str
    encodings: Annotated[tuple[Entry, ...], Field(min_length=1)]
    tasks: Annotated[tuple[Entry, ...], Field(min_length=1)]
    seeds: Annotated[
        tuple[Annotated[StrictInt, Field(ge=0)], ...], BeforeValidator(_seeds), Field(min_length=1)
    ] = (0, 1, 2)
    model: dict[str, Any] = Field(default_factory=dict)
    train: dict[str, Any] = Field(default_factory=dict)
    grid: dict[str, Annotated[list[Any], Field(min_length=1)]] = Field(default_factory=dict)
    tune: Tune | None = None
    baseline: str | None = None
    execution: Execution = Execution()
    plugins: tuple[Path, ...] = ()

    @field_validator("name")
    @classmethod
    def _plain_name(cls, value: str) -> str:
        try:
            refuse_name(value)
        except UserError as error:
            raise ValueError(str(error).rstrip(".")) from error
        return value

    @model_validator(mode="after")
    def _tasks_start(self) -> SweepFile:
        for entry in self.encodings:
            if entry.start is not None:
                raise ValueError(f"'from' stands beside a task, not beside the encoding '{entry.name}'")
        for entry in (*self.encodings, *self.tasks):
            if entry.encoding is not None:
                raise ValueError(f"'encoding' stands beside a task at 'from', not beside '{entry.name}'")
        return self

    @model_validator(mode="after")
    def _tunes(self) -> SweepFile:
        for entry in self.tasks:
            if entry.tune is not None:
                raise ValueError(f"'tune' stands beside an encoding, not beside the task '{entry.name}'")
        if self.tune is None:
            for entry in self.encodings:
                if entry.tune is not None:
                    raise ValueError(
                        f"'{entry.name}' has candidates beside it, but the sweep has no 'tune' for the others"
                    )
            return self
        counts = [(entry.name, self.tune.count(self.tried(entry))) for entry in self.encodings]
        if min(count for _, count in counts) < 2:
            raise ValueError(
                "'tune' has one candidate, so there is nothing to choose: give it several values"
            )
        if len({count for _, count in counts}) > 1:
            told = ", ".join(f"{name} {count}" for name, count in counts)
            raise ValueError(f"every encoding is tried equally often, but the candidates are of {told}")
        return self

    def tried(self, encoding: Entry) -> Values:
        """The candidate values of an encoding; none in a sweep that does not tune."""
        return encoding.tune or (self.tune.settings if self.tune is not None else {})

    def cells(self) -> Iterator[Cell]:
        """Every cell without its seed, in the order of the file; without the settings that are tuned.

        Raises:
            UserError: the grid sets something that does not exist, or that an entry sets too.
        """
        return (cell for _, cell in self.cells_of_encodings())

    def cells_of_encodings(self) -> Iterator[tuple[Entry, Cell]]:
        """As `cells`, each with the entry of its encoding."""
        paths = list(self.grid)
        for encoding, task in itertools.product(self.encodings, self.tasks):
            base = self._cell(encoding, task)
            for path in [*paths, *self.tried(encoding)]:
                if Cell("", "", _own(encoding, task)).has_value(path):
                    where = "grid" if path in self.grid else "tuning"
                    raise UserError(
                        f"the {where} sets '{path}', and so does the entry '{encoding.name}' or "
                        f"'{task.name}': leave it to one of them."
                    )
            for path in self.tried(encoding):
                if path in self.grid:
                    raise UserError(
                        f"the grid sets '{path}', and it is tuned as well: leave it to one of them."
                    )
            for values in itertools.product(*self.grid.values()):
                yield encoding, with_values(base, dict(zip(paths, values, strict=True)))

    def _cell(self, encoding: Entry, task: Entry) -> Cell:
        cell = Cell(encoding.name, task.name, {"encoding": encoding.options, "task": task.options})
        for place, common in (("model", self.model), ("train", self.train)):
            cell = cell.updated(place, common)
            # What is said of an encoding is the more particular, so it comes last.
            for entry in (task, encoding):
                cell = cell.updated(place, entry.overrides.get(place, {}))
        match task.start:
            case StartRun():
                return replace(cell, start=task.start.run)
            case Entry():
                return replace(cell, start=self._cell(task.start.encoding or encoding, task.start))
        return cell


def with_values(cell: Cell, values: Mapping[str, Any]) -> Cell:
    """The cell with values by their paths; see `_with_value`."""
    for path, value in values.items():
        cell = _with_value(cell, path, value)
    return cell


def _with_value(cell: Cell, path: str, value: Any) -> Cell:
    """The cell with a value of the grid; those for the encoding and the model hold for its start as well."""
    if isinstance(cell.start, Cell) and path.partition(".")[0] in ("encoding", "model"):
        cell = replace(cell, start=_with_value(cell.start, path, value))
    return cell.with_value(path, value)


def _own(encoding: Entry, task: Entry) -> dict[str, Mapping[str, Any]]:
    """Settings of two entries themselves, by place."""
    both = Cell("", "", {"encoding": encoding.options, "task": task.options})
    for entry in (task, encoding):
        for place, values in entry.overrides.items():
            both = both.updated(place, values)
    return dict(both.options)


class Sweep(Frozen):
    """A sweep whose every cell has been looked up and found possible.

    Attributes:
        name: of the sweep.
        source: the text of its file.
        cells: the specifications of its runs, in the order of the file; where it tunes, of those that are
            known before anything is chosen.
        trials: the ids of those cells that settings are chosen by.
        choices: what is chosen, in the order of the file.
        baseline: the encoding label that others are compared with.
        execution: how to carry the runs out.
        folder: of its file, None where it was not read from one.
        submitted: its record, if the sweep was read back from one; it may name runs whose folders are gone.
    """

    name: str
    source: str
    cells: tuple[RunSpec, ...]
    trials: tuple[str, ...] = ()
    choices: tuple[Choice, ...] = ()
    baseline: str | None = None
    execution: Execution = Execution()
    folder: Path | None = None
    submitted: SweepRecord | None = None

    def __repr__(self) -> str:
        """Its name and size."""
        return f"Sweep({self.name!r}, {len(self.cells)} cells)"

    __str__ = __repr__

    def record(self) -> SweepRecord:
        """Record that is kept beside the runs."""
        if self.submitted is not None:
            return self.submitted
        runs = [spec.run_id for spec in self.cells]
        runs += dict.fromkeys(slot for choice in self.choices for slot in choice.slots)
        return SweepRecord(
            name=self.name,
            source=self.source,
            runs=tuple(runs),
            baseline=self.baseline,
            trials=self.trials,
            choices=tuple(choice.key for choice in self.choices),
        )

    def possible(self) -> dict[str, RunSpec]:
        """Every cell that it may come to, by run id."""
        known = {spec.run_id: spec for spec in self.cells}
        for choice in self.choices:
            known |= {spec.run_id: spec for candidate in choice.candidates for spec in candidate.cells}
        return known

    def specs_of(self, cells: Iterable[str]) -> dict[str, RunSpec]:
        """The specifications of cells, of slots with the settings of the first candidate."""
        known = self.possible()
        for choice in self.choices:
            known |= zip(choice.slots, choice.candidates[0].cells, strict=True)
        return {cell: known[cell] for cell in cells}


def refuse_name(name: str) -> None:
    """Refuses what cannot name a sweep, of which files are made and addresses.

    Raises:
        UserError: it has other letters, or too many.
    """
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name):
        near = quoted(hyphened(name) or "my-sweep")
        raise UserError(f"a sweep's name is made of a-z, 0-9 and hyphens, as {near}.")
    if len(name) > MOST_LETTERS:
        raise UserError(f"a sweep's name has {MOST_LETTERS} letters at the most, not {len(name)}.")


def load_sweep(
    sweep: str | Path, runs: Path | None = None, settings: Sequence[tuple[str, Any]] = ()
) -> Sweep:
    """A sweep by the path of its file, or by its name.

    Args:
        sweep: ``sweeps/mine.yaml``, or ``mine``, which is looked for in ``sweeps/`` of the working folder and
            then among the sweeps that come with the package.
        runs: the folder of the runs that it may start from by their ids.
        settings: dotted paths of keys of the file, and what to put there in place of what it says.

    Raises:
        UserError: it is not there, or something in it does not exist or does not go together.
    """
    path = find(sweep)
    file, source = read(path, settings)
    for plugin in file.plugins:
        load_plugin(path.parent / plugin)
    try:
        found = resolved(file, runs)
        baseline = _baseline(file.baseline, found)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    return Sweep(
        name=file.name,
        source=source,
        cells=found.cells,
        trials=found.trials,
        choices=found.choices,
        baseline=baseline,
        execution=file.execution,
        folder=path.parent,
    )


def find(sweep: str | Path) -> Path:
    """The file of a sweep that is given by its path or its name.

    Raises:
        UserError: there is none; the sentence names the nearest.
    """
    path = Path(sweep)
    if yaml_file.is_named(str(sweep)) or len(path.parts) > 1:
        return path
    known = _known()
    if str(sweep) not in known:
        raise unknown("sweep", str(sweep), known, listed=FEW)
    return known[str(sweep)]


def names() -> list[str]:
    """The names of all sweeps that have a file in ``sweeps/`` or come with the package."""
    return list(_known())


def _known() -> dict[str, Path]:
    return {
        file.stem: file
        for folder in reversed(_folders())
        for file in sorted(folder.glob("*.yaml"))
        if file.name != "claims.yaml"
    }


def is_name(sweep: str | Path) -> bool:
    """Whether a text is the name of a sweep, not the path of its file."""
    return not yaml_file.is_named(str(sweep)) and len(Path(sweep).parts) <= 1


def is_there(sweep: str | Path) -> bool:
    """Whether a path or a name is that of a sweep's file."""
    path = Path(sweep)
    if yaml_file.is_named(str(sweep)) or len(path.parts) > 1:
        return path.exists()
    return any((folder / f"{sweep}.yaml").exists() for folder in _folders())


def read(path: Path, settings: Sequence[tuple[str, Any]] = ()) -> tuple[SweepFile, str]:
    """Contents of a sweep's file, and its text; no name in it is looked up yet.

    Args:
        path: of the file.
        settings: see `load_sweep`; the text is that of the changed file then.

    Raises:
        UserError: it cannot be read, or a key or a value is wrong.
    """
    values, source = yaml_file.read_mapping(path)
    if settings:
        for setting, value in settings:
            _put(values, setting, value)
        source = yaml_file.text(values)
    values.setdefault("name", path.stem)
    return validated(SweepFile, values, f"sweep {path}"), source


def _put(values: dict[str, Any], setting: str, value: Any) -> None:
    *before, last = setting.split(".")
    for key in before:
        inner = values.setdefault(key, {})
        if not isinstance(inner, dict):
            raise UserError(f"--set {setting}: '{key}' of the file holds no keys of its own.")
        values = inner
    values[last] = value


def _folders() -> list[Path]:
    package = Path(__file__).resolve().parents[1]
    shipped = package / "sweeps"
    # An installed copy holds the sweeps in the package; a checkout has them at its top.
    return [Path("sweeps"), shipped if shipped.is_dir() else package.parent / "sweeps"]


class Resolved(NamedTuple):
    """The cells of a sweep's file; see `Sweep`."""

    cells: tuple[RunSpec, ...]
    trials: tuple[str, ...] = ()
    choices: tuple[Choice, ...] = ()


def resolved(file: SweepFile, runs: Path | None) -> Resolved:
    """The specifications of all cells, in the order of the file.

    They are remembered, see `pebench.memo`, unless a cell starts from a run that is named by its id.

    Raises:
        UserError: something in it does not exist, does not go together or stands twice.
    """
    if any(_names_a_run(entry) for entry in file.tasks):
        return looked_up(file, runs)
    # What a file says may depend on which of the places that it names are there.
    question = [repr(file), [text for text in _texts(file.model_dump()) if existing(text) is not None]]
    found = remembered("sweep", question, lambda: as_object(looked_up(file, runs)))
    return from_object(found)


def as_object(found: Resolved) -> dict[str, Any]:
    """The cells of a sweep's file as a JSON value."""
    return {
        "cells": [spec.model_dump(mode="json") for spec in found.cells],
        "trials": list(found.trials),
        "choices": [choice.model_dump(mode="json") for choice in found.choices],
    }


def from_object(found: dict[str, Any]) -> Resolved:
    """The cells of a sweep's file; see `as_object`."""
    return Resolved(
        tuple(RunSpec.model_validate(spec) for spec in found["cells"]),
        tuple(found["trials"]),
        tuple(Choice.model_validate(choice) for choice in found["choices"]),
    )


def _names_a_run(entry: Entry) -> bool:
    match entry.start:
        case StartRun():
            return True
        case Entry():
            return _names_a_run(entry.start)
    return False


def _texts(value: Any) -> Iterator[str]:
    """Every text in a value, but for the keys of its mappings."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from itertools.chain.from_iterable(map(_texts, value.values()))
    elif isinstance(value, list | tuple):
        yield from itertools.chain.from_iterable(map(_texts, value))


def looked_up(file: SweepFile, runs: Path | None) -> Resolved:
    """As `resolved`, nothing remembered."""
    count = math.prod(map(len, (file.encodings, file.tasks, *file.grid.values())))
    tried = 0
    if file.tune is not None:
        tried = file.tune.count(file.tried(file.encodings[0])) * len(file.tune.seeds)
    count *= len(file.seeds) + tried
    if count > MOST_CELLS:
        raise UserError(f"the sweep has {count:,} cells, and {MOST_CELLS:,} is the most: divide it.")
    if file.tune is not None:
        return _tuned(file, file.tune, runs)
    specs: dict[str, RunSpec] = {}
    numbers: dict[str, int] = {}
    for cell in file.cells():
        for chain in _chains(cell, file.seeds, runs):
            _refuse_twice(numbers, chain[-1])
            for spec in chain:
                specs.setdefault(spec.run_id, spec)
    return Resolved(tuple(specs.values()))


def _tuned(file: SweepFile, tune: Tune, runs: Path | None) -> Resolved:
    """The cells of a sweep that tunes: all trials come before anything else."""
    trials: dict[str, RunSpec] = {}
    known: dict[str, RunSpec] = {}
    numbers: dict[str, int] = {}
    choices = []
    for entry, cell in file.cells_of_encodings():
        tried = [(values, with_values(cell, values)) for values in tune.tried(file.tried(entry), cell)]
        found = stage(cell, tried, tune, file.seeds, lambda cell, seeds: _chains(cell, seeds, runs))
        for spec in found.reported:
            _refuse_twice(numbers, spec)
        trials |= {spec.run_id: spec for spec in found.trials}
        known |= {spec.run_id: spec for spec in found.known}
        choices.append(found.choice)
    only_tried = tuple(run_id for run_id in trials if run_id not in known)
    return Resolved(tuple((trials | known).values()), only_tried, tuple(choices))


def _chains(cell: Cell, seeds: Sequence[int], runs: Path | None) -> list[list[RunSpec]]:
    """The specifications of a cell and of what comes before it, for each seed."""
    # Everything but the seed is looked up once, which is what makes large sweeps quick to read.
    first = cell.chain(seeds[0], runs)
    return [_seeded(first, seed) for seed in seeds]


def _refuse_twice(numbers: dict[str, int], own: RunSpec) -> None:
    """Counts a cell among those that there are.

    Raises:
        UserError: it is there already.
    """
    if own.run_id in numbers:
        raise UserError(
            f"cell {len(numbers) + 1} is the same run as cell {numbers[own.run_id]} "
            f"({own.encoding.label} on {own.task.label}, seed {own.seed}): "
            "an entry or a value of the grid stands twice."
        )
    numbers[own.run_id] = len(numbers) + 1


def _seeded(chain: list[RunSpec], seed: int) -> list[RunSpec]:
    """The same chain of cells with another seed."""
    from pebench.resolve import start_of

    found: list[RunSpec] = []
    for spec in chain:
        update: dict[str, Any] = {"seed": seed}
        if found:
            update["start"] = start_of(found[-1], spec.encoding)
        found.append(spec.model_copy(update=update))
    return found


def _baseline(wanted: str | None, found: Resolved) -> str | None:
    if wanted is None:
        return None
    names = {
        spec.encoding.label: spec.encoding.name for spec in found.cells if spec.run_id not in found.trials
    }
    for choice in found.choices:
        tried = {
            candidate.cells[-1].encoding.label: candidate.cells[-1].encoding
            for candidate in choice.candidates
        }
        one = next(iter(tried.values()))
        # Where its options are tuned, it has no label before the choice.
        names |= {(label if len(tried) == 1 else one.name): one.name for label in tried}
    if wanted in names:
        return wanted
    labels = [label for label, name in names.items() if name == wanted]
    if len(labels) > 1:
        raise UserError(f"the baseline '{wanted}' may be {join_and(labels)}: write one of these.")
    if not labels:
        raise unknown("baseline", wanted, names)
    return labels[0]


def hyphened(text: str) -> str:
    """The text in the letters of names: ``word-perplexity`` for ``Word perplexity``."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
