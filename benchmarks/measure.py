"""How every benchmark measures and reports: in alternation with a named baseline, as a ratio in one run."""

from __future__ import annotations

import argparse
import gc
import json
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median, quantiles

import torch
from rich.console import Console
from rich.table import Table

from pebench import atomic

Work = Callable[[], object]


@dataclass(frozen=True)
class Row:
    """One line of a benchmark.

    Attributes:
        name: what was measured. setting: under what conditions, by name.
        seconds: median time of one call.
        ratio: median over the rounds of baseline time by this time: above 1 is faster than the baseline.
        spread: lower and upper quartile of that ratio.
        peak_bytes: most memory allocated on a CUDA device by one call; None elsewhere.
        more: further figures by name.
    """

    name: str
    setting: dict[str, object]
    seconds: float
    ratio: float
    spread: tuple[float, float]
    peak_bytes: int | None = None
    more: dict[str, float | str | None] = field(default_factory=dict)


def device() -> torch.device:
    """CUDA where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def alternate(
    works: Mapping[str, Work], baseline: str, setting: Mapping[str, object], rounds: int = 9, warmup: int = 2
) -> list[Row]:
    """Times pieces of work in turn, so that whatever else the machine does meets all of them alike.

    Args:
        works: by name. baseline: the name of the one the others are compared with.
        setting: what all of them have in common. rounds: that count. warmup: rounds before them.
    """
    times: dict[str, list[float]] = {name: [] for name in works}
    peaks: dict[str, int | None] = {}
    for number in range(warmup + rounds):
        for name, work in works.items():
            seconds, peak = _measured(work)
            if number >= warmup:
                times[name].append(seconds)
                peaks[name] = peak
    rows = []
    for name, own in times.items():
        ratios = [base / seconds for base, seconds in zip(times[baseline], own, strict=True)]
        low, _, high = quantiles(ratios, n=4) if len(ratios) > 1 else (ratios[0],) * 3
        rows.append(Row(name, dict(setting), median(own), median(ratios), (low, high), peaks[name]))
    return rows


def machine() -> dict[str, str]:
    """What the figures hold for."""
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor()
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "device": name or platform.machine(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "threads": str(torch.get_num_threads()),
    }


def report(title: str, baseline: str, rows: list[Row], output: Path | None) -> None:
    """Prints one table and writes one JSON file.

    Args:
        title: of the table. baseline: what ratios are to.
        rows: all of them. output: the JSON file, None for none.
    """
    settings = list(dict.fromkeys(key for row in rows for key in row.setting))
    further = list(dict.fromkeys(key for row in rows for key in row.more))
    table = Table(title=title, caption=f"ratio: time of {baseline} by own time, median and quartiles")
    for column in ("", *settings, "ms", "ratio", "quartiles", "peak MiB", *further):
        table.add_column(column, justify="left" if not column else "right")
    for row in rows:
        table.add_row(
            row.name,
            *(_text(row.setting.get(key)) for key in settings),
            f"{row.seconds * 1e3:.2f}",
            f"{row.ratio:.2f}",
            f"{row.spread[0]:.2f}–{row.spread[1]:.2f}",
            "" if row.peak_bytes is None else f"{row.peak_bytes / 2**20:.0f}",
            *(_text(row.more.get(key)) for key in further),
        )
    Console(width=None if Console().is_terminal else 160).print(table)
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        record = {
            "title": title,
            "baseline": baseline,
            "machine": machine(),
            "rows": [asdict(row) for row in rows],
        }
        atomic.write_text(output, json.dumps(record, indent=1) + "\n")


def arguments(description: str) -> argparse.ArgumentParser:
    """A parser with what every benchmark takes."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--output", type=Path, help="JSON file to write, for example build/benchmark.json")
    parser.add_argument("--rounds", type=int, default=9, help="measurements of each piece of work")
    return parser


def _measured(work: Work) -> tuple[float, int | None]:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    begin = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        return time.perf_counter() - begin, torch.cuda.max_memory_allocated()
    return time.perf_counter() - begin, None


def _text(value: object) -> str:
    if value is None:
        return ""
    return f"{value:,.4g}" if isinstance(value, float) else str(value)
