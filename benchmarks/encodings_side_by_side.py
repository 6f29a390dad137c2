"""Training in the leaderboard's own setting by encoding, alone and side by side: tokens a second and cores.

Every process has a model and a training loop of its own, compiled, with as many threads as a run has by
default. All processes of all encodings are started and warmed up before anything is measured. In each round
1, 4 and 6 processes of one encoding after another train for the same time while all the others are idle.

`ms` is the time of one update of any of them. The baseline is as many processes without an encoding. `cores`
are those that each process kept busy, its helpers beside the training included.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from statistics import median

import torch
from measuring.alternation import WALL, Row, compared, device
from measuring.reporting import Arguments, positive, report
from measuring.trainers import Throughput, Work, throughput, trainers
from measuring.training import add_model_arguments

from pebench.running.process import THREADS_ON_CUDA

BASELINE = "none"


def measure(chosen: argparse.Namespace) -> list[Row]:
    """A row for each encoding and number of processes."""
    here = device().type == "cuda"
    found: dict[tuple[int, str], list[Throughput]] = {}
    names = list(dict.fromkeys((BASELINE, *chosen.encodings)))
    works = [
        Work(
            name,
            chosen.size,
            chosen.extent,
            chosen.batch,
            chosen.vocabulary,
            "bfloat16" if here else "float32",
            compiled=chosen.compile,
            threads=THREADS_ON_CUDA if here else torch.get_num_threads(),
            warmup=chosen.warmup,
        )
        for name in names
    ]
    with trainers(works, chosen.processes) as made:
        among = dict(zip(names, made, strict=True))
        for _ in range(chosen.rounds):
            for count in chosen.processes:
                for name in names:
                    measured = throughput(among[name], count, chosen.seconds)
                    found.setdefault((count, name), []).append(measured)
    setting = {
        "model": chosen.size,
        "extent": chosen.extent,
        "batch": chosen.batch,
        "vocabulary": chosen.vocabulary,
        "compiled": chosen.compile,
    }
    rows = []
    for (count, name), own in found.items():
        times, base = ([1 / one.updates for one in found[count, each]] for each in (name, BASELINE))
        row = compared(name, setting | {"processes": count}, times, base)
        rate = chosen.batch * chosen.extent / row.seconds
        figures = {
            "tokens/s in total": rate,
            "tokens/s of each": rate / count,
            "cores of each": median(one.cores for one in own),
        }
        rows.append(replace(row, more=figures))
    return rows


def main() -> None:
    """Measures and reports."""
    here = device().type == "cuda"
    parser = Arguments(__doc__)
    parser.add_argument("--encodings", nargs="+", default=["alibi", "seqpe:positions=20000"])
    parser.add_argument("--processes", type=positive, nargs="+", default=[1, 4, 6])
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    parser.add_argument("--warmup", type=positive, default=60, help="updates, shifted ones among them")
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=here)
    add_model_arguments(parser)
    if here:
        parser.set_defaults(size="small", extent=256, batch=64, vocabulary=8192)
    parser.set_defaults(rounds=5)
    chosen = parser.parse_args()
    report("Training side by side by encoding", BASELINE, measure(chosen), chosen.output, clock=WALL)


if __name__ == "__main__":
    main()
