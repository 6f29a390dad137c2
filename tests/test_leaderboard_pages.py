"""What is made of the tables: the page, LaTeX, all tasks together, and the same from a tracking store."""

from __future__ import annotations

import csv
import html
import io
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from run_folders import (
    Scores,
    begin,
    diverge,
    finish,
    keep_examples,
    record_sweep,
    specification,
    text_scores,
)

from pebench.cli import main
from pebench.spec import RunSpec
from pebench.store import RunFolder
from pebench.tracking.sync import sync

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A sweep of three encodings, of which one diverged at one seed and failed at the other."""
    folder = tmp_path / "runs"
    specs = [specification(name, seed) for name in ("rope", "alibi", "fire_2") for seed in (0, 1)]
    for spec in specs[:4]:
        inside = 2.0 if spec.encoding.name == "rope" else 10.5
        finish(begin(folder, spec), text_scores(inside + spec.seed / 10, 3.0 + spec.seed / 10))
    diverge(begin(folder, specs[4]))
    begin(folder, specs[5]).write_failure("the disk is <full>")
    record_sweep(folder, specs)
    return folder


def written(runs: Path, *options: str) -> Path:
    results = runs.parent / "results"
    assert main(["leaderboard", "quickstart", "--runs", str(runs), "--output", str(results), *options]) == 0
    return results / "quickstart"


def test_the_page_holds_everything_and_asks_no_network(runs: Path) -> None:
    page = (written(runs, "--baseline", "rope") / "report.html").read_text()
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:)?//|@import|url\(["']?http""", page)
    assert "name: quickstart" in page
    assert "diverged at step 20" in page
    assert html.escape("the disk is <full>") in page
    assert "the disk is <full>" not in page
    for name in ("0123abc", "aa11", *(path.name for path in runs.glob("*-*"))):
        assert name in page
    assert page.count("<svg") == 3
    assert "Every seed" in page


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")
def test_a_click_on_a_heading_sorts_a_table_by_number(runs: Path, tmp_path: Path) -> None:
    page = (written(runs) / "report.html").read_text()
    clicking = """<script>
    const first = document.querySelector("table"), heading = first.querySelectorAll("th")[1];
    const order = () => [...first.tBodies[0].rows].map(row => row.cells[0].textContent).join(" ");
    heading.click();
    const ascending = order();
    heading.click();
    document.title = `sorted: ${ascending} | ${order()}`;
    </script>"""
    (tmp_path / "page.html").write_text(page.replace("</body>", f"{clicking}</body>"))
    assert CHROMIUM is not None
    shown = subprocess.run(
        [
            *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"),
            *(f"--user-data-dir={tmp_path / 'profile'}", f"file://{tmp_path / 'page.html'}"),
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    # 2.05 before 10.55, as numbers are; what has no number is last either way.
    assert "<title>sorted: rope alibi fire_2 | alibi rope fire_2</title>" in shown


def test_latex_is_escaped_and_whole(runs: Path) -> None:
    text = (written(runs, "--latex") / "leaderboard.tex").read_text()
    assert r"fire\_2" in text
    assert r"\textbf{2.050 $\pm$ 0.635}" in text
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == 1
    assert not re.search(r"(?<!\\)_|±|−", text)


def test_what_one_call_has_and_the_next_has_not_is_removed_and_nothing_else(runs: Path) -> None:
    folder = written(runs, "--latex", "--published")
    (folder / "notes.md").write_text("mine")
    (folder.parent / "other.txt").write_text("mine")
    assert {"leaderboard.tex", "published.csv"} <= {path.name for path in folder.iterdir()}
    written(runs)
    assert not {"leaderboard.tex", "published.csv"} & {path.name for path in folder.iterdir()}
    assert (folder / "notes.md").read_text() == (folder.parent / "other.txt").read_text() == "mine"


def test_over_all_tasks_an_encoding_that_lacks_one_is_empty(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    text = [specification(name, seed) for name in ("rope", "alibi", "none") for seed in (0, 1, 2)]
    passkeys = [
        specification(name, seed, task="retrieval") for name in ("rope", "alibi") for seed in (0, 1, 2)
    ]
    bits = {"rope": 2.0, "alibi": 2.5, "none": 4.0}
    for spec in text:
        finish(
            begin(runs, spec), {("bits-per-byte", 128, "extend"): bits[spec.encoding.name] + spec.seed / 1000}
        )
    percent = {"rope": 40.0, "alibi": 80.0}
    for spec in passkeys:
        scores: Scores = {("accuracy", 128, "extend"): percent[spec.encoding.name] + spec.seed / 1000}
        finish(begin(runs, spec), scores)
    record_sweep(runs, [*text, *passkeys])
    lines = (written(runs) / "overall.csv").read_text().splitlines()
    assert lines[0].startswith("encoding,mean_rank,relative_score,")
    cells = {line.split(",")[0]: line.split(",")[1:] for line in lines[1:]}
    # alibi: second in bits (2.001 / 2.501 of the best), first in passkeys; rope the other way round.
    assert list(cells) == ["alibi", "rope", "none"]
    assert float(cells["alibi"][0]) == float(cells["rope"][0]) == 1.5
    assert float(cells["alibi"][1]) == pytest.approx((2.001 / 2.501 + 1) / 2)
    assert float(cells["rope"][1]) == pytest.approx((1 + 40.001 / 80.001) / 2)
    assert cells["none"][:2] == ["", ""]
    assert float(cells["none"][2]) == 3


@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy")
def test_a_tracking_store_gives_the_same_tables(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    uri = f"sqlite:///{runs.parent / 'mlflow.db'}"
    for result in runs.glob("*/result.json"):
        keep_examples(RunFolder(result.parent))
    sync(runs, uri)
    first = {path.name: path.read_bytes() for path in written(runs, "--baseline", "rope").iterdir()}
    results = runs.parent / "tracked"
    command = [
        "leaderboard",
        "quickstart",
        "--from-mlflow",
        uri,
        "--output",
        str(results),
        "--baseline",
        "rope",
    ]
    assert main(command) == 0
    assert "Read from a tracking store" in capsys.readouterr().err
    assert b"seeds and text" in first["leaderboard.csv"]
    for name in ("scores.csv", "leaderboard.csv", "costs.csv", "runs.csv", "heat-map.png"):
        assert (results / "quickstart" / name).read_bytes() == first[name], name
    assert main([*command[:1], "quick", *command[2:]]) == 2
    assert "unknown sweep 'quick': did you mean 'quickstart'?" in capsys.readouterr().err


def test_a_csv_row_leads_to_specification_commit_and_data(runs: Path) -> None:
    folder = written(runs)
    boards, sources = (
        list(csv.DictReader(io.StringIO((folder / name).read_text())))
        for name in ("leaderboard.csv", "runs.csv")
    )
    by_id = {source["run_id"]: source for source in sources}
    named = {run_id for row in boards for run_id in row["run_ids"].split()}
    assert len(named) == 5
    for run_id in named:
        assert RunSpec.model_validate_json(by_id[run_id]["spec"]).run_id == run_id
        assert (by_id[run_id]["commit"], by_id[run_id]["data"]) == ("0123abc", "train=aa11")
