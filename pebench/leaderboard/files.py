"""The CSV files of a sweep as frames: scores, means, costs, and the runs that they come from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import astuple
from typing import TYPE_CHECKING, Any

from pebench.leaderboard.answers import Answer
from pebench.leaderboard.board import Board
from pebench.leaderboard.collect import Collection
from pebench.leaderboard.columns import COSTS
from pebench.leaderboard.overall import Standing
from pebench.leaderboard.published import Match
from pebench.leaderboard.run_data import by_place
from pebench.machine.environment import ENVIRONMENT, environment
from pebench.store.scores import extent_name

if TYPE_CHECKING:
    import pandas


def frames(board: Board) -> dict[str, pandas.DataFrame]:
    """Every CSV file of a sweep's results, by its name."""
    found = {
        "scores.csv": _scores(board.collection),
        "leaderboard.csv": _leaderboard(board),
        "costs.csv": _costs(board),
        "runs.csv": _runs(board.collection),
    }
    if board.collection.tuned:
        found["tuning.csv"] = _tuning(board)
    if board.curves:
        found["curves.csv"] = _curves(board.collection)
    if board.overall:
        found["overall.csv"] = _overall(board)
    if board.answers:
        found["claims.csv"] = answers_frame(board.answers)
    if board.published is not None:
        found["published.csv"] = _published(board.published)
    return found


def _scores(collection: Collection) -> pandas.DataFrame:
    """One row a run, metric, extent and extrapolation."""
    frame = _described(collection.scores, collection)
    return frame[[*_names(collection), "seed", "metric", "extent", "extrapolation", "value", "run_id"]]


def _curves(collection: Collection) -> pandas.DataFrame:
    """One row a run, look, metric, extent and extrapolation."""
    import pandas

    rows = [
        (run.run_id, run.group, run.spec.seed, moment.step, moment.items, *place, value)
        for run in collection.runs
        for moment in run.curve
        for place, value in by_place(moment.scores).items()
    ]
    names = ["run_id", "group", "seed", "update", "items", "metric", "extent", "extrapolation", "value"]
    frame = _described(pandas.DataFrame(rows, columns=names), collection)
    return frame[[*_names(collection), *names[2:], "run_id"]]


def _leaderboard(board: Board) -> pandas.DataFrame:
    """One row a group, metric, extent and extrapolation.

    It holds nothing that differs from one attempt at the same runs to the next: times and memory are in
    `_costs`.
    """
    collection, costs = board.collection, board.costs
    trained, evaluated = (costs[costs["phase"] == phase] for phase in ("training", "evaluation"))
    trained = trained[["group", "parameters", "encoding_parameters", "item"]]
    evaluated = evaluated[[*_PLACE, "kernels"]]
    frame = board.summary.merge(trained, on="group", how="left").merge(evaluated, on=_PLACE, how="left")
    frame = _described(frame, collection)
    places = zip(frame["task"], frame["metric"], strict=True)
    known = [collection.metrics.get(task, {}).get(metric) for task, metric in places]
    frame["unit"] = [record.unit if record else "" for record in known]
    frame["better"] = [("higher" if r.higher_is_better else "lower") if r else "" for r in known]
    frame["rank"] = frame["rank"].astype("Int64")
    for name in ("parameters", "encoding_parameters"):
        frame[name] = frame[name].astype("Float64")
    place = ["extrapolation", "metric", "unit", "better", "extent"]
    frame["measured_on"] = [_counts(counts) for counts in frame["measured_on"]]
    means = ["mean", "low", "high", "uncertainty", "text_share", "measured_on"]
    means += ["seeds", "coverage", "diverged", "rank"]
    compared = ["baseline", "difference", "difference_low", "difference_high", "pairs", "p", "p_holm"]
    tuned = ["chosen"] if collection.tuned else []
    if tuned:
        frame["chosen"] = [collection.groups[key].tuned for key in frame["group"]]
    return frame[[*_names(collection), *tuned, *place, *means, *compared, *_OF_MODEL, "run_ids"]]


_OF_MODEL = ["parameters", "encoding_parameters", "kernels", "item"]
_PLACE = ["group", "extent", "extrapolation"]


def _whole(column: pandas.Series[float]) -> pandas.Series[int]:
    """Means of bytes without their fractions, of which nobody asks; what is missing stays so."""
    return column.astype("Float64").round().astype("Int64")


def _costs(board: Board) -> pandas.DataFrame:
    """One row a group and phase, and for evaluations a row an extent and extrapolation."""
    place = ["phase", "extent", "extrapolation"]
    frame = _described(board.costs, board.collection)
    frame["peak_memory_bytes"] = _whole(frame["peak_memory_bytes"])
    return frame[[*_names(board.collection), *place, *COSTS]]


def _runs(collection: Collection) -> pandas.DataFrame:
    """One row a run: what became of it, and the code, the machine, the data and the specification behind it.

    The specification is the one that the run's id is the hash of, as JSON.
    """
    import pandas

    rows = []
    for run in collection.runs:
        packages = run.provenance.get("packages")
        rows.append(
            [
                *(run.run_id, run.spec.task.name, run.encoding, run.spec.seed, run.status, run.failure),
                *map(_text, environment(run.provenance).values()),
                _versions(packages if isinstance(packages, dict) else {}),
                _versions(run.fingerprints),
                run.spec.model_dump_json(),
            ]
        )
    columns = ["run_id", "task", "encoding", "seed", "status", "failure"]
    return pandas.DataFrame(rows, columns=[*columns, *ENVIRONMENT, "packages", "data", "spec"])


def _tuning(board: Board) -> pandas.DataFrame:
    """One row a candidate and seed of its trials; the settings as JSON."""
    import pandas

    rows = []
    for key, tuned in board.collection.tuned.items():
        group, choice, chosen = board.collection.groups[key], tuned.choice, tuned.chosen
        for number, candidate in enumerate(choice.candidates):
            edges = " ".join(chosen.edges) if number == chosen.candidate else ""
            trials = zip(choice.seeds, chosen.scores[number], candidate.trials, strict=True)
            for seed, score, run_id in trials:
                rows.append(
                    [
                        *(group.task, group.encoding, json.dumps(candidate.settings), choice.metric),
                        *(extent_name(choice.extent), choice.splits[0] if choice.splits else "", seed),
                        *(score, number == chosen.candidate, edges, run_id),
                    ]
                )
    columns = ["task", "encoding", "settings", "metric", "extent", "split", "seed", "value"]
    return pandas.DataFrame(rows, columns=[*columns, "chosen", "edge", "run_id"])


def _overall(board: Board) -> pandas.DataFrame:
    """One row an encoding, with its mean over all tables and its place in each."""
    import pandas

    titles = [table.title for table in board.tables]
    columns = [f"{title}: {name}" for title in titles for name in ("rank", "relative_score")]
    none = Standing(float("nan"), float("nan"))
    rows = [
        [row.label, row.rank, row.relative]
        + [value for title in titles for value in astuple(row.standings.get(title, none))]
        for row in board.overall
    ]
    return pandas.DataFrame(rows, columns=["encoding", "mean_rank", "relative_score", *columns])


def answers_frame(answers: Sequence[Answer]) -> pandas.DataFrame:
    """One row a difference that a claim is about, with the answer to the claim."""
    import pandas

    nan = float("nan")
    rows = []
    published = ["published"] if any(one.claim.published for one in answers) else []
    for one in answers:
        for part in one.parts:
            found = part.difference
            mean, width = (found.mean, found.half_width) if found is not None else (nan, nan)
            rows.append(
                (
                    *(one.claim.claim, one.outcome, one.p, one.p_holm, one.basis, one.needed, part.what),
                    *("within" if part.within else "above", part.bound, part.unit),
                    *(mean, mean - width, mean + width, part.p_holds),
                    *(
                        found.seeds if found is not None else 0,
                        found.text_share if found is not None else nan,
                    ),
                    *(one.claim.published or "" for _ in published),
                )
            )
    return pandas.DataFrame(rows, columns=[*_ANSWERS, *published])


_ANSWERS = [
    *("claim", "answer", "p", "p_holm", "uncertainty", "needed", "difference_of", "claimed", "bound", "unit"),
    *("difference", "difference_low", "difference_high", "p_holds", "seeds", "text_share"),
]


def csv_text(frame: pandas.DataFrame) -> str:
    """The text of a CSV file, the same for the same numbers."""
    return frame.to_csv(index=False, float_format="%.8g", lineterminator="\n")


def _published(matches: list[Match]) -> pandas.DataFrame:
    """One row a published figure and the sweep's number that it stands beside."""
    import pandas

    rows = [
        (
            *(match.figure.task, match.label, match.metric, extent_name(match.extent), match.mean),
            *(match.mean - match.half_width, match.mean + match.half_width, match.parameters),
            *(match.figure.value, match.difference, match.figure.dataset, match.figure.model),
            *(match.figure.metric, match.figure.source, "; ".join(match.remarks), match.run_ids),
        )
        for match in matches
    ]
    return pandas.DataFrame(rows, columns=_PUBLISHED)


_PUBLISHED = [
    *("task", "encoding", "metric", "extent", "mean", "low", "high", "parameters", "published", "difference"),
    *("published_dataset", "published_model", "published_metric", "source", "note", "run_ids"),
]


def _counts(counts: Mapping[str, int]) -> str:
    """``65536 tokens, 256 windows, 5 documents``."""
    return ", ".join(f"{count} {name}" for name, count in counts.items())


def _versions(values: dict[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in sorted(values.items()) if value is not None)


def _text(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else json.dumps(value)


def _names(collection: Collection) -> list[str]:
    return ["task", "encoding", *collection.columns]


def _described(frame: pandas.DataFrame, collection: Collection) -> pandas.DataFrame:
    """With columns that say what a group is, in place of its key; extents as text."""
    groups = [collection.groups[key] for key in frame["group"]]
    described = frame.assign(
        task=[group.task for group in groups],
        encoding=[group.encoding for group in groups],
        extent=[extent_name(extent) for extent in frame["extent"]],
    )
    for column in collection.columns:
        described[column] = [group.settings.get(column, "") for group in groups]
    return described
