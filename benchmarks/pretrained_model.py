"""Evaluation of a model of transformers by pebench, beside transformers' own forward pass: tokens a second.

A Llama with random weights and grouped queries is written in the format of transformers and read by both, in
float32. The text is of random tokens, as long as the largest extent, and cut into windows of each extent.

- `transformers`, the baseline, computes the logits of all windows with PyTorch's fused attention
  (`attn_implementation="sdpa"`), as many windows at a time as pebench takes.
- `with losses` computes the loss of every token from them as well.
- `one at a time` reads window by window.
- `pebench, logits` is the same as the baseline.
- `pebench` evaluates as runs do: it computes every loss, and sums them up by document.

After --seconds no further round of an extent begins, and its rows are told and written before the next
extent.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torch.nn.functional as F
from measuring.alternation import Row, Work, alternate, clock, device
from measuring.reporting import Arguments, positive, report
from measuring.training import random_text
from torch import Tensor

from pebench.data.tokenization import END_OF_TEXT
from pebench.encoding_config import build_encoding
from pebench.models.decoder import Decoder
from pebench.models.host import DecoderOptions
from pebench.position_encoding import Extrapolation, grid, tabulate
from pebench.pretrained.hf_model import hf_model, transformers_library
from pebench.running.evaluate import evaluate
from pebench.tasks.language_modeling import TOKENS_AT_ONCE

BASELINE = "transformers"

SIZES: dict[str, dict[str, int]] = {
    "tiny": {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 176},
    "mini": {"hidden_size": 256, "num_hidden_layers": 6, "num_attention_heads": 4, "intermediate_size": 688},
    "smollm": {
        "hidden_size": 576,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "intermediate_size": 1536,
    },
}
"""Settings of a Llama by name; `smollm` has those of SmolLM2-135M."""


def written(chosen: argparse.Namespace, folder: Path) -> Path:
    """A folder with the model, and a tokenizer that nothing is read with."""
    from tokenizers import Tokenizer, models

    transformers = transformers_library()
    transformers.utils.logging.disable_progress_bar()
    sizes = {"num_key_value_heads": 2, **SIZES[chosen.size]}
    config = transformers.LlamaConfig(
        vocab_size=chosen.vocabulary, max_position_embeddings=min(chosen.extents), **sizes
    )
    torch.manual_seed(0)
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    words = models.WordLevel({END_OF_TEXT: 0}, unk_token=END_OF_TEXT)
    Tokenizer(words).save(str(folder / "tokenizer.json"))
    return folder


def works(folder: Path, chosen: argparse.Namespace, extent: int) -> dict[str, Work]:
    """What both make of the text at an extent."""
    where, longest = device(), max(chosen.extents)
    theirs = transformers_library().AutoModelForCausalLM.from_pretrained(
        folder, attn_implementation="sdpa", dtype=torch.float32
    )
    theirs = theirs.eval().to(where)
    model = hf_model(f"hf:{folder}")
    task: Any = random_text(min(chosen.extents), "tiny", chosen.vocabulary, tuple(chosen.extents))
    task.model = DecoderOptions.model_validate(model.options)
    encoding = build_encoding(model.encoding.name, model.encoding.options, model.geometry)
    ours = Decoder(model.geometry, chosen.vocabulary, encoding, task.model, 0).to(where)
    ours.load_state_dict(model.weights())
    text = torch.from_numpy(task._evaluated.tokens.astype("int64")).to(where)
    read, targets = (part[: longest // extent * extent].view(-1, extent) for part in (text[:-1], text[1:]))
    at_once = max(1, TOKENS_AT_ONCE[where.type] // extent)
    return {
        BASELINE: partial(_forward, theirs, read, at_once),
        "transformers, with losses": partial(_forward, theirs, read, at_once, targets),
        "transformers, one at a time": partial(_forward, theirs, read, 1),
        "pebench, logits": partial(_our_forward, ours, read, at_once),
        "pebench": partial(evaluate, ours, task, Extrapolation((extent,)), where),
    }


@torch.no_grad()
def _forward(model: Any, read: Tensor, at_once: int, targets: Tensor | None = None) -> None:
    """Logits of (W, N) windows; with targets the sum of their losses, too."""
    total = 0.0
    for start in range(0, len(read), at_once):
        logits = model(read[start : start + at_once], use_cache=False).logits
        if targets is not None:
            wanted = targets[start : start + at_once].flatten()
            total += float(F.cross_entropy(logits.flatten(0, 1).float(), wanted, reduction="sum"))


@torch.no_grad()
def _our_forward(model: Decoder, read: Tensor, at_once: int) -> None:
    """Logits of (W, N) windows."""
    extent = (read.shape[1],)
    table = tabulate(model.encoding, grid(extent).to(read.device), Extrapolation(extent))
    for start in range(0, len(read), at_once):
        model.logits(model(read[start : start + at_once], table))


def measure(folder: Path, chosen: argparse.Namespace, extent: int) -> Iterator[Row]:
    """Both at one extent."""
    setting = {"model": chosen.size, "vocabulary": chosen.vocabulary, "extent": extent}
    both, seconds = works(folder, chosen, extent), chosen.seconds
    for row in alternate(both, BASELINE, setting, chosen.rounds, warmup=1, seconds=seconds):
        yield replace(row, more={"tokens/s": max(chosen.extents) // extent * extent / row.seconds})


def main() -> None:
    """Measures and reports."""
    here = device().type == "cuda"
    parser = Arguments(__doc__)
    parser.add_argument("--size", choices=list(SIZES), default="smollm" if here else "mini")
    extents = [2048, 8192] if here else [256, 1024]
    parser.add_argument("--extents", type=positive, nargs="+", default=extents)
    parser.add_argument("--vocabulary", type=positive, default=49152 if here else 8192)
    parser.add_argument("--seconds", type=positive, default=40, help="for an extent, after which it ends")
    chosen = parser.parse_args()
    with TemporaryDirectory() as place:
        folder = written(chosen, Path(place) / "model")
        rows = chain.from_iterable(measure(folder, chosen, extent) for extent in chosen.extents)
        report("Evaluation of a model of transformers", BASELINE, rows, chosen.output, clock=clock())


if __name__ == "__main__":
    main()
