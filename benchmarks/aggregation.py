"""Aggregation: how long `pebench leaderboard` takes over many finished runs, and how much memory.

Measured are tables, plots, statistics and the report, in a process of their own. The time of importing
pandas, SciPy and matplotlib is in the figures.

The baseline, the floor, is a process that only reads every file of every run as JSON.
"""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from statistics import median

from measuring.alternation import WALL, Row, compared
from measuring.processes import Spent, spent
from measuring.reporting import Arguments, positive, report

from pebench.specification.run_spec import PluginConfig, RunSpec, Training
from pebench.store.records import Cost, EvaluationCost, MetricRecord, Result, Score
from pebench.store.sweep_records import SweepRecord, write_sweep

BASELINE = "reading the files"

READ = """
import json, pathlib, sys
for path in pathlib.Path(sys.argv[1]).rglob("*.json"):
    json.loads(path.read_bytes())
"""
"""The floor as a program."""

SEEDS = 5
EXTENTS = (128, 256, 512, 1024)
METRICS = {
    "bits-per-byte": MetricRecord(unit="bits/byte", higher_is_better=False),
    "perplexity": MetricRecord(unit="per token", higher_is_better=False),
}


def specifications(count: int) -> list[RunSpec]:
    """Ten encodings, five seeds, and as many learning rates as make up the number of runs."""
    rates = range(-(-count // (10 * SEEDS)))
    return [
        RunSpec(
            encoding=PluginConfig(name=f"encoding-{letter}", label=f"encoding-{letter}"),
            task=PluginConfig(
                name="language-modeling", options={"data": "python-docs", "extent": 128, "evaluate": EXTENTS}
            ),
            model={"width": 64, "heads": 4, "layers": 2},
            train=Training(learning_rate=1e-4 * (rate + 1)),
            seed=seed,
        )
        for rate in rates
        for letter in "abcdefghij"
        for seed in range(SEEDS)
    ][:count]


def result(number: int) -> Result:
    """Scores that differ from run to run."""
    scores = [
        Score(
            metric=metric, extent=(extent,), extrapolation="extend", value=2.0 + (number * 7919 % 1000) / 1e3
        )
        for extent in EXTENTS
        for metric in METRICS
    ]
    costs = [
        EvaluationCost(
            extent=(extent,),
            extrapolation="extend",
            items_per_second=5e4 + number,
            peak_memory_bytes=10**8,
            kernels=("fused",),
        )
        for extent in EXTENTS
    ]
    cost = Cost(
        parameters=116_544,
        encoding_parameters=0,
        item="tokens",
        items_per_second=4e4 + number,
        peak_memory_bytes=10**8,
        kernels=("fused",),
        evaluations=tuple(costs),
    )
    return Result(status="done", metrics=METRICS, scores=tuple(scores), cost=cost)


def fill(runs: Path, count: int) -> None:
    """Writes the folders of finished runs and the record of their sweep."""
    provenance = {
        "commit": "0" * 40,
        "dirty": False,
        "device": "cpu",
        "packages": {"torch": "2"},
        "data": {"train": "aa"},
    }
    specs = specifications(count)
    for number, spec in enumerate(specs):
        folder = runs / spec.run_id
        folder.mkdir(parents=True)
        (folder / "spec.json").write_text(spec.model_dump_json())
        (folder / "result.json").write_text(result(number).model_dump_json())
        (folder / "provenance.json").write_text(json.dumps(provenance))
    record = SweepRecord(
        name="many", source="name: many\n", runs=tuple(s.run_id for s in specs), baseline="encoding-a"
    )
    write_sweep(runs, record)


def measure(count: int, rounds: int) -> list[Row]:
    """Rows of the floor and of the command over so many runs, each a process of its own."""
    with tempfile.TemporaryDirectory(prefix="pebench-benchmark-") as name:
        folder = Path(name)
        fill(folder / "runs", count)
        pebench = [sys.executable, "-m", "pebench", "leaderboard", "many", "--runs", str(folder / "runs")]
        commands = {
            BASELINE: [sys.executable, "-c", READ, str(folder / "runs")],
            "pebench leaderboard": [*pebench, "--output", str(folder / "results")],
        }
        found: dict[str, list[Spent]] = {name: [] for name in commands}
        for _ in range(rounds):
            for name, command in commands.items():
                found[name].append(spent(command))
    base = [each.seconds for each in found[BASELINE]]
    rows = []
    for name, own in found.items():
        row = compared(name, {"runs": count}, [each.seconds for each in own], base)
        more: dict[str, float | str | None] = {
            "processor s": median(each.processor for each in own),
            "peak MiB": median(each.peak_bytes for each in own) / 2**20,
        }
        rows.append(replace(row, more=more))
    return rows


def main() -> None:
    """Measures and reports."""
    parser = Arguments(__doc__)
    parser.add_argument("--runs", type=positive, nargs="+", default=[100, 1000, 10_000])
    parser.set_defaults(rounds=3)
    chosen = parser.parse_args()
    rows = (row for count in chosen.runs for row in measure(count, chosen.rounds))
    report("Aggregation by number of runs", BASELINE, rows, chosen.output, clock=WALL)


if __name__ == "__main__":
    main()
