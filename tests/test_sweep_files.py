"""The sweeps that come along: siblings belong together, and the smoke versions run."""

from __future__ import annotations

from pathlib import Path

import pytest
from specimens.scan_commands import write_scan

from pebench.running.execution import Execution
from pebench.specification.run_spec import RunSpec
from pebench.store.run_folder import RunFolder
from pebench.submission.cells import run_all
from pebench.submission.progress import Lines
from pebench.sweeping.sweep import load_sweep

FOLDER = Path(__file__).resolve().parents[1] / "sweeps"
SWEEPS = sorted(path.stem for path in FOLDER.glob("*.yaml"))


def test_the_models_that_answer_questions_are_those_of_the_text_sweep() -> None:
    text, questions = (load_sweep(FOLDER / f"seqpe-{name}.yaml").cells for name in ("text", "qa"))
    known = {spec.run_id for spec in text}
    starts = {spec.start.run for spec in questions if spec.start is not None}
    assert starts <= known
    assert len(starts) == 15


def test_the_runs_in_blocks_of_gpt2_are_those_of_the_sweep_on_novels() -> None:
    """Trials and what may be reported."""
    known = load_sweep(FOLDER / "novels-trained.yaml").possible()
    hosts = load_sweep(FOLDER / "hosts.yaml")
    blocks = {run: "block" in spec.model for run, spec in hosts.possible().items()}
    assert {run for run, other in blocks.items() if not other} <= known.keys()
    assert sum(blocks.values()) == len(blocks) / 2 == 10 + 10 * 3
    assert len(hosts.trials) == 20


def test_the_full_text_sweep_is_the_text_sweep_with_a_batch_in_one_part() -> None:
    text, full = (load_sweep(FOLDER / f"seqpe-{name}.yaml").cells for name in ("text", "text-full"))
    known = {spec.run_id for spec in text}
    in_parts = [spec.train.model_copy(update={"accumulate": 4}) for spec in full]
    assert {
        spec.model_copy(update={"train": train}).run_id for spec, train in zip(full, in_parts, strict=True)
    } <= known
    assert [spec.encoding.name for spec in full] == ["seqpe", "rope", "alibi", "learned", "none"]


@pytest.mark.parametrize("name", ["offsets", "offsets-small", "offsets-smoke"])
def test_windows_at_offsets_are_read_in_both_precisions(name: str) -> None:
    """What bfloat16 makes of large positions is asked of the evaluation: training never sees them."""
    cells = load_sweep(FOLDER / f"{name}.yaml").cells
    pairs = {(spec.encoding.name, spec.train.evaluate_in) for spec in cells}
    assert pairs == {(e, p) for e, _ in pairs for p in ("float32", "bfloat16")}
    assert len({spec.train.precision for spec in cells}) == 1
    assert all(65_536 in spec.task.options["offsets"] for spec in cells)


KINDS = ("variant", "scratchpad", "group", "elements")
"""Options that say what is asked, and not how much of it."""


def chains(name: str) -> set[tuple[object, ...]]:
    """What each cell asks, and what was asked of those that it begins with."""
    cells = {spec.run_id: spec for spec in load_sweep(FOLDER / f"{name}.yaml").cells}

    def chain(spec: RunSpec) -> tuple[object, ...]:
        asked = (spec.task.name, *(spec.task.options.get(kind) for kind in KINDS))
        return (asked, *(chain(cells[spec.start.run]) if spec.start else ()))

    return {chain(spec) for spec in cells.values()}


@pytest.mark.parametrize(
    ("name", "smoke"),
    [
        ("long-context", "long-context-smoke"),
        ("trained-hops", "long-context-smoke"),
        ("long-context-small", "long-context-small-smoke"),
        ("scratchpad-small", "long-context-small-smoke"),
        ("word-frequency", "long-context-small-smoke"),
        ("trained-answers", "trained-answers-smoke"),
        ("trained-questions", "trained-answers-smoke"),
        ("word-problems", "word-problems-smoke"),
        ("word-problems-small", "word-problems-smoke"),
    ],
)
def test_a_smoke_sweep_has_every_step_of_those_it_stands_for(name: str, smoke: str) -> None:
    assert chains(name) <= chains(smoke)


@pytest.mark.parametrize("name", [name for name in SWEEPS if name.endswith("-smoke")])
def test_smoke_sweeps_run(name: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCAN", str(write_scan(place / "scan")))
    sweep = load_sweep(FOLDER / f"{name}.yaml")
    for spec in sweep.cells:
        RunFolder(place / spec.run_id).create(spec, {})
    ids = [spec.run_id for spec in sweep.cells]
    outcome = run_all(place, ids, Execution(device="cpu", threads=1), Lines())
    assert not outcome.failed
    assert set(outcome.finished) == set(ids)
    for spec in sweep.cells:
        scores = outcome.finished[spec.run_id].scores
        extents = spec.task.options["evaluate"]
        assert {score.extent for score in scores} == {
            tuple(extent) if isinstance(extent, list) else (extent,) for extent in extents
        }
