"""Writes what was measured into the documentation, so that no number there is typed by hand.

Reads ``results/benchmarks/<machine>/<benchmark>.json``, or ``<benchmark>.<part>.json`` where a part was
measured in a run of its own, and writes all of it to ``docs/benchmarks.md`` and a few lines of it between
two marks in the README.
"""

from __future__ import annotations

import ast
import json
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from measuring.reporting import Record, caption, cells, ratio, text

from pebench import atomic

REPOSITORY = Path(__file__).resolve().parents[2]
RESULTS, PAGE, README = (
    REPOSITORY / place for place in ("results/benchmarks", "docs/benchmarks.md", "README.md")
)

BEGIN, END = "<!-- benchmarks: written by pebench bench --page -->", "<!-- end of benchmarks -->"

QUOTED = ("none", "rope", "alibi", "fox", "cable", "seqpe:dropout=0", "seqpe", "seqpe:dropout=0,unshared")
"""Encodings that the README shows."""

INTRODUCTION = """# Benchmarks

Speed and memory of pebench, each measured in turn with a baseline. The page of
[results](../results/benchmarks/README.md#what-came-out) says which aims were reached and what is not known.

{contents}
## How to read the tables

- `ratio`: the median over the rounds of the baseline's time by the row's own, above 1 where the row is
  faster. The quartiles of the rounds stand beside it.
- `ms`: the median time of one unit of work.
- `added MiB`: the most memory that one call took beyond what was taken before it: allocated on a CUDA
  device, resident in the process on a CPU.
- Time: with one thread on a CPU, what one process computes is counted by the time that it had the
  processor; all else by the wall clock. The entry `clock` of a file says which.
- Load: the number of processes that wanted a core in the minute before the benchmark began. Where it is
  above the number of cores, times are longer than on a quiet machine and quartiles wider.

Machines are shared and clocks vary, so a time alone says little. Every row is measured in alternation with
the baseline of its table, in one run. The line below a table says where and with which versions it was
measured.

## How to measure again

```bash
pebench bench --list                                       # what there is
pebench bench                                              # all of it, on whatever device there is
pebench bench training-step --encodings rope alibi         # one of them, with options of its own
pebench bench --output results/benchmarks/my-machine       # kept where this page is made from
pebench bench --page                                       # writes this page
```
"""

PROVENANCE = """## Provenance

The files that this page is made from are in [`results/benchmarks`](../results/benchmarks), a folder a
machine. A part that was measured in a run of its own is named after the comma. What has changed since a file
was written stands in [their README](../results/benchmarks/README.md#provenance).
"""


def page(results: Path) -> str:
    """The page of all results in a folder."""
    found = sorted(_by_benchmark(results).items())
    parts = [INTRODUCTION.format(contents=_contents(found))]
    for name, records in found:
        title = _title(records)
        parts.append(f"## {title}\n\n`pebench bench {name}`\n\n{_docstring(name)}\n")
        for machine, record in records.items():
            parts.append(f"### {title}: {machine}\n\n{_table(record)}\n{_where(record)}\n")
    return "\n".join([*parts, PROVENANCE])


def quotation(results: Path) -> str:
    """The lines for the README: the training step by encoding, on a GPU if there are results of one."""
    records = _by_benchmark(results).get("training-step", {})
    if not records:
        return ""
    record = next((r for r in records.values() if r["machine"]["cuda"]), next(iter(records.values())))
    rows = {row["name"]: row for row in record["rows"]}
    chosen = [rows[name] for name in QUOTED if name in rows]
    known = [key for key in ("tokens/s", "utilisation") if any(row["more"].get(key) for row in chosen)]
    lines = [
        [f"`{row['name']}`", *(text(row["more"].get(key)) for key in known), ratio(row["ratio"])]
        for row in chosen
    ]
    table = _markdown(["encoding", *known, f"ratio to {record['baseline']}"], lines)
    setting = ", ".join(f"{key} {text(value)}" for key, value in record["rows"][0]["setting"].items())
    return f"Training step by encoding ({setting}). {_where(record)}\n\n{table}"


def within(readme: str, lines: str) -> str:
    """The README with other lines between its marks.

    Raises:
        ValueError: it has no such marks.
    """
    pattern = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)
    if not pattern.search(readme):
        raise ValueError(f"the README lacks '{BEGIN}' and '{END}'")
    return pattern.sub(lambda _: f"{BEGIN}\n\n{lines}\n{END}", readme)


def _by_benchmark(results: Path) -> dict[str, dict[str, Record]]:
    """The records by the names of benchmark and machine; those of parts come after the others."""
    found: dict[str, dict[str, Record]] = {}
    for path in sorted(results.glob("*/*.json"), key=lambda path: (path.parent.name, path.stem)):
        benchmark, _, part = path.stem.partition(".")
        of = f"{path.parent.name}, {part}" if part else path.parent.name
        found.setdefault(benchmark, {})[of] = json.loads(path.read_bytes())
    return found


def _title(records: dict[str, Record]) -> str:
    title: str = next(iter(records.values()))["title"]
    return title


def _contents(found: list[tuple[str, dict[str, Record]]]) -> str:
    """A list of the benchmarks, each with links to its results by machine."""
    lines = []
    for _, records in found:
        title = _title(records)
        machines = "; ".join(f"[{machine}](#{_anchor(f'{title}: {machine}')})" for machine in records)
        lines.append(f"- [{title}](#{_anchor(title)}): {machines}\n")
    return "".join(lines)


def _anchor(heading: str) -> str:
    """The name by which GitHub links to a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def _docstring(name: str) -> str:
    file = REPOSITORY / "benchmarks" / f"{name.replace('-', '_')}.py"
    return ast.get_docstring(ast.parse(file.read_text("utf-8"))) or ""


def _where(record: Record) -> str:
    of = record["machine"]
    commit = f"commit {of['commit'][:10]}{' with changes' if of['dirty'] else ''}, " if of["commit"] else ""
    cuda = f", CUDA {of['cuda']}" if of["cuda"] else ""
    threads = f"{of['threads']} thread{'' if of['threads'] == 1 else 's'}"
    versions = f"torch {of['torch']}{cuda}, Python {of['python']}"
    return f"{of['device']}; {of['date']}, {commit}{versions}, {threads}, load {of['load']} at the beginning."


def _table(record: Record) -> str:
    headings, lines = cells(record["rows"])
    return f"{_markdown(headings, lines)}\n{caption(record)[:1].upper()}{caption(record)[1:]}.\n"


def _markdown(headings: list[str], lines: list[list[str]]) -> str:
    rule = [" --- ", *(" ---: " for _ in headings[1:])]
    rows = [" | ".join(line) for line in (headings, *lines)]
    return "\n".join([f"| {rows[0]} |", f"|{'|'.join(rule)}|", *(f"| {row} |" for row in rows[1:])]) + "\n"


def main() -> None:
    """Writes both."""
    readme = within(README.read_text("utf-8"), quotation(RESULTS))
    atomic.write_text(PAGE, page(RESULTS))
    atomic.write_text(README, readme)
    sys.stdout.write(f"{PAGE.relative_to(REPOSITORY)} and the README\n")


if __name__ == "__main__":
    main()
