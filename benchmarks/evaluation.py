"""Evaluation of a language model by extent and attention path: tokens a second and memory.

Timed is the evaluation that runs use, in float32, on one text of random tokens as long as the largest extent,
cut into windows of each extent. The baseline is fused attention without an encoding. Beside it stand
encodings whose bias is:

- factored into further channels (alibi, SeqPE);
- computed in blocks of queries (t5, cope);
- on CUDA, compiled into flex attention or by kernels of our own (t5), whatever `choose_kernel` would say.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from unittest import mock

import torch
from measuring.alternation import Row, Work, alternate, clock, device
from measuring.reporting import Arguments, positive, report
from measuring.training import labelled, random_text

from pebench.attention import kernels
from pebench.models.host import SIZES
from pebench.position_encoding import Extrapolation
from pebench.running.evaluate import evaluate
from pebench.task import AnyTask

BASELINE = "fused, none"

PATHS = {
    "fused": ("none", "rope"),
    "factored": ("alibi", "seqpe"),
    "blocked": ("t5", "cope"),
    "flex": ("t5",),
    "shared": ("t5",),
}
"""Encodings that each path is measured with."""


def works(task: AnyTask, extent: int, chosen_paths: list[str]) -> dict[str, Work]:
    """The evaluation at an extent, by path and encoding."""
    found: dict[str, Work] = {}
    for path in chosen_paths:
        for label in PATHS[path]:
            encoding = labelled(label, task)
            model = task.build(encoding, 0).to(device())
            reach = Extrapolation((extent,), encoding.extrapolations[0])
            found[f"{path}, {label}"] = partial(_along, path, partial(evaluate, model, task, reach, device()))
    return found


def _along(path: str, evaluation: Work) -> None:
    """Evaluates with one of the kernels for CUDA always, and never with another."""
    always = {(dtype, False): 1 for dtype in (torch.float32, torch.bfloat16)}
    with (
        mock.patch.dict(kernels.FLEX_FROM, always if path == "flex" else {}, clear=True),
        mock.patch.dict(kernels.SHARED_FROM, always if path == "shared" else {}, clear=True),
    ):
        evaluation()


def main() -> None:
    """Measures and reports."""
    here = device().type == "cuda"
    parser = Arguments(__doc__)
    parser.add_argument("--size", choices=list(SIZES), default="gpt2-small" if here else "tiny")
    extents = [1024, 2048, 4096, 8192, 16384] if here else [256, 1024, 4096]
    parser.add_argument("--extents", type=positive, nargs="+", default=extents)
    parser.add_argument("--vocabulary", type=positive, default=50304 if here else 4096)
    able = [path for path in PATHS if here or path not in ("flex", "shared")]
    parser.add_argument("--paths", choices=list(PATHS), nargs="+", default=able)
    chosen = parser.parse_args()
    task = random_text(chosen.extents[0], chosen.size, chosen.vocabulary, tuple(chosen.extents))
    paths = list(dict.fromkeys(["fused", *chosen.paths]))
    tokens = max(chosen.extents)

    def rows() -> Iterator[Row]:
        for extent in chosen.extents:
            at = {"model": chosen.size, "vocabulary": chosen.vocabulary, "extent": extent}
            for row in alternate(works(task, extent, paths), BASELINE, at, chosen.rounds, warmup=1):
                yield replace(row, more={"tokens/s": tokens / row.seconds})

    report("Evaluation by extent", BASELINE, rows(), chosen.output, clock=clock())


if __name__ == "__main__":
    main()
