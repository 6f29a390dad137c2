"""Claims about a sweep, as its authors write them down before they look: `claims.yaml`.

    - claim: ALiBi reads 8,192 tokens better than RoPE
      better: alibi                   # a row of the tables; 'rope, yarn' for another extrapolation
      than: rope                      # or a list of rows
      at: 8192                        # extents: one, a list, trained, beyond (the trained one) or all
      by: 0.01                        # at least; 0 by default
    - claim: DAPE, FoX and ALiBi are as good as each other
      equal: [dape, fox, alibi]
      at: beyond
      within: 0.01                    # a difference that does not matter, in the metric's unit
    - claim: ALiBi is flat
      flat: alibi                     # as good at each extent of 'to' as at 'from', within
      from: trained
      to: beyond
      within: 0.02
    - claim: Sinusoids explode
      explodes: sinusoidal            # worse at each extent of 'to' than at 'from', by
      from: trained
      to: 8192
      by: 1
    - claim: No encoding is the worst at the trained length
      worst: none                     # than every other row; 'best' likewise
      at: trained
    - claim: ALiBi gains by sliding windows at 256
      better: {row: alibi, protocol: sliding}     # a row with a metric, protocol or extent of its own
      than: alibi
      at: 256

Beside each may stand ``metric`` (by default the headline), ``protocol`` (``non-overlapping``, ``sliding`` or
``fixed-tail``), ``task`` where a sweep has several tables, and ``sweep`` where the file lies beside several;
and ``published``, what the paper reports and at which size, which stands beside the answer.
The file lies in the folder of the sweep's results, or beside the file of the sweep.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StrictInt, model_validator

from pebench.errors import UserError, join_or, shown
from pebench.specification.options import validated
from pebench.specification.run_spec import Frozen
from pebench.sweeping import yaml_file

FILE = "claims.yaml"

Verb = Literal["better", "equal", "flat", "explodes", "best", "worst"]

_NEEDS: dict[Verb, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "better": (("than", "at"), ("by",)),
    "equal": (("at", "within"), ()),
    "flat": (("from", "to", "within"), ()),
    "explodes": (("from", "to", "by"), ()),
    "best": (("at",), ("by",)),
    "worst": (("at",), ("by",)),
}
"""What has to stand beside each verb, and what may."""

_KEYS = ("than", "at", "from", "to", "by", "within")


def _several(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else (value,)


def _row(value: Any) -> Any:
    return {"row": value} if isinstance(value, str) else value


ExtentName = Annotated[StrictInt, Field(ge=1)] | str
"""``512``, ``14x14``, or one of the words that stand for some."""

Extents = Annotated[tuple[ExtentName, ...], Field(min_length=1), BeforeValidator(_several)]
Protocol = Literal["non-overlapping", "sliding", "fixed-tail"]


class ClaimedRow(Frozen):
    """A row of a table, with what is different for it.

    Attributes:
        row: its label, as the tables have it.
        metric, protocol: that its score is taken by, by default those of the claim.
        at: extent that its score is taken at, by default that of the claim.
    """

    row: str
    metric: str | None = None
    protocol: Protocol | None = None
    at: ExtentName | None = None


Row = Annotated[ClaimedRow, BeforeValidator(_row)]
Rows = Annotated[tuple[Row, ...], Field(min_length=1), BeforeValidator(_several)]


class Claim(Frozen):
    """An entry of the file; the module's docstring shows each kind.

    Attributes:
        claim: what is claimed, in words.
        better, equal, flat, explodes, best, worst: the rows that it is about; one of these.
        than: rows that `better` is better than.
        at: extents.
        start: the extent that a change is measured from; ``from`` in the file.
        to: extents that it is measured to.
        by: how much better or worse at least, in the unit of the metric.
        within: a difference that does not matter, in the unit of the metric.
        metric: by default the one that the task is judged by.
        protocol: of the metric.
        task: name of its table, where there are several.
        sweep: that it is about, where the file lies beside several.
        published: figures of the paper, with the size that they are of.
    """

    claim: Annotated[str, Field(min_length=1)]
    better: Row | None = None
    equal: Annotated[Rows, Field(min_length=2)] | None = None
    flat: Row | None = None
    explodes: Row | None = None
    best: Row | None = None
    worst: Row | None = None
    than: Rows | None = None
    at: Extents | None = None
    start: Annotated[ExtentName | None, Field(alias="from")] = None
    to: Extents | None = None
    by: Annotated[float, Field(ge=0)] | None = None
    within: Annotated[float, Field(gt=0)] | None = None
    metric: str | None = None
    protocol: Protocol | None = None
    task: str | None = None
    sweep: str | None = None
    published: Annotated[str, Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _one_verb(self) -> Claim:
        said = [verb for verb in _NEEDS if getattr(self, verb) is not None]
        if len(said) != 1:
            raise ValueError(
                f"a claim has one of {join_or(_NEEDS)}, and this one {' and '.join(said) or 'none'}"
            )
        needed, allowed = _NEEDS[said[0]]
        for key in _KEYS:
            there = getattr(self, "start" if key == "from" else key) is not None
            if key in needed and not there:
                raise ValueError(f"'{said[0]}' needs '{key}' beside it")
            if there and key not in (*needed, *allowed):
                raise ValueError(
                    f"'{key}' says nothing beside '{said[0]}', which takes {join_or([*needed, *allowed])}"
                )
        return self

    @property
    def verb(self) -> Verb:
        """The kind of the claim."""
        return next(verb for verb in _NEEDS if getattr(self, verb) is not None)


def read_claims(path: Path) -> list[Claim]:
    """The claims of a file.

    Raises:
        UserError: it cannot be read, or an entry is wrong; the sentence names the nearest right one.
    """
    from pebench.notation.text_file import read_text

    entries = yaml_file.parse(read_text(path), str(path))
    if not isinstance(entries, list) or not entries:
        raise UserError(f"{path} must hold a list of claims, '- claim: …', not {shown(entries)}.")
    return [validated(Claim, entry, f"{path}, claim {number}") for number, entry in enumerate(entries, 1)]


def claims_of(sweep: str, folders: Iterable[Path]) -> list[Claim]:
    """The claims about a sweep, from the first of some folders that has a file of claims about it.

    Raises:
        UserError: see `read_claims`.
    """
    for folder in folders:
        if (folder / FILE).exists():
            found = [claim for claim in read_claims(folder / FILE) if claim.sweep in (None, sweep)]
            if found:
                return found
    return []
