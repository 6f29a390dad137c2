"""`report.html`: all that is known of a sweep in one page that needs no network."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

from pebench.leaderboard.board import Board
from pebench.leaderboard.plots import PICTURES, inline_pictures
from pebench.leaderboard.run_data import MISSING, RunData
from pebench.leaderboard.sections import (
    CLAIMS,
    COMPARED,
    NO_PUBLISHED,
    OVERALL,
    Table,
    Value,
    claims_table,
    comparison_table,
    further_sections,
    is_compared,
    overall_table,
    scores_table,
    seeds_table,
)
from pebench.leaderboard.tables import LeaderboardTable
from pebench.leaderboard.wording import difference_heading, heading, interval_over, notes
from pebench.scores import extent_name

_MOST_ROWS = 400
"""Of a table of the page; the CSV files have them all, and a page of megabytes would not be read."""

_ENVIRONMENT = ("pebench", "commit", "dirty", "python", "device", "cuda", "threads")


def report(board: Board) -> str:
    """The text of the file, the same for the same runs."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pebench.leaderboard", "report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"breakable": _breakable, "sort_key": _sort_key}
    return environment.get_template("report.html.jinja").render(_content(board), most=_MOST_ROWS) + "\n"


def _breakable(text: str) -> str:
    """A label as it may be broken into lines: before its options, and not within a word."""
    import markupsafe

    return markupsafe.escape(text).replace("(", markupsafe.Markup("(<wbr>"))


def _sort_key(value: float) -> str:
    """A number as the page sorts by it; one that is not known comes last."""
    return "" if math.isnan(value) else f"{value:.8g}"


def _content(board: Board) -> dict[str, Any]:
    collection = board.collection
    states = Counter(run.status for run in collection.runs)
    total = len(collection.runs)
    return {
        "name": collection.sweep.name,
        "summary": f"{total - states[MISSING]} of {total} runs finished"
        + (f", {states['diverged']} of them diverged" if states["diverged"] else ""),
        "warnings": collection.warnings,
        "overall": overall_table(board) if board.overall else None,
        "overall_explained": OVERALL,
        "tables": [_task(board, table) for table in board.tables],
        "claims": claims_table(board.answers) if board.answers else None,
        "claims_explained": CLAIMS,
        "pictures": [
            {"name": name, "title": PICTURES[name][0], "svg": svg}
            for name, svg in inline_pictures(board).items()
        ],
        "unpublished": NO_PUBLISHED if board.published is not None and not board.published else "",
        "troubles": Table(["run", "seed", "what happened"], _troubles(collection.runs), "runs.csv"),
        "source": collection.sweep.source,
        "environments": _environments(collection.runs),
        "runs": Table(
            ["run", "task", "encoding", "seed", "status"], list(map(_run, collection.runs)), "runs.csv"
        ),
    }


def _task(board: Board, table: LeaderboardTable) -> dict[str, Any]:
    compared = is_compared(board, table)
    return {
        "title": table.title,
        "heading": heading(table),
        "scores": _with_comparison(scores_table(table), board, table),
        "explained": f"Mean ± half the width of the 95 % t interval over {interval_over(table)}. "
        + (COMPARED if compared else ""),
        "notes": [note.replace("`", "") for note in notes(board.collection, table)][:_MOST_ROWS],
        "sections": further_sections(board, table),
        "seeds": seeds_table(table),
    }


def _with_comparison(scores: Table, board: Board, table: LeaderboardTable) -> Table:
    """The scores, and beside them rank and difference to the baseline at the largest extent."""
    if table.largest is None:
        return scores
    against = f"against {board.baseline}: {difference_heading(table)}"
    beside = comparison_table(table, (f"rank at {extent_name(table.largest)}", against, "p"))
    columns = slice(1, None if is_compared(board, table) else 2)
    return Table(
        scores.headings + beside.headings[columns],
        [row + other[columns] for row, other in zip(scores.rows, beside.rows, strict=True)],
    )


def _troubles(runs: list[RunData]) -> list[list[Value]]:
    rows = []
    for each in runs:
        if each.result is None:
            what = each.failure or "has not finished"
        elif each.result.status == "diverged":
            step = each.result.diverged_at
            what = "diverged" if step is None else f"diverged at step {step}"
        else:
            continue
        rows.append([Value(each.run_id), Value(str(each.spec.seed), each.spec.seed), Value(what)])
    return rows


def _environments(runs: list[RunData]) -> list[dict[str, Any]]:
    """The different codes, machines and data that the runs come from, with how many come from each."""
    found: Counter[tuple[tuple[str, str], ...]] = Counter()
    for each in runs:
        if each.provenance:
            packages = each.provenance.get("packages")
            machine = each.provenance.get("machine")
            values = {
                **{name: each.provenance.get(name) for name in _ENVIRONMENT},
                **(packages if isinstance(packages, dict) else {}),
                "processor": machine.get("processor") if isinstance(machine, dict) else None,
                **{f"data: {name}": digest for name, digest in each.fingerprints.items()},
            }
            found[tuple((name, str(value)) for name, value in values.items() if value is not None)] += 1
    return [{"count": count, "values": values} for values, count in sorted(found.items())][:20]


def _run(run: RunData) -> list[Value]:
    return [
        Value(run.run_id),
        Value(run.spec.task.name),
        Value(run.encoding),
        Value(str(run.spec.seed), run.spec.seed),
        Value(run.status),
    ]
