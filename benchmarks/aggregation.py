"""How long `pebench leaderboard` takes over many finished runs, and how much memory.

    python benchmarks/aggregation.py                # 10,000 runs: must stay below 20 s and 1 GiB
    python benchmarks/aggregation.py --runs 1000

Writes the run folders to a temporary place, prints one table, and writes one JSON file where --output says.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from pebench.spec import Choice, RunSpec, Training
from pebench.store import Cost, EvaluationCost, MetricRecord, Result, Score, SweepRecord, write_sweep

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
            encoding=Choice(name=f"encoding-{letter}", label=f"encoding-{letter}"),
            task=Choice(
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


def measure(folder: Path) -> dict[str, float]:
    """Seconds and peak memory of one call of the command, in a process of its own."""
    command = [sys.executable, "-m", "pebench", "leaderboard", "many", "--runs", str(folder / "runs")]
    began = time.monotonic()
    subprocess.run([*command, "--output", str(folder / "results")], check=True, stdout=subprocess.DEVNULL)
    seconds = time.monotonic() - began
    return {
        "seconds": round(seconds, 2),
        "peak_mib": round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024, 1),
    }


def main() -> None:
    """Measures and reports."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--output", type=Path, default=Path("aggregation.json"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        fill(Path(temporary) / "runs", arguments.runs)
        found = {"runs": arguments.runs, "processor": platform.processor(), **measure(Path(temporary))}
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(found, indent=1) + "\n")
    sys.stdout.write("| runs | seconds | peak MiB |\n| ---: | ---: | ---: |\n")
    sys.stdout.write(f"| {found['runs']:,} | {found['seconds']} | {found['peak_mib']} |\n")


if __name__ == "__main__":
    main()
