"""Choices of tuned settings, by the results of trials: what is to be chosen, and what was.

runs/.choices/<key>/candidates.json   the candidates, their trials, and the cells that each of them stands for
                    chosen.json       which of them it is, and why; its presence is what "chosen" means

The cells of the second stage are known but for the choice. Until then a *slot* stands for each of them,
``<key>.<number>``; a choice gives every slot the id of a run. It is a function of the results of the trials,
so whoever makes it makes the same, and making it again changes nothing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from pebench import atomic
from pebench.errors import UserError
from pebench.notation.significant_figures import significant
from pebench.specification.flat_spec import setting_text
from pebench.specification.run_spec import Frozen, RunSpec
from pebench.store.record_files import Record, Unreadable
from pebench.store.records import MetricRecord
from pebench.store.run_folder import RunFolder
from pebench.store.scores import Extent, default_extrapolation, extent_name
from pebench.store.sweep_records import SweepRecord, read_sweeps

FOLDER = ".choices"
"""In the folder of the runs."""

_SLOT = re.compile(r"(?P<key>.+-[0-9a-f]{10})\.(?P<number>\d+)")


class NoChoice(UserError):
    """The trials have ended and none of them can be chosen."""


class Candidate(Frozen):
    """One combination of the tuned settings.

    Attributes:
        settings: value by dotted path.
        trials: ids of the runs that it is judged by, one a seed.
        cells: what is trained if it is chosen, one for each slot.
    """

    settings: dict[str, Any]
    trials: tuple[str, ...]
    cells: tuple[RunSpec, ...]

    @property
    def label(self) -> str:
        """Its settings in words: ``train.learning_rate=0.004``."""
        return settings_text(self.settings)


def settings_text(settings: Mapping[str, Any]) -> str:
    """Values by path in words."""
    return ", ".join(f"{path}={setting_text(value)}" for path, value in settings.items())


class Choice(Frozen):
    """One encoding on one task, whose settings are chosen among candidates.

    Attributes:
        key: names it; it covers all that decides it.
        encoding: its label before the choice.
        task: its label.
        metric: what the candidates are judged by.
        extent: where it is measured.
        seeds: of the trials.
        reported: seeds of the cells of the second stage.
        splits: of the data, that of the trials and that of the second stage; empty for a task without splits.
        candidates: in the order of the file, of which the first wins among equals.
    """

    key: str
    encoding: str
    task: str
    metric: str
    extent: Extent
    seeds: tuple[int, ...]
    reported: tuple[int, ...]
    splits: tuple[str, ...] = ()
    candidates: tuple[Candidate, ...]

    @property
    def slots(self) -> tuple[str, ...]:
        """What stands for the cells of the second stage until it is made."""
        return tuple(f"{self.key}.{number}" for number in range(len(self.candidates[0].cells)))

    @property
    def paths(self) -> tuple[str, ...]:
        """Paths of the settings that are chosen."""
        return tuple(self.candidates[0].settings)

    def spec_of(self, slot: str) -> RunSpec:
        """The cell of a slot, with the settings of the first candidate."""
        return self.candidates[0].cells[self.slots.index(slot)]

    def encoding_of(self, slot: str) -> str:
        """The label of the encoding of a slot, which may be that of a start, before the choice."""
        own = self.spec_of(slot).encoding
        return self.encoding if own == self.candidates[0].cells[-1].encoding else own.label

    def reports(self, candidate: int) -> frozenset[str]:
        """Ids of the runs that a candidate is reported by, without those that these start from."""
        cells = self.candidates[candidate].cells
        starts = {spec.start.run for spec in cells if spec.start is not None}
        return frozenset(spec.run_id for spec in cells if spec.run_id not in starts)

    @property
    def trials(self) -> tuple[str, ...]:
        """Ids of all trials."""
        return tuple(dict.fromkeys(run for candidate in self.candidates for run in candidate.trials))

    @property
    def place(self) -> str:
        """What it is judged by, in words: ``bits-per-byte at 128 of the validation split``."""
        split = f" of the {self.splits[0]} split" if self.splits else ""
        return f"{self.metric} at {extent_name(self.extent)}{split}"

    def is_of_two(self, path: str) -> bool:
        """Whether two values were tried of a setting, of which each is an edge."""
        return len({repr(candidate.settings[path]) for candidate in self.candidates}) == 2

    def edges(self, chosen: Mapping[str, Any]) -> tuple[str, ...]:
        """Paths of the settings whose chosen value is the smallest or largest number that was tried."""
        found = []
        for path, value in chosen.items():
            tried = {v for c in self.candidates if _is_number(v := c.settings[path])}
            if _is_number(value) and len(tried) > 1 and value in (min(tried), max(tried)):
                found.append(path)
        return tuple(found)


class Chosen(Frozen):
    """A choice that was made.

    Attributes:
        key: of the choice.
        candidate: its number among the candidates, from 0.
        settings: its values.
        why: one sentence.
        record: how the metric is read.
        scores: of every candidate, by seed; None for a trial that diverged or gave no number.
        edges: see `Choice.edges`.
        cells: run id by slot.
    """

    key: str
    candidate: int
    settings: dict[str, Any]
    why: str
    record: MetricRecord
    scores: tuple[tuple[float | None, ...], ...]
    edges: tuple[str, ...]
    cells: dict[str, str]


class Tuning(NamedTuple):
    """A choice, and what was chosen; None while nothing is."""

    choice: Choice
    chosen: Chosen | None


def is_slot(cell: str) -> bool:
    """Whether a text stands for a cell whose settings were to be chosen when it was written."""
    return "." in cell and _SLOT.fullmatch(cell) is not None


def choice_of(slot: str) -> str:
    """The key of the choice that a slot waits for."""
    match = _SLOT.fullmatch(slot)
    assert match is not None
    return match["key"]


def choices_folder(runs: Path) -> Path:
    """Where choices are kept."""
    return runs / FOLDER


def write_choice(runs: Path, choice: Choice) -> None:
    """Records what is to be chosen, unless it is on record."""
    path = choices_folder(runs) / choice.key / "candidates.json"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic.write_json(path, choice.model_dump(mode="json"))


def read_choice(runs: Path, key: str, folder: str = FOLDER) -> Tuning:
    """A choice by its key.

    Args:
        runs: the folder of the runs.
        key: of the choice.
        folder: of the choices in it.

    Raises:
        Unreadable: a file of it is not there or damaged.
    """
    place = runs / folder / key
    choice = _read(place / "candidates.json", Choice)
    if choice is None:
        raise Unreadable(f"{place / 'candidates.json'} is not there: submit the file of its sweep again.")
    return Tuning(choice, _read(place / "chosen.json", Chosen))


def read_chosen(runs: Path, key: str) -> Chosen | None:
    """What was chosen, None while nothing is.

    Raises:
        Unreadable: its file is damaged.
    """
    return _read(choices_folder(runs) / key / "chosen.json", Chosen)


def _read(path: Path, model: type[Record]) -> Record | None:
    try:
        return model.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise Unreadable(f"{path} cannot be read: remove it, and submit the sweep again.") from error


def with_choices(runs: Path, cells: Iterable[str]) -> tuple[str, ...]:
    """Cells with the id of a run in place of every slot whose choice is made, each once: choices that start
    from the same run stand for it too.

    One whose file is damaged counts as not made: the state of its cells tells of it, and hides no other.
    """
    found: list[str] = []
    known: dict[str, Chosen | None] = {}
    for cell in cells:
        if is_slot(cell):
            key = choice_of(cell)
            if key not in known:
                known[key] = None
                with suppress(Unreadable):
                    known[key] = read_chosen(runs, key)
            chosen = known[key]
            cell = chosen.cells.get(cell, cell) if chosen is not None else cell
        found.append(cell)
    return tuple(dict.fromkeys(found))


def submitted_sweeps(runs: Path) -> list[SweepRecord]:
    """Every sweep that was submitted into a folder of runs, by name, with the cells that were chosen.

    Raises:
        Unreadable: a record is damaged.
    """
    return [
        record.model_copy(update={"runs": with_choices(runs, record.runs)}) for record in read_sweeps(runs)
    ]


def choose(runs: Path, choice: Choice) -> Chosen | None:
    """Makes a choice, if all trials have ended, and the folders of the cells that it stands for, also where
    the choice is older and a folder has been removed since.

    Returns:
        What was chosen, now or before; None while a trial has no result.

    Raises:
        NoChoice: no trial has a score.
        UserError: a folder that is made anew needs a plugin that is in no folder of a trial any more.
    """
    before = read_chosen(runs, choice.key)
    chosen = before or decide(runs, choice)
    if chosen is None:
        return None
    for spec in choice.candidates[chosen.candidate].cells:
        folder = RunFolder(runs / spec.run_id)
        if not (folder.path / "spec.json").exists():
            folder.create(spec, {name: _plugin(runs, choice, name) for name in spec.plugins})
    if before is None:
        atomic.write_json(choices_folder(runs) / choice.key / "chosen.json", chosen.model_dump(mode="json"))
    return chosen


def _plugin(runs: Path, choice: Choice, name: str) -> bytes:
    """A plugin of the cells of a choice: folders of its trials hold what it was when they were submitted.

    Raises:
        UserError: the folders are gone.
    """
    for run_id in choice.trials:
        with suppress(FileNotFoundError, NotADirectoryError):
            return (RunFolder(runs / run_id).plugins / name).read_bytes()
    raise UserError(
        f"the chosen run of {choice.encoding} needs the plugin '{name}', which was removed with the trials: "
        "submit the file of the sweep again."
    )


def decide(runs: Path, choice: Choice) -> Chosen | None:
    """The choice that the results of the trials make: the best mean over the seeds, the first among equals. A
    candidate of which a trial diverged loses. Nothing is written.

    Returns:
        The choice; None while a trial has no result.

    Raises:
        NoChoice: no candidate has a score of every trial.
    """
    results = {run_id: RunFolder(runs / run_id).result() for run_id in choice.trials}
    if any(result is None for result in results.values()):
        return None
    scores = []
    record = None
    for candidate in choice.candidates:
        own: list[float | None] = []
        for run_id in candidate.trials:
            result = results[run_id]
            assert result is not None
            place = (choice.metric, choice.extent, default_extrapolation(result) or "")
            found = {(s.metric, s.extent, s.extrapolation): s.value for s in result.scores}
            own.append(found.get(place))
            record = record or result.metrics.get(choice.metric)
        scores.append(tuple(own))
    means = [_mean(own) for own in scores]
    if record is None or all(mean is None for mean in means):
        raise NoChoice(
            f"the choice for {choice.encoding} is stopped: none of its {len(means)} candidates has a score "
            f"({choice.place}), as they diverged; give it other candidates."
        )
    sign = -1.0 if record.higher_is_better else 1.0
    ranked = sorted(
        (number for number, mean in enumerate(means) if mean is not None),
        key=lambda number: sign * (means[number] or 0.0),
    )
    best = choice.candidates[ranked[0]]
    edges = choice.edges(best.settings)
    return Chosen(
        key=choice.key,
        candidate=ranked[0],
        settings=best.settings,
        why=_why(choice, means, ranked, edges),
        record=record,
        scores=tuple(scores),
        edges=edges,
        cells=dict(zip(choice.slots, (spec.run_id for spec in best.cells), strict=True)),
    )


def _why(choice: Choice, means: list[float | None], ranked: list[int], edges: tuple[str, ...]) -> str:
    best = choice.candidates[ranked[0]]
    seeds = f"seed {choice.seeds[0]}" if len(choice.seeds) == 1 else f"the mean of {len(choice.seeds)} seeds"
    reached = [significant(mean, 4) for number in ranked if (mean := means[number]) is not None]
    text = (
        f"{choice.encoding}: {best.label}, with {reached[0]} {choice.place} ({seeds}) the best of "
        f"{len(means)} candidates"
    )
    if len(ranked) > 1:
        text += f", before {choice.candidates[ranked[1]].label} with {reached[1]}"
    lost = len(means) - len(ranked)
    if lost:
        text += f"; {lost} diverged"
    if not all(map(choice.is_of_two, edges)):
        text += "; it lies on the edge of the candidates, so the best may lie beyond"
    elif edges:
        text += "; of two values each is an edge, so nothing is known of what lies beyond them"
    return f"{text}."


def _mean(scores: tuple[float | None, ...]) -> float | None:
    known = [score for score in scores if score is not None and math.isfinite(score)]
    return sum(known) / len(known) if len(known) == len(scores) else None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
