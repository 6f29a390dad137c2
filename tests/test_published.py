"""Published figures stand beside those of a sweep where task, data, protocol and model agree."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from specimens.run_folders import begin, cost

from pebench.command_line.main import main
from pebench.encoding_config import encoding_config
from pebench.leaderboard.published import read_figures
from pebench.plugins.registry import encodings
from pebench.resolve import build_task, resolve
from pebench.specification.plugin_ref import PluginRef
from pebench.specification.run_spec import RunSpec
from pebench.store.records import MetricRecord, Result, Score
from pebench.store.run_folder import RunFolder
from pebench.store.sweep_records import SweepRecord, write_sweep
from pebench.store.task_record import TaskRecord
from pebench.sweeping.sweep import Sweep, load_sweep

pytestmark = pytest.mark.usefixtures("without_pictures")

TOP_1 = MetricRecord(unit="%", higher_is_better=True)
PERPLEXITY = MetricRecord(unit="", higher_is_better=False)


def imagine(runs: Path, sweep: Sweep, change: Mapping[str, object]) -> None:
    """Writes runs of a sweep of ImageNet, changed in something, as if they had been done."""
    specs = [spec.model_copy(update=change) for spec in sweep.cells]
    for spec in specs:
        _finish(begin(runs, spec), spec)
    names = tuple(spec.run_id for spec in specs)
    write_sweep(runs, SweepRecord(name=sweep.name, source=sweep.source, runs=names))


def _finish(folder: RunFolder, spec: RunSpec) -> None:
    metric = "top-1-crop-1"
    extents = [tuple(extent) for extent in spec.task.options["evaluate"]]
    method = "interpolate" if spec.encoding.name == "learned" else "extend"
    scores = [Score(metric=metric, extent=e, extrapolation=method, value=70.0) for e in extents]
    folder.write_result(
        Result(
            status="done",
            extent_unit="pixels",
            metrics={metric: TOP_1},
            scores=tuple(scores),
            cost=cost([(extent, method) for extent in extents], 1000.0),
        )
    )


def published(folder: Path) -> list[dict[str, str]]:
    path = folder / "published.csv"
    return list(csv.DictReader(io.StringIO(path.read_text()))) if path.exists() else []


def leaderboard(place: Path, capsys: pytest.CaptureFixture[str]) -> str:
    arguments = ["leaderboard", "--published", "--runs", str(place / "runs")]
    assert main([*arguments, "--output", str(place / "results")]) == 0
    return capsys.readouterr().out


def test_figures_of_rope_vit_stand_beside_the_sweep_that_is_theirs(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    imagine(place / "runs", load_sweep("rope-vit-imagenet"), {})
    told = leaderboard(place, capsys)
    rows = published(place / "results" / "rope-vit-imagenet")
    found = {(row["encoding"], row["extent"]): float(row["published"]) for row in rows}
    assert found == {
        ("learned", "224x224"): 80.4,
        ("learned", "384x384"): 79.4,
        ("rope-axial", "224x224"): 80.9,
        ("rope-axial", "384x384"): 80.0,
        ("rope-mixed", "224x224"): 80.9,
        ("rope-mixed", "384x384"): 81.8,
    }
    assert "names no crop; ours is 1" in rows[0]["note"]
    assert "81.8" in told


def test_figures_of_other_sizes_and_of_part_of_the_data_do_not(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = load_sweep("rope-vit-imagenet")
    task = sweep.cells[0].task
    part = task.model_copy(update={"options": {**task.options, "images": 100}})
    changes: list[dict[str, object]] = [{"task": part}, {"model": {"name": "vit_tiny_patch16_224"}}]
    for number, change in enumerate(changes):
        imagine(place / str(number) / "runs", sweep, change)
        leaderboard(place / str(number), capsys)
        assert not published(place / str(number) / "results" / sweep.name)


def imagine_task(
    runs: Path,
    name: str,
    specs: Sequence[RunSpec],
    metrics: Mapping[str, MetricRecord],
    value: float,
    methods: Mapping[str, Sequence[str]] | None = None,
) -> None:
    """Writes runs of a sweep as if they had been done, each with one value everywhere; with several ways past
    the trained extent for some encodings, the default first."""
    for spec in specs:
        built = build_task(spec)
        record = TaskRecord(trained_extent=built.trained_extent(), evaluation_data=built.evaluation_data())
        folder = begin(runs, spec)
        folder.write_provenance({**folder.provenance(), "task": record.model_dump(mode="json")})
        places = [
            (extent, method)
            for extent in built.extents()
            for method in (methods or {}).get(spec.encoding.name, ("extend",))
        ]
        scores = [
            Score(metric=metric, extent=extent, extrapolation=method, value=value)
            for metric in metrics
            for extent, method in places
        ]
        folder.write_result(
            Result(
                status="done",
                extent_unit="tokens",
                metrics=dict(metrics),
                scores=tuple(scores),
                cost=cost(places, 1000.0),
            )
        )
    names = tuple(spec.run_id for spec in specs)
    write_sweep(runs, SweepRecord(name=name, source="", runs=names))


def found_at(place: Path, name: str, capsys: pytest.CaptureFixture[str]) -> dict[tuple[str, ...], float]:
    """The published figures by row, metric and extent."""
    leaderboard(place, capsys)
    rows = published(place / "results" / name)
    return {(row["encoding"], row["metric"], row["extent"]): float(row["published"]) for row in rows}


def test_figures_of_flip_flops_stand_beside_runs_of_the_published_length(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = {"flip-flop": {"evaluate": [512, 1024]}}
    metrics = dict.fromkeys(("accuracy", "accuracy-sparse", "accuracy-dense"), TOP_1)
    specs = [resolve(encoding, task) for encoding in ("rope", "path")]
    imagine_task(place / "runs", "flips", specs, metrics, 90.0)
    found = found_at(place, "flips", capsys)
    assert found == {
        ("rope", "accuracy", "512"): 93.1,
        ("rope", "accuracy-sparse", "512"): 59.7,
        ("rope", "accuracy-dense", "512"): 99.99,
        ("path", "accuracy", "512"): 100.0,
        ("path", "accuracy-sparse", "512"): 99.9999,
        ("path", "accuracy-dense", "512"): 100.0,
    }
    other = build_task(resolve("rope", {"flip-flop": {"sparse": 0.9}}))
    assert other.evaluation_data() is None


def test_figures_without_an_extent_stand_at_the_trained_one(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    specs = [
        resolve(encoding, {"position-probe": {"extent": 24, "evaluate": [24, 48], "question": question}})
        for encoding in ("rope", "pope", "alibi")
        for question in ("indirect", "index")
    ]
    imagine_task(place / "runs", "probe", specs, {"exact-match": TOP_1}, 90.0)
    assert sorted(found_at(place, "probe", capsys).items()) == [
        (("pope", "exact-match", "24"), 94.82),
        (("rope", "exact-match", "24"), 11.16),
    ]
    assert "(Gopalakrishnan" in leaderboard(place, capsys)
    (row, _) = published(place / "results" / "probe")
    assert "names no extent" in row["note"]
    assert "strings and shifts" in row["note"]


def test_figures_of_lm_eval_stand_beside_its_scores_where_nothing_is_cut(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start = resolve("path", {"language-modeling": {"extent": 4096}})
    options: dict[str, Any] = {"tasks": ["wikitext", "lambada_openai"], "extent": 4096}
    metrics = dict.fromkeys(("wikitext-word_perplexity", "lambada_openai-perplexity"), PERPLEXITY)
    found = {}
    changes: dict[str, dict[str, Any]] = {"whole": {}, "some": {"limit": 10}, "cut": {"evaluate": [4096]}}
    for name, further in changes.items():
        spec = resolve("path", {"lm-eval": {**options, **further}}, train={"steps": 0}, start=start)
        imagine_task(place / "runs", name, [spec], metrics, 20.0)
        found[name] = found_at(place, name, capsys)
    assert found["whole"] == {
        ("path", "wikitext-word_perplexity", "4096"): 18.03,
        ("path", "lambada_openai-perplexity", "4096"): 16.79,
    }
    assert not found["some"]
    assert not found["cut"]


def test_figures_of_what_a_conversion_was_asked_and_of_a_way_past_the_extent_find_their_rows(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = {"language-modeling": {"extent": 2048}}
    asked = {"lm-eval": {"tasks": ["niah_multiquery"], "extent": 2048}}
    factor: PluginRef = {"log-n": {"beta": 0.412, "count": "extent"}}
    rope = resolve("rope", text)
    starts = [rope, resolve("none", text), resolve(factor, text, start=rope)]
    last = [
        resolve(ref, asked, train={"steps": 0}, start=start)
        for ref, start in zip(("rope", "none", factor), starts, strict=True)
    ]
    metric = {"niah_multiquery-4096": MetricRecord(unit="", higher_is_better=True)}
    imagine_task(place / "runs", "asked", [*starts, *last], metric, 0.2, methods={"rope": ("extend", "yarn")})
    assert found_at(place, "asked", capsys) == {
        ("rope", "niah_multiquery-4096", "2048"): 0.0,
        ("rope, yarn", "niah_multiquery-4096", "2048"): 0.178,
        ("none", "niah_multiquery-4096", "2048"): 0.092,
        ("log-n(beta=0.412, count=extent)", "niah_multiquery-4096", "2048"): 0.28,
    }


def test_figures_of_a_conversion_stand_beside_conversions_alone(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = {"language-modeling": {"data": {"dataset": "HuggingFaceFW/fineweb"}, "extent": 64}}
    rope = resolve("rope", task)
    specs = {"none": [resolve("none", task)], "drope": [resolve("none", task, start=rope)], "rope": [rope]}
    found = {}
    for name, alone in specs.items():
        imagine_task(place / "runs", name, alone, {"perplexity": PERPLEXITY}, 20.0)
        leaderboard(place, capsys)
        found[name] = {row["published"] for row in published(place / "results" / name)}
    assert found == {"none": {"23.77"}, "drope": {"22.42", "21.73"}, "rope": {"21.72"}}


def test_the_figures_that_come_along_are_called_as_rows_are() -> None:
    """By the name of an encoding, or by the label of one with options or of a composition."""
    written: list[PluginRef] = [
        *encodings.origins(),
        {"rope": {"base": 5e5}},
        {"rope": {"frequencies": 0.25}},
        {"rope": {"frequencies": 0.75}},
        {"rope": {"rotated": 0.75}},
        "learned + rope-axial",
        "learned + rope-mixed",
        {"log-n": {"beta": 0.412, "count": "extent"}},
    ]
    labels = {encoding_config(ref).label for ref in written}
    ways = {f"rope, {way}" for way in encodings.load("rope").extrapolations[1:]}
    figures = read_figures()
    assert {figure.encoding for figure in figures} <= {*encodings.origins(), *labels, *ways}
    assert {figure.converted for figure in figures} <= {"", *encodings.origins()}
    assert all(figure.source for figure in read_figures())
