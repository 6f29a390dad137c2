"""Groups of runs that differ in nothing but the seed: the rows of the tables."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from pebench.leaderboard.run_data import RunData
from pebench.leaderboard.tuning import TunedRow
from pebench.plugins.registry import tasks
from pebench.specification.flat_spec import is_below, setting_text, settings
from pebench.specification.options import values_before
from pebench.specification.run_spec import OBSERVING, RunSpec
from pebench.store.scores import default_extrapolation
from pebench.store.tuned_choices import Choice

USUAL = 0.8
"""Of the rows of a task that have a value which their names leave out."""


_NOT_SET = ("", "null")
"""Values of settings that a row leaves out."""


@dataclass(frozen=True)
class Group:
    """Runs that differ in nothing but the seed: a row of a table.

    Attributes:
        key: see `pebench.specification.run_spec.RunSpec.group`.
        task: its name.
        encoding: its label.
        encoding_name: as the registry knows it, without options.
        settings: the values of the settings, beside the encoding and what was tuned, in which groups of this
            task differ.
        trained: the trained extent, None where the task has none.
        default: the encoding's default extrapolation, None while no run has finished.
        tuned: the values that were chosen for it, empty where none were.
        implied: settings that the name of the row leaves out: those that all rows of its table share, and
            those that tell no more rows apart than another one does, as what goes with ``model.block=llama``.
        usual: the values that nearly all rows have, which their names leave out as well.
        begun: what the name of the row says for the setting ``start``, empty where it has none.
        telling: settings that other rows leave out, so that an empty list tells it from them.
    """

    key: str
    task: str
    encoding: str
    encoding_name: str
    settings: Mapping[str, str]
    trained: tuple[int, ...] | None
    default: str | None
    tuned: str = ""
    implied: frozenset[str] = frozenset()
    usual: Mapping[str, str] = field(default_factory=dict)
    begun: str = ""
    telling: frozenset[str] = frozenset()

    @property
    def table(self) -> tuple[str, ...]:
        """The name of its table: the task, and the task's options in which tables differ; see `beside`."""
        options = {name.rpartition(".")[2]: value for name, value in self._set.items() if _of_task(name)}
        return (self.task, *(f"{name}={value}" for name, value in options.items()))

    @property
    def beside(self) -> tuple[str, ...]:
        """The settings that tell its row apart beside the encoding; those that are not set say nothing."""
        return tuple(
            f"from {self.begun}" if name == "start" else f"{name}={value}"
            for name, value in self._set.items()
            if not _of_task(name) and name not in self.implied and self.usual.get(name) != value
        )

    @property
    def _set(self) -> dict[str, str]:
        return {
            name: value
            for name, value in self.settings.items()
            if value not in _NOT_SET and (value != "[]" or name in self.telling)
        }

    @property
    def label(self) -> str:
        """The name of its row."""
        return f"{self.encoding} [{', '.join(self.beside)}]" if self.beside else self.encoding


def group(
    runs: Iterable[RunData],
    tuned: Mapping[str, TunedRow] | None = None,
    waiting: Iterable[Choice] = (),
) -> tuple[dict[str, Group], tuple[str, ...], frozenset[str]]:
    """Groups the runs of a sweep.

    Args:
        runs: of the sweep.
        tuned: the choice behind each group that has one, by key.
        waiting: choices that are not made. Their rows count where rows are named, so that a name stays what
            it is when more rows come.

    Returns:
        The groups by key, in the order of tables and rows; the settings in which they differ; and the labels
        that the rows of the open choices will have.
    """
    first: dict[str, RunData] = {}
    for run in runs:
        # A run with scores knows its default extrapolation, and its task the trained extent.
        if run.group not in first or (run.scores and not first[run.group].scores):
            first[run.group] = run
    tuned = tuned or {}
    waiting = list(waiting)
    paths = {path for row in tuned.values() for path in row.chosen.settings}
    paths |= {path for choice in waiting for path in choice.candidates[0].settings}
    specs = {key: run.spec for key, run in first.items()}
    specs |= {choice.key: choice.candidates[0].cells[-1] for choice in waiting}
    varied = _varied(specs, paths)
    by_task: dict[str, list[Mapping[str, str]]] = {}
    for key, spec in specs.items():
        by_task.setdefault(spec.task.name, []).append(varied[key])
    implied = {task: _implied(rows) for task, rows in by_task.items()}
    usual = {task: _usual(rows) for task, rows in by_task.items()}
    telling = {task: _left_out(rows) for task, rows in by_task.items()}
    begun = {task: _short({row.get("start", "") for row in rows}) for task, rows in by_task.items()}
    rows = {
        key: Group(
            key=key,
            task=spec.task.name,
            encoding=spec.encoding.label or spec.encoding.name,
            encoding_name=spec.encoding.name,
            settings=varied[key],
            trained=first[key].task.trained_extent if key in first else None,
            default=_default(first[key]) if key in first else None,
            tuned=tuned[key].label if key in tuned else "",
            implied=implied[spec.task.name],
            usual=usual[spec.task.name],
            begun=begun[spec.task.name][varied[key].get("start", "")],
            telling=telling[spec.task.name],
        )
        for key, spec in specs.items()
    }
    rows = _without_shared(rows)
    groups = sorted((rows[key] for key in first), key=lambda each: (each.table, each.label, each.key))
    columns = sorted({name for each in groups for name in each.settings})
    coming = frozenset(
        replace(rows[choice.key], encoding=each.cells[-1].encoding.label).label
        for choice in waiting
        for each in choice.candidates
    )
    return {each.key: each for each in groups}, tuple(columns), coming


def _default(run: RunData) -> str | None:
    return default_extrapolation(run.result) if run.result is not None else None


def _varied(first: Mapping[str, RunSpec], tuned: Collection[str] = ()) -> dict[str, dict[str, str]]:
    """The settings in which the groups of a task differ, by group; those with a path that was tuned are none.

    Settings that change no result are named where rows differ in nothing else. Rows that would still have one
    name, such as two versions of an encoding, are told apart by their groups.
    """
    flat = {
        key: {name: value for name, value in _comparable(spec).items() if not is_below(name, tuned)}
        for key, spec in first.items()
    }
    varied: dict[str, dict[str, str]] = {}
    for task in {spec.task.name for spec in first.values()}:
        members = [key for key, spec in first.items() if spec.task.name == task]
        names = sorted({name for key in members for name in flat[key]})
        differing = [name for name in names if len({flat[key].get(name, "") for key in members}) > 1]
        # Where models are equal and every option is said, no task is imported.
        silent = any(
            name.startswith(_OPTION) and name not in flat[key] for name in differing for key in members
        )
        unsaid = _unsaid(task) if silent or any(name.startswith("model.") for name in differing) else {}
        for key in members:
            varied[key] = {
                name: flat[key].get(name, unsaid.get(name, ""))
                for name in differing
                if name not in _OBSERVING
            }
        for key in _of_one_name({key: first[key] for key in members}, varied):
            varied[key] |= {name: flat[key].get(name, "") for name in differing if name in _OBSERVING}
    for key in _of_one_name(first, varied):
        varied[key]["group"] = key
    return varied


def _without_shared(groups: Mapping[str, Group]) -> dict[str, Group]:
    """The groups, whose names leave out what all rows of a table share: it tells none apart there, and an
    encoding has one name in all tables."""
    tables: dict[tuple[str, ...], list[Group]] = {}
    for each in groups.values():
        tables.setdefault(each.table, []).append(each)
    found = {}
    for key, each in groups.items():
        rows = tables[each.table]
        shared = {name for name in each.settings if len({row.settings.get(name, "") for row in rows}) == 1}
        found[key] = replace(each, implied=each.implied | shared)
    return found


def _short(starts: Collection[str]) -> dict[str, str]:
    """What the names of rows say for the labels of starts: no more than tells these apart, of the task, the
    number of updates and the options."""
    bare = {label: _unbracketed(label) for label in starts}
    forms = ({label: text.partition(" after ")[0] for label, text in bare.items()}, bare)
    whole = {label: label for label in starts}
    return next((form for form in forms if len({*form.values()}) == len(starts)), whole)


def _unbracketed(text: str) -> str:
    """The text without all that stands in parentheses."""
    shorter = re.sub(r"\([^()]*\)", "", text)
    return text if shorter == text else _unbracketed(shorter)


def _implied(varied: Sequence[Mapping[str, str]]) -> frozenset[str]:
    """The settings that a name can do without: those of the model that tell the same rows of a task apart as
    one before them, and those of training that are the same for all rows of one start."""
    names = sorted((name for name in varied[0] if name.startswith("model.")), key=_block_first)
    seen: set[tuple[int, ...]] = set()
    implied: set[str] = set()
    for name in names:
        values = [row[name] for row in varied]
        division = tuple(values.index(value) for value in values)
        if division in seen:
            implied.add(name)
        seen.add(division)
    if any(row.get("start") for row in varied):
        for name in (name for name in varied[0] if name.startswith("train.")):
            pairs = {(row.get("start", ""), row.get(name, "")) for row in varied}
            if len(pairs) == len({start for start, _ in pairs}):
                implied.add(name)
    return frozenset(implied)


def _usual(varied: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """The values of settings that all but a few rows of a task have: named are those that have others. A row
    without a start has nothing to name."""
    counts = Counter((name, value) for row in varied for name, value in row.items() if name != "start")
    return {name: value for (name, value), rows in counts.items() if rows >= USUAL * len(varied)}


def _left_out(varied: Sequence[Mapping[str, str]]) -> frozenset[str]:
    """The settings that some rows of a task leave out."""
    return frozenset(name for row in varied for name, value in row.items() if value in _NOT_SET)


def _block_first(name: str) -> tuple[bool, str]:
    return name != "model.block", name


_OPTION = "task.options."

_OBSERVING = tuple(f"train.{name}" for name in OBSERVING)


def _of_one_name(specs: Mapping[str, RunSpec], varied: Mapping[str, dict[str, str]]) -> list[str]:
    """The groups whose rows have a name that another has too."""
    names = {key: _name(spec, varied[key]) for key, spec in specs.items()}
    taken = Counter(names.values())
    return [key for key, name in names.items() if taken[name] > 1]


def _name(spec: RunSpec, varied: Mapping[str, str]) -> tuple[str, ...]:
    return (spec.task.name, spec.encoding.label or spec.encoding.name, *varied.values())


def _comparable(spec: RunSpec) -> dict[str, str]:
    """The settings that groups are told apart by beside the encoding, which has a column of its own."""
    return {
        name: value
        for name, value in settings(spec).items()
        if not name.startswith(("encoding.", "plugins.")) and name not in ("seed", "task.name", "task.label")
    }


def _unsaid(task: str) -> dict[str, str]:
    """The options of a task that specifications leave out, and those of its model that choose by name, as the
    block does."""
    if task not in tasks.origins():
        return {}
    of_model, of_task = (values_before(part) for part in (tasks.load(task).Model, tasks.load(task).Options))
    named = {f"model.{name}": value for name, value in of_model.items() if isinstance(value, str)}
    return named | {f"{_OPTION}{name}": setting_text(value) for name, value in of_task.items()}


def _of_task(name: str) -> bool:
    return name.startswith("task.")
