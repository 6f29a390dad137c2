"""Figures that others have published, beside those of a sweep where task, data and protocol are the same.

The file is `published.csv` beside this module, or one of a user's with the same columns. Models, tokenizers
and budgets differ from paper to paper, so the model stands beside every figure.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated

from pydantic import BeforeValidator, Field, ValidationError

from pebench.errors import UserError
from pebench.leaderboard.collect import Collection
from pebench.leaderboard.groups import Group
from pebench.notation.text_file import read_text
from pebench.specification.run_spec import Frozen, RunSpec
from pebench.store.scores import extent_name
from pebench.store.task_record import EvaluationData
from pebench.sweeping.names import hyphened

if TYPE_CHECKING:
    import pandas

BUILT_IN = Path(__file__).with_name("published.csv")
"""The figures that come with pebench, each with its source."""


Extent = Annotated[int | None, BeforeValidator(lambda written: written or None)]


class Figure(Frozen):
    """One published number.

    Attributes:
        task: as pebench calls it.
        dataset: name, and the split behind it: ``wikitext-103 valid``.
        model: what was trained, in words.
        train_extent, eval_extent: positions an axis; of images, pixels. None where the source names none:
            then it stands beside numbers at the trained extent, whatever that is.
        metric: its name, and the protocol in brackets: ``word perplexity (non-overlapping)``.
        encoding: as pebench calls it, with the way past the trained extent where it is not the default:
            ``rope, yarn``.
        converted: the encoding whose weights it went on from, where that was another one.
        value: the number.
        source: where it stands.
        note: what has to be said whenever it is shown.
    """

    task: str
    dataset: str
    model: str = ""
    train_extent: Extent = None
    eval_extent: Extent = None
    metric: str
    encoding: str
    converted: str = ""
    value: float = Field(allow_inf_nan=False)
    source: str
    note: str = ""


@dataclass(frozen=True)
class Match:
    """A published number and the one of a sweep that it can be put beside.

    Attributes:
        table, label: where the sweep's stands.
        metric, extent: of the sweep.
        mean, half_width: of the sweep; NaN where they are not known.
        parameters: of the sweep's model, None where nothing has finished.
        figure: the published one.
        remarks: what is to be said beside it, its own note first.
        run_ids: the runs behind the sweep's number.
    """

    table: tuple[str, ...]
    label: str
    metric: str
    extent: tuple[int, ...]
    mean: float
    half_width: float
    parameters: int | None
    figure: Figure
    remarks: tuple[str, ...]
    run_ids: str

    @property
    def difference(self) -> float:
        """The sweep's number less the published one."""
        return self.mean - self.figure.value


def read_figures(path: Path = BUILT_IN) -> list[Figure]:
    """The figures of a file.

    Raises:
        UserError: it cannot be read, a column is missing, or a line is not as it should be.
    """
    rows = csv.DictReader(io.StringIO(read_text(path), newline=""))
    needed = [name for name, field in Figure.model_fields.items() if field.is_required()]
    missing = [name for name in needed if name not in (rows.fieldnames or ())]
    if missing:
        raise UserError(f"{path} has no column '{missing[0]}': it needs {', '.join(Figure.model_fields)}.")
    found = []
    for row in rows:
        try:
            found.append(Figure.model_validate({k: v for k, v in row.items() if k in Figure.model_fields}))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise UserError(f"{path}, line {rows.line_num}: {where}: {first['msg'].lower()}.") from error
    return found


def matches(collection: Collection, summary: pandas.DataFrame, figures: Sequence[Figure]) -> list[Match]:
    """Every figure that can be put beside a row of a sweep, in the order of the rows.

    Args:
        collection: the sweep.
        summary: see `pebench.leaderboard.summary.summarise`.
        figures: of others.
    """
    first = {key: runs[0] for key, runs in collection.by_group.items()}
    parameters = {run.group: run.result.cost.parameters for run in collection.runs if run.result}
    by_id = {run.run_id: run.spec for run in collection.runs}
    found = []
    columns = ["group", "metric", "extent", "extrapolation", "mean", "half_width", "run_ids"]
    for key, metric, extent, method, mean, half_width, run_ids in summary[columns].itertuples(
        index=False, name=None
    ):
        group = collection.groups[key]
        if math.isnan(mean):
            continue
        way = "" if method == group.default else f", {method}"
        names = {group.encoding_name + way, group.encoding + way}
        unit, converted = collection.metrics[group.task][metric].unit, _converted(first[key].spec, by_id)
        for figure in figures:
            data = first[key].task.evaluation_data
            if (
                data is None
                or figure.encoding not in names
                or figure.converted != converted
                or not _same_protocol(figure, group, metric.removesuffix(data.suffix), unit, extent)
            ):
                continue
            remarks = _same_data(figure, data)
            if remarks is not None and _may_be_one_model(figure, data.model):
                note = (figure.note,) if figure.note else ()
                found.append(
                    Match(
                        group.table,
                        group.label + way,
                        metric,
                        extent,
                        mean,
                        half_width,
                        parameters.get(key),
                        figure,
                        (*note, *_unsaid(figure, data), *remarks),
                        run_ids,
                    )
                )
    return found


def _same_protocol(figure: Figure, group: Group, metric: str, unit: str, extent: tuple[int, ...]) -> bool:
    return (
        figure.task == group.task
        and hyphened(metric) == _metric(figure.metric)
        and ("%" in figure.metric) == (unit == "%")
        and group.trained is not None
        and (figure.train_extent is None or _square(group.trained, figure.train_extent))
        and (extent == group.trained if figure.eval_extent is None else _square(extent, figure.eval_extent))
    )


def _converted(spec: RunSpec, by_id: Mapping[str, RunSpec]) -> str:
    """Label of the other encoding that a run, or one that it goes on from, was converted from; empty if from
    none."""
    if spec.start is None:
        return ""
    before, _, behind = spec.start.label.partition(" on ")
    start = by_id.get(spec.start.run)
    return before if behind else _converted(start, by_id) if start is not None else ""


def _square(extent: tuple[int, ...], side: int) -> bool:
    """Whether an extent is this long on each of its axes, as tables write it."""
    return extent_name(extent) == "x".join([str(side)] * len(extent))


_WORDING = {"token perplexity": "perplexity", "non-overlapping": ""}


def _metric(wording: str) -> str:
    """pebench's name for a metric as papers put it: ``word-perplexity`` for ``word perplexity
    (non-overlapping)``, ``perplexity-sliding-1`` for ``token perplexity (sliding, stride 1)``."""
    name, _, protocol = wording.lower().partition("(")
    name, protocol = name.strip(), protocol.strip(" )")
    protocol = re.sub(r"\b(stride|tokens?)\b", " ", _WORDING.get(protocol, protocol))
    return "-".join(part for part in map(hyphened, (_WORDING.get(name, name), protocol)) if part)


def _unsaid(figure: Figure, data: EvaluationData) -> Iterator[str]:
    if data.unsaid and "(" not in figure.metric:
        yield f"the figure's file names no {data.unsaid}"
    if figure.train_extent is None:
        yield "the figure's source names no extent"


_FIGURE_SIZE = re.compile(r"ViT-(\w)\w*/(\d+)", re.IGNORECASE)
_OUR_SIZE = re.compile(r"_(tiny|small|base|large|huge|giant)_patch(\d+)")


def _may_be_one_model(figure: Figure, model: str) -> bool:
    """False where the figure's is a vision Transformer of one size and the sweep's one of another."""
    theirs, ours = _FIGURE_SIZE.match(figure.model), _OUR_SIZE.search(model)
    if theirs is None or ours is None:
        return True
    return (theirs[1].lower(), theirs[2]) == (ours[1][0], ours[2])


def _same_data(figure: Figure, data: EvaluationData) -> tuple[str, ...] | None:
    """The remark to be made if this is the figure's data; None if it is not."""
    name, _, split = figure.dataset.rpartition(" ")
    wanted = _SPLITS.get(split.lower())
    name = _canonical(name if wanted else figure.dataset)
    if not data.whole or (wanted and data.split and wanted != data.split):
        return None
    if name in map(_canonical, data.names):
        return ()
    paths = map(PurePosixPath, data.paths)
    if name in (_canonical(part) for path in paths for part in (path.name, path.parent.name)):
        return ("our data is a file or folder of that name",)
    return None


_SPLITS = {
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "train": "train",
}


def _canonical(name: str) -> str:
    """``wikitext-103`` for ``WikiText-103-raw-v1``."""
    return re.sub(r"(-raw)?(-v\d+)?$", "", name.lower().replace("_", "-"))
