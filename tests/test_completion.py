"""What a shell is offered behind what has been typed."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.shell_completion import ShellComplete
from specimens.run_folders import begin, record_sweep, specification

from pebench.command_line.main import pebench


@pytest.fixture
def here(place: Path) -> Path:
    """A folder with runs of one sweep and files."""
    runs = place / "runs"
    runs.mkdir()
    specs = [specification(name, 0) for name in ("rope", "none")]
    for spec in specs:
        (begin(runs, spec).path / "result.json").touch()
    record_sweep(runs, specs)
    (place / "other.yaml").touch()
    (place / "other.py").touch()
    return place


def offered(words: str) -> list[str]:
    *before, incomplete = words.split(" ")
    return [
        item.value for item in ShellComplete(pebench, {}, "pebench", "").get_completions(before, incomplete)
    ]


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("words", "among"),
    [
        ("check oth", "other.py"),
        ("check ro", "rope"),
        ("show learned+ro", "learned+rope"),
        ("run --encoding learned+ro", "learned+rope"),
        ("compare rope no", "none"),
        ("compare rope quicks", "quickstart"),
        ("claims quicks", "quickstart"),
        ("check rope --option ba", "base="),
        ("run --encoding rope --option ba", "base="),
        ("check t5 --set train.encoding.l", "train.encoding.learning_rate="),
        ("run --task retrieval --set task.need", "task.needles="),
        ("run --set model.wid", "model.width="),
        ("run --set train.st", "train.steps="),
        ("submit quickstart --set se", "seeds="),
    ],
)
def test_what_may_follow_is_offered(words: str, among: str) -> None:
    assert among in offered(words)


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    "words",
    [
        "compare rope al",
        "run --encoding alibi --option ba",
        "check rpoe --option ba",
        "check t5 --set task.ext",
        "run --task retrieval --set task.data",
        "run --task rope --set task.ba",
        "run --encoding language-modeling --option da",
        "check train --option de",
    ],
)
def test_what_may_not_follow_is_not(words: str) -> None:
    assert offered(words) == []


def test_runs_are_offered_where_one_is_meant_and_damaged_ones_do_no_harm(here: Path) -> None:
    (run,) = (path.name for path in (here / "runs").glob("rope-*"))
    assert offered("register rope-") == offered("run --from rope-") == [run]
    assert run in offered("export rope-")
    (here / "runs" / run / "result.json").rename(here / "result.json")
    assert "rope" not in offered("compare rope"), "compare knows no encoding of which nothing is finished"
    (here / "result.json").rename(here / "runs" / run / "result.json")
    for damaged in ("{", '{"encoding": {"name": 3}}', '{"encoding": {"name": null}}', "[" * 100_000):
        (here / "runs" / run / "spec.json").write_text(damaged)
        assert "rope" not in offered("compare rope")
    (record,) = (here / "runs" / ".sweeps").glob("*.json")
    record.write_text("3")
    assert "quickstart" in offered("status quick")


def test_a_path_from_the_root_is_gone_on_with(here: Path) -> None:
    assert offered(f"submit {here}/oth") == [f"{here}/other.yaml"]
