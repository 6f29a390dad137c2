"""What a process has of the run that it carries out: its log, its threads and the order of its sums."""

from __future__ import annotations

import gc
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from pebench.running.compilation import compile_for, share_compiled_kernels
from pebench.running.execution import Execution, torch_device
from pebench.running.importing import import_for_good
from pebench.specification.run_spec import RunSpec
from pebench.store.run_folder import RunFolder


class _Log(logging.FileHandler):
    """A log that stays silent where it cannot be written: what made it so fails the run with a sentence."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Nothing; the base class prints a traceback."""


@contextmanager
def run_log(folder: RunFolder, level: int) -> Iterator[logging.Logger]:
    """The logger of a run, which writes into its folder while the block lasts."""
    log = logging.getLogger(f"pebench.runs.{folder.run_id}")
    log.setLevel(level)
    # "pebench --verbose" has a handler above it.
    log.propagate = bool(logging.getLogger("pebench").handlers)
    handler = _Log(folder.log, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    # What is said of its data and its requests, without knowing of the run, is for its log as well.
    sources = (log, logging.getLogger("pebench.data"), logging.getLogger("pebench.lm-eval"))
    for source in sources:
        source.addHandler(handler)
    try:
        yield log
    finally:
        for source in sources:
            source.removeHandler(handler)
        handler.close()


@contextmanager
def one_order_of_sums(execution: Execution) -> Iterator[None]:
    """Lets no operation of a run on the CPU add numbers in an order that depends on which thread comes first:
    a run that is resumed, or run again, would end with other digits. For a run on CUDA nothing is changed."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(before or torch_device(execution.device).type == "cpu")
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


THREADS_ON_CUDA = 1
"""Beside a GPU a CPU draws numbers and asks for kernels, which further threads do not make faster: they would
keep all cores busy, and runs side by side would wait for each other."""


def prepare_process(spec: RunSpec, execution: Execution, device: torch.device) -> None:
    """Threads, memory and compiler of the process, as the run wants them."""
    # Strong biases make weights so small that the processor handles them an order of magnitude more slowly.
    torch.set_flush_denormal(True)
    threads = execution.threads or (THREADS_ON_CUDA if device.type == "cuda" else None)
    if threads is not None:
        torch.set_num_threads(threads)
    # What the run before this one in the process left behind is in its way.
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    if execution.compile:
        share_compiled_kernels()
        import_for_good("torch._inductor.compile_fx")
        compile_for(spec.group)


def job() -> str | None:
    """The scheduler's name for this job."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID")
