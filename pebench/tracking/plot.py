"""The picture of one finished run: its loss by step, and its scores by extent.

Written as SVG by hand: a pass may draw a thousand of these, each of which takes matplotlib a tenth of a
second and this some milliseconds.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from pebench.scores import extent_name, positions
from pebench.store import Result, RunFolder
from pebench.task_record import task_record
from pebench.tracking.record import Measured, Record

_COLOURS = ("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#17becf")
"""Of lines, in their order."""

_WIDTH, _HEIGHT = 900, 360

_MOST_POINTS = 300
"""Of a line: more than there are pixels would say nothing more."""

Line = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class _Plot:
    """Lines in a frame.

    Attributes:
        left: pixels from the left edge to the frame.
        title: above it. across, upwards: names of the axes.
        lines: by name. ticks: on the axis across, by their places; None for round numbers.
        logarithmic: whether the axis across is. dots: whether points are marked.
        marked: a place across with a dotted line, None for none.
    """

    left: int
    title: str
    across: str
    upwards: str
    lines: Mapping[str, Line]
    ticks: Mapping[float, str] | None = None
    logarithmic: bool = False
    dots: bool = False
    marked: float | None = None

    width: int = 357
    height: int = 248
    top: int = 61

    def svg(self) -> str:
        """The frame and all in it."""
        points = [point for line in self.lines.values() for point in line]
        scale = math.log2 if self.logarithmic else float
        beyond = [] if self.marked is None or not points else [self.marked]
        low, high = _range([scale(x) for x in (*(x for x, _ in points), *beyond)])
        bottom, top = _range([y for _, y in points])

        def across(x: float) -> float:
            return self.left + self.width * (scale(x) - low) / (high - low)

        def upwards(y: float) -> float:
            return self.top + self.height * (top - y) / (top - bottom)

        parts = [
            f'<rect x="{self.left}" y="{self.top}" width="{self.width}" height="{self.height}" class="f"/>'
        ]
        foot, right = self.top + self.height, self.left + self.width
        ticks = {value: f"{value:,g}" for value in _round(low, high)} if self.ticks is None else self.ticks
        for value, name in ticks.items():
            x = across(value)
            parts.append(f'<path d="M{x:.1f} {self.top}V{foot + 4}" class="g"/>')
            parts.append(_text(x, foot + 17, name, "middle"))
        for value in _round(bottom, top):
            y = upwards(value)
            parts.append(f'<path d="M{self.left - 4} {y:.1f}H{right}" class="g"/>')
            parts.append(_text(self.left - 7, y + 4, f"{value:,g}", "end"))
        middle = self.top + self.height / 2
        parts.append(_text(self.left + self.width / 2, self.top - 8, self.title, "middle", 14))
        parts.append(_text(self.left + self.width / 2, foot + 36, self.across, "middle"))
        turn = f'transform="rotate(-90 {self.left - 50} {middle})"'
        parts.append(_text(self.left - 50, middle, self.upwards, "middle", further=turn))
        if beyond:
            x = across(beyond[0])
            parts.append(f'<path d="M{x:.1f} {self.top}V{foot}" class="m"/>')
        for number, (name, line) in enumerate(self.lines.items()):
            colour = _COLOURS[number % len(_COLOURS)]
            places = [(across(x), upwards(y)) for x, y in line[:: -(-len(line) // _MOST_POINTS)]]
            drawn = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
            parts.append(f'<polyline points="{drawn}" class="l" stroke="{colour}"/>')
            if self.dots:
                parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{colour}"/>' for x, y in places]
            y = self.top + 16 + 17 * number
            parts.append(f'<path d="M{right - 24} {y - 4}h18" class="l" stroke="{colour}"/>')
            parts.append(_text(right - 30, y, name, "end"))
        return "\n".join(parts)


def draw(folder: RunFolder, record: Record) -> str:
    """A finished run as an SVG file, the same text for the same files.

    Args:
        folder: of the run. record: what was read of it.
    """
    result = folder.result()
    parts = [_text(_WIDTH / 2, 22, record.name, "middle", 15), _losses(record.points).svg()]
    if result is not None:
        scores = _scores(result, task_record(folder.spec(), folder.provenance()).trained_extent)
        parts.append(scores.svg())
        if not scores.lines:
            parts.append(_text(scores.left + scores.width / 2, 185, result.status, "middle"))
    style = (
        "text{font-family:sans-serif;fill:#222;paint-order:stroke;stroke:white;stroke-width:3}"
        ".f{fill:none;stroke:#222}.g{stroke:#ddd;fill:none}.m{stroke:#777;stroke-dasharray:2 3}"
        ".l{fill:none;stroke-width:1.6}"
    )
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" '
        f'height="{_HEIGHT}">\n<style>{style}</style>\n<rect width="100%" height="100%" fill="white"/>\n'
        f"{body}\n</svg>\n"
    )


def _losses(points: Iterable[Measured]) -> _Plot:
    curves: dict[str, dict[int, float]] = defaultdict(dict)
    for name, step, _, value in points:
        if name.endswith("loss") and not name.startswith("by-"):
            curves[name].setdefault(step, value)
    lines = {name: list(curve.items()) for name, curve in sorted(curves.items())}
    return _Plot(77, "training", "step", "loss", lines)


def _scores(result: Result, trained: tuple[int, ...] | None) -> _Plot:
    headline = next(iter(result.metrics), "")
    lines: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for score in result.scores:
        if score.metric == headline and score.value is not None:
            lines[score.extrapolation].append((positions(score.extent), score.value))
    unit = result.metrics[headline].unit if headline else ""
    shown = {float(positions(score.extent)): extent_name(score.extent) for score in result.scores}
    return _Plot(
        525,
        "evaluation",
        "extent",
        f"{headline} ({unit})" if unit else headline,
        {name: sorted(line) for name, line in lines.items()},
        dict(sorted(shown.items())) if lines else {},
        logarithmic=bool(lines),
        dots=True,
        marked=None if trained is None else positions(trained),
    )


def _range(values: Sequence[float]) -> tuple[float, float]:
    """The least and the greatest of some numbers, with a little room on both sides."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    room = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    return low - room, high + room


def _round(low: float, high: float) -> list[float]:
    """Round numbers between two others, four to nine of them."""
    unit = 10.0 ** math.floor(math.log10((high - low) / 4))
    step = next(unit * part for part in (5, 2, 1) if unit * part <= (high - low) / 4)
    return [number * step for number in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _text(x: float, y: float, text: str, anchor: str, size: int = 12, further: str = "") -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}"'
    return f"<text {place} {further}>{escape(text)}</text>"
