"""Parts of the page's charts in the language of Vega-Lite: channels, marks of lines, and what they share.

A chart draws the rows whose labels the parameter `shown` of a view holds, which the page sets. A row has the
colour, the dashes and the marker that it has in the pictures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pebench.leaderboard.plots.style import Look
from pebench.leaderboard.report.blocks import Spec

DASHES: dict[str, list[float]] = {"-": [1, 0], "--": [6, 3], ":": [1.5, 3], "-.": [6, 3, 1.5, 3]}
"""Lengths drawn and left out, in pixels, by matplotlib's sign."""

MARKERS = {
    "o": "circle",
    "s": "square",
    "^": "triangle-up",
    "D": "diamond",
    "v": "triangle-down",
    "P": "cross",
    "X": "M-.6,-1L0,-.4L.6,-1L1,-.6L.4,0L1,.6L.6,1L0,.4L-.6,1L-1,.6L-.4,0L-1,-.6Z",
}
"""Vega's symbols by matplotlib's sign."""

_NARROW = 180
"""Pixels that a small multiple is wide at least."""


def ink(colour: str) -> str:
    """The colour of a line on the page, whose ink is black or white."""
    return "currentColor" if colour == "black" else colour


def quantity(field: str, **rest: Any) -> Spec:
    """A channel of numbers."""
    return {"field": field, "type": "quantitative", **rest}


def nominal(field: str, **rest: Any) -> Spec:
    """A channel of names."""
    return {"field": field, "type": "nominal", **rest}


def common(labels: Sequence[str]) -> Spec:
    """What every chart begins with: the labels that are shown at first, and its height in pixels."""
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "params": [{"name": "shown", "value": list(labels)}],
        "height": 340,
    }


SHOWN = {"filter": "indexof(shown, datum.label) >= 0"}
"""Leaves the rows that are switched on."""

NEAREST = {
    "name": "nearest",
    "select": {
        "type": "point",
        "fields": ["label"],
        "on": "pointerover",
        "clear": "pointerout",
        "nearest": True,
    },
}
"""The row whose mark is nearest to the pointer."""

FAINT = {"condition": {"param": "nearest", "value": 1}, "value": 0.15}
"""The opacity of lines beside the one under the pointer."""


def by_label(labels: Sequence[str], narrowest: int = _NARROW, title: str = "") -> Spec:
    """A small picture of every line, side by side as far as each has `narrowest` pixels."""
    every = common(labels)
    del every["height"]
    written = {"title": {"text": title, "anchor": "start", "fontWeight": "normal"}} if title else {}
    return {
        **every,
        **written,
        "transform": [SHOWN],
        "facet": nominal("label", sort=list(labels), header={"title": None, "labelAnchor": "start"}),
        "usermeta": {"narrowest": narrowest},
    }


def line_channels(labels: Sequence[str], looks: Mapping[str, Look]) -> dict[str, Spec]:
    """The channels of a line's colour, dashes and marker."""

    def channel(drawn: Sequence[Any]) -> Spec:
        return nominal("label", scale={"domain": list(labels), "range": list(drawn)}, legend=None)

    own = [looks[label] for label in labels]
    return {
        "color": channel([ink(look.colour) for look in own]),
        "strokeDash": channel([DASHES[look.dash] for look in own]),
        "shape": channel([MARKERS[look.marker] for look in own]),
    }


def tooltip(tips: Sequence[tuple[str, str]]) -> list[Spec]:
    """The channel of what is told under the pointer, from pairs of a field and its title."""
    return [nominal(field, title=title) for field, title in tips]
