"""Several processes train one model as one does, stop together, and never wait for one that is gone."""

from __future__ import annotations

import json
import re
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from processes.rank_pool import RankPool
from processes.waiting import until
from safetensors.torch import load_file
from specimens.tiny_sweeps import tiny, write

from pebench.command_line.main import main
from pebench.plugins.named_files import plugin_files
from pebench.resolve import resolve
from pebench.running import ranks as ranks_module
from pebench.running.execution import Execution
from pebench.running.heartbeat import AlreadyRunning
from pebench.running.launch import execute_here
from pebench.running.ranks import JoinedRanks, RankLost
from pebench.running.run import execute
from pebench.store.run_folder import RunFolder

EXECUTION = Execution(device="cpu", threads=1, log_every=1, checkpoint_every=0)
MODEL = {"width": 32, "layers": 2, "heads": 2}
SMALL_SEQPE = {"positions": 200, "dropout": 0.1, "pivots": 16, "draws": 16}

PEER_IS_GONE = (
    r"another rank is gone: (Read error (?P<one>\[\S+\]:\d+): Connection reset by peer"
    r"|Connection closed by peer (?P<other>\[\S+\]:\d+))"
)
"""What Gloo says of a process that was killed: the kernel resets the connection of one that had not read all
that was sent to it, and closes that of one that had."""


@pytest.fixture(scope="module")
def pool() -> Iterator[RankPool]:
    pool = RankPool(4)
    yield pool
    pool.close()


def _run(place: Path, name: str, encoding: Any = "rope", task: Any = None, **training: Any) -> RunFolder:
    text = {"data": str(place / "text.txt"), "extent": 32, "evaluate": [32, 48, 64], "tail": 8}
    train = {"steps": 6, "batch": 8, "learning_rate": 1e-3, **training}
    spec = resolve(encoding, task or {"language-modeling": text}, model=MODEL, train=train)
    folder = RunFolder(place / name / spec.run_id)
    folder.create(spec, plugin_files(spec))
    return folder


def _losses(folder: RunFolder) -> list[dict[str, float]]:
    """Losses and the norm of the gradient by step."""
    wanted = ("train/loss", "train/contrastive", "train/distillation", "train/gradient-norm")
    points = [point for point in folder.points() if "train/loss" in point.values]
    return [{name: point.values[name] for name in wanted if name in point.values} for point in points]  # type: ignore[misc]


def _scores(folder: RunFolder) -> list[tuple[str, tuple[int, ...], float | None]]:
    result = folder.result()
    assert result is not None
    return [(score.metric, score.extent, score.value) for score in result.scores]


def _followers() -> list[psutil.Process]:
    """Ranks that this process has started."""
    return [each for each in psutil.Process().children() if "pebench.running.follower" in each.cmdline()]


ANSWERS = {"length-generalization": {"problem": "reverse", "extent": 8, "evaluate": [8, 16], "examples": 10}}


@pytest.mark.parametrize(
    ("encoding", "task", "training"),
    [
        ("rope", None, {}),
        ("t5", ANSWERS, {"batch": 8}),
        ("fox", None, {"accumulate": 2, "positions": "randomized", "range": 64}),
        ({"seqpe": SMALL_SEQPE | {"shifted": 0.5}}, None, {"clip": 0.1}),
    ],
    ids=["plain", "masked", "accumulated", "auxiliary"],
)
def test_one_two_and_four_ranks_agree(
    place: Path, pool: RankPool, encoding: Any, task: Any, training: dict[str, Any]
) -> None:
    alone = _run(place, "1", encoding, task, **training)
    execute(alone, EXECUTION)
    for count in (2, 4):
        together = _run(place, str(count), encoding, task, **training)
        pool.execute(together, EXECUTION, count)
        for one, other in zip(_losses(alone), _losses(together), strict=True):
            assert one == pytest.approx(other, rel=2e-5)
        for name, weight in load_file(alone.weights).items():
            torch.testing.assert_close(load_file(together.weights)[name], weight, atol=5e-5, rtol=1e-3)
        for (*what, value), (*other_what, other_value) in zip(_scores(alone), _scores(together), strict=True):
            assert what == other_what
            assert other_value == pytest.approx(value, rel=1e-3)
        result, lone = together.result(), alone.result()
        assert result is not None
        assert lone is not None
        assert (result.cost.ranks, lone.cost.ranks) == (count, 1)
        assert [p.items for p in together.points()] == [p.items for p in alone.points()]


def test_bfloat16_on_two_ranks_stays_near_one(place: Path, pool: RankPool) -> None:
    alone, together = (_run(place, name, precision="bfloat16") for name in ("1", "2"))
    execute(alone, EXECUTION)
    pool.execute(together, EXECUTION, 2)
    for one, other in zip(_losses(alone), _losses(together), strict=True):
        assert one == pytest.approx(other, rel=2e-2)


def test_the_same_number_of_ranks_gives_the_same_bits_stopped_or_not(place: Path, pool: RankPool) -> None:
    encoding = {"seqpe": SMALL_SEQPE}
    whole, stopped = (_run(place, name, encoding) for name in ("whole", "stopped"))
    pool.execute(whole, EXECUTION, 2)
    # The last rank alone is told; both stop after the same step, in training and between evaluations.
    for steps in (1, 3, 3):
        pool.execute(stopped, EXECUTION, 2, stop_at=steps)
        assert stopped.result() is None
    pool.execute(stopped, EXECUTION, 2)
    log = stopped.log.read_text()
    assert [f"from step {step}" in log for step in (0, 1, 4, 6)] == [True] * 4
    assert _scores(stopped) == _scores(whole)
    weights = load_file(whole.weights)
    assert all(torch.equal(value, weights[name]) for name, value in load_file(stopped.weights).items())


def test_each_evaluation_is_done_once_and_scores_are_in_order(place: Path, pool: RankPool) -> None:
    folder = _run(place, "2", steps=1)
    pool.execute(folder, EXECUTION, 2)
    result = folder.result()
    assert result is not None
    assert [cost.extent for cost in result.cost.evaluations] == [(32,), (48,), (64,)]
    assert list(dict.fromkeys(score.extent for score in result.scores)) == [(32,), (48,), (64,)]
    evaluated = [
        name for point in folder.points() for name in point.values if name.startswith("bits-per-byte/")
    ]
    assert sorted(evaluated) == [f"bits-per-byte/{extent}" for extent in (32, 48, 64)]


def test_ranks_share_the_evaluations_during_training_and_train_on_as_if_there_were_none(
    place: Path, pool: RankPool
) -> None:
    looked_at = _run(place, "looked", evaluate_every=2)
    plain, stopped = _run(place, "plain"), _run(place, "stopped", evaluate_every=2)
    pool.execute(looked_at, EXECUTION, 2)
    pool.execute(plain, EXECUTION, 2)
    assert _losses(looked_at) == _losses(plain)
    assert _scores(looked_at) == _scores(plain)
    one, other = (load_file(folder.weights) for folder in (looked_at, plain))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert [moment.step for moment in looked_at.curve()] == [2, 4, 6]
    for stop_at in (3, 2, 0):
        pool.execute(stopped, EXECUTION, 2, stop_at)
    assert stopped.curve() == looked_at.curve()


def test_dropout_of_the_model_differs_between_ranks_and_that_of_the_encoding_does_not(
    place: Path, pool: RankPool
) -> None:
    noise = pool.call(_noise, 2)
    assert len({each["dropout"] for each in noise}) == 2
    assert len({each["encoding"] for each in noise}) == 1


def _noise(ranks: JoinedRanks) -> dict[str, tuple[float, ...]]:
    from pebench.running.train import seed_noise

    found = {}
    for purpose in ("encoding", "dropout"):
        seed_noise(purpose, 0, 3, ranks, torch.device("cpu"))
        found[purpose] = tuple(torch.rand(4).tolist())
    return found


def test_sums_and_copies_are_the_same_on_every_rank(pool: RankPool) -> None:
    found = pool.call(_talk, 4)
    assert len({json.dumps(each) for each in found}) == 1
    assert found[0] == {"sum": 10.0, "copy": [1, 0], "any": True, "none": False, "said": ["0", "1", "2", "3"]}


def _talk(ranks: JoinedRanks) -> dict[str, Any]:
    with ranks:
        ranks.start(torch.device("cpu"))
        number = torch.tensor(float(ranks.index + 1))
        copies = [torch.tensor(ranks.index + 1), torch.tensor(ranks.index, dtype=torch.float64)]
        ranks.begin_sum(number).wait()
        ranks.broadcast(copies)
        return {
            "sum": float(number),
            "copy": [int(each) for each in copies],
            "any": ranks.any(ranks.index == 2),
            "none": ranks.any(False),
            "said": ranks.gather("said", str(ranks.index)),
        }


def test_a_rank_that_fails_says_why_and_the_others_end(place: Path, pool: RankPool) -> None:
    folder = _run(place, "2")
    begun = time.monotonic()
    first, second = pool.submit(_one_fails, 2, str(folder.path))
    assert isinstance(second.exception(timeout=60), ZeroDivisionError)
    assert isinstance(first.exception(timeout=60), RankLost)
    assert time.monotonic() - begun < 60
    failure = folder.failure()
    assert failure is not None
    assert failure.message.startswith("rank 1 on ")
    assert failure.message.endswith("ZeroDivisionError: division by zero")
    assert "ZeroDivisionError" in folder.log.read_text()
    pool.execute(folder, EXECUTION, 2)
    assert folder.failure() is None


def _one_fails(ranks: JoinedRanks, folder: str) -> None:
    asked = iter(range(100))

    def stop() -> bool:
        return ranks.index == 1 and next(asked) == 2 and bool(1 / 0)

    execute(RunFolder(Path(folder)), EXECUTION, stop=stop, ranks=ranks)


def test_a_rank_that_is_killed_ends_the_others_and_the_next_attempt_goes_on(
    place: Path, pool: RankPool
) -> None:
    whole, killed = _run(place, "whole"), _run(place, "killed")
    pool.execute(whole, EXECUTION, 2)
    asked = iter(range(100))

    def kill() -> bool:
        if next(asked) == 2:
            (follower,) = _followers()
            follower.kill()
        return False

    together = EXECUTION.model_copy(update={"ranks": 2})
    with pytest.raises(RankLost):
        execute_here(killed, together, stop=kill)
    failure = killed.failure()
    assert failure is not None
    assert re.fullmatch(PEER_IS_GONE, failure.message)
    assert execute_here(killed, together) is not None
    assert re.search("from step [23]", killed.log.read_text())
    assert _scores(killed) == _scores(whole)


def test_a_rank_that_hangs_is_not_waited_for_for_ever(pool: RankPool) -> None:
    assert pool.call(_hang, 2)[0] == "another rank is gone"


def _hang(ranks: JoinedRanks) -> str:
    # In which the ranks have to meet as well, on however busy a machine.
    ranks.timeout = 3.0
    with ranks:
        ranks.start(torch.device("cpu"))
        if ranks.index:
            until(lambda: ranks.get("given up") is not None, 60)
            return ""
        with pytest.raises(RankLost) as caught:
            ranks.any(False)
        ranks.set("given up", "")
        return str(caught.value).partition(":")[0]


def test_a_rank_that_never_comes_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks_module, "ARRIVAL", 0.5)
    ranks = JoinedRanks(0, 3, 0, "127.0.0.1", 0)
    with pytest.raises(RankLost, match="of 3 ranks, 1, 2 have not come in 0 seconds"), ranks:
        ranks.start(torch.device("cpu"))


def test_a_rank_on_this_machine_that_ends_before_it_comes_is_not_waited_for(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, started = _run(place, "2"), time.monotonic()
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    with pytest.raises(RankLost, match="rank 1 has left"):
        execute_here(folder, EXECUTION.model_copy(update={"ranks": 2}))
    assert time.monotonic() - started < 30


def test_a_rank_without_a_sign_of_life_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks_module, "SILENCE", 0.5)
    with (
        pytest.raises(RankLost, match="rank 1 has been silent for 0 seconds"),
        JoinedRanks(0, 2, 0, "127.0.0.1", 0) as ranks,
    ):
        ranks.gather("anything", "")


def test_a_rank_that_leaves_without_a_word_is_named() -> None:
    with JoinedRanks(0, 2, 0, "127.0.0.1", 0) as ranks:
        ranks.set("left/1", "")
        with pytest.raises(RankLost, match="rank 1 has left"):
            ranks.gather("anything", "")


def test_what_a_rank_says_just_before_it_leaves_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    with JoinedRanks(0, 2, 0, "127.0.0.1", 0) as ranks:

        def get(name: str) -> str | None:
            found = JoinedRanks.get(ranks, name)
            # Whatever is asked for first, the other rank has spoken and left before the second question.
            if name.endswith("/1"):
                ranks.set("said/1", "farewell")
                ranks.set("left/1", "")
            return found

        monkeypatch.setattr(ranks, "get", get)
        assert ranks.gather("said", "well") == ["well", "farewell"]


def test_a_rank_of_another_job_that_comes_to_the_wrong_door_changes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ranks_module, "SILENCE", 0.5)
    with JoinedRanks(0, 2, 0, "127.0.0.1", 0, "one") as first:
        first.set("arrived/0", "")
        stranger = JoinedRanks(1, 2, 1, "127.0.0.1", first.port, "other")
        with pytest.raises(RankLost, match="rank 0 has been silent"), stranger:
            stranger.gather("arrived", "")
        assert first.get("arrived/1") is None
        first.set("left/1", "")


def test_a_run_that_is_finished_or_held_sends_the_other_ranks_home(place: Path, pool: RankPool) -> None:
    folder = _run(place, "2", steps=1)
    pool.execute(folder, EXECUTION, 2)
    pool.execute(folder, EXECUTION, 2)
    held = _run(place, "held", steps=2)

    def second_comes() -> bool:
        first, second = pool.submit(_take_part, 2, str(held.path))
        assert isinstance(first.exception(timeout=60), AlreadyRunning)
        assert second.exception(timeout=60) is None
        return True

    assert execute(held, EXECUTION, stop=second_comes) is None
    assert held.failure() is None


def _take_part(ranks: JoinedRanks, folder: str) -> None:
    execute(RunFolder(Path(folder)), EXECUTION, ranks=ranks)


def test_a_batch_that_does_not_divide_is_refused_before_anything_is_written(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [
        "run",
        "--encoding",
        "rope",
        "--set",
        f"task.data={place / 'text.txt'}",
        "--set",
        "train.batch=6",
    ]
    assert main([*command, "--ranks", "4"]) == 2
    assert capsys.readouterr().err == (
        "pebench: a batch of 6 does not divide into equal parts for 4 ranks: take 3, or another batch.\n"
    )
    assert not (place / "runs").exists()


def test_ranks_are_asked_for_in_the_file_of_a_sweep_and_recorded(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    execution = {"device": "cpu", "threads": 1, "ranks": 2}
    path = write(place, tiny(place, encodings=["rope"], execution=execution))
    assert main(["submit", str(path)]) == 0
    (folder,) = (RunFolder(path.parent) for path in place.glob("runs/*/result.json"))
    result = folder.result()
    assert result is not None
    assert result.cost.ranks == 2
    told = folder.provenance()["ranks"]
    assert (told["count"], len(told["hosts"]), told["backend"]) == (2, 2, "gloo")
    assert not _followers()
