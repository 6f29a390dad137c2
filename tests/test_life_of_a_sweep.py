"""What a user does with sweeps from the first submit to the last cell, at the command line."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from processes.waiting import until
from specimens.run_folders import begin, finish, record_sweep, specification, text_scores
from specimens.tiny_sweeps import load, tiny, write

from pebench.command_line.main import main
from pebench.store.run_folder import RunFolder
from pebench.submission.cancel import cancel_cell
from pebench.submission.cells import carry_out
from pebench.submission.progress import Ends
from pebench.submission.requirements import idle_devices
from pebench.submission.resources import Resources
from pebench.submission.status import statuses
from pebench.submission.submissions import newest_of
from pebench.submission.submit import submit
from pebench.sweeping.recorded import recorded_sweep


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished sweep 'tiny' and a second, 'other', that shares a cell with it."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "text.txt").write_text("".join(f"The {n}th sheep said nothing.\n\n" for n in range(400)))
    first = write(folder, tiny(folder))
    second = write(folder, tiny(folder, "other", encodings=["none", "alibi"]), "other.yaml")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PEBENCH_CACHE", str(folder / "cache"))
        assert main(["-q", "submit", str(first), str(second), "--runs", str(folder / "runs")]) == 0
    return folder


@pytest.fixture
def submitted(finished: Path, place: Path) -> Path:
    """The runs of these sweeps, for one test alone, beside their files."""
    shutil.copytree(finished, place, dirs_exist_ok=True)
    return place / "runs"


def told(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> str:
    """What a command line prints, on either stream."""
    assert main(list(arguments)) == status
    said = capsys.readouterr()
    return said.out + said.err


def the_run(runs: Path, encoding: str) -> RunFolder:
    (path,) = runs.glob(f"{encoding}-*")
    return RunFolder(path)


def test_without_a_sweep_the_status_is_a_line_a_sweep(
    submitted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = told(capsys, "status").splitlines()
    assert lines == ["other  2 cells: 2 done", "tiny   2 cells: 2 done"]
    assert len(told(capsys, "status", "tiny", "other").splitlines()) == 4, "three cells and the summary"


def test_a_sweep_can_be_submitted_again_by_its_name_alone(
    submitted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("tiny.yaml").unlink()
    removed = the_run(submitted, "rope")
    shutil.rmtree(removed.path)
    assert "1 of 2 cells to start, 1 finished before" in told(capsys, "submit", "tiny")
    assert removed.result() is not None
    assert "no file is found by the name" in told(capsys, "submit", "tiny", "--set", "seeds=2", status=2)


def test_keys_of_a_file_can_be_set_at_the_command_line(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(place, tiny(place))
    arguments = [
        "submit",
        "tiny.yaml",
        "--set",
        "name=short",
        "--set",
        "train.steps=2",
        "--dry-run",
        "--json",
    ]
    found = json.loads(told(capsys, *arguments))
    assert found["sweep"] == "short"
    assert len(found["started"]) == 2
    assert "unknown option 'stes'" in told(capsys, "submit", "tiny.yaml", "--set", "train.stes=2", status=2)
    assert "holds no keys" in told(capsys, "submit", "tiny.yaml", "--set", "name.a=2", status=2)
    assert (
        main(["submit", "tiny.yaml", "--set", "name=short", "--set", "train.steps=2", "--set", "seeds=1"])
        == 0
    )
    capsys.readouterr()
    assert {the_run(place / "runs", name).spec().train.steps for name in ("none", "rope")} == {2}
    assert "2 finished before" in told(capsys, "retry", "short"), "what was set stands in the record"


@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
def test_retry_names_what_it_leaves(
    submitted: Path, capsys: pytest.CaptureFixture[str], dry: list[str]
) -> None:
    folder = the_run(submitted, "rope")
    (folder.path / "result.json").unlink()
    said = told(capsys, "retry", "tiny", "--failed", *dry)
    assert "0 of 2 cells to start, 1 finished before" in said
    assert "1 cancelled is left: 'pebench retry tiny --cancelled' starts it." in said


def test_a_cell_that_cannot_be_read_stops_no_other_from_being_tried_again(
    submitted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    failed, damaged = (the_run(submitted, name) for name in ("rope", "none"))
    (failed.path / "result.json").unlink()
    failed.write_failure("no luck")
    (damaged.path / "spec.json").write_bytes(b"\xff{")
    assert "spec.json cannot be read" in told(capsys, "retry", "tiny")
    assert failed.result() is not None
    assert "1 unreadable is left" in told(capsys, "submit", "tiny", "--cluster", "inline")


def test_watching_ends_with_a_failure_where_a_cell_has_failed(
    submitted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status", "tiny", "--watch"]) == 0
    assert capsys.readouterr().out.endswith("pebench leaderboard tiny writes what they found.\n")
    folder = the_run(submitted, "rope")
    (folder.path / "result.json").unlink()
    folder.write_failure("no luck")
    before = {path: path.stat().st_mtime_ns for path in submitted.rglob("*")}
    assert main(["retry", "tiny", "--dry-run"]) == 0
    assert "1 of 2 cells to start, 1 finished before, 0 under way.\n" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in submitted.rglob("*")} == before
    assert main(["status", "tiny", "--watch"]) == 1
    assert "leaderboard" not in capsys.readouterr().out
    assert main(["status", "tiny"]) == 0


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"gpus": 2}, "--ranks 2 shares each batch"),
        ({"gpus": 2, "ranks": 2}, ""),
        ({"gpus": 2, "pack": 2}, ""),
        ({"gpus": 1, "ranks": 2}, "--gpus 2 gives each its own"),
        ({"gpus": 4, "nodes": 2, "ranks": 2}, "--ranks 8 shares each batch"),
        ({"ranks": 2}, ""),
    ],
)
def test_gpus_that_nobody_uses_are_told(place: Path, asked: dict[str, Any], said: str) -> None:
    found = idle_devices(load(place), Resources(**asked))
    assert said in found
    assert bool(said) == bool(found)


def test_one_cell_is_cancelled_and_retried_alone(submitted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = the_run(submitted, "rope")
    assert "is not under way" in told(capsys, "cancel", folder.run_id)
    (folder.path / "result.json").unlink()
    folder.write_failure("no luck")
    assert "1 of 1 cells to start" in told(capsys, "retry", folder.run_id[:8]).replace("of 2", "of 1")
    assert folder.result() is not None
    assert "unknown sweep or run 'nosuch'" in told(capsys, "cancel", "nosuch", status=2)


def test_a_cell_that_was_cancelled_alone_is_left_out_until_it_is_started_again(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = load(place)
    begun = submit(sweep, place / "runs", "inline")
    first, second = begun.started
    assert cancel_cell(place / "runs", first)
    assert [cell.state for cell in statuses(place / "runs", begun.started)] == ["cancelled", "queued"]
    outcome = carry_out(place / "runs", begun.submissions[0], sweep.execution, Ends())
    assert list(outcome.finished) == [second]
    assert not outcome.failed
    assert [cell.state for cell in statuses(place / "runs", begun.started)] == ["cancelled", "done"]
    again = submit(sweep, place / "runs", "inline")
    assert again.started == [first]
    assert list(carry_out(place / "runs", again.submissions[0], sweep.execution, Ends()).finished) == [first]


@pytest.mark.filterwarnings("ignore:subprocess", "ignore:Exception ignored in")
def test_a_cell_that_runs_stops_at_a_checkpoint_when_it_is_cancelled(place: Path) -> None:
    runs, sweep = place / "runs", load(place, encodings=["none"], train={"steps": 100_000, "batch": 2})
    begun = submit(sweep, runs, "local")
    (run_id,) = begun.started
    folder = RunFolder(runs / run_id)
    until(lambda: folder.worker() is not None and folder.metrics.exists())
    assert cancel_cell(runs, run_id)
    until(lambda: statuses(runs, [run_id])[0].state == "cancelled")
    assert any(folder.checkpoint.iterdir())


def test_what_is_removed_is_asked_for_and_no_other_sweep_loses_a_run(
    submitted: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shared, own = the_run(submitted, "none"), the_run(submitted, "rope")
    assert f"{shared.run_id} stays: sweeps 'other' and 'tiny' use it." in told(
        capsys, "remove", shared.run_id, status=2
    )
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    assert "for good? [y/N]: Nothing was removed." in told(capsys, "remove", "tiny")
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert "pebench: nobody answered, and nothing was removed: --yes removes without a question." in told(
        capsys, "remove", "tiny", status=2
    )
    assert own.path.exists()
    assert f"{shared.run_id} stays: sweep 'other' uses it." in told(capsys, "remove", "tiny", "--dry-run")
    assert own.path.exists()
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert "1 run and 1 sweep removed" in told(capsys, "remove", "tiny")
    assert not own.path.exists()
    assert shared.result() is not None
    assert told(capsys, "status") == "other  2 cells: 2 done\n"
    assert "unknown sweep or run 'nosuch'" in told(capsys, "remove", "nosuch", "--yes", status=2)
    assert "run " in told(capsys, "remove", "other.yaml", "--dry-run")
    alibi = the_run(submitted, "alibi")
    told(capsys, "remove", alibi.run_id, "--yes")
    assert told(capsys, "status") == "other  2 cells: 1 done, 1 missing\n"
    assert not list(submitted.glob(".removed*"))


@pytest.mark.usefixtures("without_pictures")
def test_a_sweep_gets_another_name_and_stays_what_it_was(
    submitted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told(capsys, "submit", "tiny.yaml", "--cluster", "local", "--set", "seeds=1", "--set", "name=moved")
    until(lambda: all(cell.state == "done" for cell in statuses(submitted, recorded(submitted, "moved"))))
    assert "there is a sweep 'other' already" in told(capsys, "rename", "moved", "other", status=2)
    assert "a-z, 0-9 and hyphens, as 'my-name'" in told(capsys, "rename", "moved", "My name", status=2)
    assert told(capsys, "rename", "moved", "august", "--dry-run") == "moved would be august now: 2 cells\n"
    assert "moved" in told(capsys, "status")
    cells = recorded(submitted, "moved")
    told(capsys, "rename", "moved", "august")
    assert recorded(submitted, "august") == cells
    assert "unknown sweep 'moved'" in told(capsys, "status", "moved", status=2)
    newest = newest_of(submitted, "august")
    assert newest is None or newest.cluster == "local"
    assert "2 finished before" in told(capsys, "submit", "august")
    assert "bits-per-byte" in told(capsys, "leaderboard", "august")


def recorded(runs: Path, sweep: str) -> tuple[str, ...]:
    return recorded_sweep(runs, sweep).runs


def test_the_log_tells_of_loss_and_rate(submitted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = told(capsys, "logs", the_run(submitted, "rope").run_id)
    assert re.search(r"step \d of 4: loss \d\.\d+, [\d.e+]+ steps/s", log)


def test_programs_can_read_what_commands_say(submitted: Path, capsys: pytest.CaptureFixture[str]) -> None:
    listed = json.loads(told(capsys, "list", "--json"))
    rope = next(each for each in listed["encodings"] if each["name"] == "rope")
    assert rope["provider"] == "pebench"
    assert 1 in rope["axes"]
    for name in ("rope", "language-modeling", "train", "execution", "sweep"):
        options = json.loads(told(capsys, "show", name, "--json"))["options"]
        assert all({"name", "type", "default", "meaning"} == option.keys() for option in options)
    assert "steps" in told(capsys, "show", "train")
    compared = json.loads(told(capsys, "compare", "none", "rope", "--json"))
    assert compared["pairs"][0]["scores"][0]["pairs"] == 1
    assert compared["pairs"][0]["scores"][0]["p"] is None
    assert main(["doctor", "--json"]) in (0, 1)
    assert {"subject", "state", "text"} == json.loads(capsys.readouterr().out)[0].keys()


def test_a_run_has_so_many_seeds(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = [f"task.data={place / 'text.txt'}", "task.extent=16", "task.evaluate=[16]", "train.steps=2"]
    settings += ["model.width=16", "model.layers=1", "model.heads=2", "train.batch=2"]
    arguments = ["run", "--encoding", "none", *(part for setting in settings for part in ("--set", setting))]
    told(capsys, *arguments, "--seeds", "2")
    assert sorted(RunFolder(path).spec().seed for path in (place / "runs").glob("none-*")) == [0, 1]
    assert "give one" in told(capsys, *arguments, "--seeds", "2", "--seed", "1", status=2)


def test_names_are_completed(submitted: Path) -> None:
    for words, expected in (
        ("pebench status t", "tiny"),
        ("pebench show ro", "rope"),
        ("pebench run --encoding al", "alibi"),
        ("pebench logs rope-", the_run(submitted, "rope").run_id),
        ("pebench submit oth", "other.yaml"),
    ):
        position = str(len(words.split()) - 1)
        asked = {"_PEBENCH_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": position}
        command = [sys.executable, "-m", "pebench"]
        found = subprocess.check_output(command, text=True, env={**os.environ, **asked})
        assert expected in [line.partition(",")[2] for line in found.splitlines()], words


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"tokenizer": {"file": "nosuch.json"}}, "nosuch.json"),
        (
            {"data": {"dataset": "json", "files": {"train": "no.jsonl", "validation": "no.jsonl"}}},
            "no file at 'no.jsonl'",
        ),
        (
            {
                "data": {
                    "dataset": "json",
                    "files": {"train": "a.jsonl", "validation": "a.jsonl"},
                    "column": "tex",
                }
            },
            "unknown column 'tex' of dataset 'json': did you mean 'text'?",
        ),
        ({"data": "nowhere.txt"}, "no text file or folder at 'nowhere.txt'"),
        (
            {"data": {"dataset": "json", "files": {"train": "a.jsonl"}}},
            "unknown split 'validation' of dataset 'json': there is 'train'",
        ),
        ({"data": {"dataset": "set", "column": "tex"}}, "unknown column 'tex' of dataset 'set'"),
        ({"data": {"dataset": "set", "validation": "dev[:9]"}}, "unknown split 'dev' of dataset 'set'"),
        ({"data": {"train": "a.txt"}}, "'a.txt' has no split 'validation'"),
        ({"data": "gpt2"}, "'gpt2' holds a tokenizer and no text: name it at 'tokenizer'"),
        ({"tokenizer": "gpt2/"}, "'gpt2' does not hold GPT-2's tokenizer"),
        ({"tokenizer": {"gpt2": "nosuch"}}, "nosuch/encoder.json"),
    ],
)
def test_what_needs_no_model_is_checked_before_anything_is_queued(
    place: Path, capsys: pytest.CaptureFixture[str], changed: dict[str, Any], said: str
) -> None:
    Path("a.jsonl").write_text('{"text": "hello there"}\n' * 50)
    Path("a.txt").write_text("hello there\n" * 50)
    for name in ("set/train.jsonl", "set/validation.jsonl", "gpt2/vocab.json", "gpt2/merges.txt"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text('{"text": "hello there"}\n' * 50)
    written = tiny(place)
    written["tasks"][0]["language-modeling"].update(changed)
    write(place, written)
    assert said in told(capsys, "submit", "tiny.yaml", "--cluster", "local", status=2)
    assert not (place / "runs" / ".submitit").exists()


def test_quiet_shows_no_progress_and_verbose_shows_the_log(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(place, tiny(place, encodings=["none"]))
    assert "starting" not in told(capsys, "-q", "submit", "tiny.yaml")
    command = [sys.executable, "-m", "pebench", "-v", "submit", "tiny.yaml", "--set", "name=again"]
    command += ["--set", "train.steps=2"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert re.search(r"^pebench\.runs\.none-\w+: none, seed 0, from step 0$", done.stderr, re.MULTILINE)


def test_a_name_that_nothing_bears_is_told_with_the_nearest_submitted_one(
    submitted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "did you mean 'tiny'?" in told(capsys, "submit", "tinyy", status=2)


@pytest.mark.parametrize("command", ["logs", "cancel", "retry", "remove"])
def test_where_a_sweep_or_a_run_may_stand_the_nearest_of_both_are_told(
    submitted: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    rope = the_run(submitted, "rope").run_id
    assert "unknown sweep or run 'tinny': did you mean 'tiny'?" in told(capsys, command, "tinny", status=2)
    # By its digits another run may be near as well.
    assert f"did you mean '{rope}'" in told(capsys, command, f"{rope}x", status=2)


@pytest.mark.parametrize(
    "command", [["logs"], ["cancel"], ["status"], ["compare", "rope"], ["leaderboard"], ["lm-eval", "--run"]]
)
def test_of_many_names_the_nearest_few_are_told(
    place: Path, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    for number in range(8):
        spec = specification("rope", number)
        finish(begin(place / "runs", spec), text_scores(1.25, 2.25))
        record_sweep(place / "runs", [spec], f"sweep-{number}")
    sentence = told(capsys, *command, "zzzz-5", status=2)
    assert "there are " in sentence
    assert sentence.count("', '") <= 1
    assert "-5" in sentence or "--run" in command
