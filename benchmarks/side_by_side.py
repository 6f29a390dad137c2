"""Several small runs side by side on one device: tokens a second of all together, at 1, 2, 4 and 8 processes.

Every process has a model and a training loop of its own, as runs that share a device have. It waits for the
device as often as a run does for its log. All are started and warmed up before anything is measured. In each
round 1, 2, 4 … of them begin together at a barrier and train for the same time while the others are idle.

`ms` is the time of one update of any of them; the baseline is one process alone.

On a CPU each process has as many threads as this one was started with. Where strangers compute too, more
processes get a larger share of the cores, so this one needs a machine to itself.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import torch
from measuring.alternation import WALL, Row, compared, device
from measuring.reporting import Arguments, positive, report
from measuring.trainers import Work, throughput, trainers
from measuring.training import add_model_arguments

WARMUP = 5
"""Updates before anything is measured."""


def measure(chosen: argparse.Namespace) -> list[Row]:
    """A row for each number of processes."""
    setting = {
        "model": chosen.size,
        "encoding": chosen.encoding,
        "extent": chosen.extent,
        "batch": chosen.batch,
        "vocabulary": chosen.vocabulary,
        "precision": chosen.precision,
    }
    work = Work(
        chosen.encoding,
        chosen.size,
        chosen.extent,
        chosen.batch,
        chosen.vocabulary,
        chosen.precision,
        compiled=False,
        threads=torch.get_num_threads(),
        warmup=WARMUP,
    )
    times: dict[int, list[float]] = {count: [] for count in chosen.processes}
    with trainers([work], chosen.processes) as (among,):
        for _ in range(chosen.rounds):
            for count in chosen.processes:
                times[count].append(1 / throughput(among, count, chosen.seconds).updates)
    rows = []
    for count, own in times.items():
        row = compared(_name(count), setting, own, times[chosen.processes[0]])
        rate = chosen.batch * chosen.extent / row.seconds
        rows.append(replace(row, more={"tokens/s in total": rate, "tokens/s of each": rate / count}))
    return rows


def _name(count: int) -> str:
    return f"{count} process{'' if count == 1 else 'es'}"


def main() -> None:
    """Measures and reports."""
    here = device().type == "cuda"
    parser = Arguments(__doc__)
    parser.add_argument("--processes", type=positive, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    parser.add_argument("--encoding", default="rope")
    add_model_arguments(parser)
    if here:
        parser.set_defaults(size="mini", extent=256, vocabulary=8192)
    else:
        parser.set_defaults(extent=128, vocabulary=256)
    parser.add_argument(
        "--precision", choices=["bfloat16", "float32"], default="bfloat16" if here else "float32"
    )
    parser.set_defaults(rounds=5)
    chosen = parser.parse_args()
    report("Runs side by side", _name(chosen.processes[0]), measure(chosen), chosen.output, clock=WALL)


if __name__ == "__main__":
    main()
