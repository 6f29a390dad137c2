"""A submitted sweep is named in one way wherever it is named, by its name or by its file."""

from __future__ import annotations

from pathlib import Path

import pytest
from specimens.run_folders import begin, finish, record_sweep, specification, text_scores

from pebench.command_line.main import main

pytestmark = pytest.mark.usefixtures("without_pictures")

CHANGED = "mine.yaml has changed since it was submitted"

READING = [
    ["status", "mine.yaml"],
    ["cancel", "mine.yaml"],
    ["logs", "mine.yaml"],
    ["leaderboard", "mine.yaml"],
    ["export", "mine.yaml", "-o", "mine.tar.gz"],
    ["compare", "mine.yaml", "other"],
    ["compare", "rope", "alibi", "--sweep", "mine.yaml"],
]
"""Commands that tell of what was submitted, or stop it."""

COMMANDS = [*READING, ["retry", "mine.yaml"]]


@pytest.fixture(autouse=True)
def sweeps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Finished sweeps, `mine` and `other`, and the file of the first in the working folder."""
    monkeypatch.delenv("PEBENCH_RUNS", raising=False)
    monkeypatch.chdir(tmp_path)
    runs = Path("runs")
    for name, steps in {"mine": 40, "other": 80}.items():
        train = {"steps": steps}
        specs = [
            specification(encoding, seed, train=train) for encoding in ("rope", "alibi") for seed in (0, 1)
        ]
        for spec in specs:
            finish(begin(runs, spec), text_scores(1.5 + spec.seed / 10, 2.5))
        record_sweep(runs, specs, name)
    Path("mine.yaml").write_text("# As it was.\nname: mine\n")


@pytest.mark.parametrize("command", READING, ids=" ".join)
def test_of_a_changed_file_what_was_submitted_counts_and_a_line_says_so(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command) == 0
    unchanged = capsys.readouterr()
    assert "changed" not in unchanged.err, "a comment changes nothing"
    Path("mine.yaml").write_text("name: mine\nseeds: 5\n")
    assert main(command) == 0
    changed = capsys.readouterr()
    assert changed.err == f"pebench: {CHANGED}; this goes by what was submitted.\n" + unchanged.err
    assert changed.out == unchanged.out


def test_a_retry_of_a_changed_file_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine.yaml").write_text("name: mine\nseeds: 5\n")
    assert main(["retry", "mine.yaml"]) == 2
    assert capsys.readouterr().err == (
        f"pebench: {CHANGED}: 'pebench submit mine.yaml' starts what it says now; "
        "give its name, 'mine', for what was submitted.\n"
    )


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_file_that_was_not_submitted_is_told_how_it_is(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("mine.yaml").write_text("name: yours\n")
    assert main(command) == 2
    assert capsys.readouterr().err == (
        "pebench: sweep 'yours' has not been submitted into runs: 'pebench submit mine.yaml' does it.\n"
    )


def test_a_name_that_is_none_is_no_sweeps(capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine.yaml").write_text("name: [mine]\n")
    assert main(["status", "mine.yaml"]) == 2
    assert "sweep '['mine']' has not been submitted into runs" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["status", "cancel", "retry", "leaderboard"])
def test_a_name_that_no_sweep_has_is_answered_with_the_nearest(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, "mien"]) == 2
    kind = "sweep or run" if command in ("cancel", "retry") else "sweep"
    assert capsys.readouterr().err == f"pebench: unknown {kind} 'mien': did you mean 'mine'?\n"
    assert main([command, "mine", "--runs", "elsewhere"]) == 2
    assert capsys.readouterr().err == (
        "pebench: no sweep was submitted into 'elsewhere': submit one, or name the folder with --runs.\n"
    )


def test_a_sweep_that_is_named_twice_is_written_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["leaderboard", "mine", "mine.yaml", "other"]) == 0
    written = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Written: ")]
    assert [line.partition(",")[0] for line in written] == ["Written: results/mine", "Written: results/other"]


def test_all_sweeps_are_written_where_none_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["leaderboard"]) == 0
    assert capsys.readouterr().out.count("Written: ") == 2
    assert main(["leaderboard", "--runs", "elsewhere"]) == 2
    assert "no sweep was submitted into 'elsewhere'" in capsys.readouterr().err
