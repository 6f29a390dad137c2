"""The plan of a submit in words."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pebench.notation.quantities import counted, time_limit
from pebench.specification.flat_spec import told_apart, with_settings
from pebench.submission import estimate
from pebench.submission.plan import Array
from pebench.submission.progress import duration
from pebench.submission.requirements import execution_of
from pebench.submission.resources import Resources
from pebench.submission.submissions import Cluster
from pebench.submission.submit import Preview, Submitted
from pebench.sweeping.sweep import Sweep


def as_object(name: str, submitted: Submitted) -> dict[str, Any]:
    """What is or would be started, as JSON has it.

    Args:
        name: of the sweep.
        submitted: its cells.
    """
    return {
        "sweep": name,
        "started": submitted.started,
        "finished": submitted.finished,
        "busy": submitted.busy,
        "left": submitted.left,
        "jobs": [submission.job for submission in submitted.submissions if submission.job],
    }


RETRIED = ("failed", "lost", "cancelled")
"""States with an option of ``pebench retry``."""

_LEFT = {
    "missing": "'pebench submit' starts what has never begun",
    "unreadable": "'pebench status' says what is damaged",
}


def left_cells(name: str, submitted: Submitted) -> Iterator[str]:
    """A sentence for each state whose cells are not started, and what starts them.

    Args:
        name: of the sweep.
        submitted: its cells.
    """
    for state, left in submitted.left.items():
        them = "it" if len(left) == 1 else "them"
        how = f"'pebench retry {name} --{state}' starts {them}" if state in RETRIED else _LEFT[state]
        yield f"{len(left)} {state} {'is' if len(left) == 1 else 'are'} left: {how}."


def lines(
    sweep: Sweep, runs: Path, cluster: Cluster, resources: Resources, preview: Preview
) -> Iterator[str]:
    """The plan, one fact a line, and at the end the script for sbatch."""
    submitted = preview.submitted
    known = f"{len(submitted.finished)} finished before, {len(submitted.busy)} under way"
    yield f"{sweep.name}: {len(submitted.started)} of {submitted.total} cells to start, {known}."
    yield from left_cells(sweep.name, submitted)
    specs = sweep.specs_of(submitted.started)
    like = estimate.seconds(runs, specs.values())
    times = {cell: like[spec.run_id] for cell, spec in specs.items() if spec.run_id in like}
    if specs:
        yield "  run\tencoding\ttask\tseed\ttime"
    choices = {slot: choice for choice in sweep.choices for slot in choice.slots}
    apart = told_apart(
        specs | sweep.specs_of(submitted.finished), {slot: choice.paths for slot, choice in choices.items()}
    )
    for run_id, spec in specs.items():
        label = choices[run_id].encoding_of(run_id) if run_id in choices else spec.encoding.label
        encoding = with_settings(label, apart[run_id])
        time = duration(times[run_id]) if run_id in times else "-"
        yield f"  {run_id}\t{encoding}\t{spec.task.label}\tseed {spec.seed}\t{time}"
    if not submitted.started:
        return
    if preview.arrays:
        yield from _jobs(preview.arrays, resources)
        if preview.choices:
            chosen = counted(preview.choices, "choice")
            yield f"between them a job that makes {chosen}, which the later arrays wait for"
        yield f"each job: {_each(resources, sweep)}"
    else:
        yield _HERE[cluster]
    yield _time(submitted.started, times, cluster, resources)
    if preview.script:
        yield ""
        yield preview.script.rstrip()


_HERE: dict[Cluster, str] = {
    "inline": "one after another in this terminal (inline)",
    "local": "on this machine, in the background (local)",
    "slurm": "",
}


def _jobs(arrays: list[Array], resources: Resources) -> Iterator[str]:
    jobs = sum(array.jobs for array in arrays)
    pack = f", {resources.pack} cells a job, {resources.width} at a time" if resources.pack > 1 else ""
    bound = f", at most {resources.max_parallel} at a time" if resources.max_parallel else ""
    yield f"{counted(jobs, 'job')} in {counted(len(arrays), 'array')}{pack}{bound}"
    for number, array in enumerate(arrays, 1):
        if array.after:
            before = ", ".join(str(place + 1) for place in array.after)
            yield f"  array {number}, {counted(array.jobs, 'job')}, begins when array {before} has ended"


def _each(resources: Resources, sweep: Sweep) -> str:
    ranks = execution_of(sweep, resources).ranks
    asked = resources.model_copy(update={"ranks": ranks if ranks > 1 else None})
    named = {"time": time_limit(asked.time), **asked.named(), **asked.slurm}
    return ", ".join(f"{key} {value}" for key, value in named.items())


def _time(started: list[str], times: dict[str, float], cluster: Cluster, resources: Resources) -> str:
    known = [times[run_id] for run_id in started if run_id in times]
    if not known:
        return "time: no finished run in this folder is like any of these cells"
    if len(known) == len(started):
        basis = "from earlier runs"
    else:
        basis = f"from earlier runs, which {len(started) - len(known)} cells have none like"
    at_once = resources.max_parallel or 1 if cluster != "slurm" else resources.max_parallel
    total = sum(known) / len(known) * len(started)
    if at_once is None:
        share = f"{duration(max(known))} if all jobs run at once"
    elif at_once == 1:
        return f"time: about {duration(total)}, {basis}, without their starts"
    else:
        share = f"{duration(max(max(known), total / at_once))} with {counted(at_once, 'job')} at a time"
    return f"time: about {duration(total)} of work, {share}, {basis}, without their starts"
