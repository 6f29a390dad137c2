"""The arguments of a benchmark, the table that it prints and the file that it writes."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

import torch
from measuring.alternation import Row, device
from rich.console import Console
from rich.table import Table

from pebench import atomic
from pebench.running import provenance, source_code

BEGUN = datetime.now(UTC), os.getloadavg()[0]
"""When this process began, and how many processes wanted a core in the minute before."""

COMMIT, DIRTY = source_code.commit()
"""Of the code that this process runs, whatever the checkout comes to hold meanwhile."""

Record = dict[str, Any]
"""The content of a file of results: title, baseline, machine, and rows as `Row` has them."""


class Arguments(argparse.ArgumentParser):
    """The options of a benchmark; a mistake gets one sentence."""

    def __init__(self, description: str | None) -> None:
        super().__init__(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
        self.add_argument("--output", type=Path, help="JSON file to write, as build/benchmarks/sync.json")
        self.add_argument("--rounds", type=positive, default=9, help="measurements of each piece of work")

    def error(self, message: str) -> NoReturn:
        """Ends the process with status 2."""
        self.exit(2, f"pebench: {self.prog}: {message} ({self.prog} --help shows the options).\n")


def positive(text: str) -> int:
    """A whole number from 1 on.

    Raises:
        ArgumentTypeError: it is none.
    """
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is no number from 1 on")
    return int(text)


def report(title: str, baseline: str, rows: Iterable[Row], output: Path | None, *, clock: str) -> None:
    """Prints one table and writes one JSON file, which holds each row as soon as it is there.

    Args:
        title: of the table. baseline: what ratios are to.
        rows: all of them, each told on stderr as it comes. output: the JSON file, None for none.
        clock: which the times of the rows are by.

    Raises:
        SystemExit: there are no rows.
    """
    record: Record = {"title": title, "baseline": baseline, "machine": machine(clock), "rows": []}
    for row in rows:
        record["rows"].append(asdict(row))
        sys.stderr.write(_told(row, baseline))
        if output is not None:
            write(output, record)
    if not record["rows"]:
        sys.exit("pebench: there is nothing to compare, and nothing was written.")
    headings, lines = cells(record["rows"])
    table = Table(title=title, caption=caption(record))
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="right" if number else "left", overflow="fold")
    for line in lines:
        table.add_row(*line)
    Console(width=None if Console().is_terminal else 200).print(table)


def write(output: Path, record: Record) -> None:
    """Writes the file whole or not at all."""
    output.parent.mkdir(parents=True, exist_ok=True)
    atomic.write_text(output, json.dumps(record, indent=1, ensure_ascii=False) + "\n")


def in_one_line(error: BaseException) -> str:
    """An error in one line, for a log."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def _told(row: Row, baseline: str) -> str:
    """The line of a row for a log."""
    setting = ", ".join(f"{key} {text(value)}" for key, value in row.setting.items())
    return f"{row.name}: {text(row.seconds * 1e3)} ms, {ratio(row.ratio)} of {baseline} ({setting})\n"


def machine(clock: str) -> dict[str, Any]:
    """The machine, the code and the libraries that the figures hold for."""
    found = provenance.describe(device())
    cores = found["machine"]["cores"]
    on_cuda = device().type == "cuda"
    return {
        "date": BEGUN[0].date().isoformat(),
        "device": found["device"] if on_cuda else f"{found['machine']['processor']}, {cores} cores",
        "torch": torch.__version__,
        "cuda": found["cuda"],
        "python": found["python"],
        "commit": COMMIT,
        "dirty": DIRTY,
        "threads": found["threads"],
        "cores": cores,
        "clock": clock,
        "load": round(BEGUN[1], 1),
    }


def caption(record: Record) -> str:
    """The settings that all rows have in common."""
    common = ", ".join(f"{key} {text(value)}" for key, value in shared(record["rows"]).items())
    meaning = f"ratio: time of {record['baseline']} by own time, median and quartiles of the rounds"
    return f"{common}; {meaning}" if common else meaning


def shared(rows: list[Record]) -> Record:
    """The settings that are equal in all rows, where there are several rows."""
    first: Record = rows[0]["setting"] if len(rows) > 1 else {}
    return {key: v for key, v in first.items() if all(row["setting"].get(key) == v for row in rows)}


def cells(rows: list[Record]) -> tuple[list[str], list[list[str]]]:
    """Headings and lines of a table, without the settings that all rows share and what none of them has."""
    same = shared(rows)
    settings = [key for key in _keys(rows, "setting") if key not in same]
    further = [key for key in _keys(rows, "more") if any(row["more"].get(key) is not None for row in rows)]
    with_memory = any(row["added_bytes"] is not None for row in rows)
    headings = ["", *settings, "ms", "ratio", "quartiles", *(["added MiB"] if with_memory else []), *further]
    lines = []
    for row in rows:
        added = row["added_bytes"]
        lines.append(
            [
                row["name"],
                *(text(row["setting"].get(key)) for key in settings),
                text(row["seconds"] * 1e3),
                ratio(row["ratio"]),
                "–".join(ratio(quartile) for quartile in row["spread"]),
                *(["" if added is None else f"{added / 2**20:,.0f}"] if with_memory else []),
                *(text(row["more"].get(key)) for key in further),
            ]
        )
    return headings, lines


def ratio(value: float) -> str:
    """How a table shows a ratio: hundredths, of a small one two digits."""
    return f"{value:.2f}" if value >= 0.1 else f"{value:.2g}"


def text(value: object) -> str:
    """How a table shows a value: three digits of a fraction."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _keys(rows: list[Record], part: str) -> list[str]:
    return list(dict.fromkeys(key for row in rows for key in row[part]))
