"""Trains the published SeqPE code on tokens of ours, with its own draws and dropout, as its `train.py` does.

    PYTHONPATH=benchmarks python -m published_seqpe.train seqpe tokens.npz published.json

The sizes are by default those of sweeps/seqpe-beside-published.yaml. The seeds are trained side by side, a
process each, on CUDA where there is a device. The JSON file has under `seeds`, by seed, `losses`: updates
done, the loss on the training text, the contrastive loss, both means over 10 updates, and the distillation
loss of the last of them or null; `heldout`: updates, extent and nats a token; and `seconds` of training.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from published_seqpe.modules import Published, Setting, load
from torch import Tensor

MEAN_OVER = 10
"""Updates that a recorded loss is the mean of."""

MOST_TOKENS = 16384
"""Tokens that are evaluated at once, where they are read in more than one window."""


class Samplers:
    """Published draws of each step: windows of positions, and what the two objectives compare."""

    def __init__(self, code: Published, chosen: argparse.Namespace, setting: Setting, seed: int) -> None:
        """
        Args:
            code: the published modules. chosen: numbers of draws. setting: numbers of positions and digits.
            seed: of the contrastive draws; the others use the generator of Python.
        """
        places, digits = setting.places, setting.digits
        self._windows = code.sampler.SeqPeMainTaskPosSampler(
            chosen.extent,
            places,
            digits,
            data_dim=1,
            use_random_shift=True,
            random_shift_rate=chosen.shifted,
            random_shift_downsample=320,
        )
        self._contrastive = code.sampler.SeqPeContrstiveDataSampler(
            625, chosen.pivots, places, digits, 32, data_dim=1, distributional_sample_range=256, seed=seed
        )
        self._distilled = code.sampler.SeqPeTransferDataSampler(
            chosen.extent, 625, chosen.draws, places, digits, transfer_size=min(32, chosen.extent), data_dim=1
        )
        self._groups = min(chosen.windows, chosen.batch)

    def draw(self, device: torch.device) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any] | None]:
        """The windows, the contrastive draws, and those to distil to where no window is shifted."""
        windows = self._windows.next(device=device, batch_size=self._groups)
        shifted = windows["batch_size"] > 1
        return windows, self._contrastive.next(device), None if shifted else self._distilled.next(device)

    def stop(self) -> None:
        """Ends the process that draws."""
        self._contrastive.process.terminate()


def train(chosen: argparse.Namespace, seed: int) -> dict[str, Any]:
    """Trains and evaluates one seed.

    Args:
        chosen: the options of the command line.
        seed: counted from 0.

    Returns:
        `losses`, `heldout` and `seconds`, as in the file.
    """
    torch.set_num_threads(1)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    tokens = np.load(chosen.tokens)
    text, heldout_text, vocabulary = (tokens[name] for name in ("train", "heldout", "vocabulary"))
    code, theirs = load(chosen.checkout), 10086 + seed
    random.seed(theirs)
    np.random.seed(theirs)
    torch.manual_seed(theirs)
    longest = max(chosen.extent, *chosen.evaluate)
    setting = Setting(
        int(vocabulary), chosen.width, chosen.layers, chosen.heads, longest, chosen.positions, chosen.dropout
    )
    model = code.model(setting).to(device).train()
    encoder = code.encoder(setting).to(device).train()
    samplers = Samplers(code, chosen, setting, theirs)
    contrast, distillation = code.criteria(setting)
    updates = torch.optim.AdamW(
        [*model.parameters(), *encoder.parameters()],
        lr=chosen.learning_rate,
        weight_decay=0.0,
        fused=device.type == "cuda",
    )
    places, ones = np.random.default_rng(seed), torch.ones(chosen.batch, chosen.extent, device=device)
    losses: list[list[float | None]] = []
    recent: list[Tensor] = []
    begun = time.time()
    for step in range(chosen.steps):
        for group in updates.param_groups:
            group["lr"] = learning_rate(chosen, step)
        begins = places.integers(len(text) - chosen.extent, size=chosen.batch)
        windows = np.stack([text[begin : begin + chosen.extent + 1] for begin in begins]).astype(np.int64)
        batch = torch.from_numpy(windows).to(device)
        positions, compared, outside = samplers.draw(device)
        strings, padding, sizes = code.utilities.PeUtils.merge_pe_data(positions, compared, outside)
        with torch.autocast(device.type, torch.bfloat16):
            read = encoder(strings, padding).float()
        parts = code.utilities.PeUtils.split_pe_data(read, sizes)
        vectors = parts[0].reshape(positions["batch_size"], -1, chosen.width)
        with torch.autocast(device.type, torch.bfloat16):
            task = model(
                input_ids=batch[:, :-1],
                attention_mask=ones,
                labels=batch[:, 1:].contiguous(),
                pe=vectors,
                is_label_shifted=True,
            ).loss.float()
        contrastive = contrast(parts[1], parts[2], compared["labels"])
        distilled = None
        loss = task + 0.1 * contrastive
        if outside is not None:
            distilled = distillation(vectors, chosen.draws, outside["pivot_indices"], parts[-1])
            loss = loss + 0.1 * distilled
        loss.backward()
        for part in (model, encoder):
            torch.nn.utils.clip_grad_norm_(part.parameters(), chosen.clip)
        updates.step()
        updates.zero_grad()
        recent.append(torch.stack((task.detach(), contrastive.detach())))
        if len(recent) == MEAN_OVER:
            means = torch.stack(recent).mean(0).tolist()
            losses.append([step + 1, *means, None if distilled is None else float(distilled.detach())])
            recent = []
            if (step + 1) % (20 * MEAN_OVER) == 0:
                say(f"seed {seed}: {step + 1} of {chosen.steps} updates, loss {means[0]:.4f}")
    seconds = time.time() - begun
    samplers.stop()
    heldout = [
        [chosen.steps, extent, nats(code, setting, model.eval(), encoder.eval(), heldout_text, extent)]
        for extent in chosen.evaluate
        if extent < len(heldout_text)
    ]
    return {"losses": losses, "heldout": heldout, "seconds": seconds}


def learning_rate(chosen: argparse.Namespace, step: int) -> float:
    """The rate of an update, counted from 0: up over the warm-up, then down to zero, both linearly."""
    if step < chosen.warmup:
        return float(chosen.learning_rate * (step + 1) / chosen.warmup)
    return float(chosen.learning_rate * (1 - (step - chosen.warmup) / max(1, chosen.steps - chosen.warmup)))


@torch.no_grad()
def nats(code: Published, setting: Setting, model: Any, encoder: Any, text: Any, extent: int) -> float:
    """Nats a token over windows that do not overlap, in float32.

    Args:
        code: the published modules. setting: their sizes. model: the GPT-2. encoder: of its positions.
        text: (N,) tokens. extent: of a window.
    """
    device = next(model.parameters()).device
    strings, padding = code.spelt(list(range(extent)), setting)
    vectors = encoder(strings.to(device), padding.to(device))[None]
    count = (len(text) - 1) // extent
    tokens = torch.from_numpy(text.astype(np.int64))[: count * extent + 1]
    inputs, targets = tokens[:-1].view(count, extent), tokens[1:].view(count, extent)
    # Attention makes whole matrices of logits, so that long windows are read one by one.
    rows = max(1, MOST_TOKENS // extent) if extent <= 2048 else 1
    total = 0.0
    for read, expected in zip(inputs.split(rows), targets.split(rows), strict=True):
        ones = torch.ones(read.shape, device=device)
        logits = model(input_ids=read.to(device), attention_mask=ones, pe=vectors).logits.float()
        expected = expected.to(device).flatten()
        total += float(F.cross_entropy(logits.flatten(0, 1), expected, reduction="sum"))
    return total / (count * extent)


def say(line: str) -> None:
    """Prints, at once."""
    print(line, flush=True)  # noqa: T201


def main() -> None:
    """Reads the command line, trains the seeds and writes the file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("checkout", type=Path, metavar="CHECKOUT", help="a checkout of github.com/ghrua/seqpe at 4c4b908")
    add("tokens", type=Path, metavar="TOKENS.npz", help="what published_seqpe.tokens wrote")
    add("output", type=Path, metavar="OUTPUT.json", help="the file to write")
    add("--seeds", type=int, nargs="+", default=[0, 1, 2], help="default: 0 1 2")
    for name, kind, default, said in (
        ("steps", int, 2000, "updates"),
        ("batch", int, 64, "windows of text an update"),
        ("extent", int, 256, "tokens of a window"),
        ("width", int, 512, "channels of the GPT-2 and the encoder"),
        ("layers", int, 8, "of the GPT-2"),
        ("heads", int, 8, "of the GPT-2 and the encoder"),
        ("positions", int, 20000, "that the encoder can spell"),
        ("learning-rate", float, 3e-4, "the highest"),
        ("warmup", int, 80, "updates until the rate is highest; from there on it falls to zero"),
        ("dropout", float, 0.1, "of the encoder's residual branches"),
        ("clip", float, 5.0, "bound of the gradient's norm, of GPT-2 and encoder each"),
        ("pivots", int, 64, "that are contrasted an update"),
        ("draws", int, 64, "windows to distil to an update"),
        ("windows", int, 16, "of positions in an update that is shifted"),
        ("shifted", float, 0.1, "share of the updates whose windows are shifted"),
    ):
        add(f"--{name}", type=kind, default=default, help=f"{said}; default: {default:g}")
    extents = [256, 512, 1024, 2048, 4096]
    add("--evaluate", type=int, nargs="+", default=extents, help=f"extents; default: {extents}")
    chosen = parser.parse_args()
    # Neither CUDA nor the threads of torch outlast a fork.
    with ProcessPoolExecutor(len(chosen.seeds), mp_context=get_context("spawn")) as pool:
        found = dict(zip(chosen.seeds, pool.map(train, repeat(chosen), chosen.seeds), strict=True))
    options = {name: str(value) if isinstance(value, Path) else value for name, value in vars(chosen).items()}
    chosen.output.write_text(json.dumps({"settings": options, "seeds": found}) + "\n")


if __name__ == "__main__":
    main()
