"""Which of the cells that are ready a worker takes that compiles: those that it has compiled for already."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pebench.errors import UserError
from pebench.specification.run_spec import RunSpec
from pebench.store.run_folder import RunFolder
from pebench.submission import submissions

Rank = Callable[[RunSpec], int]
"""Place of a run among those that are ready: the lowest is taken first, of equal ones the first."""


class AlikeFirst:
    """Cells that differ from the worker's last in the seed alone come first, then those of which no worker
    has begun the like, then all others. In the order of the sweep, where seeds follow one another, every
    worker would compile for every group.

    Attributes:
        group: of the last cell that the worker took, see `RunSpec.group`.
    """

    def __init__(self, runs: Path, submission: Path) -> None:
        """
        Args:
            runs: the folder of the runs.
            submission: the folder of the submission, with the claims of all workers.
        """
        self.group: str | None = None
        self._runs, self._submission = runs, submission
        self._groups: dict[str, str] = {}

    def took(self, run_id: str) -> None:
        """The worker carries a run out next."""
        self.group = self._group_of(run_id)

    def rank(self) -> Rank:
        """By what is claimed now."""
        begun = {self._group_of(run_id) for run_id in submissions.claimed(self._submission)}

        def rank(spec: RunSpec) -> int:
            return 0 if spec.group == self.group else 2 if spec.group in begun else 1

        return rank

    def _group_of(self, run_id: str) -> str | None:
        if run_id not in self._groups:
            try:
                self._groups[run_id] = RunFolder(self._runs / run_id).spec().group
            except UserError:
                return None  # whoever took it says why
        return self._groups[run_id]
