"""Runs that begin with the weights of others: order, identity, refusals, and what a failure leads to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from specimens.tiny_sweeps import load, tiny

import pebench
from pebench.command_line.main import main
from pebench.errors import UserError
from pebench.resolve import resolve
from pebench.running.execution import Execution
from pebench.running.run import execute
from pebench.store.run_folder import RunFolder
from pebench.submission.cells import run_all
from pebench.submission.plan import dependency_levels
from pebench.submission.progress import Lines
from pebench.submission.ready import ready_first
from pebench.submission.resources import Resources
from pebench.submission.submit import preview, submit
from pebench.sweeping.sweep import Sweep

MODEL = {"width": 16, "heads": 2, "layers": 1}


def _entry(place: Path, **options: Any) -> dict[str, Any]:
    written = tiny(place)["tasks"][0]["language-modeling"]
    return {"language-modeling": {**written, **options}}


def _chained(place: Path, steps: int = 3, **changes: Any) -> Sweep:
    later = {**_entry(place, evaluate=[24]), "train": {"steps": steps}, "from": _entry(place)}
    return load(place, **{"tasks": [later], "encodings": ["rope", "alibi"], **changes})


def _carry_out(place: Path, sweep: Sweep) -> Any:
    runs = place / "runs"
    for spec in sweep.cells:
        RunFolder(runs / spec.run_id).create(spec, {})
    return run_all(runs, [spec.run_id for spec in sweep.cells], Execution(device="cpu", threads=1), Lines())


def test_what_a_cell_starts_from_is_a_cell_that_comes_before_it(place: Path) -> None:
    sweep = _chained(place, seeds=2)
    assert len(sweep.cells) == 8
    for number, spec in enumerate(sweep.cells):
        if spec.start is not None:
            before = [other for other in sweep.cells[:number] if other.run_id == spec.start.run]
            assert [(b.encoding.name, b.seed) for b in before] == [(spec.encoding.name, spec.seed)]
            assert before[0].start is None


def test_cells_that_begin_with_a_run_without_its_weights_are_refused_before_anything_is_on_record(
    place: Path,
) -> None:
    sweep, runs = _chained(place, encodings=["rope"]), place / "runs"
    first, later = sweep.cells
    RunFolder(runs / first.run_id).create(first, {})
    run_all(runs, [first.run_id], Execution(device="cpu", threads=1), Lines())
    kept = RunFolder(runs / first.run_id).weights
    kept.rename(place / "aside")
    refused = f"begins with run '{first.run_id}', whose weights are not in"
    with pytest.raises(UserError, match=refused):
        submit(sweep, runs, "inline")
    with pytest.raises(UserError, match=refused):
        preview(sweep, runs, "inline", Resources())
    assert not RunFolder(runs / later.run_id).path.exists()
    (place / "aside").rename(kept)
    assert list(submit(sweep, runs, "inline").started) == [later.run_id]


def test_the_identity_covers_the_start_and_is_what_it_was_without_one(place: Path) -> None:
    plain = resolve("rope", _entry(place), model=MODEL, train={"steps": 4})
    longer = resolve("rope", _entry(place), model=MODEL, train={"steps": 5})
    ids = {
        resolve("rope", _entry(place), model=MODEL, train={"steps": 4}, start=start).run_id
        for start in (None, plain, longer)
    }
    assert len(ids) == 3
    assert plain.run_id in ids
    quickstart = pebench.load_sweep("quickstart")
    committed = Path(__file__).parents[1] / "results" / "quickstart" / "leaderboard.csv"
    assert any(run_id in committed.read_text() for run_id in quickstart.possible())


def test_runs_that_differ_in_the_seed_of_their_start_too_are_one_group(place: Path) -> None:
    groups = {spec.group for spec in _chained(place, seeds=3, encodings=["rope"]).cells}
    assert len(groups) == 2


def test_a_run_begins_with_the_weights_of_its_start_and_one_without_steps_keeps_them(place: Path) -> None:
    for steps in (0, 3):
        outcome = _carry_out(place, sweep := _chained(place, steps=steps, encodings=["rope"]))
        assert not outcome.failed
        first, second = (
            load_file(place / "runs" / spec.run_id / "model.safetensors") for spec in sweep.cells
        )
        assert all(torch.equal(first[name], second[name]) for name in first) is (steps == 0)


def test_only_evaluating_needs_no_training_data(place: Path) -> None:
    text = (place / "text.txt").read_text()
    (place / "held-out.txt").write_text(text[:2000])
    only = {"validation": str(place / "held-out.txt")}
    later = {**_entry(place, data=only, evaluate=[24]), "train": {"steps": 0}, "from": _entry(place)}
    sweep = load(place, tasks=[later], encodings=["rope"])
    assert not _carry_out(place, sweep).failed
    result = RunFolder(place / "runs" / sweep.cells[-1].run_id).result()
    assert result is not None
    assert {score.extent for score in result.scores} == {(24,)}


def test_a_failed_start_fails_what_starts_from_it_and_names_itself(place: Path) -> None:
    sweep = _chained(place, encodings=["rope", "alibi"])
    first = sweep.cells[0].run_id
    blocked = place / "runs" / first
    RunFolder(blocked).create(sweep.cells[0], {})
    (blocked / "model.safetensors").mkdir()
    outcome = _carry_out(place, sweep)
    assert set(outcome.failed) == {first, sweep.cells[1].run_id}
    assert f"it starts from run '{first}', which failed" in outcome.failed[sweep.cells[1].run_id]
    failure = RunFolder(place / "runs" / sweep.cells[1].run_id).failure()
    assert failure is not None
    assert first in failure.message


def test_nothing_to_start_from_and_no_steps_is_refused(place: Path) -> None:
    with pytest.raises(UserError, match=r"'train.steps' is 0, but without a run to start from"):
        resolve("rope", _entry(place), train={"steps": 0})


def test_a_start_that_does_not_fit_is_refused_before_anything_runs(place: Path) -> None:
    first = resolve("rope", _entry(place), model={**MODEL, "layers": 2})
    with pytest.raises(UserError, match="a model of layers 2, and a run that starts"):
        resolve("rope", _entry(place), model=MODEL, start=first)


@pytest.mark.parametrize("encoding", ["learned", "learned + rope"])
def test_learned_rows_go_on_resampled_at_another_extent(place: Path, encoding: str) -> None:
    later = {**_entry(place, extent=24, evaluate=[24]), "from": _entry(place, extent=16, evaluate=[16])}
    sweep = load(
        place, tasks=[later], encodings=[encoding], train={"steps": 1, "batch": 2, "learning_rate": 1e-9}
    )
    assert not _carry_out(place, sweep).failed
    rows = [
        next(
            value
            for name, value in load_file(place / "runs" / cell.run_id / "model.safetensors").items()
            if name.endswith("rows")
        )
        for cell in sweep.cells
    ]
    assert [len(each) for each in rows] == [16, 24]
    wanted = F.interpolate(rows[0].T[None], size=24, mode="linear")[0].T
    torch.testing.assert_close(rows[1], wanted, atol=1e-6, rtol=0)
    assert "refitted: encoding." in (place / "runs" / sweep.cells[1].run_id / "log.txt").read_text()


def test_another_tokenizer_is_refused(place: Path) -> None:
    later = {**_entry(place, tokenizer="bpe-300"), "from": _entry(place, tokenizer="bytes")}
    sweep = load(place, tasks=[later], encodings=["rope"])
    outcome = _carry_out(place, sweep)
    assert "was trained with another tokenizer" in outcome.failed[sweep.cells[-1].run_id]


def test_a_run_can_be_named_by_its_id_and_an_unknown_one_is_answered(place: Path) -> None:
    first = _chained(place, encodings=["rope"]).cells[0]
    RunFolder(place / "runs" / first.run_id).create(first, {})
    later = {**_entry(place, evaluate=[24]), "from": {"run": first.run_id[:8]}}
    (cell,) = load(place, tasks=[later], encodings=["rope"]).cells
    assert cell.start is not None
    assert cell.start.run == first.run_id
    later["from"] = {"run": first.run_id + "0"}
    with pytest.raises(UserError, match=f"did you mean '{first.run_id}'"):
        load(place, tasks=[later], encodings=["rope"])


def test_a_run_of_the_command_line_takes_encoding_and_model_over_from_its_start(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tasks = [_entry(place, tokenizer="bpe-300")]
    (first,) = load(place, encodings=[{"rope": {"base": 500}}], tasks=tasks).cells
    folder = RunFolder(place / "runs" / first.run_id)
    folder.create(first, {})
    execute(folder, Execution(device="cpu", threads=1))
    asked = ["run", "--from", first.run_id, "--task", "question-answering", "--threads", "1"]
    small = ["task.extent=256", "task.evaluate=[256]", "task.questions=2", "train.steps=0"]
    assert main([*asked, *(word for value in small for word in ("--set", value))]) == 0
    told = capsys.readouterr().out
    later = RunFolder(Path(told.split()[-1])).spec()
    assert later.encoding.options["base"] == 500
    assert later.model == first.model
    assert later.start is not None
    assert later.start.run == first.run_id
    task = pebench.load(later.run_id, device="cpu").task
    assert task.tokenizer is not None
    trained = task.tokenizer.fingerprint
    assert task.prepare()["tokenizer"] == trained
    small = ["task.extent=256", "task.evaluate=[256]", "task.questions=1", "train.steps=1", "train.batch=1"]
    converted = [*asked, "--encoding", "kerple", *(word for value in small for word in ("--set", value))]
    assert main(converted) == 0
    folder = RunFolder(Path(capsys.readouterr().out.split()[-1]))
    assert "anew: encoding.a, encoding.p" in folder.log.read_text("utf-8")


def test_a_sweep_converts_from_one_encoding_to_others(place: Path) -> None:
    """DroPE's form: trained with RoPE, which is dropped; all weights but the encoding's own are kept."""
    later = {**_entry(place), "from": {**_entry(place), "encoding": {"rope": {"base": 500}}}}
    sweep = load(place, tasks=[later], encodings=["none", "learned", {"rope": {"base": 500}}])
    trained, *others = sweep.cells
    assert trained.encoding.label == "rope(base=500.0)"
    assert [spec.encoding.label for spec in others] == ["none", "learned", "rope(base=500.0)"]
    assert {spec.start.run for spec in others if spec.start} == {trained.run_id}
    labels = [spec.start.label for spec in others if spec.start]
    assert labels[0].startswith("rope(base=500.0) on language-modeling")
    assert not labels[2].startswith("rope")
    assert not _carry_out(place, sweep).failed
    log = RunFolder(place / "runs" / others[1].run_id).log.read_text("utf-8")
    assert "anew: encoding.rows" in log
    assert "anew" not in RunFolder(place / "runs" / others[0].run_id).log.read_text("utf-8")


def test_the_encoding_of_a_start_stands_at_from(place: Path) -> None:
    with pytest.raises(UserError, match="'encoding' stands beside a task at 'from'"):
        load(place, tasks=[{**_entry(place), "encoding": "rope"}], encodings=["rope"])


def test_from_stands_beside_tasks_alone(place: Path) -> None:
    with pytest.raises(UserError, match="'from' stands beside a task, not beside the encoding 'rope'"):
        load(place, encodings=[{"rope": {}, "from": {"run": "x"}}])


def test_levels_put_every_cell_after_what_it_starts_from() -> None:
    starts = {"c": "a", "d": "c", "b": "elsewhere"}
    assert dependency_levels(["d", "a", "b", "c"], starts) == [["a", "b"], ["c"], ["d"]]


def test_a_worker_takes_what_waits_for_nobody_before_what_another_has_begun(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = _chained(place)
    runs = place / "runs"
    for spec in sweep.cells:
        RunFolder(runs / spec.run_id).create(spec, {})
    first, second, third, fourth = [spec.run_id for spec in sweep.cells]
    held = {first}
    monkeypatch.setattr("pebench.submission.ready.any_busy", lambda runs, ids: bool(held & set(ids)))
    order = ready_first(runs, sweep.record().runs, lambda: False, every=0.001)
    assert [next(order), next(order)] == [first, third]
    held = {third}
    assert next(order) == second
    held.clear()
    assert list(order) == [fourth]
    assert list(ready_first(runs, [second], lambda: True)) == []


def test_a_cell_that_cannot_be_read_keeps_no_worker_from_the_others(place: Path) -> None:
    sweep = _chained(place)
    runs = place / "runs"
    for spec in sweep.cells:
        RunFolder(runs / spec.run_id).create(spec, {})
    started = list(sweep.record().runs)
    (runs / started[0] / "spec.json").write_text("{")
    gone = "rope-0123456789.0"
    order = [*ready_first(runs, [gone, *started], lambda: False, every=0.001)]
    assert order == [gone, *started]
    outcome = run_all(runs, [gone, *started], sweep.execution, Lines())
    assert list(outcome.finished) == started[2:]
    assert list(outcome.failed) == started[:2], "the first, and what begins with it"
    assert outcome.failed[started[0]].startswith(f"{runs / started[0] / 'spec.json'} cannot be read")
    assert len(outcome.unchosen) == 1
