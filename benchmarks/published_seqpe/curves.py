"""Lays training with the published SeqPE code beside runs of ours: two tables and a picture of both sides.

    PYTHONPATH=benchmarks:. python -m published_seqpe.curves published.json runs/seqpe-*

Writes `training-loss.csv`, nats a token of the training text, means over 50 updates: of all of them with the
published code, of those that were logged with ours. Writes `held-out.csv`, nats a token of held-out text by
extent, and `beside-published.svg` and `.png`.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

import pandas

from pebench import atomic
from pebench.errors import UserError
from pebench.leaderboard.plots.style import COLOURS, plain, rendered
from pebench.store.run_folder import RunFolder

TOGETHER = 50
"""Updates that a loss is the mean of."""

PUBLISHED, HERE = "published code", "here"
LOSSES, HELDOUT = ["side", "seed", "update", "loss"], ["side", "seed", "extent", "nats"]


def of_published(file: Path) -> tuple[pandas.DataFrame, pandas.DataFrame]:
    """Losses and held-out scores that `published_seqpe.train` wrote, columns as `LOSSES` and `HELDOUT`."""
    seeds = {int(seed): own for seed, own in json.loads(file.read_text("utf-8"))["seeds"].items()}
    losses = [(PUBLISHED, seed, row[0], row[1]) for seed, own in seeds.items() for row in own["losses"]]
    heldout = [(PUBLISHED, seed, row[1], row[2]) for seed, own in seeds.items() for row in own["heldout"]]
    return pandas.DataFrame(losses, columns=LOSSES), pandas.DataFrame(heldout, columns=HELDOUT)


def of_runs(folders: list[Path]) -> tuple[pandas.DataFrame, pandas.DataFrame]:
    """The same of runs of ours.

    Raises:
        UserError: one of them is not finished.
    """
    losses, heldout = [], []
    for run in map(RunFolder, folders):
        seed, result = run.spec().seed, run.result()
        if result is None or not result.scores:
            raise UserError(f"{run.path} has no scores yet.")
        # After a resume the same update stands twice.
        logged = {point.step: point.values.get("train/loss") for point in run.points()}
        losses += [(HERE, seed, step, loss) for step, loss in logged.items() if loss is not None]
        heldout += [
            (HERE, seed, score.extent[0], math.log(score.value))
            for score in result.scores
            if score.metric == "perplexity" and score.value is not None
        ]
    return pandas.DataFrame(losses, columns=LOSSES), pandas.DataFrame(heldout, columns=HELDOUT)


def means(losses: pandas.DataFrame) -> pandas.DataFrame:
    """One row a side, a seed and 50 updates, named by the last of them; what is left over is left out."""
    ends = -(-losses["update"] // TOGETHER) * TOGETHER
    found = losses.assign(update=ends).groupby(LOSSES[:3])["loss"].mean().reset_index()
    kept: pandas.DataFrame = found[found["update"] <= losses["update"].max()]
    return kept


def draw(losses: pandas.DataFrame, heldout: pandas.DataFrame) -> dict[str, bytes]:
    """The picture, by the ending of its file.

    Args:
        losses: as of `means`. heldout: nats a token.
    """
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.ticker import NullLocator

    colours = {PUBLISHED: COLOURS[1], HERE: COLOURS[0]}
    with plain():
        figure = Figure(figsize=(11.0, 4.6), layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=[3, 2])
        end = losses["update"].max()
        late, inset = int(0.6 * end), left.inset_axes((0.36, 0.4, 0.62, 0.52))
        for axes, begin in ((left, 0), (inset, late)):
            for (side, _), own in losses[losses["update"] >= begin].groupby(["side", "seed"]):
                axes.plot(own["update"], own["loss"], color=colours[str(side)], linewidth=1.0)
            axes.grid(axis="y", alpha=0.25)
            axes.xaxis.set_major_formatter("{x:,.0f}")
        left.axvspan(late, end, ymax=0.3, color="black", alpha=0.08, linewidth=0)
        inset.set_title("the shaded part", fontsize=9)
        inset.tick_params(labelsize=8)
        left.set_title("Training text", loc="left")
        left.set_xlabel(f"updates; a line is a seed, a point the mean of {TOGETHER}, here of the logged ones")
        left.set_ylabel("nats a token")
        extents = sorted(heldout["extent"].unique())
        for side, factor in ((PUBLISHED, 0.95), (HERE, 1.05)):
            own = heldout[heldout["side"] == side]
            # Beside the extent, so that the rings of one side do not hide the other's.
            right.plot(own["extent"] * factor, own["nats"], "o", markerfacecolor="none", color=colours[side])
        right.set_xscale("log", base=2)
        right.set_xticks(extents, [f"{extent:,}" for extent in extents])
        right.xaxis.set_minor_locator(NullLocator())
        right.set_title("Held-out text", loc="left")
        right.set_ylabel("nats a token")
        right.set_xlabel("tokens that are read at once; a ring is a seed")
        right.grid(axis="y", alpha=0.25)
        for axes in (left, right):
            axes.spines[["top", "right"]].set_visible(False)
        names = [Line2D([], [], color=colours[side], marker="o", markerfacecolor="none") for side in colours]
        right.legend(names, colours, loc="lower right", frameon=False)
        return {kind: rendered(figure, kind) for kind in ("svg", "png")}


def main() -> None:
    """Reads the command line and writes the files."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("published", type=Path, help="the JSON file that published_seqpe.train wrote")
    parser.add_argument(
        "runs", type=Path, nargs="+", help="finished runs of sweeps/seqpe-beside-published.yaml"
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("results/seqpe-beside-published"),
        help="folder of the tables and the picture; default: %(default)s",
    )
    chosen = parser.parse_args()
    try:
        sides = [of_published(chosen.published), of_runs(chosen.runs)]
    except UserError as error:
        parser.error(str(error))
    losses, heldout = (pandas.concat(parts, ignore_index=True) for parts in zip(*sides, strict=True))
    losses, heldout = means(losses), heldout.sort_values(HELDOUT[:3])
    chosen.output.mkdir(parents=True, exist_ok=True)
    for name, table in (("training-loss.csv", losses), ("held-out.csv", heldout)):
        atomic.write_text(
            chosen.output / name, table.to_csv(index=False, float_format="%.4f", lineterminator="\n")
        )
    for kind, content in draw(losses, heldout).items():
        atomic.write_bytes(chosen.output / f"beside-published.{kind}", content)


if __name__ == "__main__":
    main()
