"""What `pebench sync` promises: every run once, every point once, whatever happens meanwhile."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from specimens.run_folders import BEGAN, begin, diverge, finish, log, record_sweep, specification, text_scores
from sqlalchemy.exc import DatabaseError, OperationalError

from pebench.command_line.main import main
from pebench.errors import UserError
from pebench.store.records import Point, Sample, Worker
from pebench.store.run_folder import RunFolder
from pebench.tracking.address import tracking_uri, without_secrets
from pebench.tracking.mirror import Mirror
from pebench.tracking.mlflow_internals import create_store
from pebench.tracking.record import Headline
from pebench.tracking.retry import Retry, StoreUnavailableError
from pebench.tracking.sync import sync
from pebench.tracking.view import TASKS, view

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy")


@pytest.fixture(autouse=True)
def _no_other_store(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PEBENCH_TRACKING_URI", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("store") / "mlflow.db"
    create_store(f"sqlite:///{file}")
    return file


@pytest.fixture
def runs(tmp_path: Path, empty_store: Path) -> Path:
    """An empty folder of runs beside an empty store: making the store takes seconds, copying it none."""
    shutil.copyfile(empty_store, tmp_path / "mlflow.db")
    folder = tmp_path / "runs"
    folder.mkdir()
    return folder


def rows(runs: Path, query: str) -> list[tuple[Any, ...]]:
    """What the store of a folder of runs holds."""
    connection = sqlite3.connect(runs.parent / "mlflow.db")
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def points(runs: Path, metric: str = "train/loss") -> list[tuple[int, int, float]]:
    """Step, time and value of a metric of all active runs."""
    return rows(
        runs,
        "SELECT step, timestamp, value FROM metrics JOIN runs USING (run_uuid) "
        f"WHERE key = '{metric}' AND lifecycle_stage = 'active' ORDER BY step",
    )


def tags(runs: Path) -> dict[str, str]:
    """The tags of the only active run."""
    found = rows(
        runs,
        "SELECT key, value FROM tags JOIN runs USING (run_uuid) WHERE lifecycle_stage = 'active' "
        "AND run_uuid NOT IN (SELECT run_uuid FROM tags WHERE key = 'pebench.sweep')",
    )
    assert len(dict(found)) == len(found), "there are several runs"
    return dict(found)


def active(runs: Path) -> list[tuple[str, str]]:
    """Name and status of the active runs, but for those of sweeps themselves."""
    of_sweep = "SELECT run_uuid FROM tags WHERE key = 'pebench.sweep'"
    condition = f"lifecycle_stage = 'active' AND run_uuid NOT IN ({of_sweep})"
    return rows(runs, f"SELECT name, status FROM runs WHERE {condition} ORDER BY name")


def sync_in_a_process(runs: Path) -> list[str]:
    """A command that syncs and prints how many runs were mirrored."""
    script = (
        "import sys; from pathlib import Path; from pebench.tracking.sync import sync; "
        "print(sync(Path(sys.argv[1])).mirrored)"
    )
    return [sys.executable, "-W", "ignore", "-c", script, str(runs)]


def forget(runs: Path) -> None:
    """Deletes what earlier passes remembered."""
    shutil.rmtree(runs / ".sync")


def test_a_finished_run_is_mirrored_whole(runs: Path) -> None:
    spec = specification("rope", options={"base": 500}, label="rope(base=500)")
    folder = begin(runs, spec)
    machine = {"host": "node1", "processor": "Honest 9000", "cpu_capability": "AVX512"}
    folder.write_provenance(folder.provenance() | {"machine": machine})
    scores = {**text_scores(2.5, 3.0), ("bits-per-byte", 512, "yarn"): 2.75}
    finish(folder, scores)
    record_sweep(runs, [spec])
    sync(runs)
    assert active(runs) == [("rope(base=500) · language-modeling · seed 0", "FINISHED")]
    assert points(runs) == [
        (step, round((BEGAN + step) * 1000), 5.0 - step / 100) for step in (10, 20, 30, 40)
    ]
    scores_there = dict(rows(runs, "SELECT key, value FROM metrics WHERE key LIKE 'bits%'"))
    assert scores_there == {
        "bits-per-byte/128": 2.5,
        "bits-per-byte/512": 3.0,
        "bits-per-byte/512/yarn": 2.75,
    }
    last = rows(runs, "SELECT step, value FROM latest_metrics WHERE key = 'train/loss'")
    assert last == [(40, 5.0 - 40 / 100)]
    parameters = dict(rows(runs, "SELECT key, value FROM params"))
    assert parameters["encoding.options.base"] == "500"
    assert parameters["task.options.evaluate"] == "[128, 512]"
    expected = {"sweep": "quickstart", "seed": "0", "extent": "128", "status": "done", "commit": "0123abc"}
    assert expected.items() <= tags(runs).items()
    assert tags(runs)["pebench.run_id"] == spec.run_id
    assert tags(runs)["processor"] == "Honest 9000, AVX512"
    assert rows(runs, "SELECT name FROM experiments WHERE name != 'Default'") == [("quickstart",)]
    files = {path.name for path in (runs.parent / "mlartifacts" / "quickstart").glob("*/artifacts/*")}
    of_run = {"spec.json", "provenance.json", "metrics.jsonl", "result.json", "plot.svg"}
    assert files == of_run | {"report.html", "leaderboard.csv", "sweep.json"}


@pytest.mark.parametrize("remembered", [True, False])
def test_a_second_pass_adds_nothing(runs: Path, remembered: bool) -> None:
    for seed in (0, 1):
        finish(begin(runs, specification(seed=seed)), text_scores(2.5, 3.0))
    begin(runs, specification("alibi"))
    sync(runs)
    before = (
        rows(runs, "SELECT * FROM metrics"),
        rows(runs, "SELECT * FROM runs"),
        rows(runs, "SELECT * FROM tags"),
    )
    if not remembered:
        forget(runs)
    outcome = sync(runs)
    assert (outcome.mirrored, outcome.unchanged) == ((0, 3) if remembered else (3, 0))
    after = (
        rows(runs, "SELECT * FROM metrics"),
        rows(runs, "SELECT * FROM runs"),
        rows(runs, "SELECT * FROM tags"),
    )
    assert after == before


def test_what_a_run_adds_is_noticed(runs: Path) -> None:
    folder = begin(runs, specification(), steps=[10])
    sync(runs)
    assert active(runs) == [("rope · language-modeling · seed 0", "RUNNING")]
    log(folder, [20, 30, 40])
    assert sync(runs).mirrored == 1
    assert [step for step, _, _ in points(runs)] == [10, 20, 30, 40]
    finish(folder, text_scores(2.5, 3.0))
    sync(runs)
    assert active(runs) == [("rope · language-modeling · seed 0", "FINISHED")]


@pytest.mark.parametrize("remembered", [True, False])
def test_steps_repeated_after_a_resume_are_there_once(runs: Path, remembered: bool) -> None:
    folder = begin(runs, specification(), steps=[10, 20, 30])
    sync(runs)
    log(folder, [20, 30, 40], later=1000.0)
    if not remembered:
        forget(runs)
    sync(runs)
    assert [step for step, _, _ in points(runs)] == [10, 20, 30, 40]


def test_the_status_follows_the_run(runs: Path) -> None:
    folder = begin(runs, specification())
    folder.write_failure("out of memory")
    sync(runs)
    assert active(runs) == [("rope · language-modeling · seed 0", "FAILED")]
    assert tags(runs)["mlflow.note.content"] == "out of memory"
    folder.clear_failure()
    sync(runs)
    assert active(runs) == [("rope · language-modeling · seed 0", "RUNNING")]
    folder.cancelled.touch()
    sync(runs)
    assert active(runs) == [("rope · language-modeling · seed 0", "KILLED")]
    folder.cancelled.unlink()
    worker = Worker(token="a", host="vm", pid=1, job=None, beat=1e9, step=40, steps=60, over=True)
    folder.write_worker(worker)
    folder.log.write_text("stopped at step 40\n")
    sync(runs)
    assert active(runs) == [("rope · language-modeling · seed 0", "KILLED")]
    assert tags(runs)["status"] == "stopped"
    folder.write_worker(worker.model_copy(update={"over": False}))
    log(folder, [50])
    sync(runs)
    assert active(runs) == [("rope · language-modeling · seed 0", "RUNNING")]
    assert tags(runs)["status"] == "running"
    diverge(folder, step=40)
    sync(runs)
    assert active(runs) == [("rope · language-modeling · seed 0", "FINISHED")]
    assert tags(runs)["status"] == "diverged"
    assert tags(runs)["mlflow.note.content"] == "diverged at step 40"


def test_losses_stand_by_tokens_too_so_that_runs_of_other_batches_line_up(runs: Path) -> None:
    folder = begin(runs, specification(), steps=[])
    for step in (10, 20):
        values = {"train/loss": 5.0 - step, "train/tokens-per-second": 100.0, "train/learning-rate": 1.0}
        folder.append(Point(step=step, items=step * 2048, time=BEGAN + step, values=dict(values)))
    sync(runs)
    assert [(step, value) for step, _, value in points(runs)] == [(10, -5.0), (20, -15.0)]
    by_tokens = points(runs, "by-tokens/train/loss")
    assert [(step, value) for step, _, value in by_tokens] == [(20480, -5.0), (40960, -15.0)]
    assert rows(runs, "SELECT count(DISTINCT key) FROM metrics") == [(4,)]


def test_what_is_measured_after_training_is_drawn_as_a_bar_and_what_is_measured_meanwhile_as_a_curve(
    runs: Path,
) -> None:
    folder = begin(runs, specification())
    last = folder.spec().train.steps
    log = [
        Point(step=10, items=100, time=BEGAN + 10, values={"validation": 3.0}),
        Point(step=last, items=900, time=BEGAN + last, values={"validation": 2.0, "bits-per-byte/128": 2.5}),
    ]
    folder.metrics.write_text("".join(f"{point.model_dump_json()}\n" for point in log))
    sync(runs)
    finish(folder, text_scores(2.5, 3.0))
    sync(runs)
    assert [step for step, *_ in points(runs, "validation")] == [10, last]
    assert [step for step, *_ in points(runs, "bits-per-byte/128")] == [0]
    assert [step for step, *_ in points(runs, "bits-per-byte/512")] == [0]


def test_the_load_of_the_machine_is_mirrored_by_seconds(runs: Path) -> None:
    folder = begin(runs, specification())
    for later in (0.0, 15.2):
        folder.append_sample(Sample(time=BEGAN + later, values={"cpu-percent": 99.5}))
    sync(runs)
    folder.append_sample(Sample(time=BEGAN + 30, values={"cpu-percent": 98.5}))
    sync(runs)
    found = [(step, value) for step, _, value in points(runs, "system/cpu-percent")]
    assert found == [(0, 99.5), (15, 99.5), (30, 98.5)]


def test_a_run_that_nobody_began_is_not_mirrored(runs: Path) -> None:
    spec = specification()
    begin(runs, spec, steps=[])
    (runs / spec.run_id / "provenance.json").unlink()
    outcome = sync(runs)
    assert (outcome.mirrored, outcome.unchanged) == (0, 0)


def test_a_run_of_two_sweeps_is_mirrored_once_and_names_both(runs: Path) -> None:
    spec = specification()
    begin(runs, spec)
    record_sweep(runs, [spec], "wide")
    sync(runs)
    record_sweep(runs, [spec], "narrow")
    assert sync(runs).mirrored == 1
    assert len(active(runs)) == 1
    assert tags(runs)["sweep"] == "narrow, wide"


def test_a_run_begun_anew_takes_the_place_of_the_old_one(runs: Path) -> None:
    spec = specification()
    begin(runs, spec)
    sync(runs)
    shutil.rmtree(runs / spec.run_id)
    log(begin(runs, spec, steps=[]), [10, 20], later=5000.0)
    sync(runs)
    assert [time for _, time, _ in points(runs)] == [round((BEGAN + step + 5000) * 1000) for step in (10, 20)]
    assert len(active(runs)) == 1


def test_an_attempt_that_someone_else_mirrored_is_not_touched(runs: Path) -> None:
    spec = specification()
    begin(runs, spec)
    sync(runs)
    forget(runs)
    shutil.rmtree(runs / spec.run_id)
    log(begin(runs, spec, steps=[]), [10, 20], later=5000.0)
    outcome = sync(runs)
    assert [problem for problem in outcome.problems if "from another attempt" in problem]
    assert len(points(runs)) == 4


def test_a_run_deleted_in_the_store_is_made_again_when_it_changes(runs: Path) -> None:
    folder = begin(runs, specification(), steps=[10])
    sync(runs)
    connection = sqlite3.connect(runs.parent / "mlflow.db")
    with connection:
        connection.execute("UPDATE runs SET lifecycle_stage = 'deleted'")
    connection.close()
    log(folder, [20])
    sync(runs)
    assert [step for step, _, _ in points(runs)] == [10, 20]


def test_a_store_made_anew_is_filled_again(runs: Path, empty_store: Path) -> None:
    begin(runs, specification())
    # Each pass is a process of its own: one alone would keep the deleted file open.
    command = sync_in_a_process(runs)
    assert subprocess.check_output(command, text=True) == "1\n"
    (runs.parent / "mlflow.db").unlink()
    shutil.copyfile(empty_store, runs.parent / "mlflow.db")
    assert subprocess.check_output(command, text=True) == "1\n"
    assert len(active(runs)) == 1


def test_a_request_carried_out_without_an_answer_makes_no_second_run(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient

    begin(runs, specification())
    create = MlflowClient.create_run
    calls = []

    def create_without_answer(*arguments: Any, **keywords: Any) -> Any:
        run = create(*arguments, **keywords)
        calls.append(run)
        if len(calls) == 1:
            raise MlflowException("timed out")
        return run

    monkeypatch.setattr(MlflowClient, "create_run", create_without_answer)
    sync(runs)
    assert len(active(runs)) == 1
    assert len(points(runs)) == 4


def test_two_runs_made_of_one_become_one(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begin(runs, specification())
    sync(runs)
    first = tags(runs)
    client = Mirror(tracking_uri(runs), retry_seconds=1.0)._client
    client.create_run("1", tags={"pebench.run_id": first["pebench.run_id"]})
    assert len(active(runs)) == 2
    forget(runs)
    sync(runs)
    assert len(active(runs)) == 1
    assert len(points(runs)) == 4


def test_a_store_that_is_down_is_one_sentence_and_loses_nothing(runs: Path) -> None:
    begin(runs, specification())
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(StoreUnavailableError, match=r"does not answer .* nothing is lost"):
            sync(runs, f"http://127.0.0.1:{taken.getsockname()[1]}", retry_seconds=0.1)
    assert sync(runs).mirrored == 1


def test_a_store_that_fails_for_a_while_is_asked_again(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import TEMPORARILY_UNAVAILABLE
    from mlflow.tracking import MlflowClient

    begin(runs, specification())
    failures = iter([True, False] * 50)

    def now_and_then(method: Callable[..., Any]) -> Callable[..., Any]:
        def failing(*arguments: Any, **keywords: Any) -> Any:
            if next(failures):
                raise MlflowException("busy", error_code=TEMPORARILY_UNAVAILABLE)
            return method(*arguments, **keywords)

        return failing

    for name in ("create_run", "log_batch", "log_artifact"):
        monkeypatch.setattr(MlflowClient, name, now_and_then(getattr(MlflowClient, name)))
    assert sync(runs).mirrored == 1
    assert len(points(runs)) == 4


def test_a_folder_that_cannot_be_read_stops_no_other(runs: Path) -> None:
    begin(runs, specification("alibi"))
    broken = begin(runs, specification("rope"))
    (broken.path / "spec.json").write_text("{}")
    (begin(runs, specification("none")).path / "provenance.json").write_text("{")
    outcome = sync(runs)
    assert outcome.mirrored == 1
    assert [problem.partition(":")[0] for problem in outcome.problems] == [
        f"{runs / specification('none').run_id / 'provenance.json'} cannot be read",
        f"{broken.path / 'spec.json'} cannot be read",
    ]
    (runs / ".sweeps").mkdir()
    (runs / ".sweeps" / "mine.json").write_text("[]")
    with pytest.raises(UserError, match=r"mine.json cannot be read"):
        sync(runs)


def test_killed_at_any_moment_and_repeated_it_is_exact(runs: Path) -> None:
    steps = range(1, 801)
    for seed in range(4):
        finish(begin(runs, specification(seed=seed), steps=steps), text_scores(2.5, 3.0))
    command = sync_in_a_process(runs)
    for enough in (1, 3_000):
        process = subprocess.Popen(command)
        while process.poll() is None and rows(runs, "SELECT count(*) FROM metrics")[0][0] < enough:
            time.sleep(0.01)
        process.kill()
        process.wait()
    sync(runs)
    assert len(active(runs)) == 4
    assert len(points(runs)) == 4 * 800
    assert len(points(runs, "bits-per-byte/128")) == 4
    assert rows(runs, "SELECT count(*) FROM (SELECT DISTINCT run_uuid, key, step FROM metrics)") == rows(
        runs, "SELECT count(*) FROM metrics"
    )


def test_processes_that_create_a_store_at_once_all_succeed(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/new/mlflow.db"
    script = (
        "import sys; from pebench.tracking.mlflow_internals import create_store; create_store(sys.argv[1])"
    )
    processes = [subprocess.Popen([sys.executable, "-W", "ignore", "-c", script, uri]) for _ in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    connection = sqlite3.connect(tmp_path / "new" / "mlflow.db")
    assert connection.execute("SELECT name FROM experiments").fetchall() == [("Default",)]
    connection.close()


@pytest.mark.parametrize("uri", ["mlruns", "file:///mlruns", "sqlight:///mlflow.db"])
def test_what_is_no_address_is_refused(runs: Path, uri: str) -> None:
    with pytest.raises(UserError, match="is not the address of a tracking store: write 'sqlite:"):
        sync(runs, uri)


def test_the_store_is_the_one_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert tracking_uri(tmp_path / "runs") == f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://one.example.org")
    assert tracking_uri(tmp_path) == "http://one.example.org"
    monkeypatch.setenv("PEBENCH_TRACKING_URI", "http://two.example.org")
    assert tracking_uri(tmp_path) == "http://two.example.org"
    assert tracking_uri(tmp_path, "http://three.example.org") == "http://three.example.org"


def test_passwords_are_not_shown() -> None:
    assert without_secrets("http://me:secret@example.org:5000/a") == "http://example.org:5000/a"


def test_the_command_says_what_it_did(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    begin(runs, specification())
    assert main(["sync", "--runs", str(runs)]) == 0
    assert "1 run: 1 mirrored" in capsys.readouterr().out
    assert main(["sync", "--runs", str(runs / "nowhere")]) == 2
    assert "there is no folder of runs" in capsys.readouterr().err


def _refusing(error: Exception) -> Callable[[], None]:
    def action() -> None:
        raise error

    return action


_LOCKED = sqlite3.OperationalError("database is locked")
_FULL = sqlite3.OperationalError("database or disk is full")
_BROKEN = sqlite3.DatabaseError("file is not a database")


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (OperationalError("SELECT 1", {}, _LOCKED), r"does not answer \(database is locked\)"),
        (OperationalError("COMMIT", {}, _FULL), r"does not answer \(database or disk is full\)"),
        (DatabaseError("SELECT 1", {}, _BROKEN), r"cannot be used \(file is not a database\)"),
        (OSError(28, "No space left on device", "mlartifacts"), r"takes no more \(No space left on device\)"),
    ],
)
def test_what_goes_wrong_in_a_database_is_one_sentence(error: Exception, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence) as caught:
        Retry("sqlite:///mlflow.db", 0.01).call(_refusing(error))
    assert "SQL:" not in str(caught.value)


@pytest.mark.parametrize(("table", "calls"), [("datasets", 2), ("runs", 1)])
def test_a_dataset_that_two_requests_bring_at_once_is_asked_for_again(table: str, calls: int) -> None:
    from mlflow.exceptions import RestException

    told = f"(sqlite3.IntegrityError) UNIQUE constraint failed: {table}.experiment_id, {table}.name"
    errors = [RestException({"error_code": "BAD_REQUEST", "message": told})]  # type: ignore[no-untyped-call]
    made: list[int] = []

    def action() -> str:
        made.append(1)
        if errors:
            raise errors.pop()
        return "there"

    with pytest.raises(UserError, match="refuses") if calls == 1 else contextlib.nullcontext():
        assert Retry("http://127.0.0.1:5000", 5.0).call(action) == "there"
    assert len(made) == calls


def test_a_file_that_is_no_store_is_said_in_every_place(
    runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = specification()
    finish(begin(runs, spec), text_scores(2.5, 3.0))
    (runs / spec.run_id / "model.safetensors").write_bytes(b"weights")
    store = runs.parent / "mlflow.db"
    store.write_bytes(b"no database" * 1000)
    monkeypatch.setenv("PEBENCH_TRACKING_URI", f"sqlite:///{store}")
    commands = (
        ["sync"],
        ["ui"],
        ["register", spec.run_id],
        ["leaderboard", "--from-mlflow", f"sqlite:///{store}"],
    )
    for command in commands:
        where = [] if command[0] == "leaderboard" else ["--runs", str(runs)]
        assert main([*command, *where]) == 2
        sentence = f"the tracking store sqlite:///{store} cannot be used (file is not a database)."
        assert capsys.readouterr().err == f"pebench: {sentence}\n"
    main(["doctor", "--runs", str(runs)])
    assert "cannot be used (file is not a database)" in capsys.readouterr().out


def _deleted(runs: Path, *, for_good: bool = False) -> None:
    """Has every run deleted as MLflow's pages do, or by `mlflow gc`."""
    connection = sqlite3.connect(runs.parent / "mlflow.db")
    with connection:
        if for_good:
            for table in ("metrics", "latest_metrics", "params", "tags", "runs"):
                connection.execute(f"DELETE FROM {table}")
        else:
            connection.execute("UPDATE runs SET lifecycle_stage = 'deleted'")
    connection.close()


@pytest.mark.parametrize("remembered", [True, False])
@pytest.mark.parametrize("for_good", [True, False])
def test_a_run_deleted_in_the_store_comes_back_and_is_there_once(
    runs: Path, remembered: bool, for_good: bool
) -> None:
    folder = begin(runs, specification(), steps=[10])
    sync(runs)
    before = rows(runs, "SELECT run_uuid FROM runs")
    _deleted(runs, for_good=for_good)
    if not remembered:
        forget(runs)
    outcome = sync(runs)
    assert (outcome.mirrored, outcome.returned) == (1, int(remembered))
    assert len(active(runs)) == 1
    assert (rows(runs, "SELECT run_uuid FROM runs") == before) is not for_good, "it is taken out of the bin"
    assert [step for step, _, _ in points(runs)] == [10]
    assert sync(runs).unchanged == 1
    log(folder, [20])
    sync(runs)
    assert [step for step, _, _ in points(runs)] == [10, 20]


@pytest.mark.parametrize("remembered", [True, False])
def test_an_experiment_deleted_in_the_store_comes_back_with_each_run_once(
    runs: Path, remembered: bool
) -> None:
    specs = [specification("rope", seed) for seed in (0, 1)]
    for spec in specs:
        finish(begin(runs, spec), text_scores(2.5, 3.0))
    record_sweep(runs, specs)
    sync(runs)
    before = rows(runs, "SELECT run_uuid FROM runs ORDER BY 1")
    client = Mirror(tracking_uri(runs), retry_seconds=1.0)._client
    ((experiment,),) = rows(runs, "SELECT experiment_id FROM experiments WHERE name = 'quickstart'")
    client.delete_experiment(str(experiment))
    if not remembered:
        forget(runs)
    outcome = sync(runs)
    assert (outcome.mirrored, outcome.returned) == (2, 2 * remembered)
    assert rows(runs, "SELECT run_uuid FROM runs WHERE lifecycle_stage = 'active' ORDER BY 1") == before
    assert sync(runs).unchanged == 2


@pytest.mark.parametrize("history", [("a-first", "tiny"), ("tiny", "a-first")])
def test_where_a_shared_run_stands_does_not_depend_on_what_was_mirrored_first(
    runs: Path, history: tuple[str, str]
) -> None:
    spec = specification()
    finish(begin(runs, spec), text_scores(2.5, 3.0))
    for name in history:
        record_sweep(runs, [spec], name)
        sync(runs)
    query = (
        "SELECT e.name FROM runs r JOIN experiments e USING (experiment_id) "
        "WHERE r.lifecycle_stage = 'active' AND r.name NOT LIKE 'all of %'"
    )
    assert rows(runs, query) == [("a-first",)]
    assert sync(runs).unchanged == 1


def test_the_headline_is_a_curve_over_the_extents(runs: Path) -> None:
    finish(begin(runs, specification()), text_scores(2.5, 3.0))
    sync(runs)
    found = [(step, value) for step, _, value in points(runs, "by-extent/bits-per-byte")]
    assert found == [(128, 2.5), (512, 3.0)]
    (last,) = rows(runs, "SELECT value FROM latest_metrics WHERE key = 'by-extent/bits-per-byte'")
    assert last == (3.0,)


def test_the_data_of_a_run_are_its_datasets(runs: Path) -> None:
    folder = begin(runs, specification())
    folder.write_provenance({**folder.provenance(), "data": {"train": "0" * 64, "validation": "1" * 64}})
    sync(runs)
    log(folder, [50])
    sync(runs)
    found = rows(
        runs, "SELECT name, digest FROM datasets JOIN inputs ON dataset_uuid = source_id ORDER BY name"
    )
    assert found == [("train", "0" * 36), ("validation", "1" * 36)]


def test_the_table_shows_the_task_and_groups_by_encoding(runs: Path) -> None:
    finish(begin(runs, specification()), text_scores(2.5, 3.0))
    sync(runs)
    ((state,),) = rows(runs, "SELECT value FROM experiment_tags WHERE key = 'mlflow.sharedViewState.pebench'")
    shown = json.loads(state)
    assert "tags.`task`" in shown["selectedColumns"]
    assert shown["groupBy"]["groupByKeys"] == [{"mode": "tag", "groupByData": "encoding"}]
    several = view({TASKS: "retrieval"}, Headline("language-modeling", "bits", ("bits",), False))
    assert [key["groupByData"] for key in json.loads(several)["groupBy"]["groupByKeys"]] == [
        "task",
        "encoding",
    ]


def test_a_sweep_has_a_run_of_its_own_with_its_report_and_its_table(runs: Path) -> None:
    specs = [specification("rope", seed) for seed in (0, 1)]
    finish(begin(runs, specs[0]), text_scores(2.5, 3.0))
    record_sweep(runs, [specs[0]], "a-first")
    record_sweep(runs, specs, "tiny")
    begin(runs, specs[1])
    sync(runs)
    query = "SELECT name, status FROM runs WHERE name LIKE 'all of %' ORDER BY name"
    assert rows(runs, query) == [("all of a-first", "FINISHED"), ("all of tiny", "RUNNING")]
    files = {path.name for path in (runs.parent / "mlartifacts" / "tiny").glob("*/artifacts/*")}
    assert {"report.html", "leaderboard.csv"} <= files
    notes = dict(
        rows(
            runs, "SELECT r.name, t.value FROM runs r JOIN tags t USING (run_uuid) WHERE key LIKE '%.note.%'"
        )
    )
    assert notes["all of tiny"] == (
        "1 of 2 cells are finished. Without a result: rope · language-modeling (seed 1). "
        "Of cells that other sweeps have too stand 1 in 'a-first'."
    )
    before = rows(runs, "SELECT * FROM runs")
    assert sync(runs).unchanged == 2
    forget(runs)
    sync(runs)
    assert rows(runs, "SELECT * FROM runs") == before
    finish(RunFolder(runs / specs[1].run_id), text_scores(2.6, 3.1))
    sync(runs)
    assert rows(runs, query)[1] == ("all of tiny", "FINISHED")
    (table,) = (runs.parent / "mlartifacts" / "tiny").glob("*/artifacts/leaderboard.csv")
    assert ",2.55," in table.read_text()


@pytest.mark.parametrize("name", ["a#b", "a%41b", "a?b", "a b", "a\\e", "ü", "n" * 200, "a;b&c=d"])
def test_a_folder_may_be_called_anything(runs: Path, name: str) -> None:
    other = runs.parent / name / "runs"
    other.mkdir(parents=True)
    shutil.copyfile(runs.parent / "mlflow.db", other.parent / "mlflow.db")
    finish(begin(other, specification()), text_scores(2.5, 3.0))
    assert sync(other).mirrored == 1
    assert len(active(other)) == 1
    assert not rows(runs, "SELECT * FROM runs")
    assert list((other.parent / "mlartifacts").rglob("result.json"))


def test_the_results_of_a_sweep_that_were_deleted_are_said_to_come_back(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = specification()
    finish(begin(runs, spec), text_scores(2.5, 3.0))
    record_sweep(runs, [spec])
    sync(runs)
    connection = sqlite3.connect(runs.parent / "mlflow.db")
    with connection:
        connection.execute("UPDATE runs SET lifecycle_stage = 'deleted' WHERE name LIKE 'all of %'")
    connection.close()
    assert main(["sync", "--runs", str(runs)]) == 0
    told = capsys.readouterr().out
    assert told.startswith(
        "1 run: 0 mirrored, 1 unchanged, 0 not possible; results of 1 sweep mirrored; "
        "results of 1 sweep had been deleted there and came back in "
    )
    _deleted(runs)
    assert main(["sync", "--runs", str(runs)]) == 0
    assert capsys.readouterr().out.startswith(
        "1 run: 1 mirrored, 0 unchanged, 0 not possible; results of 1 sweep mirrored; "
        "1 run and results of 1 sweep had been deleted there and came back in "
    )


def test_a_run_that_was_renamed_in_the_store_keeps_its_name(runs: Path) -> None:
    folder = begin(runs, specification(), steps=[10])
    sync(runs)
    connection = sqlite3.connect(runs.parent / "mlflow.db")
    with connection:
        connection.execute("UPDATE runs SET name = 'mine'")
        connection.execute("UPDATE tags SET value = 'mine' WHERE key = 'mlflow.runName'")
    connection.close()
    log(folder, [20])
    assert sync(runs).mirrored == 1
    assert rows(runs, "SELECT name FROM runs") == [("mine",)]
