"""A run ends with the same numbers however often it is killed, and is never finished twice."""

from __future__ import annotations

import json
import os
import platform
import signal
import time
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from processes.waiting import until
from processes.warm_processes import worker
from safetensors.torch import load_file
from safetensors.torch import save_file as save_tensors

from pebench.errors import UserError
from pebench.machine.environment import processor
from pebench.plugins.named_files import plugin_files
from pebench.resolve import resolve
from pebench.running import checkpoint, heartbeat, provenance
from pebench.running.execution import Execution
from pebench.running.heartbeat import AlreadyRunning
from pebench.running.run import execute
from pebench.store.run_folder import RunFolder

EXECUTION = Execution(device="cpu", threads=1, log_every=4, checkpoint_every=0)


def _run(place: Path, name: str = "runs", encoding: Any = "rope", **training: Any) -> RunFolder:
    options = {"data": str(place / "text.txt"), "extent": 32, "evaluate": [32, 64], "tail": 8}
    train = {"steps": 20, "batch": 4, "learning_rate": 3e-3, **training}
    model = {"width": 32, "layers": 2, "heads": 2}
    spec = resolve(encoding, {"language-modeling": options}, model=model, train=train)
    folder = RunFolder(place / name / spec.run_id)
    folder.create(spec, plugin_files(spec))
    return folder


def _outcome(folder: RunFolder) -> tuple[Any, dict[str, torch.Tensor], dict[int, dict[str, float | None]]]:
    """Scores, weights, and the losses by step."""
    result = folder.result()
    assert result is not None
    points: dict[int, dict[str, float | None]] = {}
    for point in folder.points():
        timeless = {name: value for name, value in point.values.items() if "per-second" not in name}
        points.setdefault(point.step, {}).update(timeless)
    return result.scores, load_file(folder.path / "model.safetensors"), points


def _same(one: RunFolder, other: RunFolder) -> None:
    scores, weights, points = _outcome(one)
    other_scores, other_weights, other_points = _outcome(other)
    assert scores == other_scores
    assert points == other_points
    assert weights.keys() == other_weights.keys()
    assert all(torch.equal(tensor, other_weights[name]) for name, tensor in weights.items())


ENCODINGS: list[Any] = ["t5", {"seqpe": {"positions": 200, "dropout": 0.1, "pivots": 16, "draws": 16}}]


@pytest.mark.parametrize("encoding", ENCODINGS, ids=["t5", "seqpe"])
def test_a_stopped_run_ends_bit_for_bit_like_an_undisturbed_one(place: Path, encoding: Any) -> None:
    whole, stopped = _run(place, "whole", encoding), _run(place, "stopped", encoding)
    execute(whole, EXECUTION)
    for steps in (1, 4, 6):
        left = iter([False] * (steps - 1) + [True])
        assert execute(stopped, EXECUTION, stop=left.__next__) is None
    assert execute(stopped, EXECUTION) is not None
    _same(whole, stopped)


def test_evaluation_in_half_precision_is_another_run_with_the_same_weights_and_nearly_its_scores(
    place: Path,
) -> None:
    exact, half = _run(place), _run(place, evaluate_in="bfloat16")
    assert exact.run_id == _run(place, "again", evaluate_in="float32").run_id != half.run_id
    for folder in (exact, half):
        execute(folder, EXECUTION)
    scores, weights, _ = _outcome(exact)
    half_scores, half_weights, _ = _outcome(half)
    assert all(torch.equal(tensor, half_weights[name]) for name, tensor in weights.items())
    values, half_values = ([score.value for score in each] for each in (scores, half_scores))
    assert values != half_values
    assert half_values == pytest.approx(values, rel=5e-3)


@pytest.mark.parametrize("encoding", [*ENCODINGS, "learned", "liere"], ids=str)
def test_several_threads_give_the_same_digits_every_time(place: Path, encoding: Any) -> None:
    folders = [_run(place, name, encoding, steps=6, batch=16) for name in ("one", "other")]
    before = torch.get_num_threads()
    try:
        for folder in folders:
            execute(folder, EXECUTION.model_copy(update={"threads": 4}))
    finally:
        torch.set_num_threads(before)
    _same(*folders)


def test_a_killed_run_ends_bit_for_bit_like_an_undisturbed_one(place: Path) -> None:
    whole, killed = _run(place, "whole", steps=60), _run(place, "killed", steps=60)
    execute(whole, EXECUTION)
    deaths = 0
    for step in (1, 20, 45, 60):
        process = worker(killed, EXECUTION)
        while process.is_alive() and killed.result() is None:
            newest = max((path.name for path in killed.checkpoint.glob("step-*")), default="")
            if newest >= f"step-{step:08d}":
                process.kill()
            time.sleep(0.001)
        process.join()
        deaths += process.exitcode == -signal.SIGKILL
    assert deaths >= 3, "the worker was to be killed while it trained"
    execute(killed, EXECUTION)
    _same(whole, killed)


def test_a_finished_run_is_not_run_again(place: Path) -> None:
    folder = _run(place, steps=2)
    first = execute(folder, EXECUTION)
    before = {path: path.stat().st_mtime_ns for path in folder.path.rglob("*") if path.is_file()}
    assert execute(folder, EXECUTION) == first
    assert before == {path: path.stat().st_mtime_ns for path in folder.path.rglob("*") if path.is_file()}


def test_a_finished_run_keeps_its_weights_and_no_checkpoint(place: Path) -> None:
    folder = _run(place, steps=2)
    execute(folder, EXECUTION)
    # changes.diff is there where the code that runs differs from its commit.
    kept = {path.name for path in folder.path.iterdir()} - {"lock", "changes.diff"}
    assert kept == {
        "spec.json",
        "tokenizer.json",
        "provenance.json",
        "metrics.jsonl",
        "system.jsonl",
        "log.txt",
        "worker.json",
        "model.safetensors",
        "examples.npz",
        "result.json",
    }


def test_who_may_read_the_result_may_read_the_weights(place: Path) -> None:
    folder = _run(place, steps=1)
    execute(folder)
    modes = {name: (folder.path / name).stat().st_mode for name in ("result.json", "model.safetensors")}
    assert len(set(modes.values())) == 1


def test_costs_and_kernels_are_recorded(place: Path) -> None:
    result = execute(_run(place, encoding="alibi", steps=8), EXECUTION)
    assert result is not None
    assert result.cost.kernels == ("factored",)
    assert result.cost.encoding_parameters == 0
    assert result.cost.parameters > 20_000
    assert result.cost.items_per_second is not None
    assert result.cost.items_per_second > 0
    assert [cost.extent for cost in result.cost.evaluations] == [(32,), (64,)]
    assert all(cost.items_per_second > 0 for cost in result.cost.evaluations)
    assert result.cost.peak_memory_bytes is None or result.cost.peak_memory_bytes > 1 << 20


def test_a_run_that_diverges_is_a_result_without_scores(place: Path) -> None:
    result = execute(_run(place, steps=20, learning_rate=1e30, clip=0.0), EXECUTION)
    assert result is not None
    assert result.status == "diverged"
    assert result.diverged_at is not None
    assert result.scores == ()


def test_a_failure_is_recorded_and_forgotten_when_the_next_attempt_succeeds(place: Path) -> None:
    folder = _run(place, steps=2)
    (place / "text.txt").rename(place / "gone.txt")
    with pytest.raises(UserError, match=r"text\.txt"):
        execute(folder, EXECUTION)
    failure = folder.failure()
    assert failure is not None
    assert "text.txt" in failure.message
    assert "Traceback" in folder.log.read_text()
    (place / "gone.txt").rename(place / "text.txt")
    assert execute(folder, EXECUTION) is not None
    assert folder.failure() is None


def test_two_workers_on_one_run_notice_each_other(place: Path) -> None:
    folder = _run(place)

    def another() -> bool:
        with pytest.raises(AlreadyRunning, match=f"process {os.getpid()}"):
            execute(folder, EXECUTION)
        return True

    assert execute(folder, EXECUTION, stop=another) is None
    assert folder.failure() is None


def test_a_worker_that_was_superseded_stops(place: Path) -> None:
    folder = _run(place)

    def overtaken() -> bool:
        worker = folder.worker()
        assert worker is not None
        folder.write_worker(worker.model_copy(update={"token": "other", "host": "elsewhere"}))
        return False

    with pytest.raises(AlreadyRunning, match="elsewhere"):
        execute(folder, EXECUTION, stop=overtaken)
    assert folder.failure() is None
    worker = folder.worker()
    assert worker is not None
    assert worker.host == "elsewhere", "the other's sign of life is left alone"


def test_signs_of_life_go_on_through_a_long_step(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "BEAT_EVERY", 0.02)
    folder, beats = _run(place), set[float]()

    def another_beat() -> bool:
        worker = folder.worker()
        assert worker is not None
        beats.add(worker.beat)
        return len(beats) >= 3

    def slow() -> bool:
        until(another_beat)
        return True

    assert execute(folder, EXECUTION, stop=slow) is None
    worker = folder.worker()
    assert worker is not None
    assert worker.over


def test_data_that_changed_since_the_run_began_is_refused(place: Path) -> None:
    folder = _run(place)
    assert execute(folder, EXECUTION, stop=lambda: True) is None
    with (place / "text.txt").open("a") as text:
        text.write("One more sheep.\n")
    with pytest.raises(UserError, match="changed since it began"):
        execute(folder, EXECUTION)


def test_what_goes_on_says_from_where_before_anything_is_loaded(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = _run(place)
    assert execute(folder, EXECUTION, stop=lambda: True) is None
    seen = []
    write = RunFolder.write_worker

    def told(self: RunFolder, worker: Any) -> None:
        seen.append(worker.step)
        write(self, worker)

    monkeypatch.setattr(RunFolder, "write_worker", told)
    execute(folder, EXECUTION)
    assert seen[0] == 1


def test_an_unreadable_checkpoint_is_named(place: Path) -> None:
    folder = _run(place)
    assert execute(folder, EXECUTION, stop=lambda: True) is None
    (newest,) = folder.checkpoint.glob("step-*")
    (newest / "model.safetensors").write_bytes(b"nonsense")
    with pytest.raises(UserError, match=r"step-00000001.*cannot be read"):
        execute(folder, EXECUTION)


def test_half_a_checkpoint_is_never_taken_for_a_whole_one(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = _run(place)
    plain, saves = save_tensors, []

    def save_file(*arguments: Any, **keywords: Any) -> None:
        saves.append(1)
        if len(saves) == 6:
            raise OSError(28, "No space left on device")
        plain(*arguments, **keywords)

    monkeypatch.setattr(checkpoint, "save_file", save_file)
    with pytest.raises(OSError, match="No space left"):
        execute(folder, EXECUTION)
    assert [path.name for path in folder.checkpoint.iterdir()] == ["step-00000002"]
    assert execute(folder, EXECUTION) is not None
    whole = _run(place, "whole")
    execute(whole, EXECUTION)
    _same(whole, folder)


def test_a_plugin_runs_from_the_copy_in_the_run_folder(place: Path) -> None:
    from pebench.plugins.registry import encodings, load_plugin

    source = place / "stays_home.py"
    source.write_text(
        '"""Nothing at all."""\nfrom pebench.position_encoding import PositionEncoding\n\n\n'
        "class StaysHome(PositionEncoding):\n    acts = ''\n"
    )
    load_plugin(source)
    try:
        folder = _run(place, encoding="stays-home", steps=2)
        source.unlink()
        encodings._files.clear()
        assert execute(folder, EXECUTION) is not None
        encodings._files.clear()
        folder = _run_again(folder)
        (folder.plugins / "stays_home.py").write_text("# changed")
        with pytest.raises(UserError, match="has been changed"):
            execute(folder, EXECUTION)
    finally:
        encodings._files.clear()


def _run_again(folder: RunFolder) -> RunFolder:
    (folder.path / "result.json").unlink()
    return folder


def test_provenance_names_commit_packages_machine_and_data(place: Path) -> None:
    folder = _run(place, steps=1)
    execute(folder, EXECUTION)
    found = json.loads((folder.path / "provenance.json").read_text())
    assert set(found["data"]) == {"tokenizer", "train", "validation"}
    assert found["packages"]["torch"] == torch.__version__
    assert found["device"] == "cpu"
    assert {"commit", "dirty", "machine", "python", "started"} <= found.keys()
    assert found["machine"]["processor"]
    assert found["machine"]["cpu_capability"] == torch.backends.cpu.get_cpu_capability()
    assert [attempt["processor"] for attempt in found["attempts"]] == [processor(found)]


def test_a_processor_without_a_name_is_told_by_its_architecture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpuinfo").write_text("processor : 0\nCPU architecture: 8\n")
    monkeypatch.setattr(provenance, "Path", lambda _: tmp_path / "cpuinfo")
    monkeypatch.setattr(platform, "processor", lambda: "")
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert provenance.describe(torch.device("cpu"))["machine"]["processor"] == "aarch64"


def test_a_run_says_how_busy_the_machine_was(place: Path) -> None:
    folder = _run(place, steps=2)
    execute(folder, EXECUTION)
    (sample,) = folder.samples()
    assert set(sample.values) >= {"cpu-percent", "memory-megabytes"}
    assert sample.values["cpu-percent"] > 0
    assert 50 < sample.values["memory-megabytes"] < 1e6


@pytest.mark.parametrize(("gpu", "device"), [(False, "auto"), (False, "cpu"), (True, "cpu")])
def test_a_run_on_the_cpu_adds_in_one_order_whatever_else_the_machine_has(
    place: Path, monkeypatch: pytest.MonkeyPatch, gpu: bool, device: Literal["auto", "cpu"]
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: gpu)
    ordered: list[bool] = []

    class Told:
        def training(self, *_: object) -> None:
            ordered.append(torch.are_deterministic_algorithms_enabled())

        def evaluating(self, *_: object) -> None:
            ordered.append(torch.are_deterministic_algorithms_enabled())

    execute(_run(place, steps=2), Execution(device=device, threads=1, log_every=1), observer=Told())
    assert ordered
    assert all(ordered)
    assert not torch.are_deterministic_algorithms_enabled()
