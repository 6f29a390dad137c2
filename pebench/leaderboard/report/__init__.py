"""`report.html`: all that is known of a sweep in one page that needs no network."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

from pebench.leaderboard.board import Board
from pebench.leaderboard.costs import cost_rows
from pebench.leaderboard.markdown import COMPARED, NO_PUBLISHED, OVERALL, PUBLISHED
from pebench.leaderboard.plots import TITLES, inline_pictures
from pebench.leaderboard.run_data import MISSING, RunData
from pebench.leaderboard.wide import Cell, Wide
from pebench.leaderboard.wording import (
    cell_text,
    cost_headings,
    cost_texts,
    decimal,
    difference_heading,
    difference_text,
    extent_headings,
    grouped,
    heading,
    notes,
    number,
    p_text,
    signed,
)
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
    environment.filters["breakable"] = _breakable
    return environment.get_template("report.html.jinja").render(_content(board)) + "\n"


def _breakable(text: str) -> str:
    """A label as it may be broken into lines: before its options, and not within a word."""
    import markupsafe

    return markupsafe.escape(text).replace("(", markupsafe.Markup("(<wbr>"))


def _content(board: Board) -> dict[str, Any]:
    collection = board.collection
    states = Counter(str(status) for status in collection.cells["status"])
    total = len(collection.runs)
    return {
        "name": collection.sweep.name,
        "summary": f"{total - states[MISSING]} of {total} runs finished"
        + (f", {states['diverged']} of them diverged" if states["diverged"] else ""),
        "warnings": collection.warnings,
        "overall": _overall(board),
        "tables": [_section(board, table) for table in board.tables],
        "pictures": [
            {"name": name, "title": TITLES[name], "svg": svg} for name, svg in inline_pictures(board).items()
        ],
        "unpublished": NO_PUBLISHED if board.published is not None and not board.published else "",
        "troubles": _shortened("troubles", ["run", "seed", "what happened"], _troubles(collection.runs)),
        "source": collection.sweep.source,
        "environments": _environments(collection.runs),
        "runs": _shortened(
            "runs", ["run", "task", "encoding", "seed", "status"], list(map(_run, collection.runs))
        ),
    }


def _section(board: Board, table: Wide) -> dict[str, Any]:
    collection = board.collection
    costs = cost_rows(board.costs, table)
    published = [match for match in board.published or () if match.table == table.key]
    largest = table.extents[-1] if table.extents else ()
    compared = board.baseline is not None and any(
        difference_text(line.cells.get(largest)) for line in table.lines
    )
    headings = ["encoding", *extent_headings(table)]
    if table.metric and largest:
        headings.append(f"rank at {extent_name(largest)}")
    if compared:
        headings += [f"against {board.baseline}: {difference_heading(table)}", "p"]
    rows = []
    for line in table.lines:
        cells = [
            _number(cell_text(cell), cell.mean if cell else math.nan, table.is_best(extent, cell))
            for extent in table.extents
            for cell in [line.cells.get(extent)]
        ]
        at_largest = line.cells.get(largest)
        if table.metric and largest:
            rank = at_largest.rank if at_largest else None
            cells.append(_number(str(rank or ""), rank or math.nan))
        if compared:
            cells += _difference(at_largest)
        rows.append([_text(line.label), *cells])
    return {
        "title": table.title,
        "heading": heading(table),
        "scores": _shortened("leaderboard.csv", headings, rows),
        "explained": "Mean ± half the width of the 95 % t interval over the seeds. "
        + (COMPARED if compared else ""),
        "notes": [note.replace("`", "") for note in notes(collection, table)][:_MOST_ROWS],
        "seeds": _seeds(table),
        "costs": _shortened(
            "costs.csv",
            ["encoding", *cost_headings(table, costs)],
            [
                [
                    _text(row.label),
                    *(
                        _number(text, value)
                        for text, value in zip(cost_texts(row), _values(row), strict=True)
                    ),
                ]
                for row in costs
            ],
        )
        if costs
        else None,
        "published_explained": PUBLISHED,
        "published": _shortened(
            "published.csv",
            [
                *("encoding", "metric", "extent", "ours", "parameters", "published", "difference"),
                *("their model", "source", "note"),
            ],
            [
                [
                    _text(match.label),
                    _text(match.metric),
                    _text(extent_name(match.extent)),
                    _number(number(match.mean), match.mean),
                    _number(grouped(match.parameters), match.parameters or math.nan),
                    _number(number(match.figure.value, like=match.mean), match.figure.value),
                    _number(signed(match.difference, 2), match.difference),
                    _text(match.figure.model),
                    _text(match.figure.source),
                    _text("; ".join(match.remarks)),
                ]
                for match in published
            ],
        )
        if published
        else None,
    }


def _values(row: Any) -> list[float]:
    return [row.parameters, row.encoding_parameters, row.training, row.evaluation, row.memory, math.nan]


def _difference(cell: Cell | None) -> list[dict[str, Any]]:
    if cell is None:
        return [_text(""), _text("")]
    return [_number(difference_text(cell), cell.difference), _number(p_text(cell.p_holm), cell.p_holm)]


def _seeds(table: Wide) -> dict[str, Any] | None:
    """Every seed's score by extent."""
    rows = []
    for line in table.lines:
        seeds = sorted({seed for cell in line.cells.values() for seed in cell.seeds})
        for seed in seeds:
            values = [
                cell.seeds.get(seed, math.nan) if (cell := line.cells.get(extent)) else math.nan
                for extent in table.extents
            ]
            texts = [_number("" if math.isnan(value) else number(value), value) for value in values]
            rows.append([_text(line.label), _number(str(seed), seed), *texts])
    if not rows:
        return None
    return _shortened("scores.csv", ["encoding", "seed", *extent_headings(table)], rows)


def _overall(board: Board) -> dict[str, Any] | None:
    if not board.overall:
        return None
    headings = ["encoding", "mean rank", "relative score"]
    for table in board.tables:
        headings += [f"{table.title}: rank", "relative"]
    rows = []
    for row in board.overall:
        cells = [_number(decimal(row.rank, 2), row.rank), _number(decimal(row.relative, 3), row.relative)]
        for table in board.tables:
            found = row.standings.get(table.title)
            rank, relative = (found.rank, found.relative) if found else (math.nan, math.nan)
            cells += [_number(decimal(rank, 2), rank), _number(decimal(relative, 3), relative)]
        rows.append([_text(row.label), *cells])
    return {"explained": OVERALL, "table": _shortened("overall.csv", headings, rows)}


def _troubles(runs: list[RunData]) -> list[list[dict[str, Any]]]:
    rows = []
    for each in runs:
        if each.result is None:
            what = each.failure or "has not finished"
        elif each.result.status == "diverged":
            step = each.result.diverged_at
            what = "diverged" if step is None else f"diverged at step {step}"
        else:
            continue
        rows.append([_text(each.run_id), _number(str(each.spec.seed), each.spec.seed), _text(what)])
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


def _run(run: RunData) -> list[dict[str, Any]]:
    return [
        _text(run.run_id),
        _text(run.spec.task.name),
        _text(run.spec.encoding.label or run.spec.encoding.name),
        _number(str(run.spec.seed), run.spec.seed),
        _text(run.status),
    ]


def _shortened(file: str, headings: list[str], rows: list[list[dict[str, Any]]]) -> dict[str, Any]:
    """A table with as many rows as the page has room for, and how many it leaves to a file."""
    return {
        "file": file if file.endswith(".csv") else "runs.csv",
        "headings": headings,
        "rows": rows[:_MOST_ROWS],
        "more": max(0, len(rows) - _MOST_ROWS),
    }


def _text(text: str) -> dict[str, Any]:
    return {"text": text, "sort": None, "best": False}


def _number(text: str, value: float, best: bool = False) -> dict[str, Any]:
    """A cell that is sorted by its number; one without a number comes last."""
    return {"text": text, "sort": "" if math.isnan(value) else f"{value:.8g}", "best": best}
