"""A damaged folder of one run is named, and stops no other run's row, line, chart or archive."""

from __future__ import annotations

import json
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from specimens.run_folders import begin, diverge, finish, record_sweep, specification, text_scores

from pebench.command_line.main import main
from pebench.leaderboard.collect import collect
from pebench.leaderboard.run_data import from_folders
from pebench.store.record_files import Unreadable
from pebench.store.records import Worker
from pebench.store.run_folder import RunFolder
from pebench.store.sweep_records import read_sweeps
from pebench.submission.status import statuses
from pebench.tracking.prepare import Changed, Prepared, prepare_all

FILES = (
    *("spec.json", "result.json", "failure.json", "worker.json", "provenance.json"),
    *("metrics.jsonl", "system.jsonl", "log.txt", "model.safetensors", "examples.npz"),
)
COUNT = 300

BUDGET = 15.0
"""Processor seconds for all commands on that many damaged folders; see test_fuzz."""


def _strange(rng: random.Random) -> Any:
    return rng.choice(
        [
            None,
            True,
            -1,
            0,
            10**30,
            1e300,
            float("nan"),
            float("inf"),
            "",
            "x",
            "\ud800",
            [],
            [1],
            {},
            {"a": []},
        ]
    )


def _replaced(value: Any, rng: random.Random) -> Any:
    """The value with something else in one place of it."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(sorted(value))
        return {**value, key: _replaced(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.9:
        place = rng.randrange(len(value))
        return [*value[:place], _replaced(value[place], rng), *value[place + 1 :]]
    return _strange(rng)


def _other_type(path: Path, rng: random.Random) -> None:
    try:
        lines = (
            [json.loads(line) for line in path.read_text().splitlines()] if path.suffix == ".jsonl" else []
        )
        lines = lines or [json.loads(path.read_text())]
    except (ValueError, FileNotFoundError, UnicodeDecodeError):
        lines = [{}]
    place = rng.randrange(len(lines))
    lines[place] = _replaced(lines[place], rng)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def _folder_in_its_place(path: Path, rng: random.Random) -> None:
    path.unlink(missing_ok=True)
    path.mkdir()
    if rng.random() < 0.5:
        (path / "inside").write_text("x")


DAMAGES: tuple[Callable[[Path, random.Random], Any], ...] = (
    lambda path, rng: path.write_bytes(b""),
    lambda path, rng: path.write_bytes(path.read_bytes()[: rng.randrange(40)] if path.exists() else b"{"),
    lambda path, rng: path.write_bytes(rng.randbytes(rng.randrange(1, 400))),
    lambda path, rng: path.write_text(rng.choice(["[]", "3", "null", '"x"', "NaN", "true", "{}"])),
    lambda path, rng: path.write_text("[" * 100_000),
    lambda path, rng: path.write_text('{"a":' * 100_000),
    lambda path, rng: path.unlink(missing_ok=True),
    lambda path, rng: path.symlink_to(path.name + ".gone") if not path.exists() else None,
    _folder_in_its_place,
    _other_type,
    _other_type,
    _other_type,
    _other_type,
)


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of each kind: done, diverged, failed, under way."""
    runs = tmp_path_factory.mktemp("originals")
    kinds = ("done", "diverged", "failed", "under way")
    for seed, kind in enumerate(kinds):
        folder = begin(runs, specification("rope", seed))
        folder.log.write_text("from step 0\n")
        match kind:
            case "done":
                finish(folder, text_scores(1.5, 2.5))
            case "diverged":
                diverge(folder)
            case "failed":
                folder.write_failure("it broke")
            case _:
                folder.write_worker(
                    Worker(token="a", host="nowhere", pid=1, job=None, beat=1e9, step=3, steps=40)
                )
        shutil.move(folder.path, runs / kind.replace(" ", "-"))
    return runs


def damaged(place: Path, originals: Path, count: int, seed: int) -> list[str]:
    """Makes runs of which one file each is damaged, and two that are sound; the ids of the sound ones."""
    rng = random.Random(seed)
    runs = place / "runs"
    specs = []
    for number in range(count):
        spec = specification("rope", 1000 + number)
        folder = runs / spec.run_id
        shutil.copytree(originals / rng.choice(["done", "done", "diverged", "failed", "under-way"]), folder)
        (folder / "spec.json").write_text(json.dumps(spec.model_dump(mode="json")))
        rng.choice(DAMAGES)(folder / rng.choice(FILES), rng)
        specs.append(spec)
    sound = [specification(encoding, 0) for encoding in ("alibi", "none")]
    for spec in sound:
        finish(begin(runs, spec), text_scores(1.25, 2.25))
    record_sweep(runs, [*specs, *sound], "fuzz")
    return [spec.run_id for spec in sound]


def test_a_reader_of_a_damaged_folder_raises_nothing_else(place: Path, originals: Path) -> None:
    damaged(place, originals, COUNT, 1)
    sentences: list[tuple[Path, str]] = []
    for path in (place / "runs").glob("*-*"):
        folder = RunFolder(path)
        for read in (
            *(folder.spec, folder.result, folder.failure, folder.worker, folder.provenance),
            *(lambda f=folder: list(f.points()), lambda f=folder: list(f.samples())),
        ):
            try:
                read()
            except Unreadable as error:
                sentences.append((path, str(error)))
    assert len(sentences) > COUNT / 3
    assert all(str(path) in sentence and "\n" not in sentence for path, sentence in sentences)


def test_every_other_run_is_served(
    place: Path, originals: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = damaged(place, originals, COUNT, 2)
    began = time.process_time()
    runs = place / "runs"
    (record,) = read_sweeps(runs)
    states = {cell.run: cell for cell in statuses(runs, record.runs)}
    assert len(states) == COUNT + 2
    assert all(states[run].state == "done" for run in sound)
    collection = collect(record, *from_folders(runs, record))
    assert {"alibi", "none"} <= {group.encoding for group in collection.groups.values()}
    for run_id, cell in states.items():
        told = [sentence for sentence in collection.warnings if run_id in sentence]
        assert told or cell.state != "unreadable" or "worker.json" in cell.detail
    changed = [Changed(RunFolder(runs / run), ["fuzz"], "") for run in record.runs]
    monkeypatch.setattr("pebench.tracking.prepare._WORTH_A_PROCESS", COUNT * 2)
    monkeypatch.setattr("pebench.tracking.plot.draw", lambda folder, points, name: b"")
    prepared = list(prepare_all(changed))
    assert [isinstance(each, Prepared) for each in prepared[-2:]] == [True, True]
    for arguments in (
        *(["status"], ["status", "fuzz"], ["status", "fuzz", "--json"], ["status", "fuzz", "--summary"]),
        *(["logs", "fuzz"], ["compare", "alibi", "none"], ["export", "fuzz", "-o", str(place / "a.tar.gz")]),
        *(["list"], ["cancel", "fuzz"]),
    ):
        status = main(arguments)
        said = capsys.readouterr()
        # An archive is whole or is none.
        expected = {"status": 1, "compare": 1, "export": 2}.get(arguments[0], 0)
        assert status == expected, (arguments, said.err)
        assert arguments[0] != "export" or said.err.count("\n") == 1
        assert "Traceback" not in said.err
        if arguments[0] == "compare":
            assert "1.25" in said.out or "alibi" in said.out
    assert time.process_time() - began < BUDGET


@pytest.mark.parametrize("name", ["result.json", "spec.json"])
@pytest.mark.usefixtures("without_pictures")
def test_the_leaderboard_has_the_other_rows(
    place: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    specs = [specification(encoding, seed) for encoding in ("rope", "alibi") for seed in (0, 1)]
    for spec in specs:
        finish(begin(place / "runs", spec), text_scores(1.25, 2.25))
    record_sweep(place / "runs", specs, "pair")
    (place / "runs" / specs[0].run_id / name).write_text("[]")
    assert main(["leaderboard", "pair", "--output", str(place / "results")]) == 1
    told = capsys.readouterr()
    assert "alibi" in told.out
    pages = "".join(path.read_text() for path in (place / "results").rglob("*.md"))
    assert specs[0].run_id in told.out + told.err + pages
    assert str(place) not in pages, "a page is read on other machines"
