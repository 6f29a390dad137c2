"""Signals that ask for an end, kept until a checkpoint is written."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Any


class StopOnSignal:
    """Turns signals into a flag that training asks for after every step.

    submitit's handler requeues from wherever the signal struck, which may be the middle of a step. So its
    signal is kept here, and handed on once the work has stopped. A second Ctrl-C is not waited for.

    Attributes:
        caught: the first of the signals that came, None while there is none.
    """

    def __init__(self, *signals: signal.Signals) -> None:
        self.caught: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = dict.fromkeys(signals)

    def __enter__(self) -> StopOnSignal:
        for number in self._before:
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def __call__(self) -> bool:
        """Whether to stop."""
        return self.caught is not None

    def ask(self, number: signal.Signals) -> None:
        """Has it stop as if that signal had come."""
        self.caught = self.caught or number

    def hand_on(self) -> None:
        """Calls the handler that was there before with the signal that was caught, if there was one."""
        handler = self._before.get(self.caught) if self.caught is not None else None
        if callable(handler):
            handler(self.caught, None)

    def _note(self, number: int, frame: FrameType | None) -> None:
        # The first signal says why the work stops; a second one must not change that.
        if self.caught is None:
            self.caught = signal.Signals(number)
        elif number == signal.SIGINT:
            raise KeyboardInterrupt
