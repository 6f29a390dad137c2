"""lm-eval's tasks inside a sweep: the scores are those of lm-eval itself, and stand in the run."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from specimens.lm_eval_tasks import choice_task, few_tasks, generation_task, rolling_task
from specimens.tiny_sweeps import tiny, write

import pebench.lm_eval
from pebench.command_line.main import main
from pebench.data.drawn import drawn
from pebench.errors import UserError
from pebench.resolve import build_task, resolve
from pebench.store.run_folder import RunFolder, find_run
from pebench.sweeping.sweep import load_sweep

NAMES = ["sheep_choice", "sheep_rolling", "sheep_generation"]


@pytest.fixture
def offline(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with tasks in it, and no network."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", place / "datasets")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    few_tasks(monkeypatch)
    folder = place / "tasks"
    choice_task(folder)
    rolling_task(folder, [f"The {n}th of the sheep looked over its shoulder." for n in range(4)])
    generation_task(folder, ["\n"], 6)
    return place


def sweep(place: Path, name: str = "harness", **options: Any) -> Path:
    """The file of a sweep that trains two encodings and asks lm-eval about each."""
    written = tiny(place)
    asked = {"tasks": NAMES, "include": str(place / "tasks"), "extent": 16, **options}
    written["tasks"] = [{"lm-eval": asked, "train": {"steps": 0}, "from": written["tasks"][0]}]
    return write(place, written | {"name": name}, f"{name}.yaml")


def asked_runs(place: Path, path: Path) -> list[RunFolder]:
    """The runs of a sweep that lm-eval was asked in."""
    specs = load_sweep(path, place / "runs").cells
    return [RunFolder(place / "runs" / spec.run_id) for spec in specs if spec.task.name == "lm-eval"]


@pytest.mark.usefixtures("without_pictures")
def test_a_sweep_asks_every_encoding_and_scores_as_lm_eval_does(
    offline: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = sweep(offline)
    assert main(["submit", str(path), "--cluster", "inline"]) == 0
    told = capsys.readouterr()
    assert "Running loglikelihood" not in told.out + told.err
    folders = asked_runs(offline, path)
    assert len(folders) == 2
    for folder in folders:
        result, start = folder.result(), folder.spec().start
        assert result is not None
        assert start is not None
        found = {score.metric: score.value for score in result.scores}
        assert {score.extent for score in result.scores} == {(16,)}
        theirs = direct(offline, start.run)
        assert set(found) == set(theirs)
        assert found == pytest.approx(theirs, rel=1e-5)
        assert found["sheep_choice-acc-stderr"]
        assert {"sheep_generation-exact_match", "sheep_rolling-bits_per_byte"} < set(found)
        assert next(iter(result.metrics)) == "sheep_choice-acc"
        assert result.metrics["sheep_choice-acc"].higher_is_better
        assert not result.metrics["sheep_choice-acc-stderr"].higher_is_better
        assert not result.metrics["sheep_rolling-bits_per_byte"].higher_is_better
        assert set(found) <= set(result.metrics)
        kept = {name: score for one in folder.examples() for name, score in one.scores().items()}
        assert {"sheep_choice-acc", "sheep_generation-exact_match"} <= set(kept)
        assert {name: found[name] for name in kept} == kept
        (cost,) = result.cost.evaluations
        assert cost.items_per_second > 0
        data = folder.provenance()["data"]
        assert {f"lm-eval {name}" for name in NAMES} < set(data)
    assert main(["leaderboard", str(path)]) == 0
    table = Path("results/harness/leaderboard.csv").read_text()
    assert "sheep_choice-acc" in table


def direct(place: Path, run: str) -> dict[str, float]:
    """The scores that lm-eval itself gives, under the names that they have here."""
    import lm_eval
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=str(place / "tasks"), include_defaults=False)
    found = lm_eval.simple_evaluate(
        model="pebench",
        model_args={"run": run, "device": "cpu"},
        tasks=NAMES,
        task_manager=manager,
        bootstrap_iters=1000,
    )
    assert found is not None
    scores = {}
    for task, values in found["results"].items():
        for key, value in values.items():
            if key.endswith(",none") and isinstance(value, (int, float)):
                metric = key.removesuffix(",none").replace("_stderr", "-stderr")
                scores[f"{task}-{metric}"] = float(value)
    return scores


def test_contexts_are_cut_to_each_extent_that_is_named(offline: Path) -> None:
    path = sweep(offline, evaluate=[32, 64], tasks=["sheep_choice", "sheep_rolling"], limit=3)
    assert main(["submit", str(path), "--cluster", "inline"]) == 0
    chosen = drawn(range(4), 3, "sheep_rolling")
    texts = [f"The {n}th of the sheep looked over its shoulder." for n in chosen]
    for folder in asked_runs(offline, path):
        result, start = folder.result(), folder.spec().start
        assert result is not None
        assert start is not None
        found = {s.extent: s.value for s in result.scores if s.metric == "sheep_rolling-bits_per_byte"}
        wanted = {}
        for extent in (32, 64):
            lm = pebench.lm_eval.RunLM(start.run, device="cpu", max_length=extent)
            nats = -sum(lm.loglikelihood_rolling([Request(text) for text in texts]))
            wanted[extent,] = nats / math.log(2) / sum(len(text.encode()) for text in texts)
        assert found == pytest.approx(wanted, rel=1e-5)
        assert found[32,] != pytest.approx(found[64,], rel=1e-6)


class Request:
    """A request as lm-eval makes it."""

    def __init__(self, *args: Any) -> None:
        self.args = args


def test_a_cell_can_start_from_a_run_by_its_id_and_is_a_model_itself(
    offline: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written = tiny(offline)
    assert (
        main(["submit", str(write(offline, {**written, "encodings": ["rope"]})), "--cluster", "inline"]) == 0
    )
    run = find_run(offline / "runs", "rope").run_id
    asked = {"tasks": ["sheep_choice"], "include": "tasks", "extent": 16}
    entry = {"lm-eval": asked, "train": {"steps": 0}, "from": {"run": run}}
    path = write(offline, {**written, "encodings": ["rope"], "name": "later", "tasks": [entry]}, "later.yaml")
    assert main(["submit", str(path), "--cluster", "inline"]) == 0
    (folder,) = asked_runs(offline, path)
    loaded = pebench.load(folder.run_id, device="cpu")
    assert loaded.task.tokenizer is not None
    assert yaml.safe_load(path.read_text())["tasks"][0]["from"]["run"] == run


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"tasks": ["sheep_choise"]}, "unknown task of lm-eval 'sheep_choise': did you mean 'sheep_choice'"),
        ({"include": "nowhere"}, "there is no folder 'nowhere' of tasks for lm-eval"),
        ({"include": "$NOWHERE"}, "'$NOWHERE' names an environment variable that is not set"),
        ({"tasks": []}, "option 'tasks'"),
    ],
    ids=["unknown task", "no folder", "no variable", "no task"],
)
def test_a_mistake_is_told_before_anything_is_trained(
    offline: Path, options: dict[str, Any], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["submit", str(sweep(offline, **options)), "--cluster", "inline"]) == 2
    assert sentence in capsys.readouterr().err
    assert not (offline / "runs").exists()


def test_training_is_refused(offline: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = {"lm-eval": {"tasks": ["sheep_choice"], "include": "tasks", "extent": 16}}
    task = build_task(resolve("rope", asked, train={"steps": 3}))
    for refused in (task.check, task.prepare, lambda: task.batch(0, "train", 0, 1)):
        with pytest.raises(UserError, match=r"trains nothing: set its train\.steps to 0"):
            refused()


def test_the_trained_extent_must_be_the_true_one(offline: Path) -> None:
    path = sweep(offline, extent=24)
    assert main(["submit", str(path), "--cluster", "inline"]) == 1
    for folder in asked_runs(offline, path):
        failure = folder.failure()
        assert failure is not None
        assert "trained for 16 tokens: give task 'lm-eval' extent: 16" in failure.message
