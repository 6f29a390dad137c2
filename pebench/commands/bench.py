"""`pebench bench`: speed and memory on this machine, as ratios to baselines that are measured beside them."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import click

from pebench.errors import UserError, unknown

_MISTAKE = 2
"""How a benchmark ends that has said what is wrong with its options."""


@click.command("bench", context_settings={"ignore_unknown_options": True})
@click.argument("arguments", metavar="[NAME]... [OPTION]...", nargs=-1, type=click.UNPROCESSED)
@click.option("--list", "listing", is_flag=True, help="Say what there is, and measure nothing.")
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("build/benchmarks"),
    show_default=True,
    help="Folder of the JSON files, one a benchmark.",
)
@click.option(
    "--page", is_flag=True, help="Write docs/benchmarks.md from results/benchmarks; measure nothing."
)
def command(arguments: tuple[str, ...], listing: bool, output: Path, page: bool) -> int:
    """Measure the benchmarks NAME…, by default all, on CUDA where there is a device, else on the CPU.

    Each prints one table and writes one JSON file; every row is a ratio to a baseline that was measured in
    turn with it. After a single NAME come its own OPTIONs, which python benchmarks/FILE --help lists. The
    benchmarks are part of a checkout and not of the installed package.

    \b
    Examples:
      pebench bench --list
      pebench bench attention-paths evaluation
      pebench bench training-step --encodings rope alibi --rounds 5
      pebench bench --output results/benchmarks/my-machine
    """
    names, options = _split(arguments)
    files = _files()
    for name in names:
        if name not in files:
            raise unknown("benchmark", name, list(files))
    if options and len(names) != 1:
        raise UserError(f"'{options[0]}' belongs to one benchmark: name that one before it, and no other.")
    if listing:
        width = max(map(len, files))
        for name, path in files.items():
            click.echo(f"{name:{width}}  {_summary(path)}")
        return 0
    if page:
        return _run([_folder() / "measuring" / "page.py"])
    failed = []
    for name in names or files:
        target = output / f"{name}.json"
        click.echo(f"{name}: {_summary(files[name])}", err=True)
        # In a process of its own, so that none finds what another left behind.
        status = _run([files[name], "--output", target, *options])
        if status == _MISTAKE:
            return status
        if status:
            failed.append(name)
        else:
            click.echo(f"{name}: written to {target}", err=True)
    if failed:
        click.echo(f"pebench: {', '.join(failed)} failed.", err=True)
    return 1 if failed else 0


def _run(command: list[Path | str]) -> int:
    return subprocess.run([sys.executable, *map(str, command)], check=False).returncode


def _split(arguments: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names up to the first option, and everything from there on."""
    first = next((at for at, word in enumerate(arguments) if word.startswith("-")), len(arguments))
    return arguments[:first], arguments[first:]


def _folder() -> Path:
    folder = Path(__file__).resolve().parents[2] / "benchmarks"
    if not folder.is_dir():
        raise UserError(
            "the benchmarks are part of a checkout of pebench and not of the installed package: "
            "run 'pip install -e .' and 'pebench bench' in one."
        )
    return folder


def _files() -> dict[str, Path]:
    return {path.stem.replace("_", "-"): path for path in sorted(_folder().glob("*.py"))}


def _summary(file: Path) -> str:
    text = ast.get_docstring(ast.parse(file.read_text("utf-8"))) or ""
    return text.partition("\n")[0]
