"""docs/encodings.md says of each encoding what its file declares."""

from __future__ import annotations

import re
from pathlib import Path

from references.golden_values import GOLDEN, HELD

from pebench.plugins.registry import encodings

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "encodings.md").read_text(encoding="utf-8")


def test_the_table_holds_what_the_encodings_declare() -> None:
    declarations = PAGE.split("\n## ")[0].splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in declarations if "| `" in line]
    wanted = []
    for name in encodings.origins():
        declared = encodings.load(name)
        wanted.append(
            [
                f"`{name}`",
                " ".join(map(str, declared.axes)),
                declared.acts or "–",
                "causal" if declared.causal_only else "any",
                ", ".join(declared.kernels),
                "no" if declared.graph_break else "yes",
                ", ".join(declared.extrapolations),
            ]
        )
    assert rows == wanted


def test_costs_sources_and_broken_graphs_are_those_of_the_files() -> None:
    said = dict(
        re.findall(r"^- `([\w-]+)`: (.*)$", PAGE.split("## What it costs")[1].split("##")[0], re.MULTILINE)
    )
    assert said == {
        name: f"{encodings.load(name).cost}. {encodings.load(name).source}." for name in encodings.origins()
    }
    broken = PAGE.split("## What does not compile")[1].split("##")[0]
    for name in encodings.origins():
        reason = encodings.load(name).graph_break
        assert (f"- `{name}`: {reason}" in broken) == bool(reason)


def test_the_page_names_the_encodings_that_are_held_to_published_values() -> None:
    assert {path.stem for path in GOLDEN.glob("*.npz")} == HELD.keys()
    tests = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*.py"))
    held = sorted({name for names in HELD.values() for name in names})
    assert [name for name in held if f'"{name}"' not in tests] == []
    section = PAGE.split("## Held to published values")[1].split("\n## ")[0]
    said = re.findall(r"`([\w-]+)`", section.split("\n\n")[1])
    assert said == held
    others = re.findall(r"`([\w-]+)`", section.split("\n\n")[2])
    assert sorted([*said, *others]) == sorted(encodings.origins())
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert (
        f"Of the {len(encodings.origins())} encodings {len(held)} are held to values of published" in readme
    )
