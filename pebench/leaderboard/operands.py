"""The two operands of `pebench compare`: encodings of a sweep, runs, or sweeps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pebench.errors import FEW, UserError, join_and, unknown
from pebench.leaderboard.collect import Collection, collect
from pebench.leaderboard.groups import Group
from pebench.leaderboard.run_data import RunData, from_folders
from pebench.leaderboard.sources import collect_sweep
from pebench.leaderboard.tuning import reported
from pebench.store.run_folder import find_run
from pebench.store.sweep_records import SweepRecord
from pebench.store.tuned_choices import submitted_sweeps
from pebench.sweeping.recorded import means_sweep, recorded_sweep


@dataclass(frozen=True)
class Operand:
    """One of the two that are compared.

    Attributes:
        name: as the user wrote it.
        kind: what it is.
        groups: those that it is made of.
        runs: those that it is made of.
        extrapolation: which way past the trained extent, None for the encoding's default.
    """

    name: str
    kind: Literal["encoding", "run", "sweep"]
    groups: tuple[Group, ...]
    runs: tuple[RunData, ...]
    extrapolation: str | None = None

    def of_group(self, group: Group) -> list[RunData]:
        """Its runs in a group."""
        return [run for run in self.runs if run.group == group.key]


Operands = tuple[Operand, Operand]


def find_operands(
    runs: Path, names: tuple[str, str], sweep: str | None = None
) -> tuple[Collection, Operands]:
    """Finds what two names stand for, and the runs of both.

    They are sweeps where there are sweeps or files of both names, encodings where a sweep has rows that are
    called so, and else runs, by their ids or the beginnings of these.

    Args:
        runs: the folder of runs.
        names: as the user wrote them.
        sweep: the sweep whose encodings are meant, None for the only one that has both.

    Raises:
        UserError: a name is unknown or could be several things, or the two are not of one kind.
    """
    if not any(runs.glob("*/spec.json")):
        raise UserError(f"there is no run in '{runs}': submit a sweep, or name the folder with --runs.")
    recorded = {record.name: record for record in submitted_sweeps(runs)}
    if sweep is None and all(means_sweep(name, recorded) for name in names):
        return _sweeps(runs, [recorded_sweep(runs, name) for name in names])
    wanted = [recorded_sweep(runs, sweep)] if sweep is not None else list(recorded.values())
    collections = [collect_sweep(runs, record) for record in wanted]
    both = [each for each in collections if all(named_rows(each, name)[0] for name in names)]
    if len(both) > 1:
        which = join_and(each.sweep.name for each in both)
        raise UserError(f"{join_and(names)} are encodings of the sweeps {which}: say which with --sweep.")
    if both:
        return both[0], (_encoding(both[0], names[0]), _encoding(both[0], names[1]))
    labels = {group.label for each in collections for group in each.groups.values()}
    if sweep is not None:
        missing = next(name for name in names if not named_rows(collections[0], name)[0])
        raise unknown("encoding", missing, labels, f"sweep '{collections[0].sweep.name}'")
    kinds = {_kind(name, collections, recorded) for name in names}
    if kinds == {"run"}:
        return _runs(runs, names, labels | set(recorded))
    for name in names:
        if _kind(name, collections, recorded) == "run":
            _run_id(runs, name, labels | set(recorded))
    if kinds == {"encoding"}:
        raise UserError(f"no sweep has both {join_and(names)}: compare two runs, or two sweeps.")
    raise UserError(f"{join_and(names)} are not of one kind: compare two encodings, two sweeps or two runs.")


def _kind(name: str, collections: Iterable[Collection], recorded: Iterable[str]) -> str:
    if means_sweep(name, recorded):
        return "sweep"
    return "encoding" if any(named_rows(each, name)[0] for each in collections) else "run"


def _sweeps(runs: Path, records: list[SweepRecord]) -> tuple[Collection, Operands]:
    first, second = (from_folders(runs, reported(record)) for record in records)
    together = _together(
        [*first.runs, *second.runs],
        [*first.warnings, *second.warnings],
        [*first.unreadable, *second.unreadable],
    )
    names = [record.name for record in records]
    return together, (
        _operand(together, names[0], "sweep", first.runs),
        _operand(together, names[1], "sweep", second.runs),
    )


def _runs(runs: Path, names: tuple[str, str], others: set[str]) -> tuple[Collection, Operands]:
    ids = tuple(_run_id(runs, name, others) for name in names)
    found, warnings, _ = from_folders(runs, SweepRecord(name="", source="", runs=ids))
    if warnings:
        raise UserError(warnings[0])
    first, second = found
    together = _together([first, second])
    return together, (
        _operand(together, first.run_id, "run", [first]),
        _operand(together, second.run_id, "run", [second]),
    )


def _run_id(runs: Path, name: str, others: set[str]) -> str:
    ids = {path.parent.name for path in runs.glob("*/spec.json")}
    if name not in ids and sum(run_id.startswith(name) for run_id in ids) != 1:
        raise unknown("encoding, sweep or run", name, others | ids, listed=FEW)
    return find_run(runs, name).run_id


def _operand(
    together: Collection, name: str, kind: Literal["run", "sweep"], runs: Sequence[RunData]
) -> Operand:
    keys = {run.group for run in runs}
    return Operand(name, kind, tuple(g for key, g in together.groups.items() if key in keys), tuple(runs))


def _together(
    runs: Iterable[RunData], warnings: Iterable[str] = (), unreadable: Iterable[str] = ()
) -> Collection:
    by_id = {run.run_id: run for run in runs}
    sweep = SweepRecord(name="", source="", runs=tuple(by_id))
    return collect(sweep, by_id.values(), warnings, unreadable)


def _encoding(collection: Collection, name: str) -> Operand:
    groups, method = named_rows(collection, name)
    runs = [run for group in groups for run in collection.by_group[group.key]]
    return Operand(name, "encoding", tuple(groups), tuple(runs), method)


def named_rows(collection: Collection, name: str) -> tuple[list[Group], str | None]:
    """The groups that a sweep's tables call so, and the extrapolation in the name: ``rope, yarn``; none where
    it is the name of a row that waits for its settings."""
    for called in ("label", "encoding", "encoding_name"):
        if called != "label" and collection.unchosen & {name, name.rpartition(", ")[0]}:
            # Another row of this encoding is not the one that is meant.
            break
        named: dict[str, list[Group]] = {}
        for group in collection.groups.values():
            named.setdefault(getattr(group, called), []).append(group)
        if name in named:
            return named[name], None
        for base, own in named.items():
            scores = collection.scores[collection.scores["group"].isin([group.key for group in own])]
            for method in scores["extrapolation"].unique():
                if name == f"{base}, {method}":
                    return own, method
    return [], None
