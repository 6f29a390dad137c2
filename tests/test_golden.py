"""Values of published implementations, which `tests/golden` keeps, hold to 1e-5."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from pebench.encodings.alibi import slopes
from pebench.encodings.seqpe.encoder import DigitEncoder, to_digits
from pebench.encodings.seqpe.objectives import contrastive_loss, distillation_loss
from pebench.position_encoding import Geometry, Reach, grid
from pebench.resolve import build_encoding

GOLDEN = Path(__file__).parent / "golden"


def _load(name: str) -> dict[str, np.ndarray]:
    with np.load(GOLDEN / f"{name}.npz") as arrays:
        return {key: arrays[key] for key in arrays.files}


def _close(found: Tensor, wanted: np.ndarray) -> None:
    torch.testing.assert_close(found.double(), torch.from_numpy(wanted).double(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("heads", [6, 8, 12])
def test_alibi_slopes(heads: int) -> None:
    _close(slopes(heads), _load("classic")[f"alibi_slopes_{heads}"])


def test_sinusoidal_table() -> None:
    encoding = build_encoding("sinusoidal", {}, Geometry(32, 4, 1, (64,)))
    _close(encoding.table(grid((64,)), Reach((64,)))[0], _load("classic")["sinusoidal_64x32"])


def test_rope_rotation() -> None:
    golden = _load("rotary")
    encoding = build_encoding("rope", {}, Geometry(16, 2, 1, (64,)))
    table = encoding.table(torch.from_numpy(golden["positions"])[None, :, None], Reach((64,)))
    q, k = encoding.rotate(torch.from_numpy(golden["q"]), torch.from_numpy(golden["k"]), table, 0)
    _close(q, golden["q_rot"])
    _close(k, golden["k_rot"])


def _published_encoder(golden: dict[str, np.ndarray]) -> DigitEncoder:
    config = json.loads(str(golden["config"]))
    encoder = DigitEncoder(
        axes=config["data_dim"],
        base=10,
        digits=config["digits"],
        width=config["d"],
        heads=config["h"],
        layers=config["layers"],
        out=config["out"],
        dropout=0.0,
        bidirectional=False,
        mask_padding=config["mask_padding"],
    )
    weights = {
        k.removeprefix("param."): torch.from_numpy(v) for k, v in golden.items() if k.startswith("param.")
    }
    state = {
        "readout": weights["cls_token_embed"].flatten(),
        "value.weight": weights["token_of_seqpe_embed.weight"],
        "place.weight": weights["pos_of_seqpe_embed.weight"],
    }
    if config["data_dim"] > 1:
        state["axis"] = weights["dim_token_embed"].flatten(1)
    names = {"layernorm": "final_norm", "out_proj": "out"}
    for layer in range(config["layers"]):
        theirs, ours = f"transformers.{layer}", f"blocks.{layer}"
        names[f"{theirs}.layernorm_1"] = f"{ours}.attention_norm"
        names[f"{theirs}.layernorm_2"] = f"{ours}.perceptron_norm"
        matrices = {
            "attn.c_attn": "input",
            "attn.c_proj": "output",
            "mlp.c_fc": "expand",
            "mlp.c_proj": "contract",
        }
        for their_part, our_part in matrices.items():
            names[f"{theirs}.{their_part}"] = f"{ours}.{our_part}"
    for theirs, ours in names.items():
        matrix = weights[f"{theirs}.weight"]
        # Their convolution-like layers keep weights input first.
        state[f"{ours}.weight"] = matrix.T if ".c_" in theirs else matrix
        state[f"{ours}.bias"] = weights[f"{theirs}.bias"]
    encoder.load_state_dict(state)
    return encoder


@pytest.mark.parametrize("share", [False, True], ids=["every string", "shared prefixes"])
@pytest.mark.parametrize("name", ["seqpe_1d_causal", "seqpe_2d_causal"])
def test_seqpe_encoder(name: str, share: bool) -> None:
    golden = _load(name)
    encoder = _published_encoder(golden)
    positions = torch.from_numpy(golden["positions"]).view(len(golden["positions"]), -1)
    assert (to_digits(positions, 10, encoder.digits).numpy() == golden["digits"]).all()
    _close(encoder(positions, share=share), golden["out"])


def test_seqpe_contrastive_loss() -> None:
    golden = _load("seqpe_objectives")
    pivot, candidates, labels = (torch.from_numpy(golden[key]) for key in ("pivot", "candidates", "labels"))
    _close(contrastive_loss(pivot, candidates, labels), golden["contrastive"])


@pytest.mark.parametrize(("heads", "key"), [(1, "distill_single"), (4, "distill_multihead4")])
def test_seqpe_distillation_loss(heads: int, key: str) -> None:
    golden = _load("seqpe_objectives")
    teacher = torch.from_numpy(golden["teacher_table"])[torch.from_numpy(golden["teacher_indices"])]
    _close(distillation_loss(teacher, torch.from_numpy(golden["student"]), heads), golden[key])
