"""Several small runs side by side on one device: tokens a second of all together, at 1, 2, 4 and 8 processes.

Every process has a model and a training loop of its own, as runs that share a device have, and waits for the
device as often as a run does for its log. All are started and warmed up before anything is measured; in each
round 1, 2, 4 … of them begin together at a barrier and train for the same time while the others are idle.
`ms` is the time of one update of any of them; the baseline is one process alone. On a CPU each process has as
many threads as this one was started with; where strangers compute too, more processes get a larger share of
the cores, so this one needs a machine to itself.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from typing import NamedTuple

import torch
from measuring.alternation import Row, compared, device, wait
from measuring.reporting import Arguments, positive, report
from measuring.training import add_model_arguments, random_text, steps

from pebench.running.execution import Execution
from pebench.spec import Training

WARMUP = 5
"""Updates before anything is measured."""

LOGGED = Execution().log_every
"""Updates between looks at the losses."""


class Trainer(NamedTuple):
    """A process that trains when it is told to.

    Attributes:
        process: itself. orders: takes (seconds, how many begin together), and (0, 0) to end; answers with
            (updates, seconds).
    """

    process: multiprocessing.process.BaseProcess
    orders: Connection


def train(orders: Connection, barriers: dict[int, Barrier], chosen: argparse.Namespace, threads: int) -> None:
    """What such a process does."""
    torch.set_num_threads(threads)
    task = random_text(chosen.extent, chosen.size, chosen.vocabulary)
    training = Training(steps=10**9, batch=chosen.batch, precision=chosen.precision)
    loop = steps(chosen.encoding, task, training, False)
    for _ in range(WARMUP):
        next(loop)
    wait(device())
    orders.send((WARMUP, 0.0))
    while True:
        seconds, together = orders.recv()
        if not together:
            return
        barriers[together].wait()
        begin = time.perf_counter()
        updates = 0
        while time.perf_counter() - begin < seconds:
            for _ in range(LOGGED):
                next(loop)
            wait(device())
            updates += LOGGED
        orders.send((updates, time.perf_counter() - begin))


@contextmanager
def trainers(chosen: argparse.Namespace) -> Iterator[list[Trainer]]:
    """As many as are needed, warmed up; they end with the context."""
    spawn = multiprocessing.get_context("spawn")
    barriers = {count: spawn.Barrier(count) for count in chosen.processes}
    made = []
    try:
        for _ in range(max(chosen.processes)):
            ours, theirs = spawn.Pipe()
            arguments = (theirs, barriers, chosen, torch.get_num_threads())
            process = spawn.Process(target=train, args=arguments, daemon=True)
            process.start()
            theirs.close()
            made.append(Trainer(process, ours))
        for trainer in made:
            trainer.orders.recv()
        yield made
        for trainer in made:
            trainer.orders.send((0.0, 0))
            trainer.process.join()
    finally:
        for trainer in made:
            trainer.process.kill()


def throughput(among: list[Trainer], count: int, seconds: float) -> float:
    """Updates a second of the first `count` of them together."""
    for trainer in among[:count]:
        trainer.orders.send((seconds, count))
    answers: list[tuple[int, float]] = [trainer.orders.recv() for trainer in among[:count]]
    return sum(updates / taken for updates, taken in answers)


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
    times: dict[int, list[float]] = {count: [] for count in chosen.processes}
    with trainers(chosen) as among:
        for _ in range(chosen.rounds):
            for count in chosen.processes:
                times[count].append(1 / throughput(among, count, chosen.seconds))
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
    report("Runs side by side", _name(chosen.processes[0]), measure(chosen), chosen.output)


if __name__ == "__main__":
    main()
