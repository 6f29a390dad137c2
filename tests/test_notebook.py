"""The notebook of the documentation runs as it stands, and its outputs are those of its cells."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from processes.notebook import executed

NOTEBOOK = Path(__file__).parents[1] / "docs" / "python.ipynb"


def test_the_notebook_runs_and_shows_what_its_cells_give(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MPLBACKEND", "agg")
    monkeypatch.delenv("PEBENCH_RUNS", raising=False)
    written = json.loads(NOTEBOOK.read_text("utf-8"))
    assert (written["nbformat"], written["nbformat_minor"]) == (4, 5)
    found = executed(written, tmp_path)
    for before, after in zip(written["cells"], found["cells"], strict=True):
        assert _kinds(before) == _kinds(after), "".join(before["source"])
        assert before.get("execution_count") == after.get("execution_count")
    assert len({cell["id"] for cell in written["cells"]}) == len(written["cells"])


def _kinds(cell: dict[str, object]) -> list[tuple[object, list[str]]]:
    """The types of a cell's outputs; numbers differ in their last digits from machine to machine."""
    outputs = cell.get("outputs", [])
    assert isinstance(outputs, list)
    return [(output["output_type"], sorted(output.get("data", []))) for output in outputs]


def test_the_notebook_shows_all_that_is_public() -> None:
    import pebench

    text = NOTEBOOK.read_text("utf-8")
    for name in pebench.__all__:
        assert f"pebench.{name}" in text or f"`{name}`" in text, f"{name} is not shown"
