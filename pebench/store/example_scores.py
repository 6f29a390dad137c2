"""Scores of single examples, documents or questions or pictures, from which the scores of a run are sums.

They are what the uncertainty of a score over its text is computed from. A run keeps them as ``examples.npz``,
which every machine that trains can write and read with NumPy alone: one array a column, in which the rows of
    all evaluations stand one after another, and a table of contents in JSON. Numbers are 64 bits wide, so
    that what is read is what was written and the scores are found again to the last digit.
"""

from __future__ import annotations

import io
import json
import math
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ValidationError, model_validator

from pebench.specification.run_spec import Frozen

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

    Array = numpy.ndarray[Any, Any]

FEWEST_UNITS = 5
"""Documents of one size, below which their windows are taken as the units of a text: two say next to nothing
of a third."""


class Ratio(Frozen):
    """A metric as a function of the ratio of two sums over the examples.

    Attributes:
        metric: its name.
        over: column that is summed.
        under: column by whose sum it is divided, None for the number of examples.
        form: ``mean``, the ratio itself; ``percent``; ``bits``, of nats; ``exponential``, of nats.
    """

    metric: str
    over: str
    under: str | None = None
    form: Literal["mean", "percent", "bits", "exponential"] = "percent"

    def value(self, over: float, under: float) -> float:
        """The metric from the two sums."""
        match self.form:
            case "mean":
                return over / under
            case "percent":
                return 100 * over / under
            case "bits":
                return over / math.log(2) / under
            case "exponential":
                return math.exp(over / under) if over / under < 700 else math.inf

    def slope(self, over: float, under: float) -> float:
        """Derivative of the metric by the ratio."""
        match self.form:
            case "mean":
                return 1.0
            case "percent":
                return 100.0
            case "bits":
                return 1 / math.log(2)
            case "exponential":
                return self.value(over, under)


class Examples(Frozen):
    """The examples of one evaluation that share their columns.

    Attributes:
        ratios: the metrics that are computed from them.
        units: columns that tell which examples belong together, such as the windows of a document: the widest
            first. Examples of different units count as independent.
        columns: the columns, one number an example.
        counts: what stands behind the metrics, as ``{"tokens": 65536, "windows": 256, "documents": 5}``.
        extent, extrapolation: where they were measured; filled in by the run.
    """

    ratios: tuple[Ratio, ...]
    units: tuple[str, ...] = ()
    columns: dict[str, tuple[int, ...] | tuple[float, ...]]
    counts: dict[str, int]
    extent: tuple[int, ...] = ()
    extrapolation: str = ""

    @model_validator(mode="after")
    def _even(self) -> Examples:
        if len({len(column) for column in self.columns.values()}) > 1:
            raise ValueError("the columns are not of one length")
        named = [*self.units, *(name for r in self.ratios for name in (r.over, r.under) if name is not None)]
        missing = [name for name in named if name not in self.columns]
        if missing or not self.columns:
            raise ValueError(f"there is no column {', '.join(missing)}")
        return self

    def __len__(self) -> int:
        """Number of examples."""
        return len(next(iter(self.columns.values())))

    def sums(self, ratio: Ratio) -> tuple[float, float]:
        """The exact sums of a metric's two columns."""
        under = len(self) if ratio.under is None else math.fsum(self.columns[ratio.under])
        return math.fsum(self.columns[ratio.over]), under

    def scores(self) -> dict[str, float]:
        """The metrics, by name."""
        return {ratio.metric: ratio.value(*self.sums(ratio)) for ratio in self.ratios}

    @property
    def finite(self) -> bool:
        """Whether every number is one."""
        return all(math.isfinite(value) for column in self.columns.values() for value in column)

    def by_unit(self, metric: str) -> ByUnit | None:
        """A metric by independent part, None where it is not computed from the examples.

        The parts are those of the widest of `units` of which there are enough, or of the narrowest; without
        `units` every example is one.
        """
        import numpy

        ratio = next((ratio for ratio in self.ratios if ratio.metric == metric), None)
        if ratio is None:
            return None
        over, under = self.sums(ratio)
        sizes = numpy.asarray([1.0] * len(self) if ratio.under is None else self.columns[ratio.under], float)
        for name in self.units or ("",):
            own = numpy.asarray(self.columns[name]) if name else numpy.arange(len(self))
            keys, places = numpy.unique(own, return_inverse=True)
            weights = numpy.bincount(places, sizes) / under
            if (weights**2).sum() * FEWEST_UNITS < 1 + 1e-9:
                break
        sums = numpy.bincount(places, numpy.asarray(self.columns[ratio.over], float))
        influence = (sums / under - over / under * weights) * ratio.slope(over, under)
        return ByUnit(name or "example", keys, weights, influence)


@dataclass(frozen=True, eq=False)
class ByUnit:
    """A score by the independent parts of what it was measured on.

    A ratio of two sums is no mean of its parts, but up to terms of the second order it moves with each as one
    (the linearisation of survey sampling).

    Attributes:
        unit: what a part is, ``document``.
        keys: (U,) the parts, equal for two runs on the same text.
        weights: (U,) their shares of the text.
        influence: (U,) what each moves the score by, its weight times its distance from the score.
    """

    unit: str
    keys: Array
    weights: Array
    influence: Array

    def same_units(self, other: ByUnit) -> bool:
        """Whether the other was measured on the same parts."""
        import numpy

        same = self.unit == other.unit and numpy.array_equal(self.keys, other.keys)
        return same and numpy.allclose(self.weights, other.weights, rtol=1e-9, atol=0.0)


def dump(sets: Sequence[Examples]) -> bytes:
    """The content of an ``examples.npz``, the same for the same examples."""
    import numpy

    gathered: dict[str, list[NDArray[Any]]] = {}
    contents = []
    for one in sets:
        for name, column in one.columns.items():
            kind = numpy.int64 if all(isinstance(value, int) for value in column) else numpy.float64
            gathered.setdefault(f"{numpy.dtype(kind).kind} {name}", []).append(numpy.asarray(column, kind))
        contents.append(one.model_dump(mode="json", exclude={"columns"}) | {"rows": len(one)} | _kinds(one))
    arrays = {name: numpy.concatenate(parts) for name, parts in gathered.items()}
    file = io.BytesIO()
    numpy.savez_compressed(file, contents=numpy.array(json.dumps(contents)), **arrays)  # type: ignore[arg-type]
    return file.getvalue()


def _kinds(one: Examples) -> dict[str, Any]:
    whole = {name: all(isinstance(value, int) for value in column) for name, column in one.columns.items()}
    return {"columns": {name: f"{'i' if is_whole else 'f'} {name}" for name, is_whole in whole.items()}}


def load(content: bytes) -> tuple[Examples, ...]:
    """What `dump` made bytes of.

    Raises:
        ValueError: they are no such content.
    """
    import numpy

    try:
        with numpy.load(io.BytesIO(content), allow_pickle=False) as arrays:
            contents = json.loads(str(arrays["contents"]))
            columns = {name: arrays[name] for name in arrays.files if name != "contents"}
        start = dict.fromkeys(columns, 0)
        found = []
        for one in contents:
            rows, own = one.pop("rows"), one.pop("columns")
            values: dict[str, list[Any]] = {}
            for name, stored in own.items():
                part = columns[stored][start[stored] : start[stored] + rows]
                if part.shape != (rows,):
                    raise ValueError("rows are missing")
                values[name] = part.tolist()
                start[stored] += rows
            found.append(Examples.model_validate({**one, "columns": values}))
    except ValidationError as error:
        raise ValueError(error.errors()[0]["msg"]) from error
    except _DAMAGE as error:
        raise ValueError(str(error) or type(error).__name__) from error
    if not all(one.finite for one in found):
        raise ValueError("it holds what is no number")
    return tuple(found)


_DAMAGE = (
    *(OSError, EOFError, KeyError, TypeError, AttributeError, RecursionError, MemoryError),
    *(OverflowError, NotImplementedError, RuntimeError, SyntaxError, zipfile.BadZipFile, zlib.error),
)
"""Errors of NumPy and zipfile about a file that is damaged."""
