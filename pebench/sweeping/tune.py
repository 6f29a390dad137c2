"""The `tune` of a sweep: which settings are chosen for each encoding, among which values, and by what."""

from __future__ import annotations

import difflib
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, NamedTuple

from pydantic import BeforeValidator, Field, StrictInt, field_validator, model_validator

from pebench.errors import UserError, join_and, unknown
from pebench.plugins.registry import tasks
from pebench.specification.flat_spec import setting_text
from pebench.specification.run_spec import OBSERVING, Frozen, RunSpec, Training
from pebench.store.scores import extent_name
from pebench.store.tuned_choices import Candidate, Choice, settings_text
from pebench.sweeping.candidates import Values, combinations, drawn, lists
from pebench.sweeping.cell import Cell

FIRST_SEED = 1000
"""Seed of the first trial, which no sweep reports that counts its seeds."""

TUNED_PLACES = ("encoding", "model", "train")
"""First words of the paths that can be tuned; the options of the task say what is measured."""

MOST_DRAWN = 1000
"""Candidates that are drawn for an encoding, each of which is trained."""


def _seeds(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        if not 1 <= value <= FIRST_SEED:
            raise ValueError(f"a candidate is tried with 1 to {FIRST_SEED} seeds")
        return tuple(range(FIRST_SEED, FIRST_SEED + value))
    if isinstance(value, list) and len({str(seed) for seed in value}) < len(value):
        raise ValueError("a seed stands twice")
    return value


class Tune(Frozen):
    """How a sweep tunes.

    Attributes:
        settings: candidate values by dotted path; every combination of them is a candidate. An encoding may
            have others, and then has as many candidates.
        candidates: how many are drawn for each encoding in place of every combination; see
            `pebench.sweeping.candidates`.
        seed: of these draws, 0 by default.
        metric: what they are judged by; by default the headline of the task.
        extent: where it is measured; by default the trained one. A number stands for every axis.
        seeds: that each candidate is tried with, a number or a list; a number counts from `FIRST_SEED`.
        split: of the data that they are judged on.
        report: the split that the chosen ones are reported on.
        task: options of the task that stand in place of the sweep's while candidates are judged, such as
            ``{evaluate: [256]}``: nothing else needs to be measured of them.
    """

    settings: Values
    candidates: Annotated[StrictInt, Field(ge=2, le=MOST_DRAWN)] | None = None
    seed: Annotated[StrictInt, Field(ge=0)] | None = None
    metric: str | None = None
    extent: tuple[int, ...] | None = None
    seeds: Annotated[
        tuple[Annotated[StrictInt, Field(ge=0)], ...], BeforeValidator(_seeds), Field(min_length=1)
    ] = (FIRST_SEED,)
    split: str = "validation"
    report: str = "test"
    task: Mapping[str, Any] = Field(default_factory=dict)

    @field_validator("extent", mode="before")
    @classmethod
    def _extent(cls, value: Any) -> Any:
        return (value,) if isinstance(value, int) else value

    @field_validator("settings")
    @classmethod
    def _places(cls, value: Values) -> Values:
        return checked_paths(value)

    @model_validator(mode="after")
    def _seed_draws(self) -> Tune:
        if self.seed is not None and self.candidates is None:
            raise ValueError(
                "'seed' is that of the draws, and 'candidates' says how many there are; the seeds of the "
                "trials are 'seeds'"
            )
        return self

    def count(self, values: Values) -> int:
        """How many candidates an encoding has.

        Args:
            values: of the encoding.

        Raises:
            ValueError: some are a distribution, and nothing says how many are drawn.
        """
        if self.candidates is not None:
            return self.candidates
        return math.prod(map(len, lists(values).values()))

    def tried(self, values: Values, cell: Cell) -> list[dict[str, Any]]:
        """The settings of each candidate.

        Args:
            values: of the encoding.
            cell: without the tuned settings.

        Raises:
            UserError: there are not as many as are to be drawn.
        """
        if self.candidates is not None:
            return drawn(values, self.candidates, self.seed or 0, cell)
        return combinations(lists(values))


def checked_paths(values: Values) -> Values:
    """Refuses paths that cannot be tuned.

    Raises:
        ValueError: there is one.
    """
    for path in values:
        place, _, rest = path.partition(".")
        if place not in TUNED_PLACES:
            raise ValueError(f"'{path}' cannot be tuned: {_nearest(place, rest)}")
        if place == "train" and rest in (*OBSERVING, "evaluate_in"):
            raise ValueError(f"'{path}' cannot be tuned: it looks at training and decides nothing of it")
    return values


def _nearest(place: str, rest: str) -> str:
    """What a path could be meant as that begins with another word than `TUNED_PLACES`."""
    if not rest and place in Training.model_fields:
        return f"did you mean 'train.{place}'?"
    if near := difflib.get_close_matches(place, TUNED_PLACES, n=1):
        return f"did you mean '{near[0]}.{rest}'?"
    return f"settings begin with {join_and(f'{place}.' for place in TUNED_PLACES)}"


class Stage(NamedTuple):
    """The cells of an encoding on a task that is tuned.

    Attributes:
        trials: what the candidates are judged by, with what these start from.
        known: what the cells of the second stage start from whatever is chosen.
        reported: the cells of the second stage themselves, with the settings of the first candidate.
        choice: the rest.
    """

    trials: list[RunSpec]
    known: list[RunSpec]
    reported: list[RunSpec]
    choice: Choice


def stage(
    cell: Cell,
    tried: Sequence[tuple[dict[str, Any], Cell]],
    tune: Tune,
    seeds: Sequence[int],
    chains: Any,
) -> Stage:
    """The trials of a cell and its choice.

    Args:
        cell: without the tuned settings.
        tried: the settings of each candidate, and the cell with them.
        tune: how it is tuned.
        seeds: that are reported.
        chains: gives the specifications of a cell and of what comes before it, for each of some seeds.

    Raises:
        UserError: something in it does not exist or does not go together.
    """
    from pebench.encoding_config import encoding_config

    splits = _splits(cell, tune)
    trials: dict[str, RunSpec] = {}
    judged: list[tuple[str, ...]] = []
    reported: list[RunSpec] = []
    final: list[list[RunSpec]] = []
    for number, (settings, own) in enumerate(tried, 1):
        found = chains(_on(own, splits, 0).updated("task", tune.task), tune.seeds)
        judged_on = found[0][-1]
        trials |= {spec.run_id: spec for chain in found for spec in chain}
        judged.append(tuple(chain[-1].run_id for chain in found))
        if judged[-1] in judged[:-1]:
            raise UserError(
                f"candidate {number} of {cell.encoding} is the same run as candidate "
                f"{judged.index(judged[-1]) + 1}: a value stands twice ({settings_text(settings)})."
            )
        second = chains(_on(own, splits, 1), seeds)
        reported = reported or [chain[-1] for chain in second]
        final.append([spec for chain in second for spec in chain])
    _refuse_idle([settings for settings, _ in tried], final[0][-1])
    places = list(zip(*final, strict=True))
    open_places = [n for n, specs in enumerate(places) if len({spec.run_id for spec in specs}) > 1]
    known = [specs[0] for n, specs in enumerate(places) if n not in set(open_places)]
    if tune.task:
        _require_same_training(judged_on, final[0][-1])
    metric, extent = _judge(judged_on, tune)
    label = encoding_config({cell.encoding: cell.options.get("encoding", {})}).label
    choice = Choice(
        key="",
        encoding=label,
        task=final[0][-1].task.label,
        metric=metric,
        extent=extent,
        seeds=tune.seeds,
        reported=tuple(seeds),
        splits=splits,
        candidates=tuple(
            Candidate(settings=settings, trials=runs, cells=tuple(specs[n] for n in open_places))
            for (settings, _), runs, specs in zip(tried, judged, final, strict=True)
        ),
    )
    key = f"{final[0][-1].encoding.stem}-{_digest(choice)}"
    return Stage(list(trials.values()), known, reported, choice.model_copy(update={"key": key}))


_OF_ENCODING = "train.encoding"
"""Settings below are those of the encoding's parameters."""


def _refuse_idle(tried: Sequence[Mapping[str, Any]], spec: RunSpec) -> None:
    """Refuses candidates that differ in what decides nothing: how an encoding without parameters learns.

    Raises:
        UserError: they do.
    """
    idle = [path for path in tried[0] if path == _OF_ENCODING or path.startswith(f"{_OF_ENCODING}.")]
    idle = [path for path in idle if len({setting_text(values[path]) for values in tried}) > 1]
    if not idle:
        return
    from pebench.resolve import has_parameters

    if not has_parameters(spec):
        raise UserError(
            f"encoding '{spec.encoding.label}' has no parameters, so that '{idle[0]}' decides nothing for "
            "it: give it candidates of its own, 'tune' beside it."
        )


def _splits(cell: Cell, tune: Tune) -> tuple[str, ...]:
    """The splits of the two stages, none where the task has none."""
    if not tasks.load(cell.task).on_split(tune.split):
        return ()
    if cell.has_value("task.split") or "split" in tune.task:
        raise UserError(
            f"task '{cell.task}' has a split of its own, but a tuned sweep chooses on one and reports on "
            "another: leave it out, or write 'split' and 'report' under 'tune'."
        )
    return (tune.split, tune.report)


def _on(cell: Cell, splits: Sequence[str], place: int) -> Cell:
    return cell.updated("task", tasks.load(cell.task).on_split(splits[place])) if splits else cell


def _require_same_training(trial: RunSpec, reported: RunSpec) -> None:
    """
    Raises:
        UserError: the trials train on something else than what is reported.
    """
    from pebench.resolve import build_task

    task = build_task(trial)
    own, wanted = (extent_name(each.trained_extent()) for each in (task, build_task(reported)))
    differing = [
        name
        for name in ("data", task.vocabulary)
        if name and trial.task.options.get(name) != reported.task.options.get(name)
    ]
    if own != wanted:
        what = f"trains for {own} where the sweep trains for {wanted}"
    elif differing:
        what = f"has another '{differing[0]}' than the sweep"
    else:
        return
    raise UserError(
        f"'task' under 'tune' is how the candidates are judged, and {what}: leave that as it is, so that "
        "what is chosen is what is trained."
    )


def _judge(spec: RunSpec, tune: Tune) -> tuple[str, tuple[int, ...]]:
    """The metric and the extent that choose.

    Raises:
        UserError: they are not measured.
    """
    from pebench.resolve import build_task

    task = build_task(spec)
    known = [metric.name for metric in task.metrics()]
    metric = tune.metric or known[0]
    if metric not in known:
        raise unknown("metric", metric, known, f"task '{spec.task.name}'")
    extents = task.extents()
    extent = tune.extent or task.trained_extent()
    if len(extent) == 1:
        extent = extent * len(extents[0])
    if extent not in extents:
        measured = join_and(extent_name(each) for each in extents)
        raise UserError(
            f"'tune' judges the candidates at {extent_name(extent)}, but task '{spec.task.name}' is "
            f"evaluated at {measured}: name one of these with 'extent', or evaluate there too."
        )
    return metric, extent


def _digest(choice: Choice) -> str:
    parts = [choice.metric, choice.extent] + [
        [candidate.settings, candidate.trials, [spec.run_id for spec in candidate.cells]]
        for candidate in choice.candidates
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:10]
