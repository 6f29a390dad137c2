"""What `pebench leaderboard` promises: every number from the run folders, and the same bytes every time."""

from __future__ import annotations

import io
import json
import math
import random
import re
import shutil
from pathlib import Path

import pandas
import pytest
from rich.console import Console
from specimens.run_folders import begin, diverge, finish, log, record_sweep, specification, text_scores

from pebench.command_line.main import main
from pebench.leaderboard import from_runs, make_board, write_leaderboard
from pebench.leaderboard.groups import Group
from pebench.leaderboard.plots import curves
from pebench.leaderboard.plots.curves import cluster
from pebench.leaderboard.plots.style import spread
from pebench.leaderboard.terminal import print_board
from pebench.specification.run_spec import RunSpec, Start
from pebench.store.run_folder import RunFolder

PICTURES = ("score-by-extent", "heat-map", "cost-against-quality")
FILES = {
    "scores.csv",
    "leaderboard.csv",
    "costs.csv",
    "runs.csv",
    "leaderboard.md",
    "report.html",
    *(f"{name}.{kind}" for name in PICTURES for kind in ("png", "svg")),
}
MEASURED = {
    "costs.csv",
    "leaderboard.md",
    "report.html",
    "cost-against-quality.png",
    "cost-against-quality.svg",
}
"""Files that hold throughput or memory, which differ from one attempt at a run to the next."""


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    folder = tmp_path / "runs"
    folder.mkdir()
    return folder


def write(runs: Path, name: str = "quickstart") -> Path:
    """Writes a recorded sweep and returns the folder of its results."""
    (collection,) = from_runs(runs, [name])
    return write_leaderboard(make_board(collection), runs.parent / "results")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def table(folder: Path) -> pandas.DataFrame:
    """leaderboard.csv with every field as text, empty ones as such."""
    return pandas.read_csv(folder / "leaderboard.csv", dtype=str, keep_default_na=False)


def finish_all(runs: Path, specs: list[RunSpec]) -> None:
    for spec in specs:
        finish(begin(runs, spec), text_scores(2.0 + spec.seed / 10, 3.0 + spec.seed / 10))


def test_a_row_holds_mean_interval_coverage_and_runs(runs: Path) -> None:
    specs = [specification("rope", seed) for seed in (0, 1)]
    finish_all(runs, specs)
    record_sweep(runs, specs)
    rows = table(write(runs)).to_dict("records")
    assert [row["extent"] for row in rows] == ["128", "512"]
    inside = rows[0]
    assert inside["encoding"] == "rope"
    assert (inside["unit"], inside["better"]) == ("bits/byte", "lower")
    assert float(inside["mean"]) == 2.05
    # t(0.975, 1) = 12.7062; the standard deviation of 2.0 and 2.1 is 0.1/√2, of which √2 more is the error.
    assert float(inside["high"]) == pytest.approx(2.05 + 12.7062 * 0.05, abs=1e-4)
    assert float(inside["low"]) == pytest.approx(2.05 - 12.7062 * 0.05, abs=1e-4)
    assert (inside["seeds"], inside["coverage"], inside["diverged"]) == ("2", "2/2", "0")
    assert inside["run_ids"] == " ".join(spec.run_id for spec in specs)


def test_one_seed_has_a_mean_without_an_interval_and_no_page_speaks_of_one(runs: Path) -> None:
    specs = [specification("rope")]
    finish_all(runs, specs)
    record_sweep(runs, specs)
    folder = write(runs)
    row = table(folder).iloc[0]
    assert (row["mean"], row["low"], row["high"], row["coverage"]) == ("2", "", "", "1/1")
    assert "the score of one seed, the best of a column in bold" in (folder / "leaderboard.md").read_text()
    assert "one seed" in (folder / "score-by-extent.svg").read_text()
    for page in ("leaderboard.md", "report.html", "score-by-extent.svg"):
        assert "95 % t interval" not in (folder / page).read_text()


def test_a_missing_seed_empties_the_mean_and_is_named(runs: Path) -> None:
    specs = [specification("rope", seed) for seed in (0, 1, 2)]
    finish_all(runs, specs[:2])
    begin(runs, specs[2])
    record_sweep(runs, specs)
    folder = write(runs)
    row = table(folder).iloc[0]
    assert (row["mean"], row["low"], row["high"]) == ("", "", "")
    assert (row["seeds"], row["coverage"]) == ("2", "2/3")
    assert "- rope: 2 of 3 seeds finished, missing seed 2." in (folder / "leaderboard.md").read_text()


def test_a_diverged_seed_empties_the_mean_and_is_a_result(runs: Path) -> None:
    specs = [specification("rope", seed) for seed in (0, 1)]
    finish_all(runs, specs[:1])
    diverge(begin(runs, specs[1]), step=20)
    record_sweep(runs, specs)
    folder = write(runs)
    row = table(folder).iloc[0]
    assert (row["mean"], row["seeds"], row["coverage"], row["diverged"]) == ("", "1", "2/2", "1")
    text = (folder / "leaderboard.md").read_text()
    assert "diverged 1/2" in text
    assert f"- rope: seed 1 diverged at step 20 (`{specs[1].run_id}`)." in text


def test_an_evaluation_without_a_number_empties_its_mean_alone(runs: Path) -> None:
    specs = [specification("rope", seed) for seed in (0, 1)]
    finish_all(runs, specs[:1])
    finish(
        begin(runs, specs[1]), {("bits-per-byte", 128, "extend"): 2.1, ("bits-per-byte", 512, "extend"): None}
    )
    record_sweep(runs, specs)
    folder = write(runs)
    assert [bool(mean) for mean in table(folder)["mean"]] == [True, False]
    assert (
        f"`{specs[1].run_id}` gave no number for bits-per-byte at 512"
        in (folder / "leaderboard.md").read_text()
    )


def test_an_encoding_of_which_nothing_finished_has_empty_rows(runs: Path) -> None:
    specs = [specification("rope"), specification("alibi")]
    finish_all(runs, specs[:1])
    RunFolder(runs / specs[1].run_id).create(specs[1], {})
    record_sweep(runs, specs)
    rows = table(write(runs))
    empty = rows[rows["encoding"] == "alibi"]
    assert list(empty["extent"]) == ["128", "512"]
    assert set(empty["mean"]) == {""}
    assert set(empty["coverage"]) == {"0/1"}


def test_a_sweep_of_which_nothing_finished_is_written_too(runs: Path) -> None:
    specs = [specification("rope"), specification("alibi")]
    for spec in specs:
        RunFolder(runs / spec.run_id).create(spec, {})
    record_sweep(runs, specs)
    folder = write(runs)
    assert set(contents(folder)) == FILES
    assert list(table(folder)["coverage"]) == ["0/1", "0/1"]


def test_every_encoding_all_diverged_is_written_too(runs: Path) -> None:
    specs = [specification("rope"), specification("alibi")]
    for spec in specs:
        diverge(begin(runs, spec))
    record_sweep(runs, specs)
    assert list(table(write(runs))["diverged"]) == ["1", "1"]


def test_writing_twice_changes_no_byte(runs: Path) -> None:
    specs = [specification(name, seed) for name in ("rope", "alibi", "none") for seed in (0, 1)]
    finish_all(runs, specs)
    record_sweep(runs, specs)
    before = contents(write(runs))
    assert set(before) == FILES
    assert contents(write(runs)) == before
    assert not any(b"\r" in content for name, content in before.items() if not name.endswith("png"))


def test_scores_do_not_depend_on_order_interruptions_or_speed(runs: Path, tmp_path: Path) -> None:
    specs = [specification(name, seed) for name in ("rope", "alibi") for seed in (0, 1, 2)]
    finish_all(runs, specs)
    record_sweep(runs, specs)
    first = contents(write(runs))
    shutil.rmtree(runs)
    random.Random(0).shuffle(specs)
    for spec in specs:
        folder = begin(runs, spec, steps=[10, 20])
        log(folder, [10, 20, 30, 40], later=500.0)
        finish(folder, text_scores(2.0 + spec.seed / 10, 3.0 + spec.seed / 10), speed=77.0)
    record_sweep(runs, specs)
    second = contents(write(runs))
    for name in FILES - MEASURED:
        assert second[name] == first[name], name
    assert second["costs.csv"] != first["costs.csv"]


def test_lines_that_lie_on_one_another_are_drawn_once_more_close_up(runs: Path) -> None:
    names = ("alibi", "cable", "fox", "none", "rope")
    specs = [specification(name) for name in names]
    for place, spec in enumerate(specs):
        finish(begin(runs, spec), text_scores(1.77, 1.77 + place / 1000 if place < 3 else 2.0 + place / 10))
    record_sweep(runs, specs)
    (collection,) = from_runs(runs, ["quickstart"])
    board = make_board(collection)
    (one,) = board.tables
    assert [row.label for row in cluster(one) or []] == ["alibi", "cable", "fox"]
    wide, close = curves.draw(board).axes
    assert close.get_title(loc="left") == "language-modeling, the best 3 close up"
    assert close.get_ylim()[1] - close.get_ylim()[0] < 0.01 < wide.get_ylim()[1] - wide.get_ylim()[0]


def test_extents_that_would_run_into_one_another_are_aslant(runs: Path) -> None:
    specs = [specification("rope", seed) for seed in (0, 1)]
    sizes = [(size, size) for size in (160, 176, 192, 208, 224)]
    for spec in specs:
        finish(begin(runs, spec), {("accuracy", size, "extend"): 50.0 + spec.seed for size in sizes})
    record_sweep(runs, specs)
    (collection,) = from_runs(runs, ["quickstart"])
    figure = curves.draw(make_board(collection))
    figure.draw_without_rendering()
    labels = figure.axes[0].get_xticklabels()
    assert [label.get_text() for label in labels] == ["160x160", "176x176", "192x192", "208x208", "224x224"]
    assert {label.get_rotation() for label in labels} == {30.0}


def test_a_logarithmic_axis_has_three_numbers_at_least(runs: Path) -> None:
    specs = [specification(name) for name in ("alibi", "rope")]
    for spec, most in zip(specs, (9.5, 30.0), strict=True):
        finish(begin(runs, spec), text_scores(1.1, most))
    record_sweep(runs, specs)
    (collection,) = from_runs(runs, ["quickstart"])
    figure = curves.draw(make_board(collection))
    axes = figure.axes[0]
    figure.draw_without_rendering()
    assert axes.get_yscale() == "log"
    low, high = axes.get_ylim()
    shown = [text.get_text() for text in axes.get_yticklabels() if low <= text.get_position()[1] <= high]
    assert shown == ["1", "2", "5", "10", "20"] or shown == ["2", "5", "10", "20"]
    assert not axes.yaxis.get_minorticklocs().size


def test_other_settings_are_never_merged_into_one_row(runs: Path) -> None:
    specs = [
        specification("rope", seed, train={"learning_rate": rate})
        for seed in (0, 1)
        for rate in (0.001, 0.002)
    ]
    finish_all(runs, specs)
    record_sweep(runs, specs)
    folder = write(runs)
    rows = table(folder)
    assert list(rows["train.learning_rate"]) == ["0.001", "0.001", "0.002", "0.002"]
    assert set(rows["coverage"]) == {"2/2"}
    assert "| rope [train.learning_rate=0.002] |" in (folder / "leaderboard.md").read_text()


def test_what_only_looks_at_training_is_in_a_name_where_rows_differ_in_nothing_else(runs: Path) -> None:
    specs = [specification("rope", train={"evaluate_every": 10}), specification("alibi")]
    finish_all(runs, specs)
    record_sweep(runs, specs)
    (collection,) = from_runs(runs, ["quickstart"])
    assert {group.label for group in collection.groups.values()} == {"alibi", "rope"}
    other = specification("rope", train={"evaluate_at": [20]})
    finish_all(runs, [other])
    record_sweep(runs, [*specs, other])
    (collection,) = from_runs(runs, ["quickstart"])
    assert {group.label for group in collection.groups.values()} == {
        "alibi",
        "rope [train.evaluate_every=10]",
        "rope [train.evaluate_at=[20]]",
    }


def test_the_recipe_of_nearly_all_rows_is_in_no_name(runs: Path) -> None:
    specs = [specification(name) for name in ("alibi", "none", "rope", "t5")]
    specs.append(specification("alibi", train={"weight_decay": 0.0}))
    finish_all(runs, specs)
    record_sweep(runs, specs)
    (collection,) = from_runs(runs, ["quickstart"])
    labels = {"alibi", "none", "rope", "t5", "alibi [train.weight_decay=0.0]"}
    assert {group.label for group in collection.groups.values()} == labels
    assert set(table(write(runs))["train.weight_decay"]) == {"0.1", "0.0"}


def begun(spec: RunSpec, label: str, run: str = "rope-1") -> RunSpec:
    """The specification of a run that begins with the weights of another one."""
    return spec.model_copy(update={"start": Start(run=run, group=run, label=label, extent=(128,))})


def labels(runs: Path, specs: list[RunSpec]) -> list[str]:
    """Names of the rows of a sweep, in order."""
    finish_all(runs, specs)
    record_sweep(runs, specs)
    (collection,) = from_runs(runs, ["quickstart"])
    return sorted(group.label for group in collection.groups.values())


def test_a_row_that_begins_with_another_run_says_so_in_a_few_words(runs: Path) -> None:
    own = "language-modeling(evaluate=[128, 512]) after 80 steps"
    specs = [
        specification("rope", train={"steps": 80}),
        begun(specification("rope"), own),
        begun(specification("none"), f"rope(base=(1)) on {own}"),
        begun(specification("rope", train={"clip": 2.0}), own),
    ]
    # The updates go with the start, so that they tell nothing further.
    assert labels(runs, specs) == [
        "none [from rope on language-modeling, train.clip=1.0]",
        "rope [from language-modeling, train.clip=1.0]",
        "rope [from language-modeling, train.clip=2.0]",
        "rope [train.clip=1.0]",
    ]


def test_one_row_without_a_start_beside_many_with_one_has_no_name_of_theirs(runs: Path) -> None:
    names = ("rope", "none", "alibi", "t5", "fire")
    starting = [begun(specification(name), "language-modeling after 80 steps") for name in names]
    found = labels(runs, [specification("rope"), *starting])
    assert set(found) == {"rope", *(f"{name} [from language-modeling]" for name in names)}


@pytest.mark.parametrize("steps", [80, 40])
def test_starts_have_as_many_words_as_tell_them_apart(runs: Path, steps: int) -> None:
    starts = [f"retrieval(needles=2) after {steps} steps", "retrieval after 40 steps"]
    specs = [begun(specification(), label, f"rope-{label}") for label in starts]
    told = f"retrieval after {steps} steps" if steps == 80 else starts[0]
    assert labels(runs, specs) == sorted(f"rope [from {start}]" for start in (told, starts[1]))


def test_encodings_are_ranked_over_tasks_of_which_each_has_its_own_training(runs: Path) -> None:
    specs = [
        specification(name, seed, task_options={"extent": extent}, train={"steps": steps})
        for name in ("rope", "none")
        for seed in (0, 1)
        for extent, steps in ((128, 40), (512, 20))
    ]
    assert set(labels(runs, specs)) == {"none", "rope"}
    (collection,) = from_runs(runs, ["quickstart"])
    rows = make_board(collection).overall
    assert [row.label for row in rows] == ["none", "rope"]
    assert all(row.rank == 1 and len(row.standings) == 2 for row in rows)


def test_rows_that_would_have_one_name_are_told_apart(runs: Path) -> None:
    one = specification("rope")
    other = one.model_copy(update={"encoding": one.encoding.model_copy(update={"version": 2})})
    finish_all(runs, [one, other])
    record_sweep(runs, [one, other])
    assert set(table(write(runs))["group"]) == {one.group, other.group}


def test_tasks_with_other_options_have_tables_of_their_own(runs: Path) -> None:
    specs = [specification("rope", task_options={"extent": extent}) for extent in (128, 512)]
    finish_all(runs, specs)
    record_sweep(runs, specs)
    text = (write(runs) / "leaderboard.md").read_text()
    assert "## language-modeling (extent=128)" in text
    assert "## language-modeling (extent=512)" in text
    assert "512 (trained)" in text


@pytest.mark.parametrize("seeds", [(0,), (0, 1)])
def test_over_all_tasks_ranks_stand_where_there_are_any(
    runs: Path, seeds: tuple[int, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    specs = [
        specification(name, seed, task_options={"extent": extent})
        for name in ("rope", "none")
        for extent in (128, 512)
        for seed in seeds
    ]
    finish_all(runs, specs)
    record_sweep(runs, specs)
    text = (write(runs) / "leaderboard.md").read_text()
    (heading,) = [line for line in text.splitlines() if "relative score |" in line]
    headings = [cell.strip() for cell in heading.split("|")[1:-1]]
    tasks = [f"language-modeling (extent={extent})" for extent in (128, 512)]
    (collection,) = from_runs(runs, ["quickstart"])
    print_board(make_board(collection))
    told = capsys.readouterr().out
    if len(seeds) == 1:
        assert headings == ["encoding", "relative score", *(f"{task}: relative" for task in tasks)]
        assert "mean rank" not in told
    else:
        beside = [cell for task in tasks for cell in (f"{task}: rank", "relative")]
        assert headings == ["encoding", "mean rank", "relative score", *beside]
        assert "mean rank" in told
    # Nothing is missing.
    assert "no mean over all" not in told


def test_an_extrapolation_has_a_row_that_is_the_default_up_to_the_trained_extent(runs: Path) -> None:
    spec = specification("rope")
    finish(begin(runs, spec), {**text_scores(2.0, 3.0), ("bits-per-byte", 512, "yarn"): 2.5})
    record_sweep(runs, [spec])
    folder = write(runs)
    assert list(table(folder)["extrapolation"]) == ["extend", "extend", "yarn"]
    lines = (folder / "leaderboard.md").read_text().splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("| rope")]
    assert rows[:2] == [["rope, yarn", "**2.000**", "**2.500**"], ["rope", "**2.000**", "3.000"]]


@pytest.mark.parametrize(("metric", "order"), [("bits-per-byte", ["a", "b"]), ("accuracy", ["b", "a"])])
def test_the_best_at_the_largest_extent_comes_first(runs: Path, metric: str, order: list[str]) -> None:
    specs = [specification("a"), specification("b")]
    for spec, value in zip(specs, (1.0, 2.0), strict=True):
        finish(begin(runs, spec), {(metric, 128, "extend"): 3 - value, (metric, 512, "extend"): value})
    record_sweep(runs, specs)
    lines = (write(runs) / "leaderboard.md").read_text().splitlines()
    assert [line[2] for line in lines if line.startswith(("| a ", "| b "))][:2] == order


def test_data_that_differs_is_a_visible_warning(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    specs = [specification("rope"), specification("alibi")]
    finish_all(runs, specs)
    RunFolder(runs / specs[0].run_id).write_provenance({"data": {"train": "other"}})
    record_sweep(runs, specs)
    results = runs.parent / "results"
    assert main(["leaderboard", "quickstart", "--runs", str(runs), "--output", str(results)]) == 0
    captured = capsys.readouterr()
    assert "the data 'train' was not the same in all runs" in captured.err
    text = (results / "quickstart" / "leaderboard.md").read_text()
    assert "> **Warning:** language-modeling: the data 'train' was not the same in all runs" in text
    assert specs[0].run_id in text


def test_costs_are_means_over_seeds_by_phase(runs: Path) -> None:
    specs = [specification("rope", seed) for seed in (0, 1)]
    for spec, speed in zip(specs, (1000.0, 3000.0), strict=True):
        finish(begin(runs, spec), text_scores(2.0, 3.0), speed=speed)
    record_sweep(runs, specs)
    costs = pandas.read_csv(write(runs) / "costs.csv", keep_default_na=False)
    assert list(costs["phase"]) == ["training", "evaluation", "evaluation"]
    assert list(costs["items_per_second"]) == [2000, 6000, 6000]
    assert set(costs["parameters"]) == {123456}
    assert set(costs["kernels"]) == {"fused"}
    row = table(runs.parent / "results" / "quickstart").iloc[0]
    assert (row["parameters"], row["encoding_parameters"], row["kernels"]) == ("123456", "0", "fused")
    assert row["item"] == "tokens"


def test_speed_beside_others_is_said_to_compare_nothing(runs: Path) -> None:
    specs = [specification("rope", seed) for seed in (0, 1, 2)]
    for spec, others in zip(specs, (0, 3, None), strict=True):
        finish(begin(runs, spec), text_scores(2.0, 3.0))
        path = runs / spec.run_id / "result.json"
        result = json.loads(path.read_text())
        result["cost"]["beside"] = others
        path.write_text(json.dumps(result))
    record_sweep(runs, specs)
    folder = write(runs)
    said = "1 of 3 runs shared their GPU with up to 3 other processes, and 1 does not tell: their"
    assert said in (folder / "leaderboard.md").read_text()
    assert (folder / "report.html").read_text().count(said) == 2, "below the chart, and above the table"


def test_every_score_of_every_run_is_a_row(runs: Path) -> None:
    specs = [specification("rope", seed) for seed in (1, 0)]
    finish_all(runs, specs)
    record_sweep(runs, specs)
    scores = pandas.read_csv(write(runs) / "scores.csv")
    assert list(zip(scores["seed"], scores["extent"], scores["value"], strict=True)) == [
        (0, 128, 2.0),
        (0, 512, 3.0),
        (1, 128, 2.1),
        (1, 512, 3.1),
    ]


def test_the_table_is_printed_by_name_or_by_file(runs: Path, tmp_path: Path) -> None:
    specs = [specification("rope"), specification("alibi")]
    finish_all(runs, specs)
    record_sweep(runs, specs)
    file = tmp_path / "some.yaml"
    file.write_text("name: quickstart\n")
    texts = []
    for name in ("quickstart", str(file)):
        console = Console(file=io.StringIO(), width=100)
        (collection,) = from_runs(runs, [name])
        print_board(make_board(collection), console)
        assert isinstance(console.file, io.StringIO)
        texts.append(console.file.getvalue())
    assert texts[0] == texts[1]
    assert "bits-per-byte (bits/byte, lower is better)" in texts[0]
    assert "128 (trained)" in texts[0]
    assert "rope" in texts[0]


def test_without_a_name_every_recorded_sweep_is_written(runs: Path) -> None:
    specs = [specification("rope")]
    finish_all(runs, specs)
    record_sweep(runs, specs, "one")
    record_sweep(runs, specs, "two")
    results = runs.parent / "results"
    assert main(["leaderboard", "--runs", str(runs), "--output", str(results)]) == 0
    assert {path.name for path in results.iterdir()} == {"one", "two"}


def test_a_narrow_terminal_cuts_neither_names_nor_numbers(runs: Path) -> None:
    specs = [specification("sinusoidal", seed) for seed in (0, 1)]
    finish_all(runs, specs)
    record_sweep(runs, specs)
    (collection,) = from_runs(runs, ["quickstart"])
    texts = []
    for width in (60, 400):
        console = Console(file=io.StringIO(), width=width)
        print_board(make_board(collection), console)
        assert isinstance(console.file, io.StringIO)
        texts.append(console.file.getvalue())
    narrow, wide = texts
    assert "mean ± half the width of the 95 % interval over the seeds" in wide
    assert "sinusoidal" in narrow
    assert "…" not in narrow
    for figure in re.findall(r"\d\.\d{3}", wide):
        assert figure in narrow


def test_a_cell_without_a_folder_is_named_and_stops_no_other(runs: Path) -> None:
    specs = [specification("rope", seed) for seed in (0, 1)]
    finish_all(runs, specs[:1])
    record_sweep(runs, specs)
    board = write(runs)
    assert specs[1].run_id in (board / "leaderboard.md").read_text()


def test_provenance_is_optional(runs: Path) -> None:
    spec = specification("rope")
    finish_all(runs, [spec])
    (runs / spec.run_id / "provenance.json").write_text(json.dumps({"data": None}))
    record_sweep(runs, [spec])
    assert table(write(runs)).iloc[0]["mean"] == "2"


def test_names_beside_a_plot_do_not_overlap() -> None:
    assert spread([1.0, 5.0, 9.0], [2.0] * 3, 0.0, 10.0) == [1.0, 5.0, 9.0]
    assert spread([5.0, 5.0, 5.5], [2.0] * 3, 0.0, 10.0) == [5.0, 7.0, 9.0]
    assert spread([9.0, 9.5, 10.0], [2.0] * 3, 0.0, 10.0) == [6.0, 8.0, 10.0]
    assert spread([], [], 0.0, 10.0) == []


def test_the_command_prints_the_rows_of_the_csv_file_as_json(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    specs = [specification(name, seed) for name in ("rope", "alibi") for seed in (0, 1)]
    finish_all(runs, specs[:3])
    record_sweep(runs, specs)
    begin(runs, specs[3])
    (runs / specs[3].run_id / "result.json").write_text("{")
    results = runs.parent / "results"
    command = ["leaderboard", "--runs", str(runs), "--output", str(results), "--json"]
    assert main(command) == 1, "a damaged run is left out"
    said = capsys.readouterr()
    (told,) = json.loads(said.out)
    assert (told["sweep"], told["written"]) == ("quickstart", str(results / "quickstart"))
    assert told["unreadable"] == [specs[3].run_id]
    assert specs[3].run_id in told["warnings"][0]
    assert told["warnings"][0] in said.err
    frame = pandas.read_csv(results / "quickstart" / "leaderboard.csv")
    assert [row["mean"] for row in told["leaderboard"]] == pytest.approx(
        [None if math.isnan(mean) else mean for mean in frame["mean"]]
    )
    assert told["leaderboard"][0].keys() == set(frame.columns)


def test_a_setting_that_is_not_set_stands_in_no_name() -> None:
    said = {"task.options.variant": "passkey", "model.layers": "3"}
    unset = {"task.options.asked": "", "task.options.digits": "null", "task.options.evaluate": "[]"}
    unset |= {"train.clip": "null"}
    group = Group("k", "retrieval", "rope", "rope", {**unset, **said}, (256,), None)
    assert group.table == ("retrieval", "variant=passkey")
    assert group.label == "rope [model.layers=3]"


def test_an_empty_list_is_told_from_none(runs: Path) -> None:
    every: list[list[str] | None] = [[], None]
    specs = [specification(task_options={"extrapolations": value}) for value in every]
    finish_all(runs, specs)
    record_sweep(runs, specs)
    (collection,) = from_runs(runs, ["quickstart"])
    tables = {group.table for group in collection.groups.values()}
    assert tables == {("language-modeling",), ("language-modeling", "extrapolations=[]")}
