"""`pebench sync` to a real tracking server: nothing is lost or there twice, whatever happens to it."""

from __future__ import annotations

import itertools
import subprocess
import sys
import time
from pathlib import Path
from typing import get_args

import pytest
from processes.tracking_server import Fault, TrackingServer, faulty
from specimens.run_folders import begin, finish, log, record_sweep, specification, text_scores

from pebench.command_line.main import main
from pebench.specification.run_spec import RunSpec
from pebench.tracking.retry import StoreUnavailableError
from pebench.tracking.sync import sync

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy")

_SEEDS = itertools.count(1000, 1000)


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    folder = tmp_path / "runs"
    folder.mkdir()
    return folder


def make(runs: Path, count: int, steps: int) -> list[RunSpec]:
    """Finished runs that are in no other test: two metrics at every step, and two scores."""
    first = next(_SEEDS)
    specs = [specification(seed=first + number) for number in range(count)]
    for spec in specs:
        finish(begin(runs, spec, steps=range(1, steps + 1)), text_scores(2.5, 3.0))
    record_sweep(runs, specs, f"sweep-{first}")
    return specs


def points(server: TrackingServer, specs: list[RunSpec], metric: str) -> int:
    """How many points of a metric the active runs of these specifications have, each step counted once."""
    total, different = 0, 0
    for spec in specs:
        query = (
            "SELECT count(*), count(DISTINCT step) FROM metrics JOIN runs USING (run_uuid) JOIN tags USING "
            "(run_uuid) WHERE metrics.key = ? AND tags.key = 'pebench.run_id' AND tags.value = ? "
            "AND lifecycle_stage = 'active'"
        )
        (found,) = server.rows(query, metric, spec.run_id)
        total, different = total + found[0], different + found[1]
    assert total == different, "a point is there twice"
    return total


def names(server: TrackingServer, specs: list[RunSpec]) -> list[str]:
    """The status of each active run of these specifications; one that is there twice has two."""
    marks = ", ".join("?" * len(specs))
    query = (
        "SELECT status FROM runs JOIN tags USING (run_uuid) WHERE tags.key = 'pebench.run_id' "
        f"AND tags.value IN ({marks}) AND lifecycle_stage = 'active'"
    )
    return [status for (status,) in server.rows(query, *(spec.run_id for spec in specs))]


def assert_exact(server: TrackingServer, specs: list[RunSpec], steps: int) -> None:
    assert names(server, specs) == ["FINISHED"] * len(specs)
    for metric in ("train/loss", "train/learning-rate"):
        assert points(server, specs, metric) == len(specs) * steps
    assert points(server, specs, "bits-per-byte/512") == len(specs)


def in_a_process(runs: Path, uri: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "pebench", "sync", "--runs", str(runs), "--to", uri])


def wait_for(
    server: TrackingServer, specs: list[RunSpec], enough: int, process: subprocess.Popen[bytes]
) -> None:
    while points(server, specs, "train/loss") < enough:
        assert process.poll() is None, "the pass ended before there was anything to disturb"
        time.sleep(0.01)


def test_all_of_a_sweep_arrives_and_a_second_pass_adds_nothing(
    server: TrackingServer, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    specs = make(runs, 3, steps=600)
    for expected in ("3 mirrored, 0 unchanged", "0 mirrored, 3 unchanged"):
        assert main(["sync", "--runs", str(runs), "--to", server.uri]) == 0
        assert expected in capsys.readouterr().out
        assert_exact(server, specs, 600)
    artifacts = server.file.parent / "artifacts"
    assert len(list(artifacts.rglob("plot.svg"))) >= 3


def test_what_a_run_adds_arrives_alone(server: TrackingServer, runs: Path) -> None:
    spec = specification(seed=next(_SEEDS))
    folder = begin(runs, spec, steps=range(1, 11))
    sync(runs, server.uri)
    log(folder, range(11, 21))
    assert sync(runs, server.uri).mirrored == 1
    assert names(server, [spec]) == ["RUNNING"]
    assert points(server, [spec], "train/loss") == 20


@pytest.mark.parametrize("fault", get_args(Fault))
def test_a_server_that_fails_now_and_then_gets_everything_once(
    server: TrackingServer, runs: Path, fault: Fault
) -> None:
    specs = make(runs, 3, steps=600)
    with faulty(server.uri, fault) as way:
        outcome = sync(runs, way.uri)
    assert (outcome.mirrored, outcome.problems) == (3, [])
    assert way.faults >= 3
    assert_exact(server, specs, 600)


@pytest.mark.parametrize("fault", ["500", "429", "503", "cut off", "answer lost"])
def test_a_server_that_fails_always_is_one_sentence_and_the_next_pass_goes_on(
    server: TrackingServer, runs: Path, fault: Fault
) -> None:
    specs = make(runs, 1, steps=10)
    with (
        faulty(server.uri, fault, every=1) as way,
        pytest.raises(StoreUnavailableError, match="nothing is lost, sync again later"),
    ):
        sync(runs, way.uri, retry_seconds=0.5)
    sync(runs, server.uri)
    assert_exact(server, specs, 10)


def test_a_server_that_fails_in_the_middle_keeps_what_it_has(server: TrackingServer, runs: Path) -> None:
    specs = make(runs, 40, steps=5)
    with faulty(server.uri, "503", every=10**9) as way:

        def fail(done: int, total: int) -> None:
            way.every = 1 if done else way.every

        with pytest.raises(StoreUnavailableError):
            sync(runs, way.uri, retry_seconds=0.5, progress=fail)
        way.every = 10**9
        there = len(names(server, specs))
        assert 0 < there < 40
        outcome = sync(runs, way.uri)
        assert outcome.unchanged >= there - 4
        assert outcome.mirrored + outcome.unchanged == 40
    assert_exact(server, specs, 5)


def test_a_pass_killed_at_any_moment_and_repeated_is_exact(server: TrackingServer, runs: Path) -> None:
    specs = make(runs, 6, steps=1500)
    for enough in (1, 3000):
        process = in_a_process(runs, server.uri)
        wait_for(server, specs, enough, process)
        process.kill()
        process.wait()
    sync(runs, server.uri)
    assert_exact(server, specs, 1500)


def test_a_server_killed_in_the_middle_and_started_again_gets_everything_in_the_same_pass(
    server: TrackingServer, runs: Path
) -> None:
    specs = make(runs, 6, steps=1500)
    process = in_a_process(runs, server.uri)
    wait_for(server, specs, 1, process)
    server.stop()
    server.start()
    assert process.wait() == 0
    assert_exact(server, specs, 1500)


def test_a_server_that_was_emptied_is_filled_again(server: TrackingServer, runs: Path) -> None:
    specs = make(runs, 2, steps=10)
    sync(runs, server.uri)
    server.stop()
    server.file.unlink()
    server.start()
    assert names(server, specs) == []
    assert sync(runs, server.uri).mirrored == 2
    assert_exact(server, specs, 10)
