"""Telling a person how runs go: bars on a terminal, now and then a line elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from pebench.notation.significant_figures import significant

_LINE_EVERY = 10.0


class Display:
    """An `Observer` that is told where one run ends and the next begins as well; by itself it shows nothing.

    It is a context manager.
    """

    def __enter__(self) -> Display:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        return None

    def begin(self, title: str, number: int, total: int) -> None:
        """The run `title`, `number` of `total`, begins."""

    def training(self, step: int, steps: int, values: dict[str, float], rate: float | None) -> None:
        """See `pebench.running.execution.Observer`."""

    def evaluating(self, done: int, total: int, what: str) -> None:
        """See `pebench.running.execution.Observer`."""

    def end(self, outcome: str) -> None:
        """The run is over, and how."""


class WhileRead(Display):
    """Another display, for as long as anybody reads it: a closed pipe or terminal is no failure of a run.

    Args:
        display: the other.
        unread: called once, when nobody does any more.
    """

    def __init__(self, display: Display, unread: Callable[[], None]) -> None:
        self._display = display
        self._unread = unread
        self._read = True

    def __enter__(self) -> WhileRead:
        self._show(self._display.__enter__)
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._show(self._display.__exit__, kind, error, trace)

    def begin(self, title: str, number: int, total: int) -> None:
        """See `Display.begin`."""
        self._show(self._display.begin, title, number, total)

    def training(self, step: int, steps: int, values: dict[str, float], rate: float | None) -> None:
        """See `pebench.running.execution.Observer`."""
        self._show(self._display.training, step, steps, values, rate)

    def evaluating(self, done: int, total: int, what: str) -> None:
        """See `pebench.running.execution.Observer`."""
        self._show(self._display.evaluating, done, total, what)

    def end(self, outcome: str) -> None:
        """See `Display.end`."""
        self._show(self._display.end, outcome)

    def _show(self, method: Callable[..., object], *arguments: object) -> None:
        if not self._read:
            return
        try:
            method(*arguments)
        except (OSError, SystemExit):  # with the second Rich answers a closed pipe
            self._read = False
            self._unread()


class Ends(Display):
    """A line on the standard output at the end of each run, for the log of a worker."""

    def begin(self, title: str, number: int, total: int) -> None:
        """See `Display.begin`."""
        self._title = f"[{number}/{total}] {title}"

    def end(self, outcome: str) -> None:
        """See `Display.end`."""
        sys.stdout.write(f"{self._title}: {outcome}\n")
        sys.stdout.flush()


def display(quiet: bool = False) -> Display:
    """Bars if the standard error output is a terminal, lines if it is not.

    Args:
        quiet: whether nothing is to be shown.
    """
    if quiet:
        return Display()
    return Bars() if sys.stderr.isatty() else Lines()


class Bars(Display):
    """A bar for the sweep and one for the run at work, with its newest loss, rate and time left."""

    def __init__(self) -> None:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
        )
        self._bars = Progress(*columns, console=Console(stderr=True), transient=True)
        self._sweep = self._bars.add_task("runs", total=None, note="")
        self._run = self._bars.add_task("", total=None, note="")
        self._title = ""

    def __enter__(self) -> Bars:
        self._bars.start()
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._bars.stop()

    def begin(self, title: str, number: int, total: int) -> None:
        """See `Display.begin`."""
        self._title = title
        self._bars.update(self._sweep, completed=number - 1, total=total)
        self._bars.reset(self._run, description=title, total=None, note="starting")

    def training(self, step: int, steps: int, values: dict[str, float], rate: float | None) -> None:
        """See `pebench.running.execution.Observer`."""
        self._bars.update(self._run, completed=step, total=steps, note=_note(step, steps, values, rate))

    def evaluating(self, done: int, total: int, what: str) -> None:
        """See `pebench.running.execution.Observer`."""
        self._bars.update(self._run, completed=done, total=total, note=f"evaluating {what}")

    def end(self, outcome: str) -> None:
        """See `Display.end`."""
        self._bars.console.print(f"{self._title}: {outcome}", highlight=False, markup=False)
        self._bars.advance(self._sweep)


class Lines(Display):
    """A line at the beginning and the end of a run, and every ten seconds between."""

    def __init__(self) -> None:
        self._title = ""
        self._last = 0.0

    def begin(self, title: str, number: int, total: int) -> None:
        """See `Display.begin`."""
        self._title = f"[{number}/{total}] {title}"
        self._last = time.monotonic()
        self._print("starting")

    def training(self, step: int, steps: int, values: dict[str, float], rate: float | None) -> None:
        """See `pebench.running.execution.Observer`."""
        self._sometimes(f"step {step} of {steps}, {_note(step, steps, values, rate)}")

    def evaluating(self, done: int, total: int, what: str) -> None:
        """See `pebench.running.execution.Observer`."""
        self._sometimes(f"evaluation {done + 1} of {total}, {what}")

    def end(self, outcome: str) -> None:
        """See `Display.end`."""
        self._print(outcome)

    def _sometimes(self, text: str) -> None:
        now = time.monotonic()
        if now - self._last >= _LINE_EVERY:
            self._last = now
            self._print(text)

    def _print(self, text: str) -> None:
        sys.stderr.write(f"{self._title}: {text}\n")
        sys.stderr.flush()


def duration(seconds: float) -> str:
    """A length of time to two figures or so, as ``45 s``, ``12 min`` or ``3 h 20 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def _note(step: int, steps: int, values: dict[str, float], rate: float | None) -> str:
    parts = [
        f"{name.removeprefix('train/')} {significant(value, 4)}" for name, value in list(values.items())[:1]
    ]
    if rate:
        parts += [f"{rate:.3g} steps/s", f"{duration((steps - step) / rate)} left"]
    return ", ".join(parts)
