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
from typing import TYPE_CHECKING, Any

from pydantic import Field, ValidationError

from pebench.errors import UserError
from pebench.leaderboard.collect import Collection
from pebench.leaderboard.groups import Group
from pebench.scores import extent_name
from pebench.spec import Frozen, RunSpec
from pebench.text_file import read_text

if TYPE_CHECKING:
    import pandas

BUILT_IN = Path(__file__).with_name("published.csv")
"""The figures that come with pebench, each with its source."""


class Figure(Frozen):
    """One published number.

    Attributes:
        task: as pebench calls it.
        dataset: name, and the split behind it: ``wikitext-103 valid``.
        model: what was trained, in words.
        train_extent, eval_extent: positions an axis; of images, pixels.
        metric: its name, and the protocol in brackets: ``word perplexity (non-overlapping)``.
        encoding: as pebench calls it.
        value: the number.
        source: where it stands.
        note: what has to be said whenever it is shown.
    """

    task: str
    dataset: str
    model: str = ""
    train_extent: int
    eval_extent: int
    metric: str
    encoding: str
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
    specs = {run.group: run.spec for run in collection.runs} if figures else {}
    data = {key: _Data.of(spec) for key, spec in specs.items()}
    parameters = {run.group: run.result.cost.parameters for run in collection.runs if run.result}
    found = []
    columns = ["group", "metric", "extent", "extrapolation", "mean", "half_width", "run_ids"]
    for key, metric, extent, method, mean, half_width, run_ids in summary[columns].itertuples(
        index=False, name=None
    ):
        group = collection.groups[key]
        if math.isnan(mean) or method != group.default:
            continue
        unit = collection.metrics[group.task][metric].unit
        for figure in figures:
            if not _same_protocol(figure, group, metric, unit, extent):
                continue
            remarks = data[key].matches(figure)
            if remarks is not None and _may_be_one_model(figure, specs[key]):
                note = (figure.note,) if figure.note else ()
                found.append(
                    Match(
                        group.table,
                        group.label,
                        metric,
                        extent,
                        mean,
                        half_width,
                        parameters.get(key),
                        figure,
                        (*note, *_unsaid(figure, metric), *remarks),
                        run_ids,
                    )
                )
    return found


def _same_protocol(figure: Figure, group: Group, metric: str, unit: str, extent: tuple[int, ...]) -> bool:
    return (
        figure.task == group.task
        and figure.encoding in (group.encoding_name, group.encoding)
        and _without_crop(metric) == _metric(figure.metric)
        and ("%" in figure.metric) == (unit == "%")
        and group.trained is not None
        and _square(group.trained, figure.train_extent)
        and _square(extent, figure.eval_extent)
    )


def _square(extent: tuple[int, ...], side: int) -> bool:
    """Whether an extent is this long on each of its axes, as tables write it."""
    return extent_name(extent) == "x".join([str(side)] * len(extent))


_WORDING = {"token perplexity": "perplexity", "non-overlapping": ""}


def _metric(wording: str) -> str:
    """pebench's name for a metric as papers put it: ``word-perplexity`` for ``word perplexity
    (non-overlapping)``, ``perplexity-sliding-1`` for ``token perplexity (sliding, stride 1)``."""
    name, _, protocol = wording.lower().partition("(")
    name, protocol = name.strip(), protocol.strip(" )")
    base = re.sub(r"[^a-z0-9]+", "-", _WORDING.get(name, name)).strip("-")
    protocol = re.sub(r"\b(stride|tokens?)\b", " ", _WORDING.get(protocol, protocol))
    return "-".join(part for part in (base, re.sub(r"[^a-z0-9]+", "-", protocol).strip("-")) if part)


_CROP = re.compile(r"-crop-([\d.]+)$")


def _without_crop(metric: str) -> str:
    """``top-1`` for ``top-1-crop-1``: papers on images seldom say how much of a picture they evaluate on."""
    return _CROP.sub("", metric)


def _unsaid(figure: Figure, metric: str) -> Iterator[str]:
    if "(" in figure.metric:
        return
    if "perplexity" in figure.metric:
        yield "the figure's file names no protocol; ours is non-overlapping windows"
    if figure.task == "image-classification":
        crop = _CROP.search(metric)
        yield f"the figure's file names no crop; ours is {crop[1] if crop else '224/256'}"


_FIGURE_SIZE = re.compile(r"ViT-(\w)\w*/(\d+)", re.IGNORECASE)
_OUR_SIZE = re.compile(r"_(tiny|small|base|large|huge|giant)_patch(\d+)")


def _may_be_one_model(figure: Figure, spec: RunSpec) -> bool:
    """False where the figure's is a vision Transformer of one size and the specification's one of another."""
    theirs, ours = _FIGURE_SIZE.match(figure.model), _OUR_SIZE.search(str(spec.model.get("name") or ""))
    if theirs is None or ours is None:
        return True
    return (theirs[1].lower(), theirs[2]) == (ours[1][0], ours[2])


@dataclass(frozen=True)
class _Data:
    """What is known of the data of a specification.

    Attributes:
        names: what it is called. folders: the names of the folder and file that it was read from.
        split: what was evaluated on, None where the task does not say.
        whole: whether all of the split was.
    """

    names: frozenset[str]
    folders: frozenset[str]
    split: str | None
    whole: bool

    @classmethod
    def of(cls, spec: RunSpec) -> _Data:
        options = spec.task.options
        names, folders = set(), set()
        for key, text in _texts(options.get("data")):
            path = PurePosixPath(text)
            if key in ("dataset", "configuration", "name"):
                names.add(_canonical(path.name))
            else:
                names.add(_canonical(text))
                folders |= {_canonical(path.name), _canonical(path.parent.name)}
        split = options.get("split")
        return cls(
            frozenset(names),
            frozenset(folders - {""}),
            _SPLITS.get(str(split).lower()) if split else None,
            options.get("tokens") is None and options.get("images") is None,
        )

    def matches(self, figure: Figure) -> tuple[str, ...] | None:
        """What has to be said if this is the figure's data; None if it is not."""
        name, _, split = figure.dataset.rpartition(" ")
        wanted = _SPLITS.get(split.lower())
        name = _canonical(name if wanted else figure.dataset)
        if not self.whole or (wanted and self.split and wanted != self.split):
            return None
        if name in self.names:
            return ()
        if name in self.folders:
            return ("our data is a file or folder of that name",)
        return None


_SPLITS = {
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "train": "train",
}


def _texts(data: Any) -> Iterator[tuple[str, str]]:
    """The texts of the option `data`, with their keys; a text alone has none."""
    if isinstance(data, str):
        yield "", data
    elif isinstance(data, Mapping):
        yield from ((str(key), value) for key, value in data.items() if isinstance(value, str))


def _canonical(name: str) -> str:
    """``wikitext-103`` for ``WikiText-103-raw-v1``."""
    return re.sub(r"(-raw)?(-v\d+)?$", "", name.lower().replace("_", "-"))
