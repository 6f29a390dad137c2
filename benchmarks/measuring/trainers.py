"""Processes that train side by side on one device, when they are told to."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from typing import NamedTuple

import torch
from measuring.alternation import device, wait
from measuring.training import random_text, steps

from pebench.running.execution import Execution
from pebench.specification.run_spec import Training

LOGGED = Execution().log_every
"""Updates between looks at the losses."""


@dataclass(frozen=True)
class Work:
    """The training of a process.

    Attributes:
        encoding: a label such as ``seqpe:dropout=0``. size: of the model. extent: tokens of a sequence.
        batch: sequences. vocabulary: tokens there are. precision: see `Training`.
        compiled: whether training is.
        threads: of PyTorch on the CPU.
        warmup: updates before anything is measured.
    """

    encoding: str
    size: str
    extent: int
    batch: int
    vocabulary: int
    precision: str
    compiled: bool
    threads: int
    warmup: int


class Throughput(NamedTuple):
    """Of some processes together.

    Attributes:
        updates: a second. cores: that each kept busy.
    """

    updates: float
    cores: float


class Trainer(NamedTuple):
    """A process that trains when it is told to.

    Attributes:
        process: itself. orders: takes (seconds, how many begin together), and (0, 0) to end; answers with
            (updates, seconds, seconds of processors).
    """

    process: multiprocessing.process.BaseProcess
    orders: Connection


def _train(orders: Connection, barriers: dict[int, Barrier], work: Work) -> None:
    torch.set_num_threads(work.threads)
    task = random_text(work.extent, work.size, work.vocabulary)
    training = Training.model_validate({"steps": 10**9, "batch": work.batch, "precision": work.precision})
    loop = steps(work.encoding, task, training, work.compiled)
    for _ in range(work.warmup):
        next(loop)
    wait(device())
    orders.send((work.warmup, 0.0, 0.0))
    while True:
        seconds, together = orders.recv()
        if not together:
            return
        barriers[together].wait()
        begin, busy = time.perf_counter(), time.process_time()
        updates = 0
        while time.perf_counter() - begin < seconds:
            for _ in range(LOGGED):
                next(loop)
            wait(device())
            updates += LOGGED
        orders.send((updates, time.perf_counter() - begin, time.process_time() - busy))


@contextmanager
def trainers(works: list[Work], counts: list[int]) -> Iterator[list[list[Trainer]]]:
    """As many as the largest of the counts of each work, warmed up; they end with the context."""
    spawn = multiprocessing.get_context("spawn")
    barriers = {count: spawn.Barrier(count) for count in counts}
    made: list[list[Trainer]] = [[] for _ in works]

    def start(number: int) -> Trainer:
        ours, theirs = spawn.Pipe()
        process = spawn.Process(target=_train, args=(theirs, barriers, works[number]), daemon=True)
        process.start()
        theirs.close()
        made[number].append(Trainer(process, ours))
        return made[number][-1]

    try:
        # What the first of each work has compiled the others find.
        for count in (1, max(counts) - 1):
            begun = [start(number) for number in range(len(works)) for _ in range(count)]
            for trainer in begun:
                trainer.orders.recv()
        yield made
        for trainer in chain.from_iterable(made):
            trainer.orders.send((0.0, 0))
            trainer.process.join()
    finally:
        for trainer in chain.from_iterable(made):
            trainer.process.kill()


def throughput(among: list[Trainer], count: int, seconds: float) -> Throughput:
    """Of the first `count` of them together."""
    for trainer in among[:count]:
        trainer.orders.send((seconds, count))
    answers: list[tuple[int, float, float]] = [trainer.orders.recv() for trainer in among[:count]]
    updates = sum(updates / taken for updates, taken, _ in answers)
    return Throughput(updates, sum(busy / taken for _, taken, busy in answers) / count)
