"""timm beside any build of torch: torchvision, which it imports, wants operators that may not load here."""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path

import torch

_MISSING = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
"""Operators that importing torchvision describes whether they are there or not."""


@functools.cache
def declare_missing() -> torch.library.Library | None:
    """Makes `import torchvision`, and so `import timm`, work where torchvision's compiled operators do not
    load: a CUDA build beside a CPU build of torch, or builds of different releases.

    Nothing that timm does calls them. Calling one of them still fails, with PyTorch's own clear error.

    Returns:
        What holds the declarations for as long as the process lives; None where nothing was missing.
    """
    spec = importlib.util.find_spec("torchvision")
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        for library in sorted(Path(folder).glob("_C*.so")):
            try:
                torch.ops.load_library(str(library))
            except OSError:
                continue
            return None
    declarations = torch.library.Library("torchvision", "FRAGMENT")
    for schema in _MISSING:
        if not hasattr(torch.ops.torchvision, schema.partition("(")[0]):
            declarations.define(schema)
    return declarations
