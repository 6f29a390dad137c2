"""`pebench extend`: which extension of RoPE a trained model should use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pebench.command_line.parameter_types import results_option, runs_option
from pebench.errors import UserError

_LISTS = ("--data", "--extents", "--factors")


class _ListCommand(click.Command):
    """A command whose options of several values stand before all of them: ``--extents 4096 8192``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Puts the option before each of its values, as click reads them."""
        spelled: list[str] = []
        option, first = "", False
        for word in args:
            if word.startswith("-") and not word.lstrip("-").isdigit():
                option, first = (word if word in _LISTS else ""), True
                if not option:
                    spelled.append(word)
            elif option and not word.startswith("hf:"):
                spelled += [option, word]
                first = False
            else:
                spelled.append(word)
                continue
        if option and first:
            spelled.append(option)
        return super().parse_args(ctx, spelled)


@click.command("extend", cls=_ListCommand)
@click.argument("model", metavar="hf:MODEL")
@click.option(
    "--data",
    multiple=True,
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE...",
    help="Files or folders of text that the model was not trained on; a file is a document.",
)
@click.option(
    "--extents",
    multiple=True,
    required=True,
    type=click.IntRange(min=2),
    metavar="N...",
    help="Tokens that are to be read at once; the trained extent is added.",
)
@click.option(
    "--factors",
    multiple=True,
    type=click.FloatRange(min=1),
    metavar="X...",
    help="Constant factors to try.  [default: those by which the extents exceed the trained one]",
)
@click.option(
    "--tokens",
    type=click.IntRange(min=2),
    help="Tokens of the text to evaluate on, in stretches from all over its documents.  [default: 32 "
    "stretches of the largest extent]",
)
@click.option(
    "--examples",
    type=click.IntRange(min=0),
    default=5,
    show_default=True,
    help="Texts of the retrieval for each of five depths and each extent; 0 for no retrieval.",
)
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@results_option("--output")
@runs_option
def command(
    model: str,
    data: tuple[Path, ...],
    extents: tuple[int, ...],
    factors: tuple[float, ...],
    tokens: int | None,
    examples: int,
    device: str,
    output: Path,
    runs: Path,
) -> int:
    """Say which extension of RoPE a trained language model should use, on what evidence, without training.

    Every frequency map with every factor is a row of one table: perplexity on the same tokens by extent, what
    a constant factor costs at the trained extent, and retrieval. The page is written into the folder of
    results; the sweep behind it is one like any other, and goes on where it was cut off. How long that takes
    grows with the tokens, the extents and the factors; with --examples 0 it is about half.

    \b
    Examples:
      pebench extend hf:models/smollm --data books --extents 4096 8192 16384
      pebench extend hf:HuggingFaceTB/SmolLM2-135M --data a.txt b.txt --extents 16384 --tokens 500000
    """
    from pebench.commands.submit import start
    from pebench.extending.answer import ask, write_answer
    from pebench.extending.plan import plan
    from pebench.pretrained.hf_model import hf_model
    from pebench.specification.run_spec import HF
    from pebench.submission.resources import Resources

    if not model.startswith(HF):
        raise UserError(f"write the model as '{HF}FOLDER' or '{HF}OWNER/NAME', not '{model}'.")
    asked = plan(hf_model(model), data, extents, factors, tokens, examples, device)
    sweep: Any = ask(asked, output, runs)
    status = start(sweep, runs, "inline", Resources())
    if status:
        return status
    answer, place = write_answer(asked, sweep, output, runs)
    click.echo()
    for sentence in answer.sentences:
        click.echo(sentence)
    click.echo(f"Written: {place}, to open in a browser")
    return 0
