"""The settings that were chosen for the rows of a leaderboard, and how the score depends on them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from pebench.errors import UserError
from pebench.leaderboard.run_data import RunData
from pebench.specification.flat_spec import setting_text
from pebench.store.run_folder import RunFolder
from pebench.store.sweep_records import SweepRecord
from pebench.store.tuned_choices import Choice, Chosen, Tuning, is_slot, read_choice

TUNED = (
    "Each encoding has the setting that its trials chose: the candidate in bold. Where that lies on the edge "
    "of what was tried, the best may lie beyond."
)


_LISTED = 4
"""Values that a remark names; of more, which are drawn as a rule, it names the ends."""


class TunedRow(NamedTuple):
    """A choice that the runs of a group came from.

    Attributes:
        choice: what was chosen among.
        chosen: what was chosen.
    """

    choice: Choice
    chosen: Chosen

    @property
    def label(self) -> str:
        """The chosen values: ``train.learning_rate=0.004``, with the mark of each."""
        return ", ".join(
            f"{path}={setting_text(value)}{self.mark(path)}" for path, value in self.chosen.settings.items()
        )

    def mark(self, path: str) -> str:
        """What stands behind the chosen value of a setting: `` (edge)``, `` (of two)``, of which each is an
        edge, or nothing."""
        if path not in self.chosen.edges:
            return ""
        return " (of two)" if self.choice.is_of_two(path) else " (edge)"

    def mean(self, candidate: int) -> float:
        """The score of a candidate, NaN for one that diverged."""
        own = [score for score in self.chosen.scores[candidate] if score is not None]
        return fmean(own) if own and len(own) == len(self.chosen.scores[candidate]) else math.nan

    def remarks(self, label: str) -> Iterator[str]:
        """Sentences about what a reader should know of the choice.

        Args:
            label: name of the row.
        """
        for path in self.chosen.edges:
            values = {setting_text(c.settings[path]): c.settings[path] for c in self.choice.candidates}
            tried = ", ".join(values)
            if self.choice.is_of_two(path):
                yield (
                    f"{label}: {path}={setting_text(self.chosen.settings[path])} is the better of two values "
                    f"({tried}), and nothing is known of what lies beyond them."
                )
                continue
            if len(values) > _LISTED:
                numbers = sorted(value for value in values.values() if isinstance(value, int | float))
                tried = f"{len(values)} values, the numbers from {numbers[0]} to {numbers[-1]}"
            yield (
                f"{label}: {path}={setting_text(self.chosen.settings[path])} lies on the edge of what was "
                f"tried ({tried}), so the best may lie beyond."
            )
        both = set(self.choice.seeds) & set(self.choice.reported)
        if both:
            seeds = ", ".join(map(str, sorted(both)))
            yield f"{label}: seed {seeds} is reported, and the setting was chosen with it."
        if not self.choice.splits:
            yield f"{label}: the task has no splits, so the setting was chosen on the data that is reported."
        elif len(set(self.choice.splits)) == 1:
            yield f"{label}: chosen and reported on the {self.choice.splits[0]} split."


def tunings(runs: Path, sweep: SweepRecord) -> tuple[list[Tuning], list[str], list[str]]:
    """The choices of a sweep, a sentence for each that is not made or cannot be read, and the keys of those
    that cannot."""
    found, warnings, unreadable = [], [], []
    for key in sweep.choices:
        try:
            tuning = read_choice(runs, key)
        except UserError as error:
            warnings.append(f"The choice {key} is left out: {error}")
            unreadable.append(key)
            continue
        found.append(tuning)
    open_ones = unchosen(found, lambda run: (RunFolder(runs / run).path / "result.json").exists())
    return found, [*warnings, *open_ones], unreadable


def unchosen(found: Iterable[Tuning], ended: Callable[[str], bool]) -> Iterator[str]:
    """A sentence for each task of which choices are not made.

    Args:
        found: the choices.
        ended: whether the trial of an id has a result.
    """
    waiting: dict[str, list[str]] = {}
    for tuning in found:
        if tuning.chosen is None:
            trials = tuning.choice.trials
            counts = f"{sum(map(ended, trials))} of {len(trials)} trials have a result"
            waiting.setdefault(tuning.choice.task, []).append(f"{tuning.choice.encoding} ({counts})")
    for task, rows in waiting.items():
        yield f"No row yet on {task}, for no setting is chosen: {', '.join(rows)}."


def reported(sweep: SweepRecord) -> SweepRecord:
    """The record without trials and without what is not chosen, which tables do not show."""
    return sweep.model_copy(update={"runs": tuple(run for run in sweep.reported if not is_slot(run))})


def by_group(found: Iterable[Tuning], runs: Iterable[RunData]) -> Mapping[str, TunedRow]:
    """The choice behind each group of runs that has one; none for what these start from."""
    groups = {run.run_id: run.group for run in runs}
    return {
        groups[run_id]: TunedRow(tuning.choice, tuning.chosen)
        for tuning in found
        if tuning.chosen is not None
        for run_id in sorted(tuning.choice.reports(tuning.chosen.candidate))
        if run_id in groups
    }
