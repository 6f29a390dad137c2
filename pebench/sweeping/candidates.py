"""Candidates of a tuned sweep: every combination of lists of values, or draws from distributions and lists.

A distribution has the names of Optuna's ``suggest_float``: ``{low: 1e-4, high: 1e-2, log: true}``. Draws are
a sequence, so that more of them begin with the same ones, and each setting has draws of its own, so that one
that is added leaves the others where they were.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, Field, TypeAdapter, ValidationError, field_validator
from pydantic import model_validator as validates_model

from pebench.errors import UserError, shown
from pebench.plugins.registry import encodings, tasks
from pebench.specification.flat_spec import setting_text
from pebench.specification.options import model_at, of_signature, validated
from pebench.specification.run_spec import Frozen, Training
from pebench.sweeping.cell import Cell

_DIGITS = 3
"""Significant digits of what is drawn, so that labels are readable."""

_LARGEST = 10**15
"""Of the ends of a distribution: numbers up to here are exact."""

_PATIENCE = 100
"""Draws for each candidate that is wanted, after which there are no others."""


class Distribution(Frozen):
    """What the values of a setting are drawn from.

    Attributes:
        low, high: the ends, both of which may be drawn.
        log: whether its logarithm is what is spread evenly.
    """

    low: int | float
    high: int | float
    log: bool = False

    @field_validator("low", "high", mode="before")
    @classmethod
    def _number(cls, value: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= _LARGEST:
            raise ValueError(
                f"input should be a number from -{_LARGEST:g} to {_LARGEST:g}, not {shown(value)}"
            )
        return value

    @validates_model(mode="after")
    def _ends(self) -> Distribution:
        if self.low >= self.high:
            raise ValueError(f"'low' lies below 'high', but {self.low:g} does not lie below {self.high:g}")
        if self.log and self.low <= 0:
            raise ValueError(f"a logarithm needs a 'low' above 0, not {self.low:g}")
        return self

    @property
    def is_whole(self) -> bool:
        """Whether both ends are written as whole numbers."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def at(self, share: float, whole: bool) -> int | float:
        """The value below which a share of the distribution lies, rounded to a few significant digits of what
        it is spread over.

        Args:
            share: from 0 up to 1.
            whole: whether it is a whole number; each has the same share of the distribution, or of its
                logarithm the part from half a step below to half a step above.
        """
        low, high = (self.low - 0.5, self.high + 0.5) if whole else (self.low, self.high)
        if self.log:
            value = math.exp((1 - share) * math.log(low) + share * math.log(high))
        else:
            value = low + share * (high - low)
        spread = self.high - self.low
        coarse = min(spread, abs(value)) if self.log else spread
        places = _DIGITS - 1 - math.floor(math.log10(coarse))
        if whole:
            return int(min(max(round(round(value), min(places, 0)), self.low), self.high))
        return float(min(max(round(value, places), self.low), self.high))


def _as_written(value: Any) -> Any:
    if isinstance(value, Mapping):
        try:
            return validated(Distribution, dict(value), "a distribution")
        except UserError as error:
            raise ValueError(str(error).rstrip(".")) from error
    if not isinstance(value, list | Distribution):
        raise ValueError(
            f"write a list of values, or a distribution as {{low: 1e-4, high: 1e-2, log: true}}, not "
            f"{shown(value)}"
        )
    if value == []:
        raise ValueError("should hold at least 1 entry, not 0")
    return value


Values = Annotated[
    dict[str, Annotated[list[Any] | Distribution, BeforeValidator(_as_written)]], Field(min_length=1)
]
"""Candidate values by dotted path."""


def lists(values: Values) -> dict[str, list[Any]]:
    """The same values, which are lists.

    Raises:
        ValueError: some are a distribution.
    """
    found = {path: each for path, each in values.items() if isinstance(each, list)}
    if len(found) < len(values):
        (path, *_) = (path for path in values if path not in found)
        raise ValueError(
            f"'{path}' has a distribution, so 'candidates' says how many are drawn, as 'candidates: 8'"
        )
    return found


def combinations(values: Mapping[str, list[Any]]) -> list[dict[str, Any]]:
    """Every combination of some values, the last path running fastest."""
    return [dict(zip(values, chosen, strict=True)) for chosen in itertools.product(*values.values())]


def drawn(values: Values, count: int, seed: int, cell: Cell) -> list[dict[str, Any]]:
    """Different candidates by random draws, the same for the same seed; each value of a list is as likely.

    Args:
        values: what is drawn from, by path.
        count: of the candidates; fewer are the beginning of more.
        seed: of the draws.
        cell: whose settings they are, which says where whole numbers are drawn.

    Raises:
        UserError: there are not so many, or whole numbers are to lie between ends that are none.
    """
    whole = {path: _is_whole(path, each, cell) for path, each in values.items()}
    found: dict[str, dict[str, Any]] = {}
    for number in range(_PATIENCE * count):
        settings = {}
        for path, each in values.items():
            share = random.Random(f"{seed} {path} {number}").random()
            settings[path] = (
                each.at(share, whole[path])
                if isinstance(each, Distribution)
                else each[int(share * len(each))]
            )
        found.setdefault(setting_text([setting_text(value) for value in settings.values()]), settings)
        if len(found) == count:
            return list(found.values())
    raise UserError(
        f"'tune' asks for {count} candidates, but {cell.encoding} has no more than {len(found)} different "
        "ones: ask for fewer, or give it more values."
    )


def _is_whole(path: str, values: list[Any] | Distribution, cell: Cell) -> bool:
    """Whether whole numbers are drawn for a setting: where its option takes no others, or, if there is no
    telling, where the ends are written as such."""
    if not isinstance(values, Distribution):
        return False
    whole = _takes_whole(path, cell)
    if whole and not (float(values.low).is_integer() and float(values.high).is_integer()):
        raise UserError(
            f"'{path}' takes whole numbers, so that 'low' and 'high' are whole numbers too, not "
            f"{values.low:g} and {values.high:g}."
        )
    return values.is_whole if whole is None else whole


def _takes_whole(path: str, cell: Cell) -> bool | None:
    """Whether an option takes whole numbers alone; None for one that is not declared."""
    place, *keys = path.split(".")
    model: type[BaseModel] | None = Training
    if place == "model":
        model = tasks.load(cell.task).Model
    elif place == "encoding":
        # A composition and the encoding of a start declare none here.
        model = of_signature(encodings.load(cell.encoding)) if cell.encoding in encodings.origins() else None
    inner = model_at(model, keys[:-1]) if model is not None and keys else None
    field = inner.model_fields.get(keys[-1]) if inner is not None else None
    if field is None or field.annotation is None:
        return None
    try:
        TypeAdapter(field.annotation).validate_python(0.5)
    except ValidationError as error:
        return any(each["type"] == "int_from_float" for each in error.errors())
    return False
