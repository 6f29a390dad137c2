"""Makes tests/golden/seqpe_trajectory.npz: the losses of the published code over 200 updates, in float64.

    PYTHONPATH=benchmarks:. python -m published_seqpe.trajectory seqpe tests/golden/seqpe_trajectory.npz

Weights are rounded to float32 and kept, tokens are of an artificial language, positions and comparisons are
drawn by SeqPE here, dropout is off. tests/test_seqpe_trajectory.py says what was done beside that.
"""

from __future__ import annotations

import argparse
import math
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from published_seqpe.modules import Published, Setting, load
from torch import Tensor

from pebench.encoding_config import build_encoding
from pebench.encodings.seqpe import SeqPE
from pebench.position_encoding import Geometry, StepRNG
from pebench.running.optimisation import learning_rate
from pebench.specification.run_spec import Training

EXTENT, DRAWS, GROUPS = 16, 4, 4
SETTING = Setting(vocabulary=48, width=32, layers=2, heads=2, longest=64, places=400, dropout=0.0)
ENCODING = {"positions": 400, "pivots": 8, "draws": DRAWS, "windows": GROUPS, "shifted": 0.2}
TRAINING = Training(
    steps=200,
    batch=8,
    learning_rate=2e-3,
    schedule="linear",
    warmup=20,
    final=0.0,
    weight_decay=0.0,
    betas=(0.9, 0.999),
    clip=5.0,
)
SMALL = ("starts", "pivots", "candidates", "outside", "offsets", "labels")
"""Whole numbers that fit 16 bits."""


def make(checkout: Path) -> dict[str, Any]:
    """Trains the published code.

    Args:
        checkout: the folder that holds `text_seqpe`.

    Returns:
        Arrays: the initial weights as `model.…` and `encoder.…`, `tokens`, and of each update what was drawn
        and the three losses.
    """
    torch.manual_seed(10086)
    code = load(checkout)
    _mask_in_float64(code)
    model, encoder, weights = _weights(code)
    contrast, distillation = code.criteria(SETTING)
    ours = build_encoding(
        "seqpe", ENCODING, Geometry(SETTING.width, SETTING.heads, SETTING.layers, (EXTENT,))
    )
    assert isinstance(ours, SeqPE)
    tokens = _language()
    # Their loop clips the projection with the model that holds it; here it is the encoding's.
    projection = list(model.transformer.pe_qk.parameters())
    moved = set(map(id, projection))
    clipped = (
        [parameter for parameter in model.parameters() if id(parameter) not in moved],
        [*encoder.parameters(), *projection],
    )
    updates = torch.optim.AdamW([*model.parameters(), *encoder.parameters()], lr=1.0, weight_decay=0.0)
    record: dict[str, list[Any]] = defaultdict(list)
    for step in range(TRAINING.steps):
        draw = StepRNG(3, step)
        positions = ours.training_positions((EXTENT,), TRAINING.batch, draw)
        compared, shifted = ours.drawing.of(draw), len(positions) > 1
        parts = [positions, compared.pivots, compared.candidates, *([] if shifted else [compared.outside])]
        spelt = [code.spelt(part.flatten().tolist(), SETTING) for part in parts]
        strings, padding = map(torch.cat, zip(*spelt, strict=True))
        vectors = encoder(strings, padding).split([len(own) for own, _ in spelt])
        pe = vectors[0].reshape(len(positions), -1, SETTING.width)
        task = model(
            input_ids=tokens[step, :, :-1],
            attention_mask=torch.ones(TRAINING.batch, EXTENT),
            labels=tokens[step, :, 1:].contiguous(),
            pe=pe,
            is_label_shifted=True,
        ).loss
        contrastive = 0.1 * contrast(vectors[1], vectors[2], compared.labels)
        loss, distilled = task + contrastive, math.nan
        if not shifted:
            part = 0.1 * distillation(pe, DRAWS, compared.offsets.flatten(), vectors[3])
            loss, distilled = loss + part, float(part.detach())
        loss.backward()
        for parameters in clipped:
            torch.nn.utils.clip_grad_norm_(parameters, TRAINING.clip or math.inf)
        for group in updates.param_groups:
            group["lr"] = learning_rate(TRAINING, step)
        updates.step()
        updates.zero_grad()
        starts = positions[:, 0, 0] if shifted else torch.zeros(GROUPS, dtype=torch.long)
        drawn = {"starts": starts, "shifted": shifted, **compared._asdict()}
        losses = {"loss": task.detach(), "contrastive": contrastive.detach(), "distillation": distilled}
        for name, value in (drawn | losses).items():
            record[name].append(np.asarray(value))
    arrays = {name: np.stack(values) for name, values in record.items()}
    arrays |= {name: arrays[name].astype(np.int16) for name in SMALL}
    return {"tokens": tokens.numpy().astype(np.uint8), **arrays, **weights}


def _mask_in_float64(code: Published) -> None:
    """The least number of float64 is infinite in the encoder's mask of float32, and would give NaN."""
    masked = code.utilities.PeUtils.get_seqpe_mask

    def double(*values: Any, **named: Any) -> Tensor:
        mask: Tensor = masked(*values, **named).double()
        return mask

    code.sequential_pe.PeUtils.get_seqpe_mask = staticmethod(double)


def _weights(code: Published) -> tuple[Any, Any, dict[str, Any]]:
    """The GPT-2 and the encoder in float64, and their initial weights in float32."""
    model, encoder = code.model(SETTING), code.encoder(SETTING)
    with torch.no_grad():
        # Away from the initial values, at which norms and biases do nothing.
        for parameter in [*model.parameters(), *encoder.parameters()]:
            parameter.add_(torch.randn_like(parameter) * 0.02)
    weights: dict[str, Any] = {}
    for part, module in (("model", model), ("encoder", encoder)):
        state = {key: value for key, value in module.state_dict().items() if key != "lm_head.weight"}
        weights |= {f"{part}.{key}": value.numpy().copy() for key, value in state.items()}
    return model.double(), encoder.double(), weights


def _language() -> Tensor:
    """(steps, batch, extent + 1) tokens, each drawn by the one before it."""
    generator = torch.Generator().manual_seed(1)
    kinds, shape = SETTING.vocabulary, (TRAINING.steps, TRAINING.batch)
    pairs = torch.rand(kinds, kinds, generator=generator) ** 8
    tokens = [torch.randint(kinds, shape, generator=generator)]
    for _ in range(EXTENT):
        following = torch.multinomial(pairs[tokens[-1].flatten()], 1, generator=generator)
        tokens.append(following.view(shape))
    return torch.stack(tokens, dim=-1)


def main() -> None:
    """Reads the command line and writes the file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkout", type=Path, help="a checkout of github.com/ghrua/seqpe at 4c4b908")
    parser.add_argument("output", type=Path, help="the file to write")
    chosen = parser.parse_args()
    np.savez_compressed(chosen.output, **make(chosen.checkout))


if __name__ == "__main__":
    main()
