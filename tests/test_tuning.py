"""A tuned sweep tries its candidates on one split, chooses for each encoding, and reports on another."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas
import pytest
from mlflow import MlflowClient
from processes.fake_slurm import FakeSlurm
from processes.waiting import until
from processes.warm_processes import command
from specimens.tiny_sweeps import load, tiny, write

from pebench.command_line.main import main
from pebench.errors import UserError
from pebench.leaderboard import from_runs
from pebench.leaderboard.tuning import TunedRow
from pebench.plugins.registry import encodings
from pebench.store.records import Point
from pebench.store.run_folder import RunFolder
from pebench.store.sweep_records import write_sweep
from pebench.store.tuned_choices import (
    NoChoice,
    choose,
    decide,
    is_slot,
    read_chosen,
    submitted_sweeps,
    with_choices,
    write_choice,
)
from pebench.submission.status import CellStatus, statuses
from pebench.submission.submissions import end
from pebench.submission.submit import submit
from pebench.sweeping.recorded import as_submitted, recorded_sweep
from pebench.sweeping.sweep import Sweep, load_sweep
from pebench.tracking.sync import _sweeps_of_runs

RATES = {"settings": {"train.learning_rate": [1e-3, 1e-2, 1e-1]}}


def tuned(place: Path, **changes: Any) -> Sweep:
    return load(place, **{"tune": RATES, "seeds": 2, **changes})


def finish(runs: Path, run_id: str, value: float | None, status: str = "done") -> None:
    """A result with a score at 16, or the same number beyond."""
    scores = [
        {"metric": "bits-per-byte", "extent": [extent], "extrapolation": "extend", "value": value}
        for extent in (16, 32)
    ]
    cost: dict[str, Any] = {
        "parameters": 1,
        "encoding_parameters": 0,
        "item": "tokens",
        "items_per_second": 1.0,
    }
    cost |= {"peak_memory_bytes": None, "kernels": [], "evaluations": []}
    metrics = {"bits-per-byte": {"unit": "bits/byte", "higher_is_better": False}}
    result: dict[str, Any] = {"status": status, "metrics": metrics, "cost": cost}
    result["scores"] = scores if status == "done" else []
    (runs / run_id / "result.json").write_text(json.dumps(result))


def prepared(place: Path, values: list[list[float | None]], **changes: Any) -> tuple[Sweep, Path]:
    """A sweep of one encoding whose trials have ended with these scores by seed; None diverged."""
    runs = place / "runs"
    sweep = tuned(place, **{"encodings": ["rope"], **changes})
    for begun in submit(sweep, runs, "inline").submissions:
        end(runs, begun)
    choice = sweep.choices[-1]
    for candidate, own in zip(choice.candidates, values, strict=True):
        for run_id, value in zip(candidate.trials, own, strict=True):
            finish(runs, run_id, value, "diverged" if value is None else "done")
    return sweep, runs


def test_the_trials_come_first_on_another_split_with_other_seeds(place: Path) -> None:
    sweep = tuned(place)
    assert [c.train.learning_rate for c in sweep.cells] == [1e-3, 1e-2, 1e-1] * 2
    assert {(c.task.options["split"], c.seed) for c in sweep.cells} == {("validation", 1000)}
    assert sweep.trials == tuple(c.run_id for c in sweep.cells)
    for choice, name in zip(sweep.choices, ["none", "rope"], strict=True):
        assert (choice.encoding, choice.metric, choice.extent) == (name, "bits-per-byte", (16,))
        for candidate, rate in zip(choice.candidates, [1e-3, 1e-2, 1e-1], strict=True):
            cells = [(c.train.learning_rate, c.task.options["split"], c.seed) for c in candidate.cells]
            assert cells == [(rate, "test", 0), (rate, "test", 1)]
    assert sweep.record().reported == tuple(slot for choice in sweep.choices for slot in choice.slots)


def test_a_sweep_without_tuning_has_no_trials_and_keeps_its_cells(place: Path) -> None:
    plain = load(place)
    assert (plain.trials, plain.choices) == ((), ())
    assert plain.record().reported == plain.record().runs == tuple(cell.run_id for cell in plain.cells)


def test_trials_are_evaluated_where_they_are_judged_alone(place: Path) -> None:
    sweep = tuned(place, tune={**RATES, "task": {"evaluate": [16]}})
    assert {tuple(cell.task.options["evaluate"]) for cell in sweep.cells} == {(16,)}
    reported = {tuple(spec.task.options["evaluate"]) for spec in sweep.choices[0].candidates[0].cells}
    assert reported == {tuple(tuned(place).cells[0].task.options["evaluate"])} != {(16,)}


def test_an_encoding_may_have_candidates_of_its_own(place: Path) -> None:
    own = {"train.encoding.learning_rate": [1e-2, 1e-1, None]}
    sweep = tuned(place, encodings=["rope", {"t5": {}, "tune": own}])
    assert [c.settings for c in sweep.choices[1].candidates] == [
        {"train.encoding.learning_rate": rate} for rate in [1e-2, 1e-1, None]
    ]
    rates = [c.cells[0].train.encoding.learning_rate for c in sweep.choices[1].candidates]
    assert rates == [1e-2, 1e-1, None]


def test_options_of_the_encoding_and_several_settings_make_every_combination(place: Path) -> None:
    settings = {"encoding.base": [500, 10000], "train.learning_rate": [1e-3, 1e-2]}
    sweep = tuned(place, encodings=["rope"], tune={"settings": settings}, baseline="rope")
    (choice,) = sweep.choices
    assert [c.label for c in choice.candidates] == [
        f"encoding.base={base}, train.learning_rate={rate}" for base in (500, 10000) for rate in (0.001, 0.01)
    ]
    assert sweep.baseline == "rope"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"tune": {"settings": {"train.learning_rate": [1e-3]}}}, "'tune' has one candidate"),
        (
            {"tune": {"settings": {"task.extent": [16, 32]}}},
            "'task.extent' cannot be tuned: settings begin with 'encoding.', 'model.' and 'train.'.",
        ),
        ({"tune": {"settings": {"trian.batch": [1, 2]}}}, "cannot be tuned: did you mean 'train.batch'?"),
        ({"tune": {"settings": {"batch": [1, 2]}}}, "'batch' cannot be tuned: did you mean 'train.batch'?"),
        (
            {"tune": {"settings": {"train.evaluate_every": [1, 2]}}},
            "it looks at training and decides nothing",
        ),
        (
            {"tune": {"settings": {"train.encoding.learning_rate": [1e-3, 1e-2]}}},
            "encoding 'rope' has no parameters, so that 'train.encoding.learning_rate' decides nothing",
        ),
        ({"tune": {"settings": {"train.learningrate": [1, 2]}}}, "did you mean 'learning_rate' or"),
        ({"tune": {**RATES, "metric": "accuracy"}}, "unknown metric 'accuracy' of task 'language-modeling'"),
        ({"tune": {**RATES, "extent": 64}}, "judges the candidates at 64, but task 'language-modeling' is"),
        ({"tune": {**RATES, "task": {"evaluate": [32]}}}, "judges the candidates at 16, but task 'lang"),
        ({"tune": {**RATES, "task": {"extent": 8, "evaluate": [16]}}}, "trains for 8 where the sweep trains"),
        ({"tune": {**RATES, "task": {"data": "python-docs"}}}, "has another 'data' than the sweep"),
        ({"tune": {**RATES, "task": {"tokenizer": "bpe-300"}}}, "has another 'tokenizer' than the sweep"),
        ({"tune": {**RATES, "task": {"evalute": [16]}}}, "did you mean 'evaluate'?"),
        ({"tune": {**RATES, "task": {"split": "test"}}}, "'language-modeling' has a split of its own"),
        ({"tune": {**RATES, "seed": 1}}, "the seeds of the trials are 'seeds'"),
        ({"tune": {**RATES, "setings": 1}}, "did you mean 'settings' or 'seeds'?"),
        ({"tune": {**RATES, "seeds": [3, 3]}}, "a seed stands twice"),
        (
            {"tune": {"settings": {"train.learning_rate": [1e-3, 0.001]}}},
            "is the same run as candidate 1: a value stands twice (train.learning_rate=0.001)",
        ),
        ({"tune": RATES, "grid": {"train.learning_rate": [1, 2]}}, "and it is tuned as well"),
        (
            {"encodings": ["none", {"t5": {}, "tune": {"train.batch": [2, 4]}}]},
            "every encoding is tried equally often, but the candidates are of none 3, t5 2",
        ),
        (
            {"encodings": [{"rope": {}, "train": {"learning_rate": 1}}]},
            "the tuning sets 'train.learning_rate', and so does the entry 'rope'",
        ),
        (
            {"tune": None, "encodings": [{"rope": {}, "tune": {"train.batch": [1, 2]}}]},
            "has no 'tune' for the",
        ),
    ],
)
def test_a_mistake_is_told_in_one_sentence(place: Path, changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError) as error:
        tuned(place, **{"encodings": ["rope"], **changes})
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_a_task_that_says_its_split_is_refused(place: Path) -> None:
    (task,) = tiny(place)["tasks"]
    task["language-modeling"]["split"] = "validation"
    with pytest.raises(
        UserError, match="has a split of its own, but a tuned sweep chooses on one and reports"
    ):
        tuned(place, tasks=[task])
    del task["language-modeling"]["split"]
    sweep = tuned(place, tasks=[task], tune={**RATES, "report": "validation"})
    assert sweep.choices[0].splits == ("validation", "validation")


def test_a_chosen_run_whose_folder_was_removed_is_made_again(place: Path) -> None:
    sweep, runs = prepared(place, [[3.0], [1.0], [2.0]], seeds=2)
    submit(sweep, runs, "inline", only=frozenset())
    (choice,) = sweep.choices
    chosen = read_chosen(runs, choice.key)
    assert chosen is not None
    removed = next(iter(chosen.cells.values()))
    shutil.rmtree(runs / removed)
    again = submit(sweep, runs, "inline")
    assert set(again.started) == set(chosen.cells.values())
    assert RunFolder(runs / removed).spec() in choice.candidates[1].cells


def test_a_chosen_run_takes_its_plugin_from_any_trial_that_is_left(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encodings, "_files", {})
    source = (
        "from pebench.position_encoding import PositionEncoding\n\nclass Mine(PositionEncoding):\n    pass\n"
    )
    (place / "mine.py").write_text(source)
    scores: list[list[float | None]] = [[3.0], [1.0], [2.0]]
    sweep, runs = prepared(place, scores, encodings=["mine"], plugins=["mine.py"], seeds=1)
    (choice,) = sweep.choices
    chosen = choose(runs, choice)
    assert chosen is not None
    (run_id,) = chosen.cells.values()
    first, *others = choice.trials
    shutil.rmtree(runs / first)
    shutil.rmtree(runs / run_id)
    assert choose(runs, choice) == chosen
    assert (runs / run_id / "plugins" / "mine.py").read_bytes() == (place / "mine.py").read_bytes()
    for each in (*others, run_id):
        shutil.rmtree(runs / each)
    with pytest.raises(UserError, match=r"plugin 'mine\.py', which was removed with the trials: submit the"):
        choose(runs, choice)
    assert not (runs / run_id).exists()


def test_the_best_mean_wins_and_the_first_among_equals(place: Path) -> None:
    sweep, runs = prepared(place, [[3.0, 2.0], [2.4, 2.4], [2.4, 2.4]], tune={**RATES, "seeds": 2})
    chosen = decide(runs, sweep.choices[0])
    assert chosen is not None
    assert chosen.settings == {"train.learning_rate": 1e-2}
    assert chosen.edges == ()
    assert chosen.scores == ((3.0, 2.0), (2.4, 2.4), (2.4, 2.4))
    assert chosen.why == (
        "rope: train.learning_rate=0.01, with 2.4 bits-per-byte at 16 of the validation split "
        "(the mean of 2 seeds) the best of 3 candidates, before train.learning_rate=0.1 with 2.4."
    )
    assert not (runs / ".choices" / sweep.choices[0].key / "chosen.json").exists(), "decide writes nothing"


def test_a_diverged_candidate_loses_and_an_edge_is_named(place: Path) -> None:
    sweep, runs = prepared(place, [[2.5], [2.6], [None]])
    chosen = choose(runs, sweep.choices[0])
    assert chosen is not None
    assert (chosen.candidate, chosen.edges) == (0, ("train.learning_rate",))
    assert chosen.why.endswith(
        "; 1 diverged; it lies on the edge of the candidates, so the best may lie beyond."
    )
    assert [RunFolder(runs / run_id).spec().train.learning_rate for run_id in chosen.cells.values()] == [
        1e-3
    ] * 2
    assert choose(runs, sweep.choices[0]) == chosen


def test_of_two_values_neither_is_called_the_edge(place: Path) -> None:
    rates = {"settings": {"train.learning_rate": [1e-3, 1e-2]}}
    sweep, runs = prepared(place, [[2.5], [2.4]], tune=rates)
    chosen = choose(runs, sweep.choices[0])
    assert chosen is not None
    assert chosen.why.endswith(
        "; of two values each is an edge, so nothing is known of what lies beyond them."
    )
    row = TunedRow(sweep.choices[0], chosen)
    assert row.label == "train.learning_rate=0.01 (of two)"
    (remark, *_) = row.remarks("rope")
    assert remark == (
        "rope: train.learning_rate=0.01 is the better of two values (0.001, 0.01), and nothing is known of "
        "what lies beyond them."
    )


def test_of_two_numbers_and_another_value_the_larger_number_is_an_edge(place: Path) -> None:
    own = {"settings": {"train.encoding.learning_rate": [1e-3, 1e-2, None]}}
    sweep, runs = prepared(place, [[2.5], [2.4], [2.6]], tune=own, encodings=["learned"])
    chosen = choose(runs, sweep.choices[0])
    assert chosen is not None
    assert TunedRow(sweep.choices[0], chosen).label == "train.encoding.learning_rate=0.01 (edge)"


def test_where_all_diverge_nothing_is_chosen(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweep, runs = prepared(place, [[None], [None], [None]])
    with pytest.raises(NoChoice, match=r"none of its 3 candidates has a score .*, as they diverged; give it"):
        choose(runs, sweep.choices[0])
    assert {cell.state for cell in statuses(runs, sweep.choices[0].slots)} == {"failed"}
    assert main(["submit", "tiny.yaml"]) == 1
    assert capsys.readouterr().err.count("the choice for rope is stopped") == 1


def test_a_higher_metric_wins_where_higher_is_better(place: Path) -> None:
    sweep, runs = prepared(place, [[1.0], [3.0], [2.0]])
    for run_id in sweep.trials:
        path = runs / run_id / "result.json"
        path.write_text(path.read_text().replace('"higher_is_better": false', '"higher_is_better": true'))
    chosen = decide(runs, sweep.choices[0])
    assert chosen is not None
    assert chosen.candidate == 1


def test_the_choice_is_part_of_no_old_identity_and_the_same_wherever_it_is_made(place: Path) -> None:
    one, other = tuned(place), tuned(place, name="other")
    assert [choice.key for choice in one.choices] == [choice.key for choice in other.choices]
    third = tuned(place, seeds=3)
    assert third.trials == one.trials, "sweeps share their trials"
    assert [c.key for c in third.choices] != [c.key for c in one.choices]


def runs_of(place: Path, name: str = "tiny") -> list[CellStatus]:
    return statuses(place / "runs", recorded_sweep(place / "runs", name).runs)


def test_one_submit_tries_chooses_and_reports(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(place, tiny(place, tune=RATES, seeds=2))
    assert main(["submit", "tiny.yaml", "--dry-run"]) == 0
    assert "10 of 10 cells to start" in capsys.readouterr().out
    assert not (place / "runs").exists()
    assert main(["submit", "tiny.yaml"]) == 0
    cells = runs_of(place)
    assert [cell.state for cell in cells] == ["done"] * 10
    assert not any(is_slot(cell.run) for cell in cells)
    runs = place / "runs"
    for choice in load_sweep("tiny.yaml").choices:
        chosen = read_chosen(runs, choice.key)
        assert chosen is not None
        best = min(range(3), key=lambda n: chosen.scores[n][0] or 0.0)
        assert chosen.candidate == best
        assert [RunFolder(runs / run).spec() for run in chosen.cells.values()] == list(
            choice.candidates[best].cells
        )
    assert main(["submit", "tiny.yaml"]) == 0
    assert "0 of 10 cells to start, 10 finished before" in capsys.readouterr().out
    (record,) = submitted_sweeps(runs)
    assert len(record.reported) == 4
    assert [c.run_id for c in as_submitted(runs, record).cells] == list(record.runs)


def test_a_failed_trial_stops_the_choice_of_its_encoding_alone(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from pebench.submission import cells

    usual = cells.execute_cell

    def fails(folder: RunFolder, *arguments: Any, **more: Any) -> Any:
        spec = folder.spec()
        if (spec.encoding.name, spec.train.learning_rate) == ("rope", 1e-2):
            folder.write_failure("the sheep ran away.")
            raise UserError("the sheep ran away.")
        return usual(folder, *arguments, **more)

    write(place, tiny(place, tune=RATES, seeds=2))
    monkeypatch.setattr(cells, "execute_cell", fails)
    assert main(["submit", "tiny.yaml"]) == 1
    told = capsys.readouterr().err
    assert told.count("the choice for rope is stopped: train.learning_rate=0.01 is failed") == 1
    states = {(cell.encoding, cell.seed): cell for cell in runs_of(place) if cell.seed in (0, 1)}
    assert [states["none", seed].state for seed in (0, 1)] == ["done"] * 2
    assert [states["rope", seed].state for seed in (0, 1)] == ["failed"] * 2
    assert states["rope", 0].detail.endswith("the sheep ran away.")
    assert main(["status", "tiny", "--summary"]) == 0
    monkeypatch.setattr(cells, "execute_cell", usual)
    capsys.readouterr()
    assert main(["retry", "tiny", "--failed"]) == 0
    assert "3 of 10 cells to start" in capsys.readouterr().out
    assert {cell.state for cell in runs_of(place)} == {"done"}


@pytest.mark.parametrize("stage", ["trials", "between", "report"])
def test_a_killed_sweep_goes_on_wherever_it_was(place: Path, stage: str) -> None:
    changes: dict[str, Any] = {"encodings": ["rope"], "seeds": 2, "tune": RATES}
    changes["execution"] = {"device": "cpu", "threads": 1, "checkpoint_every": 0, "log_every": 1}
    changes["train"] = {"steps": 60, "batch": 2}
    path, runs = write(place, tiny(place, **changes)), place / "runs"
    sweep = load_sweep(path)
    (choice,) = sweep.choices
    reached = {
        "trials": lambda: (runs / choice.trials[1] / "metrics.jsonl").exists(),
        "between": lambda: (runs / choice.trials[-1] / "result.json").exists(),
        "report": lambda: any(map(Path.exists, runs.glob(".choices/*/chosen.json"))),
    }[stage]
    process = command("submit", str(path))
    until(reached)
    process.kill()
    process.join()
    assert main(["submit", str(path)]) == 0
    cells = statuses(runs, with_choices(runs, sweep.record().runs))
    assert [cell.state for cell in cells] == ["done"] * 5


def test_workers_on_this_machine_wait_for_the_choice(place: Path) -> None:
    changes: dict[str, Any] = {"tune": RATES, "seeds": 2}
    path, runs = write(place, tiny(place, **changes)), place / "runs"
    local = [sys.executable, "-m", "pebench", "submit", str(path), "--cluster", "local"]
    subprocess.run([*local, "--max-parallel", "2"], check=True)
    first = {cell.state for cell in runs_of(place) if is_slot(cell.run)}
    assert first <= {"waiting"}
    again = subprocess.run(local, check=True, capture_output=True, text=True)
    assert "0 of 10 cells to start" in again.stdout, "what is under way is left alone"
    assert main(["status", "tiny", "--watch", "--summary"]) == 0
    assert {cell.state for cell in runs_of(place)} == {"done"}, "whoever watches leaves when all has ended"
    assert len(list(runs.glob("*/result.json"))) == 10


def test_whoever_watches_sees_the_slots_become_runs(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = place / "runs"
    sweep = tuned(place, encodings=["rope"])
    (begun,) = submit(sweep, runs, "inline").submissions
    (choice,) = sweep.choices

    def wait(seconds: float) -> None:
        # All modules share one `sleep`, and threads of other tests may be in it.
        if seconds == 5 and not read_chosen(runs, choice.key):
            for number, run_id in enumerate(choice.trials):
                finish(runs, run_id, float(number))
            assert choose(runs, choice) is not None
        elif seconds == 5:
            end(runs, begun)

    monkeypatch.setattr("pebench.commands.status.time.sleep", wait)
    assert main(["status", "tiny", "--watch"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told == ["5 cells: 3 queued, 2 waiting", "5 cells: 3 done, 2 queued", "5 cells: 3 done, 2 missing"]


def test_a_choice_that_is_made_between_two_looks_hides_no_cell(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from pebench.submission import submissions

    sweep, runs = prepared(place, [[2.0], [1.0], [3.0]])
    usual = submissions.jobs

    def jobs(*arguments: Any) -> Any:
        choose(runs, sweep.choices[0])
        return usual(*arguments)

    monkeypatch.setattr(submissions, "jobs", jobs)
    assert main(["status"]) == 0
    assert capsys.readouterr().out.splitlines() == ["tiny  5 cells: 3 done, 2 missing"]


@pytest.mark.parametrize(("ended", "state"), [(3, "waiting"), (2, "missing")])
def test_a_cell_waits_without_the_job_of_its_choice_where_it_can_choose_itself(
    place: Path, monkeypatch: pytest.MonkeyPatch, ended: int, state: str
) -> None:
    from pebench.submission import submissions

    sweep, runs = prepared(place, [[2.0], [1.0], [3.0]])
    (choice,) = sweep.choices
    for run_id in choice.trials[ended:]:
        (runs / run_id / "result.json").unlink()
    submitted = submissions.draft("slurm", "tiny", [*choice.slots, choice.key], None)
    found = {slot: submissions.Job("pending", "7", submitted) for slot in choice.slots}
    found[choice.key] = submissions.Job("gone", "6", submitted)
    monkeypatch.setattr(submissions, "jobs", lambda *_: found)
    assert {cell.state for cell in statuses(runs, choice.slots)} == {state}


def test_a_claim_about_what_is_not_chosen_is_not_shown(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prepared(place, [[2.0], [1.0], [3.0]], encodings=["none", "rope"])
    (place / "claims.yaml").write_text("- {claim: a, better: rope, than: none, at: beyond}\n")
    assert main(["claims", "tiny", "--claims", "claims.yaml"]) == 0
    assert "a score of rope, which has none yet" in " ".join(capsys.readouterr().out.split())


def test_a_row_that_is_not_chosen_has_the_name_it_will_have(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ways = ["none", "rope", {"rope": {}, "train": {"weight_decay": 0.5}}]
    prepared(place, [[2.0], [1.0], [3.0]], encodings=ways)
    label = "rope [train.weight_decay=0.5]"
    (place / "claims.yaml").write_text(f'- {{claim: a, better: "{label}", than: none, at: beyond}}\n')
    assert main(["claims", "tiny", "--claims", "claims.yaml"]) == 0
    assert f"a score of {label}, which has none yet" in " ".join(capsys.readouterr().out.split())


def test_options_that_a_start_has_too_are_chosen_with_it(place: Path) -> None:
    (task,) = tiny(place)["tasks"]
    later = {**task, "from": {**task, "train": {"steps": 3}}}
    settings = {"encoding.base": [500, 10000], "train.learning_rate": [1e-3, 1e-2]}
    changes: dict[str, Any] = {"encodings": ["rope"], "tasks": [later], "tune": {"settings": settings}}
    path, runs = write(place, tiny(place, **changes)), place / "runs"
    sweep = load_sweep(path)
    (choice,) = sweep.choices
    assert len(choice.slots) == 2, "the start, whose base is chosen, and what begins with it"
    write_choice(runs, choice)
    first, later_task = (cell.task for cell in statuses(runs, choice.slots))
    assert (first, later_task) == tuple(spec.task.label for spec in choice.candidates[0].cells)
    assert first != later_task
    assert len(sweep.cells) == 2 + 4
    assert main(["submit", str(path)]) == 0
    cells = statuses(runs, with_choices(runs, sweep.record().runs))
    assert [cell.state for cell in cells] == ["done"] * 8
    assert RunFolder(runs / cells[-1].run).spec().start is not None


def test_choices_that_begin_with_the_same_start_share_it(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (task,) = tiny(place)["tasks"]
    later = {**task, "from": {**task, "train": {"steps": 3}}}
    settings = {"encoding.base": [500, 10000]}
    changes: dict[str, Any] = {"encodings": ["rope"], "tasks": [later], "tune": {"settings": settings}}
    write(place, tiny(place, **changes, grid={"train.batch": [2, 3]}, seeds=1))
    assert main(["submit", "tiny.yaml", "--cluster", "inline"]) == 0
    (sweep,) = submitted_sweeps(place / "runs")
    assert len(sweep.choices) == 2
    reported = [RunFolder(place / "runs" / run).spec() for run in sweep.reported]
    assert len(reported) in (3, 4), "a start where both choose the same base, else two"
    assert len({spec.run_id for spec in reported}) == len(reported)
    capsys.readouterr()
    assert main(["submit", "tiny.yaml", "--cluster", "inline"]) == 0
    assert f"0 of {len(sweep.runs)} cells to start" in capsys.readouterr().out
    (collection,) = from_runs(place / "runs", ["tiny"])
    starts = [group for group in collection.groups.values() if not group.settings["start"]]
    others = [group for group in collection.groups.values() if group not in starts]
    assert starts, "a start has a row of its own"
    assert not any(group.tuned for group in starts), "and its settings were not chosen"
    assert len(others) == 2
    assert all(group.tuned for group in others)
    write(place, tiny(place, **changes, grid={"train.batch": [2, 2]}, seeds=1))
    assert main(["submit", "tiny.yaml", "--cluster", "inline"]) == 2
    assert "is the same run as cell" in capsys.readouterr().err


@pytest.mark.usefixtures("without_pictures")
def test_a_damaged_choice_hides_no_other_cell_and_no_other_sweep(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = place / "runs"
    write(place, tiny(place, tune=RATES, encodings=["none", "rope"], seeds=1, train={"steps": 2, "batch": 2}))
    write(place, tiny(place, name="plain", encodings=["none"], seeds=1), "plain.yaml")
    for name in ("tiny.yaml", "plain.yaml"):
        assert main(["submit", name, "--cluster", "inline"]) == 0
    _, rope = recorded_sweep(runs, "tiny").choices
    path = runs / ".choices" / rope / "chosen.json"
    path.write_text("{")
    capsys.readouterr()
    assert main(["status", "plain"]) == 0
    assert main(["status", "tiny"]) == 1
    told = capsys.readouterr().out
    assert "7 done, 1 unreadable" in told
    assert f"{rope}/chosen.json cannot be read: remove it, and submit the sweep again." in told
    assert main(["leaderboard", "tiny"]) == 1
    assert f"The choice {rope} is left out" in capsys.readouterr().err
    path.unlink()
    assert main(["submit", "tiny.yaml", "--cluster", "inline"]) == 0
    assert all(cell.state == "done" for cell in statuses(runs, recorded_sweep(runs, "tiny").runs))


@pytest.mark.usefixtures("without_pictures")
def test_an_archive_holds_what_was_chosen(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(place, tiny(place, tune=RATES, encodings=["rope"], seeds=2, train={"steps": 2, "batch": 2}))
    assert main(["submit", "tiny.yaml"]) == 0
    assert main(["export", "tiny", "-o", "tiny.tar.gz"]) == 0
    assert main(["import", "tiny.tar.gz", "--runs", "others"]) == 0
    assert main(["leaderboard", "tiny", "--runs", "others", "--output", "theirs"]) == 0
    assert main(["leaderboard", "tiny", "--output", "ours"]) == 0
    ours, theirs = (place / name / "tiny" / "tuning.csv" for name in ("ours", "theirs"))
    assert ours.read_bytes() == theirs.read_bytes()


def test_the_leaderboard_names_the_choice_marks_the_edge_and_draws_the_sensitivity(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rates = {"settings": {"train.learning_rate": [1e-3, 1e-2, 1e30]}, "seeds": 2}
    own = {"encoding.base": [500, 10000, 20000]}
    encodings = ["none", {"rope": {}, "tune": own}]
    write(place, tiny(place, tune=rates, encodings=encodings, seeds=2, baseline="none"))
    assert main(["submit", "tiny.yaml"]) == 0
    assert main(["leaderboard", "tiny"]) == 0
    folder = place / "results" / "tiny"
    text = (folder / "leaderboard.md").read_text()
    chosen = pandas.read_csv(folder / "tuning.csv")
    assert len(chosen) == 2 * 3 * 2
    assert chosen["value"].isna().sum() == 2, "the rate of 1e30 diverges"
    for name, heading in chosen[chosen["chosen"]].groupby("encoding")["settings"]:
        (path, value), *_ = json.loads(heading.iloc[0]).items()
        edge = " (edge)" if value in (1e-3, 500, 20000) else ""
        assert re.search(rf"\| {re.escape(str(name))} +\| +{path}={value}{re.escape(edge)} \|", text)
    assert re.search(r"\| none +\| +train.learning_rate=1e\+30 \| +diverged \|", text)
    assert "[train.learning_rate" not in text, "rows are called by their encodings alone"
    board = pandas.read_csv(folder / "leaderboard.csv")
    assert len(set(board["encoding"])) == 2
    assert board["seeds"].eq(2).all()
    for kind in ("png", "svg"):
        assert (folder / f"tuning.{kind}").stat().st_size > 1000
    page = (folder / "report.html").read_text()
    assert "to the chosen" in page
    assert "what the tuned settings decide" in page
    assert '<td style="--good' not in page, "what was chosen is no score"
    assert page.count(' shaded"') == 2 * 2, "each row has a score at both extents"
    capsys.readouterr()
    rope = next(name for name in set(board["encoding"]) if name.startswith("rope"))
    assert main(["compare", rope, "none"]) == 0


def test_an_encoding_without_a_choice_has_no_row_and_a_warning(place: Path) -> None:
    sweep, runs = prepared(place, [[2.0], [1.0], [3.0]], encodings=["none", "rope"])
    collection = next(from_runs(runs, ["tiny"]))
    assert not collection.runs
    (warning,) = collection.warnings
    assert warning.startswith(
        f"No row yet on {sweep.choices[0].task}, for no setting is chosen: none (0 of 3"
    )
    assert "rope (3 of 3 trials have a result)" in warning


def test_a_row_that_waits_is_no_other_row_of_its_encoding(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = ["none", "rope", {"rope": {"rotated": 0.5}}]
    write(place, tiny(place, tune=RATES, encodings=rows, train={"steps": 2, "batch": 2}))
    assert main(["submit", "tiny.yaml", "--encoding", "rope(rotated=0.5)", "--encoding", "none"]) == 0
    claims = place / "claims.yaml"
    claims.write_text("- {claim: RoPE is better, better: rope, than: none, at: trained}\n")
    capsys.readouterr()
    assert main(["claims", "tiny", "--claims", str(claims)]) == 0
    assert "a score of rope, which has none yet" in capsys.readouterr().out


def test_in_the_tracking_store_trials_have_an_experiment_of_their_own(place: Path) -> None:
    write(place, tiny(place, tune=RATES, encodings=["rope"], seeds=2, train={"steps": 2, "batch": 2}))
    assert main(["submit", "tiny.yaml"]) == 0
    runs = place / "runs"
    (record,) = submitted_sweeps(runs)
    names = _sweeps_of_runs([record])
    assert {run: names[run] for run in record.reported} == {run: ["tiny"] for run in record.reported}
    assert {run: names[run] for run in record.trials} == {run: ["tiny-trials"] for run in record.trials}


@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy")
@pytest.mark.usefixtures("without_pictures")
def test_the_tracking_store_knows_what_was_chosen_and_what_nobody_has_begun(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep, runs = prepared(place, [[2.0], [1.0], [3.0]], encodings=["none", "rope"])
    chosen = choose(runs, sweep.choices[1])
    assert chosen is not None
    write_sweep(runs, sweep.record())
    first, second = chosen.cells.values()
    folder = RunFolder(runs / first)
    folder.append(Point(step=1, items=1, time=1e9, values={"train/loss": 1.0}))
    finish(runs, first, 1.5)
    for run_id in recorded_sweep(runs, "tiny").trials:
        if (runs / run_id / "result.json").exists():
            RunFolder(runs / run_id).append(Point(step=1, items=1, time=1e9, values={"train/loss": 1.0}))
    uri = f"sqlite:///{place / 'mlflow.db'}"
    assert main(["sync", "--to", uri]) == 0
    capsys.readouterr()
    assert main(["leaderboard"]) == 0
    here = capsys.readouterr()
    assert main(["leaderboard", "--from-mlflow", uri, "--output", "tracked"]) == 0
    there = capsys.readouterr()
    assert "for no setting is chosen: none (0 of 3 trials have a result)" in here.err
    assert there.err == here.err
    assert there.out.replace("tracked", "results") == here.out
    names = {path.name for path in (place / "results" / "tiny").iterdir()}
    assert "tuning.csv" in names
    client = MlflowClient(uri)
    experiments = [each.experiment_id for each in client.search_experiments()]
    (whole,) = [run for run in client.search_runs(experiments) if run.info.run_name == "all of tiny"]
    note = whole.data.tags["mlflow.note.content"]
    assert "trials that chose its settings stand in 'tiny-trials'." in note
    assert note.endswith(f"\n- {chosen.why}")
    for name in names:
        ours, theirs = (place / folder / "tiny" / name for folder in ("results", "tracked"))
        assert theirs.read_bytes() == ours.read_bytes(), name
    assert second in (place / "tracked" / "tiny" / "runs.csv").read_text()


def test_a_dry_run_for_slurm_shows_both_stages(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", f"{FakeSlurm(place / 'bin').folder}:/usr/bin:/bin")
    write(place, tiny(place, tune=RATES, seeds=2))
    assert main(["submit", "tiny.yaml", "--cluster", "slurm", "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert "10 of 10 cells to start" in told
    assert "10 jobs in 2 arrays" in told
    assert "between them a job that makes 2 choices, which the later arrays wait for" in told
    assert not (place / "runs").exists()
