"""The picture of a trained model's encoding: every layer, beside the same encoding before training."""

from __future__ import annotations

from pathlib import Path

import torch

from pebench.portrait.drawing import draw, save
from pebench.portrait.logits import Portrait, portrait_of
from pebench.position_encoding import PositionEncoding
from pebench.resolve import encoding_of
from pebench.running.finished import load_finished
from pebench.store.run_folder import RunFolder

DRAWS = 64
"""Contents that a logit is averaged over. A model has many layers, and is trained at larger extents than the
encodings that the gallery builds."""

ALIKE = 1e-3
"""Logits by which two layers differ at least if each has a picture of its own."""


def trained_picture(folder: RunFolder, output: Path) -> tuple[Path, bool]:
    """Draws the encoding of a finished run as it was trained, on the CPU.

    Query and key have the same random content, as in the gallery of all encodings: what is shown is what the
    encoding's own weights do, and not what the model's projections make of it.

    Args:
        folder: of the run.
        output: folder of the picture, which is called like the run.

    Returns:
        The picture, and whether training has changed what it shows.

    Raises:
        UserError: the run is not finished, diverged, or something in its folder is missing or changed.
    """
    finished = load_finished(folder, torch.device("cpu"))
    encoding = finished.model.encoding
    label = finished.spec.encoding.label
    before = _by_layer(encoding_of(finished.spec, finished.task).eval())
    after = _by_layer(encoding)  # type: ignore[arg-type]
    changed = list(before) != list(after) or any(
        not _alike(before[layers], after[layers]) for layers in before
    )
    pictures = [
        (f"{label}, {when}{layers}", found[layers])
        for layers in dict.fromkeys([*before, *after])
        for when, found in (("untrained", before), ("trained", after))
        if layers in found
    ]
    output.mkdir(parents=True, exist_ok=True)
    path = output / f"{folder.run_id}.png"
    save(draw(pictures, across=2), path)
    return path, changed


def _by_layer(encoding: PositionEncoding) -> dict[str, Portrait]:
    """The portraits of the layers, by words for them; neighbours that are alike have one."""
    found: list[tuple[int, int, Portrait]] = []
    for layer in range(encoding.geometry.layers):
        picture = portrait_of(encoding, layer=layer, draws=DRAWS)
        if found and _alike(found[-1][2], picture):
            found[-1] = (found[-1][0], layer, found[-1][2])
        else:
            found.append((layer, layer, picture))
    if len(found) == 1:
        return {"": found[0][2]}
    return {
        f", layer {first + 1}" if first == last else f", layers {first + 1} to {last + 1}": picture
        for first, last, picture in found
    }


def _alike(one: Portrait, other: Portrait) -> bool:
    return torch.allclose(one.change, other.change, rtol=0.0, atol=ALIKE)
