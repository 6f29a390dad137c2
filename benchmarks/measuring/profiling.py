"""The time of a piece of work by its parts: kernels on a CUDA device, operators on a CPU."""

from __future__ import annotations

import time
from pathlib import Path

from measuring.alternation import Work, device, wait
from torch.profiler import ProfilerActivity, profile

from pebench import atomic

LINES = 60
"""Kernels or operators that are listed, those that take most time first."""


def write_profile(path: Path, title: str, work: Work, units: int) -> None:
    """Writes a table by PyTorch's profiler: milliseconds a unit, times a unit, share and name.

    Args:
        path: of the text file. title: its first line. work: done once. units: of work in that.
    """
    where = device()
    on_cuda = where.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_cuda else [])]
    wait(where)
    with profile(activities=activities, acc_events=True) as found:
        begin = time.perf_counter()
        work()
        wait(where)
        wall = (time.perf_counter() - begin) / units
    events = [event for event in found.key_averages() if (event.device_type.name == "CUDA") == on_cuda]
    spent = {e: e.self_device_time_total if on_cuda else e.self_cpu_time_total for e in events}
    # Ranges that a program marks out cover the kernels in them, and would count twice.
    spent = {event: own for event, own in spent.items() if own > 0 and not event.is_user_annotation}
    total = sum(spent.values())
    what = "kernels" if on_cuda else "operators"
    lines = [
        title,
        f"{wall * 1e3:.2f} ms by the wall clock, under the profiler; {total / units / 1e3:.2f} ms in {what}",
        "",
        "      ms    times  share  name",
    ]
    for event, own in sorted(spent.items(), key=lambda item: -item[1])[:LINES]:
        share = f"{own / total:.1%}"
        lines.append(f"{own / units / 1e3:8.3f} {event.count / units:8.1f} {share:>6}  {event.key[:200]}")
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic.write_text(path, "\n".join(lines) + "\n")
