"""`pebench check`: says in under a minute whether an encoding is sound."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pebench.command_line.completion import encodings_and_files, settings_of_schedule
from pebench.command_line.parameter_types import encoding_options, encoding_ref, settings_option

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from pebench.conformance import Cost, Movement
    from pebench.specification.run_spec import Training


@click.command("check")
@click.argument("encoding", shell_complete=encodings_and_files)
@encoding_options
@settings_option(
    shell_complete=settings_of_schedule,
    help="The schedule that moves its parameters, as train.steps=600. [default: that of 'pebench run']",
)
@click.option(
    "--plot",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Draw what it does to a logit by distance, as PNG, SVG or PDF.",
)
@click.option(
    "--device",
    type=click.Choice(["cpu", "cuda"]),
    default="cpu",
    show_default=True,
    help="Where to run the contracts and to measure the cost.",
)
def command(
    encoding: str,
    options: tuple[tuple[str, Any], ...],
    settings: tuple[tuple[str, Any], ...],
    plot: Path | None,
    device: str,
) -> int:
    """Run the contracts on ENCODING, a name, a composition or a Python file, and price it beside no encoding.

    The identities that it claims are verified with them. Costs are those of a model of width 128, 4 layers
    and 4 heads on batches of about 1,024 tokens; times are medians of measurements in alternation.

    What the parameters are moved by at most in a schedule is measured too. A bias that cannot become large
    enough in it to matter is warned of, with the rate of its own that would do, where there is one.

    Exits with status 1 if a contract is broken.

    \b
    Examples:
      pebench check my_encoding.py
      pebench check rope --option rotated=0.5 --plot rope.png
      pebench check "learned + rope"
      pebench check t5 --set train.steps=600 --set train.learning_rate=1.5e-3
      pebench check t5 --device cuda
    """
    from rich.console import Console
    from rich.table import Table

    from pebench.conformance import Finding, costs, examine, movement
    from pebench.encoding_config import encoding_class, encoding_config

    _assert_there(device)
    training = _training(settings)
    name, written = _split(encoding)
    chosen = {**written, **dict(options)}
    title = encoding_config({name: chosen}).label if written else name
    if plot is not None:
        _draw(name, chosen, plot)
    console = Console()
    findings: dict[str, list[Finding]] = {}
    with console.status(f"checking {title}") as status:
        for finding in examine(name, chosen, device):
            findings.setdefault(finding.contract, []).append(finding)
            status.update(f"checking {title}: {finding.setting}, {finding.contract}")
        status.update(f"pricing {title}")
        axes = encoding_class(name, chosen).axes[0]
        prices = list(costs(name, chosen, axes, device))
        status.update(f"moving the parameters of {title}")
        moved = movement(name, chosen, axes, training)
    table = Table("", "contract", "setting", box=None, pad_edge=False)
    for contract, found in findings.items():
        broken = [finding for finding in found if finding.fault]
        places = "; ".join(dict.fromkeys(finding.setting for finding in broken or found))
        table.add_row("[red]broken[/]" if broken else "[green]kept[/]", contract, places)
        for fault in dict.fromkeys(finding.fault for finding in broken):
            table.add_row("", f"  [red]{fault}[/]", "")
    console.print(table)
    console.print()
    console.print(_price_list(prices))
    parameters = next(price for price in prices if price.quantity == "parameters")
    console.print(f"\n{title} has {int(parameters.own - parameters.without):,} parameters of its own.")
    _print_movement(title, moved, training, console)
    broken_count = sum(any(finding.fault for finding in found) for found in findings.values())
    console.print(
        f"{title} is sound."
        if not broken_count
        else f"{title} breaks {broken_count} of {len(findings)} contracts."
    )
    return 1 if broken_count else 0


def _training(settings: tuple[tuple[str, Any], ...]) -> Training:
    """The schedule of settings by their paths."""
    from pebench.errors import UserError
    from pebench.specification.options import validated
    from pebench.specification.run_spec import Training
    from pebench.sweeping.cell import Cell

    cell = Cell("", "")
    for path, value in settings:
        if not path.startswith("train."):
            raise UserError(f"'{path}' is no part of a schedule: --set takes settings of 'train' here.")
        cell = cell.with_value(path, value)
    return validated(Training, dict(cell.options.get("train", {})), "'train'")


def _print_movement(title: str, moved: Movement, training: Training, console: Console) -> None:
    """Says how far the parameters go, where there is a learned bias: without one nothing was updated."""
    from rich.table import Table

    from pebench.conformance.movement import LARGEST_RATE
    from pebench.notation.significant_figures import significant

    if moved.before is None or moved.most is None:
        return
    rate = training.encoding.learning_rate or training.learning_rate
    console.print(
        f"\nIn {training.steps:,} updates at {rate:g} the rates sum to {significant(moved.rates, 3)}. Where "
        "every update asks for the same, the parameters move by:"
    )
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("parameter")
    for heading in ("numbers", "at the start", "moves by"):
        table.add_column(heading, justify="right")
    for one in moved.parameters:
        table.add_row(one.name, f"{one.numbers:,}", significant(one.start, 3), significant(one.distance, 3))
    console.print(table)
    console.print(
        f"The bias tells two keys apart by {significant(moved.before, 3)} nats at the start and by "
        f"{significant(moved.most, 3)} at most."
    )
    share = f"nine tenths of the attention on one key take {moved.needed:.2g} nats"
    if moved.better_rate is not None:
        console.print(
            f"[yellow]Warning:[/] that is too little: {share}. Give {title} a rate of its own, "
            f"train.encoding.learning_rate={moved.better_rate:g} or more, or tune it."
        )
    elif moved.falls_short:
        console.print(
            f"That is too little: {share}. No rate is suggested, for none up to {LARGEST_RATE:g} gets the "
            "bias there: its definition may bound it, or the queries and keys, which are drawn here, or the "
            "updates are too few."
        )


def _assert_there(device: str) -> None:
    import torch

    from pebench.errors import UserError

    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("there is no CUDA device here that PyTorch can use; leave --device out for the CPU.")


def _price_list(prices: list[Cost]) -> Table:
    from rich.table import Table

    extents = list(dict.fromkeys(price.extent for price in prices))
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(no_wrap=True)
    for extent in extents:
        for heading in (f"none at {'×'.join(map(str, extent))}", "own", "ratio"):
            table.add_column(heading, justify="right")
    for quantity in dict.fromkeys(price.quantity for price in prices):
        row = [quantity]
        for price in (price for price in prices if price.quantity == quantity):
            row += [_number(price.without), _number(price.own), f"{price.ratio:.2f}"]
        table.add_row(*row)
    return table


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.1f}"


def _draw(name: str, options: dict[str, Any], path: Path) -> None:
    from pebench.errors import UserError
    from pebench.portrait import FORMATS, picture_of

    if path.suffix not in FORMATS:
        raise UserError(f"a picture ends in {', '.join(FORMATS)}, not '{path.suffix}'.")
    if not path.absolute().parent.is_dir():
        raise UserError(f"there is no folder {path.absolute().parent} to write {path.name} into.")
    picture_of(name, options, path)
    click.echo(f"{path}: what {name} does to a logit.")


def _split(encoding: str) -> tuple[str, dict[str, Any]]:
    """The name and options of what may be a file, a name or a composition."""
    from pebench.errors import UserError
    from pebench.plugins.registry import encodings
    from pebench.specification.plugin_ref import split

    path = Path(encoding)
    if path.suffix != ".py" and not path.is_file():
        name, options = split(encoding_ref(encoding), "encoding")
        return (name, options) if options else (encodings.origin(name).name, {})
    added = encodings.add_file(path)
    if added is None:
        raise UserError(f"{path} defines no PositionEncoding.")
    return added, {}
