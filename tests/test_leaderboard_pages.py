"""What is made of the tables: the page, LaTeX, all tasks together, and the same from a tracking store."""

from __future__ import annotations

import csv
import html
import io
import json
import re
from pathlib import Path

import pytest
from processes.browser import needs_chromium, told
from specimens.run_folders import (
    Scores,
    begin,
    diverge,
    finish,
    keep_examples,
    record_sweep,
    specification,
    text_scores,
)

from pebench.command_line.main import main
from pebench.leaderboard.report import _breakable
from pebench.specification.run_spec import RunSpec
from pebench.store.run_folder import RunFolder
from pebench.tracking.sync import sync


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
    assert page.count('<figure class="chart"') == 3
    assert len(page) < 3_000_000
    assert "Every seed" in page


@needs_chromium
def test_a_click_on_a_heading_sorts_a_table_by_number(runs: Path, tmp_path: Path) -> None:
    page = (written(runs) / "report.html").read_text()
    clicking = """
    const first = document.querySelector("table"), heading = first.querySelectorAll("th")[2];
    const order = () => [...first.tBodies[0].rows].map(row => row.cells[0].textContent).join(" ");
    heading.click();
    const ascending = order();
    heading.click();
    return `${heading.textContent}: ${ascending} | ${order()}`;"""
    # 2.05 before 10.55, as numbers are; what has no number is last either way.
    expected = "128 (trained): rope alibi fire_2 | alibi rope fire_2"
    assert told(page, clicking, tmp_path) == expected


@needs_chromium
def test_a_label_switches_its_line_off_in_every_chart_and_table(runs: Path, tmp_path: Path) -> None:
    page = (written(runs, "--baseline", "rope") / "report.html").read_text()
    clicking = """
    const chart = document.querySelector("figure.chart");
    const lines = () => chart.querySelectorAll(".mark-line path").length;
    const rows = () => [...document.querySelector("table").tBodies[0].rows].filter(row => !row.hidden).length;
    const before = [lines(), rows()];
    chart.querySelector("input[value=alibi]").click();
    await new Promise(done => setTimeout(done, 500));
    const others = [...document.querySelectorAll("input[value=alibi]")].map(box => box.checked);
    const said = document.querySelector(".hidden-rows").textContent;
    const after = [lines(), rows()];
    chart.querySelector("[data-lines=all]").click();
    await new Promise(done => setTimeout(done, 500));
    return JSON.stringify([before, after, others, said, [lines(), rows()]]);"""
    found = json.loads(told(page, clicking, tmp_path))
    assert found == [[2, 3], [1, 2], [False] * 3, "1 of 3 rows are switched off.", [2, 3]]


@needs_chromium
def test_a_line_tells_its_values_and_another_view_the_difference(runs: Path, tmp_path: Path) -> None:
    page = (written(runs, "--baseline", "rope") / "report.html").read_text()
    pointing = """
    const chart = document.querySelector("figure.chart");
    const place = chart.querySelector("[class*=_voronoi] path");
    for (const name of ["pointerover", "pointermove"])
      place.dispatchEvent(new PointerEvent(name, { bubbles: true, clientX: 300, clientY: 300 }));
    await new Promise(done => setTimeout(done, 500));
    const tip = document.querySelector("#vg-tooltip-element").innerText.replace(/\\s+/g, " ");
    chart.querySelector("[data-view='difference to rope']").click();
    await charts[0].drawing;
    const titles = [...chart.querySelectorAll(".role-axis-title text")].map(text => text.textContent);
    return JSON.stringify([tip, titles]);"""
    tip, titles = json.loads(told(page, pointing, tmp_path))
    assert tip.startswith("encoding rope extent 128 bits-per-byte 2.050 ± 0.635 seeds 2.000, 2.100")
    assert "difference to rope (below 0 is better)" in titles


def percents(runs: Path, values: dict[str, tuple[float, float]]) -> str:
    """The page of encodings that have these accuracies in percent, one a seed."""
    specs = []
    for name, seeds in values.items():
        for seed, value in enumerate(seeds):
            specs.append(specification(name, seed))
            at: Scores = {("accuracy", extent, "extend"): value for extent in (128, 512)}
            finish(begin(runs, specs[-1]), at)
    record_sweep(runs, specs, "percents")
    results = runs.parent / "results"
    assert main(["leaderboard", "percents", "--runs", str(runs), "--output", str(results)]) == 0
    return (results / "percents" / "report.html").read_text()


@needs_chromium
def test_an_interval_opens_no_room_where_no_score_can_be(runs: Path, tmp_path: Path) -> None:
    page = percents(runs, {"rope": (2.0, 12.0), "alibi": (88.0, 99.0)})
    looking = "return JSON.stringify(charts[0].view.scale('y').domain());"
    low, high = json.loads(told(page, looking, tmp_path))
    # The marks of scores of 0 and 100 need a few pixels of it.
    assert -3 < low <= 0
    assert 100 <= high < 103


@needs_chromium
def test_tables_of_eight_extents_fit_into_a_usual_window(tmp_path: Path) -> None:
    extents = [128 * 2**times for times in range(8)]
    runs, specs = tmp_path / "runs", []
    for name in ("rope", "learned"):
        for seed in (0, 1):
            evaluate = {"evaluate": extents}
            specs.append(specification(name, seed, task_options=evaluate))
            scores: Scores = {("bits-per-byte", e, "extend"): 11.5 + seed / 3 for e in extents}
            finish(begin(runs, specs[-1]), scores)
    record_sweep(runs, specs)
    page = (written(runs, "--baseline", "rope") / "report.html").read_text()
    looking = """
    const boxes = [...document.querySelectorAll(".scroll")].filter(box => box.clientWidth);
    return JSON.stringify(boxes.map(box => box.scrollWidth - box.clientWidth));"""
    assert set(json.loads(told(page, looking, tmp_path, 1285))) == {0}


def test_labels_break_between_names_and_not_within_a_number() -> None:
    found = _breakable("seqpe(positions=20000) [train.encoding.clip=5.0], x (edge) <b>")
    parts = ["seqpe(", "positions=", "20000) [train.", "encoding.", "clip=", "5.0], x (edge) &lt;b&gt;"]
    assert found == "<wbr>".join(parts)


@needs_chromium
@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_leaves_the_page_and_p_is_in_sight(runs: Path, tmp_path: Path, width: int) -> None:
    page = (written(runs, "--baseline", "rope") / "report.html").read_text()
    looking = """
    const heading = [...document.querySelectorAll("th")].find(heading => heading.textContent === "p");
    const right = place => place.getBoundingClientRect().right;
    const letters = [...document.querySelectorAll(".drawing text")];
    const sizes = letters.map(text => parseFloat(getComputedStyle(text).fontSize));
    const ends = [...document.querySelectorAll(".drawing svg")].map(right);
    const page = [innerWidth, document.documentElement.scrollWidth, right(heading)];
    return JSON.stringify([...page, Math.max(...ends), Math.min(...sizes), ends.length]);"""
    inner, scrolled, p, right, smallest, drawings = json.loads(told(page, looking, tmp_path, width))
    assert inner == width
    assert max(scrolled, p, right) <= inner
    assert smallest >= 10
    assert drawings == 3


@needs_chromium
def test_no_word_of_a_chart_is_cut_on_a_narrow_page(runs: Path, tmp_path: Path) -> None:
    page = (written(runs, "--baseline", "rope") / "report.html").read_text()
    looking = """
    const cut = [...document.querySelectorAll(".drawing text")].filter(text => {
      const own = text.getBoundingClientRect(), all = text.closest("svg").getBoundingClientRect();
      return own.left < all.left - 1 || own.right > all.right + 1
        || own.top < all.top - 1 || own.bottom > all.bottom + 1;
    });
    return JSON.stringify(cut.map(text => text.textContent));"""
    assert json.loads(told(page, looking, tmp_path, 320)) == []


def test_a_sentence_on_top_says_what_came_out(runs: Path) -> None:
    page = (written(runs, "--baseline", "rope") / "report.html").read_text()
    lead = re.findall(r'<p class="lead">(.*?)</p>', page)
    assert lead == [
        "At 512 rope and alibi have the lowest bits-per-byte of 2, 3.050 ± 0.635 bits/byte. "
        "No difference to rope is shown there."
    ]


def test_the_losses_in_training_are_a_chart_of_every_run(runs: Path) -> None:
    page = (written(runs) / "report.html").read_text()
    chart = page[page.index('id="table-1-training-loss"') :]
    data = re.search(r'<script type="application/json">(.*?)</script>', chart, re.DOTALL)
    assert data is not None
    losses = json.loads(data[1])["datasets"]["losses"]
    assert [(run["label"], run["seed"]) for run in losses][-2:] == [("fire_2", 0), ("fire_2", 1)]
    assert losses[0]["step"] == [10, 20, 30, 40]
    assert losses[0]["loss"] == [4.9, 4.8, 4.7, 4.6]


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
    assert "Read from a tracking store" not in capsys.readouterr().err
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
