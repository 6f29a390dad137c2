"""One run, from its folder to its result: resumed where it stands, finished once, never finished twice."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import socket
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from torch import nn

from pebench.errors import UserError
from pebench.machine.environment import processor
from pebench.position_encoding import Extrapolation, PositionEncoding
from pebench.resolve import evaluations
from pebench.running import checkpoint, longer, peak_memory, provenance, source_code
from pebench.running.checkpoint import State
from pebench.running.evaluations import Evaluations, evaluations_at, metrics_of
from pebench.running.execution import Execution, Observer, Stop, check_ranks, torch_device
from pebench.running.heartbeat import AlreadyRunning, Heartbeat
from pebench.running.machine_load import NEIGHBOURS, neighbours
from pebench.running.optimisation import optimiser as build_optimiser
from pebench.running.optimisation import rates
from pebench.running.plugins import load_plugins
from pebench.running.process import job, one_order_of_sums, prepare_process, run_log
from pebench.running.ranks import ALONE, RankLost, Ranks
from pebench.running.readiness import get_ready
from pebench.running.train import Progress, train
from pebench.running.warm_start import load_start
from pebench.specification.run_spec import RunSpec
from pebench.store.records import Cost, CurvePoint, Point, Result, Score
from pebench.store.run_folder import RunFolder
from pebench.store.scores import evaluation_name, score_name
from pebench.store.task_record import TaskRecord
from pebench.task import AnyTask


def execute(
    folder: RunFolder,
    execution: Execution | None = None,
    *,
    observer: Observer | None = None,
    stop: Stop = lambda: False,
    ranks: Ranks = ALONE,
) -> Result | None:
    """Brings a run to its result, from wherever it stands.

    Args:
        folder: of the run; its specification is there already.
        execution: device, threads and cadences.
        observer: told of progress.
        stop: asked after every step and every evaluation.
        ranks: the processes that carry the run out together; all of them are to call this.

    Returns:
        The result, the old one if the run was finished before; None if `stop` ended it, with all progress
        saved, and on all ranks but the first.

    Raises:
        AlreadyRunning: another worker is at it.
        RankLost: another rank is gone.
        UserError: the specification, the data or the device is not there. Recorded in the folder, like any
            other exception.
    """
    execution = execution or Execution()
    if not ranks.is_main:
        _follow(folder, execution, stop, ranks)
        return None
    result = folder.result()
    if result is not None:
        _dismiss(ranks)
        return result
    spec = folder.spec()
    with _only_worker(folder, ranks):
        return _lead(folder, spec, execution, observer, stop, ranks)


_TELL_EVERY = 60.0
"""Seconds between lines of the log that say how training goes."""

_GO, _HOME = "go", "home"
"""Messages of the first rank to the others at the beginning."""


def _lead(
    folder: RunFolder,
    spec: RunSpec,
    execution: Execution,
    observer: Observer | None,
    stop: Stop,
    ranks: Ranks,
) -> Result | None:
    result = folder.result()
    if result is not None:
        _dismiss(ranks)
        return result
    folder.clear_failure()
    begun = checkpoint.step_of(checkpoint.newest(folder.checkpoint))
    with (
        run_log(folder, logging.INFO) as log,
        # A reader finds the reason as soon as it finds that the worker has failed.
        Heartbeat(folder, spec.train.steps, job(), begun) as heartbeat,
    ):
        try:
            with ranks, one_order_of_sums(execution):
                ranks.broadcast_object("beginning", _GO)
                result = _Run(folder, spec, execution, log, heartbeat, observer, stop, ranks).work()
                ranks.broadcast_object("end", "")
                return result
        except AlreadyRunning:
            raise
        except KeyboardInterrupt:
            log.info("interrupted")
            raise
        except Exception as error:
            log.error("%s", traceback.format_exc().rstrip())
            reason = folder.failure() if isinstance(error, RankLost) else None
            # Where not even this can be written, the job's own output is left to tell of it.
            with contextlib.suppress(OSError):
                folder.write_failure(reason_of(error) if reason is None else reason.message)
            raise


def _follow(folder: RunFolder, execution: Execution, stop: Stop, ranks: Ranks) -> None:
    """The part of a rank that leaves no trace in the folder, but for the reason if it fails."""
    with run_log(folder, logging.ERROR) as log, ranks, one_order_of_sums(execution):
        if ranks.broadcast_object("beginning", "") != _GO:
            return
        try:
            _Run(folder, folder.spec(), execution, log, None, None, stop, ranks).work()
            # A cluster may end a job some time after the first of its tasks has ended.
            ranks.broadcast_object("end", "")
        except RankLost:
            raise
        except Exception as error:
            who = f"rank {ranks.index} on {socket.gethostname()}"
            log.error("%s: %s", who, traceback.format_exc().rstrip())
            # What fails all ranks alike is told by the first.
            if folder.failure() is None:
                folder.write_failure(f"{who}: {reason_of(error)}")
            raise


def _dismiss(ranks: Ranks) -> None:
    """Tells the other ranks that there is nothing to do."""
    with ranks:
        ranks.broadcast_object("beginning", _HOME)


class _Run:
    """A run while it is being worked on."""

    def __init__(
        self,
        folder: RunFolder,
        spec: RunSpec,
        execution: Execution,
        log: logging.Logger,
        heartbeat: Heartbeat | None,
        observer: Observer | None,
        stop: Stop,
        ranks: Ranks,
    ) -> None:
        self.folder, self.spec, self.execution = folder, spec, execution
        self.log, self.heartbeat, self.observer, self.stop = log, heartbeat, observer, stop
        self._told = -math.inf
        self.ranks = ranks
        self.device = torch_device(execution.device)
        self.saved = time.monotonic()
        self.looked: set[int] = set()
        self.peak = 0

    def work(self) -> Result | None:
        """See `execute`."""
        prepare_process(self.spec, self.execution, self.device)
        self.device = self.ranks.start(self.device)
        check_ranks(self.spec, self.ranks.count)
        load_plugins(self.folder, self.spec)
        task, encoding, start, fingerprints, record = get_ready(self.spec, self.folder.path.parent)
        data = json.dumps(fingerprints, sort_keys=True)
        if self.ranks.broadcast_object("data", data) != data:
            raise UserError("its data are not those of the first rank.")
        hosts = self.ranks.gather("hosts", socket.gethostname())
        if self.ranks.is_main:
            self._record(task.item, fingerprints, record, hosts)
            task.keep(self.folder.path)
        model, optimiser = self._build(task, encoding)
        if self.spec.start is not None and start is not None:
            self.log.info("starts from %s, %s", self.spec.start.run, load_start(start, self.spec, model))
        if self.ranks.is_main:
            self._go_on_from_a_shorter_run(fingerprints)
            self.looked = {point.step for point in self.folder.curve()}
        self.looked = set(json.loads(self.ranks.broadcast_object("looked", json.dumps([*self.looked]))))
        newest = self.ranks.broadcast_object("checkpoint", checkpoint.newest(self.folder.checkpoint))
        state = checkpoint.load(self.folder.checkpoint, newest, model, optimiser, self.device)
        self._say_step(state.step)
        self.log.info("%s, seed %d, from step %d", self.spec.encoding.label, self.spec.seed, state.step)
        peak_memory.reset(self.device)
        state = self._train(model, task, optimiser, state)
        if state.step < self.spec.train.steps and state.diverged_at is None:
            self.log.info("stopped at step %d, checkpoint saved", state.step)
            return None
        cost = self._training_cost(model, task, state)
        if state.diverged_at is not None:
            self.log.warning("the loss stopped being a number at step %d", state.diverged_at)
            evaluated: Evaluations | None = Evaluations()
        else:
            # Equal gradients make equal weights, on equal devices.
            self.ranks.broadcast(list(model.state_dict().values()))
            evaluated = self._evaluate(model, task, state)
        if evaluated is None or not self.ranks.is_main:
            return None
        return self._finish(task, model, state, evaluated, cost)

    def _build(self, task: AnyTask, encoding: PositionEncoding) -> tuple[nn.Module, torch.optim.Optimizer]:
        model = task.build(encoding, self.spec.seed).to(self.device)
        return model, build_optimiser(model, encoding, self.spec.train)

    def _train(
        self, model: nn.Module, task: AnyTask, optimiser: torch.optim.Optimizer, state: State
    ) -> State:
        """Trains until the budget is spent, the loss stops being a number, or `stop` says so."""
        started = state.step, time.monotonic()
        if self._is_to_be_looked_at(state) and not self._look(model, task, state):
            return state
        updates = train(
            model,
            task,
            optimiser,
            self.spec.train,
            self.spec.seed,
            state,
            self.device,
            self._wanted,
            self.execution.compile,
            self.ranks,
        )
        for progress in updates:
            state = progress.state
            over = state.step == self.spec.train.steps or state.diverged_at is not None
            if self.ranks.is_main and (self._logged(state.step) or over):
                rate = (state.step - started[0]) / max(time.monotonic() - started[1], 1e-9)
                self._log_losses(progress, task.item, optimiser, rate)
            due = time.monotonic() - self.saved >= self.execution.checkpoint_every
            stopping = self.ranks.any(self.stop())
            looking = self._is_to_be_looked_at(state)
            if self.ranks.is_main and state.step == self.spec.train.steady and state.diverged_at is None:
                checkpoint.save(self.folder.continuation, model, optimiser, state)
            if self.ranks.is_main and (due or stopping or over or looking):
                self._say_step(state.step)
                checkpoint.save(self.folder.checkpoint, model, optimiser, state)
                self.saved = time.monotonic()
            if stopping and not over:
                break
            if looking and not self._look(model, task, state):
                break
        return state

    def _wanted(self, step: int) -> bool:
        training = self.spec.train
        return self._logged(step) or step in training.looks or step == training.steady

    def _is_to_be_looked_at(self, state: State) -> bool:
        """Whether the model is evaluated now and trained on after that."""
        training = self.spec.train
        return (
            state.step in training.looks
            and state.step < training.steps
            and state.step not in self.looked
            and state.diverged_at is None
        )

    def _look(self, model: nn.Module, task: AnyTask, state: State) -> bool:
        """Evaluates in the midst of training, which goes on as if nothing had been; False if `stop` ended
        it."""
        self.peak = max(self.peak, peak_memory.read(self.device) or 0)
        if self.ranks.is_main and self.spec.train.keep_weights:
            self._keep_weights(self.folder.weights_after(state.step), model, state)
        evaluated = self._evaluate(model, task, state)
        model.train()
        peak_memory.reset(self.device)
        # The first rank alone knows whether all is there.
        if self.ranks.any(self.ranks.is_main and evaluated is None):
            return False
        if evaluated is not None and self.ranks.is_main:
            self._add_to_curve(task, state, evaluated)
            Evaluations.clear(self.folder)
        self.looked.add(state.step)
        return True

    def _add_to_curve(self, task: AnyTask, state: State, evaluated: Evaluations) -> None:
        concluded = _concluded(task, evaluated.scores)
        default = evaluated.scores[0].extrapolation if evaluated.scores else None
        values = {score_name(score, default): score.value for score in concluded}
        if values:
            self.folder.append(Point(step=state.step, items=state.items, time=time.time(), values=values))
        scores = (*evaluated.scores, *concluded)
        self.folder.append_to_curve(CurvePoint(step=state.step, items=state.items, scores=scores))

    def _keep_weights(self, path: Path, model: nn.Module, state: State) -> None:
        path.parent.mkdir(exist_ok=True)
        checkpoint.save_weights(path, model, {"run": self.folder.run_id, "step": str(state.step)})

    def _go_on_from_a_shorter_run(self, fingerprints: dict[str, str]) -> None:
        """Begins a run where another one with the same beginning and fewer updates ended."""
        if self.ranks.count == 1 and not checkpoint.newest(self.folder.checkpoint):
            shorter = longer.shorter_run(self.folder, self.spec, fingerprints, self.device)
            if shorter is not None:
                step = longer.take_over(self.folder, shorter, self.spec)
                self.log.info("goes on from %s, step %d", shorter.run_id, step)

    def _evaluate(self, model: nn.Module, task: AnyTask, state: State) -> Evaluations | None:
        """Every evaluation that is not done yet, each by one of the ranks; None if `stop` ended it. The first
        rank alone gets to know what was found."""
        encoding: PositionEncoding = model.encoding  # type: ignore[assignment]
        wanted = evaluations(encoding, task)
        places = [
            evaluation_name(reach.extent, reach.method, encoding.trained_with.method) for reach in wanted
        ]
        evaluated = Evaluations.read(self.folder, state.step) if self.ranks.is_main else Evaluations()
        done = {(cost.extent, cost.extrapolation) for cost in evaluated.costs}
        open_ones = [
            number for number, reach in enumerate(wanted) if (reach.extent, reach.method) not in done
        ]
        # An exchange between ranks takes place once by each name.
        dealt = f"evaluations {state.step}"
        pieces: list[int] = json.loads(self.ranks.broadcast_object(dealt, json.dumps(open_ones)))
        awaited = set(pieces)

        def collect() -> None:
            """Takes in what other ranks have found meanwhile."""
            for number in sorted(awaited) if self.ranks.is_main else ():
                note = self.ranks.get(f"{dealt} {number}")
                if note is not None:
                    take(number, Evaluations.model_validate_json(note))

        def take(number: int, found: Evaluations) -> None:
            awaited.remove(number)
            evaluated.take(found)
            self._record_evaluation(evaluated, found, places[number], state)

        for number in self.ranks.divide(dealt, pieces):
            if self.stop():
                self.ranks.set("stopping", "")
            if self.stop() or self.ranks.get("stopping") is not None:
                break
            if self.observer is not None:
                self.observer.evaluating(len(wanted) - len(awaited), len(wanted), places[number])
            half = self.spec.train.evaluate_in == "bfloat16"
            found = evaluations_at(model, task, wanted[number], self.device, half)
            if self.ranks.is_main:
                take(number, found)
            else:
                self.ranks.set(f"{dealt} {number}", found.model_dump_json())
            collect()
        self.ranks.gather(f"evaluated {state.step}", "", collect)
        collect()
        if awaited:
            self.log.info("stopped before the evaluation at %s", places[min(awaited)])
            return None
        return evaluated.in_order(wanted)

    def _record_evaluation(
        self, evaluated: Evaluations, found: Evaluations, where: str, state: State
    ) -> None:
        self._say_step(state.step)
        evaluated.write(self.folder)
        for fitted in (cost.fitted for cost in found.costs if cost.fitted):
            numbers = ", ".join(f"{name} {value:.4g}" for name, value in fitted.items())
            self.log.info("fitted to held-out examples at %s: %s", where, numbers)
        values = {f"{score.metric}/{where}": score.value for score in found.scores}
        self.log.info(
            "%s", ", ".join(f"{name} {value:.4f}" for name, value in values.items() if value is not None)
        )
        self.folder.append(Point(step=state.step, items=state.items, time=time.time(), values=values))

    def _finish(
        self, task: AnyTask, model: nn.Module, state: State, evaluated: Evaluations, cost: dict[str, Any]
    ) -> Result:
        diverged = state.diverged_at is not None
        scores = [*evaluated.scores, *_concluded(task, evaluated.scores)]
        result = Result(
            status="diverged" if diverged else "done",
            diverged_at=state.diverged_at,
            extent_unit=task.extent_unit,
            metrics=metrics_of(task) | evaluated.metrics,
            scores=tuple(scores),
            cost=Cost(**cost, evaluations=tuple(evaluated.costs)),
        )
        if self.spec.keeps_weights:
            self._keep_weights(self.folder.weights, model, state)
        if self.spec.train.looks and not diverged:
            self._add_to_curve(task, state, evaluated)
        self._say_step(state.step)
        self.folder.write_examples(evaluated.examples)
        self.folder.write_result(result)
        checkpoint.clear(self.folder.checkpoint)
        Evaluations.clear(self.folder)
        self.log.info("%s", result.status)
        return result

    def _training_cost(self, model: nn.Module, task: AnyTask, state: State) -> dict[str, Any]:
        own = model.encoding.parameters()  # type: ignore[union-attr]
        # What is resident where nothing was trained says nothing of training.
        peak = peak_memory.read(self.device) if self.spec.train.steps else None
        peaks = self.ranks.gather("memory", str(max(peak, self.peak) if peak is not None else ""))
        return {
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            "encoding_parameters": sum(parameter.numel() for parameter in own),
            "item": task.item,
            "items_per_second": state.timed_items / state.seconds if state.seconds else None,
            "peak_memory_bytes": max(map(int, peaks)) if all(peaks) else None,
            "ranks": self.ranks.count,
            "beside": self._neighbours(),
            "kernels": tuple(model.kernels()),  # type: ignore[operator]
        }

    def _neighbours(self) -> int | None:
        """The most other processes that were seen on the GPU."""
        seen = [sample.values.get(NEIGHBOURS) for sample in self.folder.samples()]
        known = [int(count) for count in (*seen, neighbours()) if count is not None]
        return max(known, default=None)

    def _record(self, item: str, fingerprints: dict[str, str], record: TaskRecord, hosts: list[str]) -> None:
        """Writes down where the numbers will come from.

        Args:
            item: the unit in which the task counts what it reads.
            fingerprints: of the data.
            record: of the task.
            hosts: of the ranks, in order.

        Raises:
            UserError: the run began with other data.
        """
        before = self.folder.provenance()
        if before.get("data", fingerprints) != fingerprints and self.folder.checkpoint.exists():
            raise UserError(
                f"the data of {self.folder.run_id} changed since it began; remove its folder to start over."
            )
        found = source_code.installed()
        described = provenance.describe(self.device)
        attempt = {
            "commit": found.commit,
            "code": found.digest,
            "processor": processor(described),
            "job": job(),
            "started": time.time(),
        }
        self.folder.write_changes(source_code.patch())
        self.folder.write_provenance(
            described
            | {
                "attempts": [*before.get("attempts", []), attempt],
                "data": fingerprints,
                "task": record.model_dump(mode="json"),
                "item": item,
                "execution": self.execution.model_dump(),
                "ranks": {"count": self.ranks.count, "hosts": hosts, "backend": self.ranks.backend},
                "job": job(),
                "started": time.time(),
            }
            | ({"continues": before["continues"]} if "continues" in before else {})
        )

    def _say_step(self, step: int, rate: float | None = None) -> None:
        if self.heartbeat is not None:
            self.heartbeat.at(step, rate)

    def _logged(self, step: int) -> bool:
        return step % self.execution.log_every == 0

    def _log_losses(
        self, progress: Progress, item: str, optimiser: torch.optim.Optimizer, rate: float
    ) -> None:
        state = progress.state
        values = {f"train/{name}": float(value) for name, value in progress.losses.items()}
        values["train/gradient-norm"] = float(progress.gradient_norm)
        values |= {f"train/{name}": value for name, value in rates(optimiser).items()}
        if state.seconds:
            values[f"train/{item}-per-second"] = state.timed_items / state.seconds
        self.folder.append(Point(step=state.step, items=state.items, time=time.time(), values=dict(values)))
        self._say_step(state.step, rate)
        if self.observer is not None:
            self.observer.training(state.step, self.spec.train.steps, values, rate)
        if (now := time.monotonic()) - self._told >= _TELL_EVERY or state.step == self.spec.train.steps:
            self._told = now
            last, loss = self.spec.train.steps, values.get("train/loss", math.nan)
            self.log.info("step %d of %d: loss %.4g, %.3g steps/s", state.step, last, loss, rate)


def _concluded(task: AnyTask, scores: list[Score]) -> list[Score]:
    """Scores that the task draws from all evaluations together."""
    found: dict[Extrapolation, dict[str, float]] = {}
    for score in scores:
        values = found.setdefault(Extrapolation(score.extent, score.extrapolation), {})
        values[score.metric] = math.nan if score.value is None else score.value
    return [
        Score(metric=name, extent=reach.extent, extrapolation=reach.method, value=value)
        for reach, values in task.conclude(found).items()
        for name, value in values.items()
    ]


@contextmanager
def _only_worker(folder: RunFolder, ranks: Ranks) -> Iterator[None]:
    """Holds the run against other workers of this host; the system lets go of it when the process dies."""
    lock = FileLock(folder.path / "lock")
    try:
        lock.acquire(blocking=False)
    except Timeout:
        _dismiss(ranks)
        worker = folder.worker()
        who = f"process {worker.pid} on {worker.host}" if worker else "another process"
        raise AlreadyRunning(f"{folder.run_id} is being worked on by {who}.") from None
    try:
        yield
    finally:
        lock.release()


def reason_of(error: BaseException) -> str:
    """Why a run failed: the sentence of a mistake, of anything else its type and all lines that it says."""
    text = str(error).strip()
    return text if isinstance(error, (UserError, RankLost)) else f"{type(error).__name__}: {text}"
