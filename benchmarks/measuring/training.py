"""Training as runs do it, on tokens drawn at random, for whatever a benchmark compares it with."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from measuring.alternation import device
from measuring.reporting import positive

from pebench.data.tokens import TokenStream
from pebench.encoding_config import build_encoding
from pebench.models.decoder import Decoder
from pebench.models.host import SIZES, DecoderOptions
from pebench.plugins.registry import tasks
from pebench.position_encoding import PositionEncoding
from pebench.randomness import generator
from pebench.running.checkpoint import State
from pebench.running.compilation import share_compiled_kernels
from pebench.running.optimisation import optimiser
from pebench.running.ranks import ALONE, Ranks
from pebench.running.train import Progress, train
from pebench.specification.run_spec import Training
from pebench.task import AnyTask, Batch

DENSE_BF16 = {"H100": 989e12, "H200": 989e12, "A100": 312e12}
"""Multiplications and additions a second by the vendors' data sheets, without sparsity."""

UNSHARED = "unshared"
"""Written like an option of SeqPE: its encoder then computes every digit string whole."""

COMPILED_AT_ONCE = 128
"""Compiled forms of the training step that may exist beside each other in a process."""


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """The size of model and batch: GPT-2 small on 32 × 1,024 tokens on CUDA, what a CPU can do elsewhere."""
    here = device().type == "cuda"
    parser.add_argument("--size", choices=list(SIZES), default="gpt2-small" if here else "tiny")
    parser.add_argument("--extent", type=positive, default=1024 if here else 256)
    parser.add_argument("--batch", type=positive, default=32 if here else 4)
    parser.add_argument("--vocabulary", type=positive, default=50304 if here else 4096)


def random_text(
    extent: int, size: str, vocabulary: int, evaluated: tuple[int, ...] = (), dropout: float = 0.0
) -> AnyTask:
    """Language modelling on tokens drawn at random.

    Args:
        extent: tokens of a training sequence. size: of the model. vocabulary: tokens there are.
        evaluated: extents to evaluate at, on one stretch of the largest of them.
        dropout: of the model.
    """
    base: type[Any] = tasks.load("language-modeling")

    class RandomText(base):  # type: ignore[misc]
        def build(self, encoding: PositionEncoding, seed: int) -> Decoder:
            return Decoder(self.geometry(), vocabulary, encoding, self.model, seed)

        def batch(self, seed: int, split: str, step: int, size: int) -> Batch:
            draw = generator(seed, "batch", split, step % 8)
            return {"tokens": torch.randint(vocabulary, (size, extent + 1), generator=draw)}

        @property
        def _evaluated(self) -> TokenStream:
            count = max(evaluated) + 1
            tokens = np.random.default_rng(0).integers(vocabulary, size=count, dtype=np.uint32)
            return TokenStream(tokens, count, 0, np.zeros(1, np.int64), "random")

    options = {"extent": extent, "evaluate": evaluated, "protocols": ("non-overlapping",)}
    return RandomText(
        base.Options(**options), DecoderOptions.model_validate({"size": size, "dropout": dropout})
    )


def steps(
    label: str, task: AnyTask, training: Training, compiled: bool, ranks: Ranks = ALONE
) -> Iterator[Progress]:
    """An endless training of a model around the encoding that a label such as ``seqpe:dropout=0`` names."""
    torch.set_flush_denormal(True)  # as every run does
    if compiled:
        allow_many_compilations()
    encoding = labelled(label, task)
    where = device()
    model = task.build(encoding, 0).to(where)
    updates = optimiser(model, encoding, training)
    return train(model, task, updates, training, 0, State(), where, lambda step: False, compiled, ranks)


def labelled(label: str, task: AnyTask) -> PositionEncoding:
    """The encoding that a label such as ``seqpe:dropout=0,unshared`` names, for the model of a task."""
    name, _, written = label.partition(":")
    parts = written.split(",") if written else []
    options = dict(part.split("=") for part in parts if part != UNSHARED)
    encoding = build_encoding(name, {key: _value(text) for key, text in options.items()}, task.geometry())
    if UNSHARED in parts:
        encoder: Any = encoding.encoder
        encoder.spell = _without_sharing(encoder.spell)
    return encoding


def _without_sharing(spell: Callable[..., Any]) -> Callable[..., Any]:
    return lambda positions, share: spell(positions, share=False)


def allow_many_compilations() -> None:
    """Lets one process compile the training step for one model after another, from the cache that runs share.

    PyTorch's own bound is 8 forms of a function, and the ninth would run uncompiled."""
    share_compiled_kernels()
    config = torch._dynamo.config
    config.recompile_limit = max(config.recompile_limit, COMPILED_AT_ONCE)


def flops_of_a_token(task: AnyTask, vocabulary: int) -> float:
    """Of forward and backward pass, by Chowdhery et al. 2022 (https://arxiv.org/abs/2204.02311), appendix B:
    6 a weight that multiplies, and 12 a layer, channel and key in attention, masked keys counted."""
    geometry = task.geometry()
    weights = 12 * geometry.layers * geometry.width**2 + vocabulary * geometry.width
    return 6.0 * weights + 12.0 * geometry.layers * geometry.width * geometry.extent[0]


def utilisation(flops_per_second: float) -> float | None:
    """The share of what the device could do; None where that is not known."""
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    peak = next((value for key, value in DENSE_BF16.items() if key in name), None)
    return flops_per_second / peak if peak else None


def _value(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return {"true": True, "false": False}.get(text, text)
