"""What the command line says to mistakes."""

from __future__ import annotations

import pytest

from pebench.command_line.main import main


def sentence(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that a mistaken command line is answered with."""
    assert main(arguments) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("pebench: ")
    assert told.err.count("\n") == 1, told.err
    assert "Traceback" not in told.err
    return told.err
