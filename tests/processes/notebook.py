"""The notebook of the documentation: carried out cell by cell, its outputs as a front end keeps them.

``PYTHONPATH=. python tests/processes/notebook.py docs/python.ipynb`` writes the outputs anew.
"""

from __future__ import annotations

import ast
import base64
import contextlib
import io
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

Notebook = dict[str, Any]


def executed(notebook: Notebook, folder: Path) -> Notebook:
    """The notebook with the outputs that its cells have when they are run in a folder, in their order.

    Raises:
        Exception: whatever a cell raises.
    """
    names: dict[str, Any] = {"__name__": "__main__"}
    cells, count = [], 0
    with contextlib.chdir(folder):
        for cell in notebook["cells"]:
            if cell["cell_type"] == "code":
                count += 1
                outputs = _outputs("".join(cell["source"]), names, count)
                cell = {**cell, "execution_count": count, "outputs": outputs}
            cells.append(cell)
    return {**notebook, "cells": cells}


def _outputs(source: str, names: dict[str, Any], count: int) -> list[dict[str, Any]]:
    body = ast.parse(source).body
    last = body.pop() if body and isinstance(body[-1], ast.Expr) else None
    printed, value = io.StringIO(), None
    with contextlib.redirect_stdout(printed):
        exec(compile(ast.Module(body, []), f"cell {count}", "exec"), names)
        if last is not None:
            assert isinstance(last, ast.Expr)
            value = eval(compile(ast.Expression(last.value), f"cell {count}", "eval"), names)
    found: list[dict[str, Any]] = []
    if printed.getvalue():
        found.append({"output_type": "stream", "name": "stdout", "text": _lines(printed.getvalue())})
    if value is not None:
        shown = {"execution_count": count, "metadata": {}, "data": _shown(value)}
        found.append({"output_type": "execute_result", **shown})
    return found


def _shown(value: Any) -> dict[str, Any]:
    """A value by the types that it can be shown as."""
    shown: dict[str, Any] = {"text/plain": _lines(repr(value))}
    if hasattr(value, "_repr_html_"):
        shown["text/html"] = _lines(value._repr_html_())
    figure = getattr(value, "figure", None)
    if figure is not None:
        picture = io.BytesIO()
        figure.savefig(picture, format="png", dpi=72, bbox_inches="tight", metadata={"Software": None})
        shown["image/png"] = base64.b64encode(picture.getvalue()).decode()
        shown["text/plain"] = ["<a picture>"]
    return shown


def _lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


def main(path: Path) -> None:
    """Writes the outputs of a notebook into it."""
    with tempfile.TemporaryDirectory() as folder:
        notebook = executed(json.loads(path.read_text("utf-8")), Path(folder))
    path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    os.environ["MPLBACKEND"] = "agg"
    main(Path(sys.argv[1]))
