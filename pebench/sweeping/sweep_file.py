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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, StrictInt, field_validator, model_validator

from pebench.errors import UserError, join_and, shown
from pebench.running.execution import Execution
from pebench.specification.options import validated
from pebench.specification.plugin_ref import split
from pebench.specification.run_spec import PUBLISHED, Frozen
from pebench.sweeping import yaml_file
from pebench.sweeping.candidates import Values
from pebench.sweeping.cell import Cell
from pebench.sweeping.names import refuse_name
from pebench.sweeping.tune import Tune, checked_paths

MOST_SEEDS = 1000
"""More seeds than anybody trains: a list of them may name any, but a number this large is a seed itself."""

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
    file = validated(SweepFile, values, f"sweep {path}")
    for setting, _ in settings:
        _require_effect(file, setting)
    return file, source


def _with_starts(task: Entry) -> Iterator[Entry]:
    """A task, that which it begins with, and so on."""
    entry: Entry | StartRun | None = task
    while isinstance(entry, Entry):
        yield entry
        entry = entry.start


def _require_effect(file: SweepFile, setting: str) -> None:
    """Refuses a setting that no cell would have, because each task or each encoding has its own."""
    place, _, key = setting.partition(".")
    if place not in _OVERRIDES or not key:
        return
    tasks = [entry for task in file.tasks for entry in _with_starts(task)]
    for kind, entries in (("task", tasks), ("encoding", file.encodings)):
        if all(Cell("", "", entry.overrides).has_value(setting) for entry in entries):
            raise UserError(
                f"--set {setting}: each {kind} of the file sets '{key}' itself, so that nothing would "
                "change: write it there."
            )


def _put(values: dict[str, Any], setting: str, value: Any) -> None:
    *before, last = setting.split(".")
    for key in before:
        inner = values.setdefault(key, {})
        if not isinstance(inner, dict):
            raise UserError(f"--set {setting}: '{key}' of the file holds no keys of its own.")
        values = inner
    values[last] = value
