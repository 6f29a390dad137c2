"""`report.html`: all that is known of a sweep in one page that needs no network.

A chapter is made by a function of the board; `CHAPTERS` lists them in their order. The charts are
Vega-Lite's, whose code is written into the page once.
"""

from __future__ import annotations

import functools
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from pebench import atomic
from pebench.data.cache import cache_folder, digest
from pebench.leaderboard.board import Board
from pebench.leaderboard.costs import not_alone
from pebench.leaderboard.headline import headline
from pebench.leaderboard.plots.style import WIDE_RANGE, Look, looks
from pebench.leaderboard.report import charts, vega_lite
from pebench.leaderboard.report.blocks import (
    Block,
    Chapter,
    Chart,
    Facts,
    Grid,
    Heading,
    Notes,
    Source,
    Text,
)
from pebench.leaderboard.report.score_chart import score_by_extent
from pebench.leaderboard.run_data import MISSING, RunData
from pebench.leaderboard.sections import (
    CLAIMS,
    NO_PUBLISHED,
    Table,
    Value,
    claims_table,
    comparison_explained,
    comparison_table,
    further_sections,
    is_compared,
    overall_explained,
    overall_table,
    scores_table,
    seeds_table,
)
from pebench.leaderboard.tables import LeaderboardTable
from pebench.leaderboard.wording import difference_heading, grouped, heading, notes, number, score_meaning
from pebench.machine.environment import environment
from pebench.notation.quantities import counted
from pebench.store.scores import default_extrapolation, extent_name

if TYPE_CHECKING:
    import jinja2

_MOST_ROWS = 400
"""Of a table of the page; the CSV files have them all, and a page of megabytes would not be read."""


def report(board: Board) -> str:
    """The text of the file, the same for the same runs."""
    return page(board, _sentences(board), [chapter for make in CHAPTERS for chapter in make(board)])


def page(board: Board, sentences: Sequence[str], chapters: Sequence[Chapter]) -> str:
    """A page about a sweep.

    Args:
        board: its results.
        sentences: what came out, a paragraph each.
        chapters: from top to bottom; those of `report` are made by `CHAPTERS`.
    """
    environment = _templates()
    loader = environment.loader
    assert loader is not None
    style, script = (loader.get_source(environment, f"page.{kind}")[0] for kind in ("css", "js"))
    drawn = any(isinstance(block, Chart) for chapter in chapters for block in chapter.blocks)
    text = environment.get_template("report.html.jinja").render(
        name=board.collection.sweep.name,
        swatch=functools.partial(_swatch, looks(board.tables)),
        finished=_finished(board),
        sentences=sentences,
        warnings=board.collection.warnings,
        chapters=chapters,
        style=style,
        script=script,
        library=_vega() if drawn else "",
        most=_MOST_ROWS,
    )
    return text + "\n"


@functools.cache
def _templates() -> jinja2.Environment:
    """What renders pages, whose templates are compiled once for all sweeps."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pebench.leaderboard", "report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"breakable": _breakable, "sort_key": _sort_key, "embedded": _embedded}
    return environment


_CALL = "window.vegaEmbed = vegaEmbed;"
"""The script that is bundled with what it calls."""

VEGA_LITE = "6.1"
"""Version of Vega-Lite. In 6.4 what is nearest to the pointer says "undefined" for every value."""


@functools.cache
def _vega() -> str:
    """Vega, Vega-Lite and vega-embed in one script, fit to stand within a page."""
    made_of = digest([version("vl-convert-python"), VEGA_LITE, _CALL])
    kept = cache_folder() / "scripts" / f"vega-{made_of}.js"
    # Making it takes two seconds. Where the cache cannot be read or written it is made each time.
    with suppress(OSError, UnicodeDecodeError):
        return kept.read_text("utf-8")
    import vl_convert

    script = vl_convert.javascript_bundle(_CALL, VEGA_LITE).replace("</script", "<\\/script")
    with suppress(OSError):
        kept.parent.mkdir(parents=True, exist_ok=True)
        atomic.write_text(kept, script)
    return script


def _embedded(value: Any) -> str:
    """A value as JSON that may stand within a script."""
    import markupsafe

    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return markupsafe.Markup(text.replace("<", "\\u003c"))


def _swatch(look: Mapping[str, Look], label: str) -> str:
    """A short piece of a row's line, with its colour, dashes and marker."""
    import markupsafe

    colour, dash, marker = look[label]
    dashes = "" if dash == "-" else f' stroke-dasharray="{" ".join(map(str, vega_lite.DASHES[dash]))}"'
    return markupsafe.Markup(
        f'<svg class="swatch" viewBox="0 0 34 12" style="color:{vega_lite.ink(colour)}" aria-hidden="true">'
        f'<path d="M0,6H34" stroke="currentColor" stroke-width="2"{dashes}/>'
        f'<path d="{_OUTLINES[marker]}" transform="translate(17 6)" fill="currentColor"/></svg>'
    )


_OUTLINES = {
    "o": "M-4,0a4,4 0 1,0 8,0a4,4 0 1,0 -8,0",
    "s": "M-3.6,-3.6h7.2v7.2h-7.2Z",
    "^": "M0,-4.4L4.4,3.6H-4.4Z",
    "D": "M0,-5L4,0L0,5L-4,0Z",
    "v": "M0,4.4L4.4,-3.6H-4.4Z",
    "P": "M-1.6,-4.8h3.2v3.2h3.2v3.2h-3.2v3.2h-3.2v-3.2h-3.2v-3.2h3.2Z",
    "X": "M-2.6,-4.6L0,-2L2.6,-4.6L4.6,-2.6L2,0L4.6,2.6L2.6,4.6L0,2L-2.6,4.6L-4.6,2.6L-2,0L-4.6,-2.6Z",
}
"""The markers of the charts as paths, by matplotlib's sign."""


def _breakable(text: str) -> str:
    """A label as it may be broken into lines: before its options, between the parts of a setting's path and
    before its value, and not within a word or a number."""
    import markupsafe

    parts = re.split(r"(?<=\w\()|(?<=[a-z]\.)(?=[a-z])|(?<=[a-z]=)", text)
    return markupsafe.Markup("<wbr>").join(map(markupsafe.escape, parts))


def _sort_key(value: float) -> str:
    """A number as the page sorts by it; one that is not known comes last."""
    return "" if math.isnan(value) else f"{value:.8g}"


def _finished(board: Board) -> str:
    states = Counter(run.status for run in board.collection.runs)
    total = len(board.collection.runs)
    diverged = f", {states['diverged']} of them diverged" if states["diverged"] else ""
    return f"{total - states[MISSING]} of {total} runs finished{diverged}."


def _sentences(board: Board) -> list[str]:
    """What came out, a paragraph a table."""
    several = len(board.tables) > 1
    return [
        f"{table.title}: {headline(board, table)}" if several else headline(board, table)
        for table in board.tables
    ]


def _overall(board: Board) -> list[Chapter]:
    if not board.overall:
        return []
    return [
        Chapter("overall", "Over all tasks", [Text(overall_explained(board)), Grid(overall_table(board))])
    ]


def _tasks(board: Board) -> list[Chapter]:
    look = looks(board.tables)
    return [
        Chapter(f"table-{place}", table.title, _task(board, table, look, f"table-{place}"))
        for place, table in enumerate(board.tables, 1)
    ]


def _task(board: Board, table: LeaderboardTable, look: Mapping[str, Look], anchor: str) -> Sequence[Block]:
    """The blocks of one task: its scores drawn and written, and whatever else is known of it."""
    scores, shades = _with_comparison(board, table)
    blocks: list[Block | None] = [
        Text(heading(table)),
        score_by_extent(board, table, look, anchor) if table.metric else None,
        Grid(scores, shades),
        Text(
            f"{score_meaning(table).capitalize()}; the deeper the shade the better. "
            + (comparison_explained(table) if is_compared(board, table) else ""),
            soft=True,
        ),
    ]
    gaps = [note.replace("`", "") for note in notes(board.collection, table)][:_MOST_ROWS]
    blocks.append(Notes(gaps) if gaps else None)
    trade_off = charts.cost_against_quality(board, table, look, anchor)
    shared = not_alone(board.collection, table)
    blocks += [trade_off, Text(shared, soft=True) if trade_off and shared else None]
    for section in further_sections(board, table):
        blocks += [
            Heading(section.title),
            Text(section.explained) if section.explained else None,
            Grid(section.table),
        ]
    blocks.append(charts.sensitivity(board, table, look, anchor))
    blocks += charts.maps(board, table, anchor)
    blocks.append(charts.score_by_update(board, table, look, anchor))
    blocks.append(charts.training_losses(board, table, look, anchor))
    seeds = seeds_table(table)
    blocks.append(Grid(seeds, fold="Every seed") if seeds.rows else None)
    return [block for block in blocks if block is not None]


def _with_comparison(board: Board, table: LeaderboardTable) -> tuple[Table, dict[tuple[int, int], float]]:
    """Rank, p and difference to the baseline at the largest extent, and beside them the scores, with how good
    each of these is. What is compared comes first, so that it is in sight however many extents there are."""
    scores = scores_table(table)
    if table.largest is None:
        return scores, {}
    against = f"against {board.baseline}: {difference_heading(table)}"
    beside = comparison_table(table, (f"rank at {extent_name(table.largest)}", against, "p"))
    columns = (0, 1, 3, 2) if is_compared(board, table) else (0, 1)
    joined = Table(
        [beside.headings[column] for column in columns] + scores.headings[1:],
        [
            [other[column] for column in columns] + row[1:]
            for row, other in zip(scores.rows, beside.rows, strict=True)
        ],
    )
    return joined, _shades(table, len(joined.headings) - len(table.extents))


def _shades(table: LeaderboardTable, first: int) -> dict[tuple[int, int], float]:
    """How good the score of each row and extent is among all of the table, in percent of their span."""
    values = {
        (place, first + column): row.at(extent).mean
        for place, row in enumerate(table.rows)
        for column, extent in enumerate(table.extents)
        if row.at(extent).known
    }
    if not values or min(values.values()) == max(values.values()):
        return {}
    low, high = min(values.values()), max(values.values())
    if low > 0 and high / low > WIDE_RANGE:
        values = {key: math.log(value) for key, value in values.items()}
        low, high = math.log(low), math.log(high)
    good = {key: (value - low) / (high - low) for key, value in values.items()}
    return {key: round(part if table.record.higher_is_better else 1 - part, 2) for key, part in good.items()}


def _published(board: Board) -> list[Chapter]:
    if board.published is None or board.published:
        return []
    return [Chapter("published", "Published figures", [Text(NO_PUBLISHED, soft=True)])]


def _claims(board: Board) -> list[Chapter]:
    if not board.answers:
        return []
    return [Chapter("claims", "Claims", [Text(CLAIMS), Grid(claims_table(board.answers))])]


def _troubles(board: Board) -> list[Chapter]:
    rows = []
    for each in board.collection.runs:
        if each.result is None:
            what = each.failure or "has not finished"
        elif each.result.status == "diverged":
            step = each.result.diverged_at
            what = "diverged" if step is None else f"diverged at step {step}"
        else:
            continue
        rows.append([Value(each.run_id), Value(str(each.spec.seed), each.spec.seed), Value(what)])
    table = Table(["run", "seed", "what happened"], rows, "runs.csv")
    return [Chapter("troubles", "What did not finish", [Grid(table)])] if rows else []


def _sweep(board: Board) -> list[Chapter]:
    source = board.collection.sweep.source
    return [Chapter("sweep", "Sweep", [Source(source)])] if source else []


def _environment(board: Board) -> list[Chapter]:
    """The different codes, machines and data that the runs come from, with how many come from each."""
    found: Counter[tuple[tuple[str, str], ...]] = Counter()
    for each in board.collection.runs:
        if each.provenance:
            packages = each.provenance.get("packages")
            values = {
                **environment(each.provenance),
                **(packages if isinstance(packages, dict) else {}),
                **{f"data: {name}": digest for name, digest in each.fingerprints.items()},
            }
            found[tuple((name, str(value)) for name, value in values.items() if value is not None)] += 1
    blocks: list[Block] = [
        Facts(counted(count, "run"), values) for values, count in sorted(found.items())[:20]
    ]
    return [Chapter("environment", "Environment", blocks or [Text("No run has begun.", soft=True)])]


def _runs(board: Board) -> list[Chapter]:
    headings = ["run", "task", "encoding", "seed", "status", "score", "at", "items/s in training"]
    table = Table(headings, [_run(board, run) for run in board.collection.runs], "runs.csv")
    text = (
        "runs.csv has the whole specification, commit and data of each. The score is at its largest extent."
    )
    return [Chapter("runs", "Runs", [Text(text), Grid(table)])]


def _run(board: Board, run: RunData) -> list[Value]:
    metric = board.collection.headlines.get(run.spec.task.name, "")
    default = default_extrapolation(run.result) if run.result is not None else None
    scores = {e: value for (name, e, how), value in run.scores.items() if (name, how) == (metric, default)}
    extent = max(scores, key=lambda extent: (math.prod(extent), extent)) if scores else None
    score = scores[extent] if extent is not None else math.nan
    rate = run.result.cost.items_per_second if run.result is not None else None
    return [
        Value(run.run_id),
        Value(run.spec.task.name),
        Value(run.encoding),
        Value(str(run.spec.seed), run.spec.seed),
        Value(run.status),
        Value("" if math.isnan(score) else number(score), score),
        Value(extent_name(extent) if extent else "", math.prod(extent) if extent else math.nan),
        Value(grouped(rate), math.nan if rate is None else rate),
    ]


CHAPTERS: Sequence[Callable[[Board], list[Chapter]]] = (
    _overall,
    _tasks,
    _published,
    _claims,
    _troubles,
    _sweep,
    _environment,
    _runs,
)
"""What the page is made of, from top to bottom. Each gives the chapters that it has something to say in."""
