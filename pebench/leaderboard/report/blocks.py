"""The parts that chapters of the page are made of. The template shows each of them by its `kind`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pebench.leaderboard.sections import Table

Spec = dict[str, Any]
"""A chart in the language of Vega-Lite."""


@dataclass(frozen=True)
class Text:
    """A paragraph.

    Attributes:
        text: sentences.
        soft: whether it stands back.
    """

    text: str
    soft: bool = False
    kind: str = "text"


@dataclass(frozen=True)
class Notes:
    """A list of sentences."""

    texts: Sequence[str]
    kind: str = "notes"


@dataclass(frozen=True)
class Heading:
    """A heading within a chapter."""

    text: str
    kind: str = "heading"


@dataclass(frozen=True)
class Grid:
    """A table that can be sorted.

    Attributes:
        table: what it shows.
        shades: how good the field of a row and column is, 0 to 1, of the fields that are shaded.
        fold: the words behind which it is folded away, empty for a table in sight.
    """

    table: Table
    shades: Mapping[tuple[int, int], float] = field(default_factory=dict)
    fold: str = ""
    kind: str = "grid"


@dataclass(frozen=True)
class Chart:
    """A picture with several views, of which one is shown.

    Attributes:
        name: of it in the page, one word.
        title: above it.
        views: Vega-Lite's text of each view, by what the view is called; the first is shown first.
        datasets: rows by the names that the views call them by.
        lines: labels of the rows that it draws, each of which can be switched off.
        close_up: labels of the rows that one button leaves alone, empty for no such button.
        explained: sentences below it.
    """

    name: str
    title: str
    views: Mapping[str, Spec]
    datasets: Mapping[str, Sequence[Mapping[str, Any]]]
    lines: Sequence[str]
    close_up: Sequence[str] = ()
    explained: str = ""
    kind: str = "chart"


@dataclass(frozen=True)
class Source:
    """A text as it stands in its file."""

    text: str
    kind: str = "source"


@dataclass(frozen=True)
class Facts:
    """Values by name, under a line of text."""

    text: str
    values: Sequence[tuple[str, str]]
    kind: str = "facts"


Block = Text | Notes | Heading | Grid | Chart | Source | Facts


@dataclass(frozen=True)
class Chapter:
    """A part of the page that its contents lead to.

    Attributes:
        anchor: one word.
        title: of it.
        blocks: from top to bottom.
    """

    anchor: str
    title: str
    blocks: Sequence[Block]
