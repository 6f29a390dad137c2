"""Training by several ranks, a GPU each: tokens a second, and the share that they reach of so many times one.

The batch is the same for any number of ranks, as it is in runs; each has its share. Measured are the steps of
a run on random tokens. They include its data, its sums of gradients and its question whether any rank is to
stop.

- The baseline is one rank.
- `1 of 8 ranks` is a rank that computes its share and sums with nobody: what eight would reach if their
  connection took no time, for which one GPU is enough.
- Ranks together are measured where each has a GPU; on a CPU they share its cores.

An encoding may have a label such as `seqpe:dropout=0`. The published text recipe on eight GPUs, or as far as
one shows it, where three rounds take a minute and a half, most of which is compilation:

    pebench bench ranks --ranks 8 --extent 512 --batch 128 --dropout 0.1 --rounds 3 --warmup 40 --encodings \\
        none rope seqpe:apply=scalar,project=shared,positions=20000,windows=64,pivots=64,draws=64
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

import torch
from measuring.alternation import WALL, Row, compared, device, wait
from measuring.reporting import Arguments, positive, report
from measuring.training import add_model_arguments, flops_of_a_token, random_text, steps, utilisation

from pebench.running.execution import Execution
from pebench.running.ranks import ALONE, JoinedRanks, Ranks
from pebench.specification.run_spec import Training
from pebench.task import Batch

BASELINE = "1 rank"

LOGGED = Execution().log_every
"""Updates between looks at the losses."""


@dataclass(frozen=True)
class Side:
    """What some processes do together.

    Attributes:
        name: of its row. encoding: its label. count: ranks that share a batch. together: whether all of them
            are there.
        size, extent, batch, vocabulary, dropout, precision, compiled: of the training.
        warmup: updates before anything is measured.
    """

    name: str
    encoding: str
    count: int
    together: bool
    size: str
    extent: int
    batch: int
    vocabulary: int
    dropout: float
    precision: str
    compiled: bool
    warmup: int


class Forsaken(Ranks):
    """The first of several ranks, without the others."""

    def __init__(self, count: int) -> None:
        self.count = count

    def share(self, batch: Batch) -> Batch:
        """The first part of a batch."""
        return {name: values.chunk(self.count)[0] for name, values in batch.items()}


def main() -> None:
    """Prints the table."""
    here = device().type == "cuda"
    parser = Arguments(__doc__)
    parser.add_argument("--encodings", nargs="+", default=["none"], help="names or name:option=value,…")
    parser.add_argument("--ranks", type=positive, nargs="+", default=[2], help="numbers of them")
    add_model_arguments(parser)
    parser.add_argument("--dropout", type=float, default=0.0, help="of the model")
    parser.add_argument(
        "--precision", choices=["bfloat16", "float32"], default="bfloat16" if here else "float32"
    )
    compiled = argparse.BooleanOptionalAction
    parser.add_argument("--compile", action=compiled, default=here, help="by default on CUDA")
    parser.add_argument("--warmup", type=positive, default=10, help="updates before anything is measured")
    parser.add_argument("--updates", type=positive, default=2 * LOGGED, help="in one measurement")
    chosen = parser.parse_args()
    for count in chosen.ranks:
        if chosen.batch % count:
            parser.error(f"a batch of {chosen.batch} does not divide into equal parts for {count} ranks")
    rows = chain.from_iterable(measure(label, chosen) for label in chosen.encodings)
    report("Training by several ranks", BASELINE, rows, chosen.output, clock=WALL)


def measure(encoding: str, chosen: argparse.Namespace) -> list[Row]:
    """The rows of an encoding."""
    sides = _sides(encoding, chosen)
    times: dict[str, list[float]] = {side.name: [] for side in sides}
    with ExitStack() as stack:
        # All begin at once, so that what they compile is compiled side by side.
        begun = {side.name: stack.enter_context(_processes(side)) for side in sides}
        for connections in begun.values():
            for connection in connections:
                connection.recv()
        for _ in range(chosen.rounds):
            for name, connections in begun.items():
                for connection in connections:
                    connection.send(chosen.updates)
                times[name].append(max(connection.recv() for connection in connections) / chosen.updates)
    setting = {
        "encoding": encoding.partition(":")[0],
        "model": chosen.size,
        "extent": chosen.extent,
        "batch": chosen.batch,
        "vocabulary": chosen.vocabulary,
        "precision": chosen.precision,
        "compiled": chosen.compile,
    }
    task = random_text(chosen.extent, chosen.size, chosen.vocabulary)
    rows = []
    for side in sides:
        row = compared(side.name, setting, times[side.name], times[BASELINE])
        rate = chosen.batch * chosen.extent / row.seconds
        used = utilisation(rate * flops_of_a_token(task, chosen.vocabulary) / side.count)
        rows.append(
            replace(
                row,
                more={"tokens/s": rate, "of so many times one": row.ratio / side.count, "utilisation": used},
            )
        )
    return rows


def _sides(encoding: str, chosen: argparse.Namespace) -> list[Side]:
    side = partial(
        Side,
        encoding=encoding,
        size=chosen.size,
        extent=chosen.extent,
        batch=chosen.batch,
        vocabulary=chosen.vocabulary,
        dropout=chosen.dropout,
        precision=chosen.precision,
        compiled=chosen.compile,
        warmup=chosen.warmup,
    )
    found = [side(BASELINE, count=1, together=True)]
    for count in chosen.ranks:
        found.append(side(f"1 of {count} ranks", count=count, together=False))
        if device().type == "cpu" or torch.cuda.device_count() >= count:
            found.append(side(f"{count} ranks", count=count, together=True))
        else:
            sys.stderr.write(f"{count} ranks left out: {torch.cuda.device_count()} GPUs are here\n")
    return found


@contextmanager
def _processes(side: Side) -> Iterator[list[Connection]]:
    """The processes of a side; each takes a number of updates and answers with seconds."""
    spawn = multiprocessing.get_context("spawn")
    made: list[tuple[BaseProcess, Connection]] = []

    def start(rank: int, port: int) -> Connection:
        ours, theirs = spawn.Pipe()
        process = spawn.Process(target=_work, args=(theirs, side, rank, port), daemon=True)
        process.start()
        theirs.close()
        made.append((process, ours))
        return ours

    try:
        port = start(0, 0)
        if side.together and side.count > 1:
            number = port.recv()
            for rank in range(1, side.count):
                start(rank, number)
        yield [connection for _, connection in made]
        for _, connection in made:
            connection.send(0)
        for process, _ in made:
            process.join()
    finally:
        for process, _ in made:
            process.kill()


def _work(orders: Connection, side: Side, rank: int, port: int) -> None:
    torch.set_num_threads(1)
    joined = JoinedRanks(rank, side.count, rank, "127.0.0.1", port)
    ranks = joined if side.together and side.count > 1 else Forsaken(side.count) if side.count > 1 else ALONE
    with ranks:
        if ranks is joined and ranks.is_main:
            orders.send(joined.port)
        ranks.start(device())
        task = random_text(side.extent, side.size, side.vocabulary, dropout=side.dropout)
        training = Training.model_validate({"steps": 10**9, "batch": side.batch, "precision": side.precision})
        loop = steps(side.encoding, task, training, side.compiled, ranks)

        def advance(count: int) -> None:
            for number in range(1, count + 1):
                progress = next(loop)
                ranks.any(False)
                if number % LOGGED == 0:
                    float(progress.losses["loss"])

        advance(side.warmup)
        orders.send(0.0)
        while count := orders.recv():
            # By the wall clock, which waiting for the others counts on as well.
            wait(device())
            begin = time.perf_counter()
            advance(count)
            wait(device())
            orders.send(time.perf_counter() - begin)


if __name__ == "__main__":
    main()
