"""The page that shows what every encoding does."""

from __future__ import annotations

from pathlib import Path

from pebench import atomic
from pebench.plugins.registry import encodings
from pebench.portrait.drawing import picture_of

PREFACE = """\
# What each encoding does to a logit

Each picture shows by how much an encoding changes the logit of a query and a key that have the same random
content, averaged over 256 contents, with the parameters that it starts with: what is learned grows from
there. Without an encoding nothing changes.

Curves: in causal text the query is the last of 256 positions, and the trained extent is 64. Distances that
were met in training are shaded. Where an encoding has several ways past the trained extent there is a curve
for each, all on one scale. Maps: on a grid of 32 × 32 that is four times the trained 8 × 8 an axis, the
query is the dot in the middle, the dashed frame holds the distances that were met in training, and what is
grey is hidden. What serves three axes alone is shown in the frame of the query and two frames on, among 16
frames of 32 × 32, which is four times the trained 4 × 8 × 8. Scales differ from one encoding to the next:
mind the numbers.

`pebench gallery` draws this page. `pebench gallery --run ID` draws what training has made of the encoding of
a finished run, layer by layer.
"""

FLAT = "It starts out alike at every distance: all that it does is learned."
"""Said of an encoding whose picture shows nothing."""


def gallery(folder: Path) -> Path:
    """Writes a picture of every encoding into a folder, and a page that shows them.

    Returns:
        The page, `gallery.md` beside the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    parts = [PREFACE]
    for name in encodings.origins():
        options = encodings.load(name).drawn_with
        shown = picture_of(name, options, folder / f"{name}.png")
        facts = encodings.literals(name)
        caption = f"{facts.get('summary', '')} {facts.get('source', '')}.".strip()
        if options:
            caption += f" Drawn with {', '.join(f'{key}: {value}' for key, value in options.items())}."
        if set(facts.get("acts", "")) & set("IRBC") and all(picture.is_flat() for picture in shown):
            caption += f" {FLAT}"
        parts.append(f"## {name}\n\n{caption}\n\n![{name}: {_shown(facts)}]({folder.name}/{name}.png)\n")
    page = folder.parent / "gallery.md"
    atomic.write_text(page, "\n".join(parts))
    return page


def _shown(facts: dict[str, object]) -> str:
    """Description of a picture, for those who cannot see it."""
    axes = facts.get("axes", (1,))
    assert isinstance(axes, tuple)
    kinds = {1: "curves by distance", 2: "maps by rows and columns", 3: "maps of two frames"}
    shown = [kinds[number] for number in (1, 2) if number in axes] or [kinds[3]]
    return "the change of the logit of each head, " + " and ".join(shown)
